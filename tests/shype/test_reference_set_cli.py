"""``shype pcrs sign-reference``, and ``shype verify`` with a signed set: rollback, expiry, wrong options."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from attest.ear import public_jwk
from attest.reference_set import sign
from attest.signer import MemoryKey
from tests.schemas import validator
from tests.shype.test_verify_cli import Folder
from tests.simulators.host import GOOD_BOOT, NONCE, Host, key

PRIVATE = key("reference").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = key("reference").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
OPTIONS = {"reference": "set.json", "reference-key": "reference.pub", "reference-seen": "seen.json"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reference.pub").write_bytes(PUBLIC)
    (tmp_path / "reference.key").write_bytes(PRIVATE)
    return Folder(tmp_path, Host.serving())


def put(folder: Folder, version: int = 1, days: float = 30, **changes: Any) -> None:
    values = replace(Host.serving().reference(), version=version, **changes)
    expires = datetime.now(UTC) + timedelta(days=days)
    (folder.path / "set.json").write_bytes(sign(values.encode(), MemoryKey(key("reference")), expires))


def refused(folder: Folder, exit_code: int, code: str, **changes: str) -> None:
    found = folder.verify("--json", **{**OPTIONS, **changes})
    assert (found.exit, found.err.count("\n")) == (exit_code, 1)
    validator("error").validate(found.document)
    assert found.document["error"]["code"] == code


def test_reference_values_are_signed(folder: Folder) -> None:
    arguments = ("reference.json", "--key", "reference.key", "--days", "90", "-o", "set.json")
    found = folder.run("pcrs", "sign-reference", *arguments, "--json")
    assert found.exit == 0
    validator("pcrs-sign-reference").validate(found.document)
    validator("reference-set").validate(json.loads(Path("set.json").read_text()))
    assert folder.verify("--json", **OPTIONS).document["verdict"] == "affirming"


@pytest.mark.parametrize("days", ["0", "-1", "4000", "x"])
def test_a_wrong_number_of_days_is_wrong_usage(folder: Folder, days: str) -> None:
    arguments = ("reference.json", "--key", "reference.key", f"--days={days}", "-o", "set.json")
    assert folder.run("pcrs", "sign-reference", *arguments).exit == 2
    assert not Path("set.json").exists()


@pytest.mark.parametrize(("file", "exit_code"), [("reference.pub", 2), ("none", 2), ("reference.key", 0)])
def test_signing_needs_a_private_key(folder: Folder, file: str, exit_code: int) -> None:
    arguments = ("reference.json", "--key", file, "--days", "90", "-o", "set.json")
    assert folder.run("pcrs", "sign-reference", *arguments).exit == exit_code


def test_what_is_no_reference_is_not_signed(folder: Folder) -> None:
    arguments = ("evidence.json", "--key", "reference.key", "--days", "90", "-o", "set.json")
    assert folder.run("pcrs", "sign-reference", *arguments).exit == 3


def test_row_78_an_older_set_is_refused_after_a_newer_one(folder: Folder) -> None:
    put(folder, 1)
    assert folder.verify(**OPTIONS).exit == 0
    put(folder, 2)
    assert folder.verify(**OPTIONS).exit == 0
    put(folder, 1)
    refused(folder, 3, "reference-rollback")
    put(folder, 2)
    assert folder.verify(**OPTIONS).exit == 0
    seen = json.loads(Path("seen.json").read_text())
    validator("reference-seen").validate(seen)
    assert seen["sets"]["xen1"]["version"] == 2


def test_two_sets_of_one_version_are_refused(folder: Folder) -> None:
    put(folder)
    assert folder.verify(**OPTIONS).exit == 0
    put(folder, domains=())
    refused(folder, 3, "reference-rollback")


def test_a_jwk_does_as_well(folder: Folder) -> None:
    put(folder)
    jwk = public_jwk(MemoryKey(key("reference")).spki())
    Path("reference.jwk").write_text(json.dumps(jwk))
    assert folder.verify(**{**OPTIONS, "reference-key": "reference.jwk"}).exit == 0


def test_an_expired_set_is_inconclusive(folder: Folder) -> None:
    put(folder, days=-1)
    found = folder.verify("--json", **OPTIONS)
    assert (found.exit, found.document["outcome"]) == (4, "inconclusive")
    assert [each["code"] for each in found.document["reasons"]] == ["reference-expired"]
    validator("verify-result").validate(found.document)


def test_a_set_by_another_key_is_refused_and_not_remembered(folder: Folder) -> None:
    put(folder, 9)
    other = key("another").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    Path("reference.pub").write_bytes(other)
    refused(folder, 3, "reference-signature")
    assert not Path("seen.json").exists()


def test_plain_values_are_refused_where_a_key_is_named(folder: Folder) -> None:
    refused(folder, 3, "reference-signature", reference="reference.json")


def test_a_broken_state_admits_nothing(folder: Folder) -> None:
    put(folder)
    Path("seen.json").write_text("{}")
    refused(folder, 3, "reference-seen")


def test_a_set_without_its_options_is_wrong_usage(folder: Folder) -> None:
    put(folder)
    found = folder.verify(reference="set.json")
    assert (found.exit, "--reference-key" in found.err) == (2, True)
    found = folder.verify(**{"reference": "set.json", "reference-key": "reference.pub"})
    assert (found.exit, "--reference-seen" in found.err) == (2, True)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"{}",
        b'{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}',
        b'{"kty":"EC","crv":"P-256","x":"%s","y":"%s"}' % (b"A" * 43, b"A" * 43),
    ],
)
def test_what_is_no_key_is_wrong_usage(folder: Folder, content: bytes) -> None:
    put(folder)
    Path("reference.pub").write_bytes(content)
    found = folder.verify(**OPTIONS)
    assert (found.exit, found.err.count("\n")) == (2, 1)


def test_a_state_that_cannot_be_kept_stops_the_verification(folder: Folder) -> None:
    put(folder)
    found = folder.verify(**{**OPTIONS, "reference-seen": "none/seen.json"})
    assert (found.exit, "none" in found.err) == (2, True)


def test_the_state_is_a_plain_file_that_others_may_read(folder: Folder) -> None:
    put(folder)
    folder.verify(**OPTIONS)
    assert stat.S_IMODE(Path("seen.json").stat().st_mode) == 0o644


GOLDEN = (
    "--nonce",
    NONCE.hex(),
    "--anchors",
    "anchors",
    "--policy",
    "policy.yaml",
    "--appraisal",
    "embedded",
)


def test_a_golden_host_gives_reference_values(folder: Folder) -> None:
    folder.show(Host.serving(boot=GOOD_BOOT.replaced(b"vmlinuz", b"new kernel")))
    assert folder.verify().exit == 1
    arguments = ("--from-evidence", "evidence.json", *GOLDEN, "--issue", "2", "-o", "golden.json", "--json")
    found = folder.run("pcrs", "reference", *arguments)
    validator("pcrs-reference").validate(found.document)
    assert (found.exit, found.document["origin"], found.document["version"]) == (0, "golden", 2)
    validator("reference").validate(json.loads(Path("golden.json").read_text()))
    assert folder.verify(reference="golden.json").exit == 0


@pytest.mark.parametrize("missing", ["--nonce", "--anchors", "--policy"])
def test_a_golden_host_is_verified_or_not_taken(folder: Folder, missing: str) -> None:
    place = GOLDEN.index(missing)
    options = GOLDEN[:place] + GOLDEN[place + 2 :]
    found = folder.run("pcrs", "reference", "--from-evidence", "evidence.json", *options, "-o", "golden.json")
    assert (found.exit, missing in found.err) == (2, True)


def test_evidence_that_does_not_hold_gives_no_reference_values(folder: Folder) -> None:
    options = [word if word != NONCE.hex() else "00" * 32 for word in GOLDEN]
    arguments = ("--from-evidence", "evidence.json", *options, "-o", "golden.json", "--json")
    found = folder.run("pcrs", "reference", *arguments)
    assert (found.exit, found.document["error"]["code"]) == (3, "nonce-mismatch")
    assert not Path("golden.json").exists()


@pytest.mark.parametrize(
    "words", [(), ("embedded", "--nonce", "00"), ("embedded", "--from-evidence", "evidence.json", *GOLDEN)]
)
def test_boot_files_and_a_golden_host_exclude_each_other(folder: Folder, words: tuple[str, ...]) -> None:
    assert folder.run("pcrs", "reference", *words, "-o", "golden.json").exit == 2
