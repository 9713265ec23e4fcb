"""EK certificates that the manager's authority issues."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from vtpm.ek_certificate import EkIssuer, Validity, self_signed
from vtpm.errors import VtpmUsageError
from vtpm.templates import EK_ECC_P256
from vtpm.tpm2.constants import Attributes, Curve
from vtpm.tpm2.public import EccKey, Public, Scheme

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
VALIDITY = Validity(BEGIN, BEGIN + timedelta(days=365 * 20))
KEY = ec.derive_private_key(99, ec.SECP256R1())
AUTHORITY = self_signed(KEY, "vTPM CA", serial=1, validity=VALIDITY)
VID = "0123456789abcdef" * 2


def ek() -> Public:
    numbers = ec.derive_private_key(5, ec.SECP256R1()).public_key().public_numbers()
    point = EccKey(Curve.NIST_P256, Scheme(), numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big"))
    return replace(EK_ECC_P256.public, parameters=point)


def test_a_certificate_is_for_the_ek_and_says_that_it_is_one() -> None:
    raw = EkIssuer(KEY, AUTHORITY).issue(ek(), VID, serial=7, validity=VALIDITY)
    certificate = x509.load_der_x509_certificate(raw)
    certificate.verify_directly_issued_by(AUTHORITY)
    assert certificate.public_key() == ek().key()
    assert certificate.serial_number == 7
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [oid.dotted_string for oid in usage] == ["2.23.133.8.1"]
    name = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert name.critical
    (maker,) = name.value.get_values_for_type(x509.DirectoryName)
    assert "swtpm" in maker.rfc4514_string()


@pytest.mark.tools
def test_openssl_accepts_the_chain(tmp_path: Path) -> None:
    raw = EkIssuer(KEY, AUTHORITY).issue(ek(), VID, serial=7, validity=VALIDITY)
    certificate = x509.load_der_x509_certificate(raw)
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.public_bytes(Encoding.PEM))
    (tmp_path / "ek.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    command = ["openssl", "verify", "-x509_strict", "-attime", str(int(BEGIN.timestamp()) + 1)]
    command += ["-ignore_critical", "-CAfile", str(tmp_path / "ca.pem"), str(tmp_path / "ek.pem")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_signing_key_gets_no_ek_certificate() -> None:
    wrong = replace(ek(), attributes=Attributes.SIGN_ENCRYPT | Attributes.RESTRICTED)
    with pytest.raises(VtpmUsageError):
        EkIssuer(KEY, AUTHORITY).issue(wrong, VID, serial=7, validity=VALIDITY)


def test_an_issuer_has_the_key_of_its_certificate() -> None:
    with pytest.raises(VtpmUsageError):
        EkIssuer(ec.generate_private_key(ec.SECP256R1()), AUTHORITY)
