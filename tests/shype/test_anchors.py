"""The CA store is a folder: PEM and DER, one certificate a file or many, and what lies beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from attest.certificate import EndorsementError
from attest.endorsement import verify_endorsement
from attest.errors import AttestUsageError
from shype.anchors import read_anchors
from tests.attest.test_endorsement import EK, ISSUER, KEYS, NOW, ROOT


def pem(raw: bytes) -> bytes:
    return x509.load_der_x509_certificate(raw).public_bytes(Encoding.PEM)


def subjects(folder: Path) -> list[str]:
    found = read_anchors(folder)
    return sorted(each.name for each in (*found.roots, *found.intermediates))


@pytest.mark.parametrize("suffix", [".pem", ".crt", ".cer", ".der", ".CRT"])
def test_both_forms_by_any_name(tmp_path: Path, suffix: str) -> None:
    """What a file is, its first bytes say."""
    (tmp_path / f"root{suffix}").write_bytes(ROOT.make())
    (tmp_path / f"issuer{suffix}").write_bytes(pem(ISSUER.make()))
    assert subjects(tmp_path) == ["CN=issuer", "CN=root"]
    assert verify_endorsement(EK.make(), read_anchors(tmp_path), now=NOW).chain == ("CN=issuer", "CN=root")


def test_bundle_with_words_between(tmp_path: Path) -> None:
    text = b"# Root of the maker\n" + pem(ROOT.make()) + b"\nIntermediate:\n" + pem(ISSUER.make())
    (tmp_path / "bundle.pem").write_bytes(text.replace(b"\n", b"\r\n"))
    assert subjects(tmp_path) == ["CN=issuer", "CN=root"]


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(pem(ROOT.make()))
    (tmp_path / "notes.txt").write_text("not a certificate")
    (tmp_path / "folder.pem").mkdir()
    key = KEYS["root"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(key)
    assert subjects(tmp_path) == ["CN=root"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage",
        pem(ROOT.make())[:-9],
        pem(ROOT.make()).replace(b"CERTIFICATE", b"X509 CRL"),
        pem(ROOT.make()) + pem(ROOT.make())[:60],
        ROOT.make() + ISSUER.make(),
        ROOT.make()[:-1],
    ],
)
def test_broken_file_is_named_and_nothing_is_trusted(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "root.pem").write_bytes(pem(ROOT.make()))
    (tmp_path / "zz.crt").write_bytes(raw)
    with pytest.raises(EndorsementError, match=r"^zz\.crt: "):
        read_anchors(tmp_path)


def test_no_root_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "issuer.pem").write_bytes(pem(ISSUER.make()))
    with pytest.raises(AttestUsageError):
        read_anchors(tmp_path)
