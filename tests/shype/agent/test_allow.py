"""The list of who may ask: what does not get on it, each by the name of its flaw."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shype import tls_key
from shype.agent.allow import MAX_CLIENTS, AllowError, AllowList

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime.now(UTC)


def certificate(name: str = "auditor", key: Any = KEY, issuer: Any = None, **changes: Any) -> bytes:
    """A certificate as ``enroll client-key`` makes it, but for ``changes``: ca, usage, names."""
    names = changes.get("names", [x509.NameAttribute(NameOID.COMMON_NAME, name)])
    subject = x509.Name(names)
    builder = x509.CertificateBuilder(
        issuer_name=subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=NOW - timedelta(days=1),
        not_valid_after=NOW + timedelta(days=30),
    )
    ca = changes.get("ca", False)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    usage = changes.get("usage", [ExtendedKeyUsageOID.CLIENT_AUTH])
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=True)
    return builder.sign(issuer or key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_a_list_of_two() -> None:
    first, second = (
        tls_key.make(name, tls_key.CLIENT, NOW, 30) for name in ("auditor", "tenant-1@acme.example")
    )
    allowed = AllowList.decode(b"# who may ask\n" + first.certificate + b"\ntenant:\n" + second.certificate)
    assert set(allowed.names.values()) == {"auditor", "tenant-1@acme.example"}
    der = x509.load_pem_x509_certificate(first.certificate).public_bytes(Encoding.DER)
    assert allowed.name_of(der) == "auditor"
    assert allowed.name_of(der[:-1]) is None
    assert allowed.name_of(None) is None
    assert allowed.name_of(b"") is None


OTHER = ec.generate_private_key(ec.SECP256R1())
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
BAD = {
    "nothing": b"",
    "text": b"auditor\n",
    "a block that is no certificate": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "too large": b"#" * 300_000,
    "a private key beside it": tls_key.make("auditor", tls_key.CLIENT, NOW, 30).secret,
    "a certificate for servers": certificate(usage=[SERVER]),
    "one for clients and servers": certificate(usage=[CLIENT, SERVER]),
    "one for anything": certificate(usage=[ANY]),
    "one without a usage": certificate(usage=None),
    "an authority": certificate(ca=True),
    "one that does not say whether it is an authority": certificate(ca=None),
    "one that an authority signed": certificate(issuer=OTHER),
    "an RSA key": certificate(key=rsa.generate_private_key(65537, 2048)),
    "a weak curve": certificate(key=ec.generate_private_key(ec.SECP192R1())),
    "a curve that TLS clients rarely have": certificate(key=ec.generate_private_key(ec.SECP521R1())),
    "no name": certificate(names=[]),
    "two names": certificate(names=[x509.NameAttribute(NameOID.COMMON_NAME, name) for name in ("a", "b")]),
    "a name that breaks the log": certificate("a b"),
    "a name with a line break": certificate("a\nb"),
    "a name in other letters": certificate("\u0430ud\u0456tor"),
    "the same twice": certificate() * 2,
    "two keys of one name": certificate() + certificate(key=OTHER),
    "one key of two names": certificate("a") + certificate("b"),
    "too many": b"".join(
        tls_key.make(f"c{number}", tls_key.CLIENT, NOW, 30).certificate for number in range(MAX_CLIENTS + 1)
    ),
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
def test_what_does_not_get_on_it(raw: bytes) -> None:
    with pytest.raises(AllowError, match=r"^allow list: "):
        AllowList.decode(raw)
