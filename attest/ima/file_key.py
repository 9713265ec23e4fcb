"""Keys that sign files, and the check of a file's signature.

Source: Linux, security/integrity/digsig_asymmetric.c; ima_appraise.c (``calc_file_id_hash``). Version 2 signs
the digest of the file. Version 3 signs the hash of ``type u8 | hash u8 | digest``. A key id is the end of the
SHA-1 of the public key, as X.509 makes subject key identifiers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest.ima.signature import VERITY, VERSION_2, FileSignature, FileSignatureError

FileKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

KEY_ID_SIZE: Final = 4

_HASHES: Final[dict[int, tuple[str, hashes.HashAlgorithm]]] = {
    4: ("sha256", hashes.SHA256()),
    5: ("sha384", hashes.SHA384()),
    6: ("sha512", hashes.SHA512()),
}
"""Number in the signature -> hash. Signatures over SHA-1 are not admitted."""


def key_id_of(key: FileKey) -> bytes:
    """Return the key id that a signature by ``key`` names: the last 4 bytes of its key identifier."""
    if isinstance(key, rsa.RSAPublicKey):
        bits = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    else:
        bits = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return hashlib.sha1(bits, usedforsecurity=False).digest()[-KEY_ID_SIZE:]


def by_key_id(*keys: FileKey) -> dict[bytes, FileKey]:
    """Return keys by their ids, as ``verify_file`` takes them."""
    return {key_id_of(key): key for key in keys}


def verify_file(signature: FileSignature, file_digest: bytes, keys: Mapping[bytes, FileKey]) -> None:
    """Check the signature of a digest that is written as in the ASCII list; raises FileSignatureError."""
    key = keys.get(signature.key_id)
    if key is None:
        what = f"file signature: the key {signature.key_id.hex()} is none of the {len(keys)} that are trusted"
        raise FileSignatureError(what, code="ima-signature-key-unknown")
    digest, hash_ = _signed(signature, file_digest.decode("latin-1"))
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature.value, digest, padding.PKCS1v15(), Prehashed(hash_))
        else:
            key.verify(signature.value, digest, ec.ECDSA(Prehashed(hash_)))
    except InvalidSignature:
        what = f"file signature: the key {signature.key_id.hex()} did not make it for this file"
        raise FileSignatureError(what, code="ima-signature-invalid") from None


def _signed(signature: FileSignature, file_digest: str) -> tuple[bytes, hashes.HashAlgorithm]:
    """Return the digest that is signed, and its hash."""
    head, _, value = file_digest.rpartition(":")
    kind, _, name = head.rpartition(":")
    known, hash_ = _HASHES.get(signature.hash_number, ("", None))
    if hash_ is None or name != known or (kind == "verity") != (signature.kind == VERITY):
        number = signature.hash_number
        what = f"file signature: over hash number {number}, but the file's digest is of {head!a}"
        raise FileSignatureError(what, code="ima-signature-algorithm")
    digest = bytes.fromhex(value)
    if signature.version == VERSION_2:
        return digest, hash_
    return hashlib.new(name, bytes((signature.kind, signature.hash_number)) + digest).digest(), hash_
