"""MakeCredential without a TPM: a secret that only the TPM with this EK and this key can open.

Part 1, 24 (credential protection), B.10.4 (RSA secret sharing), C.6.4 (ECC secret sharing); Part 3, 12.6.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from vtpm.errors import VtpmUsageError
from vtpm.tpm2.constants import Alg, Attributes, Curve
from vtpm.tpm2.fields import name_problem
from vtpm.tpm2.kdf import kdf_a, kdf_e
from vtpm.tpm2.public import EccKey, Public, Symmetric
from vtpm.tpm2.wire import Reader, Writer

SEED_SIZE: Final = 64
"""Bytes of fresh randomness for one credential."""

_BLOCK: Final = 16
_HASHES: Final[dict[Alg, hashes.HashAlgorithm]] = {
    Alg.SHA256: hashes.SHA256(),
    Alg.SHA384: hashes.SHA384(),
    Alg.SHA512: hashes.SHA512(),
}
_ORDERS: Final = {
    Curve.NIST_P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Curve.NIST_P384: int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16
    ),
}
_CREDENTIAL_FILE: Final = bytes.fromhex("badcc0de00000001")
_MAX_PART: Final = 1024
MAX_CREDENTIAL_FILE: Final = len(_CREDENTIAL_FILE) + 2 * (2 + _MAX_PART)
"""Bytes of the largest credential file that is read."""


def make_credential(ek: Public, name: bytes, secret: bytes, *, seed: bytes) -> tuple[bytes, bytes]:
    """Return (TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET) for ``TPM2_ActivateCredential``.

    ``name`` is the Name of the key that must be in the same TPM as ``ek``; ``secret`` is 1 byte up to the
    digest size of the EK's nameAlg; ``seed`` is 64 bytes of fresh randomness that nobody else sees, never
    used twice. For an RSA EK, OAEP draws its own randomness too. Raises ``VtpmUsageError`` for a key that is
    no EK of RSA, P-256 or P-384 with AES-CFB, and for lengths out of range.
    """
    symmetric = _checked(ek, name, secret, seed)
    shared, encrypted = _share_rsa(ek, seed) if ek.type is Alg.RSA else _share_ecc(ek, seed)
    key = kdf_a(ek.name_alg, shared, b"STORAGE", u=name, v=b"", bits=symmetric.bits)
    encryptor = Cipher(AES(key), CFB(bytes(_BLOCK))).encryptor()
    identity = encryptor.update(Writer().sized(secret).done()) + encryptor.finalize()
    mac_key = kdf_a(ek.name_alg, shared, b"INTEGRITY", u=b"", v=b"", bits=ek.name_alg.digest_size * 8)
    mac = hmac.digest(mac_key, identity + name, ek.name_alg.hash_name)
    id_object = Writer().sized(Writer().sized(mac).raw(identity).done()).done()
    return id_object, Writer().sized(encrypted).done()


def credential_file(id_object: bytes, encrypted_secret: bytes) -> bytes:
    """Return the file that ``tpm2_activatecredential -i`` reads: magic, version 1, both structures."""
    return _CREDENTIAL_FILE + id_object + encrypted_secret


def read_credential_file(raw: bytes) -> tuple[bytes, bytes]:
    """Return (TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET) of such a file; raises ``StructureError``."""
    reader = Reader(raw, "credential file")
    if reader.take(len(_CREDENTIAL_FILE), "header") != _CREDENTIAL_FILE:
        raise reader.fail("header", "is not magic and version 1", code="magic", back=len(_CREDENTIAL_FILE))
    id_object = reader.sized("credentialBlob", _MAX_PART)
    secret = reader.sized("secret", _MAX_PART)
    reader.end()
    return Writer().sized(id_object).done(), Writer().sized(secret).done()


def _checked(ek: Public, name: bytes, secret: bytes, seed: bytes) -> Symmetric:
    if ek.symmetric is None or (ek.symmetric.alg, ek.symmetric.mode) != (Alg.AES, Alg.CFB):
        raise VtpmUsageError("the EK protects nothing with AES-CFB; give a restricted decryption key")
    if Attributes.DECRYPT not in ek.attributes or ek.name_alg not in _HASHES:
        raise VtpmUsageError("the EK must have the decrypt attribute and a SHA-2 nameAlg")
    problem = name_problem(name)
    if problem:
        raise VtpmUsageError(f"credential name: {problem}")
    if not 0 < len(secret) <= ek.name_alg.digest_size:
        raise VtpmUsageError(f"the secret has 1 to {ek.name_alg.digest_size} bytes, not {len(secret)}")
    if len(seed) != SEED_SIZE:
        raise VtpmUsageError(f"the seed has {SEED_SIZE} bytes, not {len(seed)}")
    return ek.symmetric


def _share_rsa(ek: Public, seed: bytes) -> tuple[bytes, bytes]:
    key = ek.key()
    assert isinstance(key, rsa.RSAPublicKey)
    shared = seed[: ek.name_alg.digest_size]
    digest = _HASHES[ek.name_alg]
    oaep = padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=b"IDENTITY\0")
    return shared, key.encrypt(shared, oaep)


def _share_ecc(ek: Public, seed: bytes) -> tuple[bytes, bytes]:
    key, parameters = ek.key(), ek.parameters
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(parameters, EccKey)
    order = _ORDERS.get(parameters.curve)
    if order is None:
        raise VtpmUsageError(f"credentials for EKs on {parameters.curve.name} are not made here")
    # FIPS 186-5, A.2.1: 512 random bits leave no visible bias modulo the order of P-256 or P-384.
    scalar = int.from_bytes(seed, "big") % (order - 1) + 1
    ephemeral = ec.derive_private_key(scalar, key.curve)
    size = parameters.curve.coordinate_size
    numbers = ephemeral.public_key().public_numbers()
    x, y = numbers.x.to_bytes(size, "big"), numbers.y.to_bytes(size, "big")
    z = ephemeral.exchange(ec.ECDH(), key)
    shared = kdf_e(ek.name_alg, z, b"IDENTITY", u=x, v=parameters.x, bits=ek.name_alg.digest_size * 8)
    return shared, Writer().sized(x).sized(y).done()
