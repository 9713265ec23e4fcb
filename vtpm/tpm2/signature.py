"""TPMT_SIGNATURE (Part 2, 11.3.4) and its verification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from vtpm.errors import SignatureError
from vtpm.tpm2.constants import Alg, Attributes
from vtpm.tpm2.fields import algorithm, hash_algorithm
from vtpm.tpm2.public import Public, Scheme
from vtpm.tpm2.wire import Reader, Writer

_MAX_RSA: Final = 512
_MAX_COORDINATE: Final = 66
_HASHES: Final[dict[Alg, hashes.HashAlgorithm]] = {
    Alg.SHA256: hashes.SHA256(),
    Alg.SHA384: hashes.SHA384(),
    Alg.SHA512: hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Signature:
    """TPMT_SIGNATURE of RSASSA, RSAPSS or ECDSA.

    Layout: UINT16 sigAlg, UINT16 hash, then TPM2B signature (RSA) or TPM2B r, TPM2B s (ECDSA).
    ``value`` is ``(signature,)`` for RSA and ``(r, s)``, big-endian as the TPM wrote them, for ECDSA.
    """

    alg: Alg
    hash_alg: Alg
    value: tuple[bytes, ...]

    @classmethod
    def decode(cls, raw: bytes) -> Signature:
        """Read a TPMT_SIGNATURE (``tpm2_quote -s`` with ``-f tss``), every byte; ``StructureError``."""
        reader = Reader(raw, "TPMT_SIGNATURE")
        alg = algorithm(reader, "sigAlg", {Alg.RSASSA, Alg.RSAPSS, Alg.ECDSA})
        hash_alg = hash_algorithm(reader, "hash")
        value: tuple[bytes, ...]
        if alg is Alg.ECDSA:
            value = (
                _part(reader, "signatureR", _MAX_COORDINATE),
                _part(reader, "signatureS", _MAX_COORDINATE),
            )
        else:
            value = (_part(reader, "sig", _MAX_RSA),)
        reader.end()
        return cls(alg, hash_alg, value)

    def encode(self) -> bytes:
        """Return the TPMT_SIGNATURE."""
        writer = Writer().u16(self.alg).u16(self.hash_alg)
        for part in self.value:
            writer.sized(part)
        return writer.done()

    def der(self) -> bytes:
        """Return the form that X.509 libraries take: DER of (r, s) for ECDSA, the bare value for RSA."""
        if self.alg is not Alg.ECDSA:
            return self.value[0]
        r, s = (int.from_bytes(part, "big") for part in self.value)
        return encode_dss_signature(r, s)


def _part(reader: Reader, field: str, maximum: int) -> bytes:
    value = reader.sized(field, maximum)
    if not value:
        raise reader.fail(field, "is empty", code="size")
    return value


def verify(public: Public, signature: Signature, message: bytes) -> None:
    """Check that ``public`` signed ``message`` (the bytes, not their digest).

    Raises ``SignatureError``: ``key`` if the key may not sign, ``scheme`` if the signature is not of the
    scheme and hash that the key fixes, ``sha1`` and ``hash`` for hashes that are not admitted, ``signature``
    if it is wrong.
    """
    if Attributes.SIGN_ENCRYPT not in public.attributes:
        raise SignatureError("the key has no sign attribute, so it cannot have signed", code="key")
    if public.scheme is not Alg.NULL and public.signing != Scheme(signature.alg, signature.hash_alg):
        fixed = f"{public.scheme.name} with {public.scheme_hash.name if public.scheme_hash else 'no hash'}"
        given = f"{signature.alg.name} with {signature.hash_alg.name}"
        raise SignatureError(f"the key signs by {fixed} only, the signature is {given}", code="scheme")
    verify_with_key(public.key(), signature, message)


def verify_with_key(
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, signature: Signature, message: bytes
) -> None:
    """Check a signature with a bare key, of which only the numbers are known; errors as for ``verify``."""
    digest = _admitted_hash(signature.hash_alg)
    try:
        match key, signature.alg:
            case rsa.RSAPublicKey(), Alg.RSASSA:
                key.verify(signature.der(), message, padding.PKCS1v15(), digest)
            case rsa.RSAPublicKey(), Alg.RSAPSS:
                # A TPM salts with the digest length or with all there is room for (Part 1, B.7).
                pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.AUTO)
                key.verify(signature.der(), message, pss, digest)
            case ec.EllipticCurvePublicKey(), Alg.ECDSA:
                _check_size(key, signature)
                key.verify(signature.der(), message, ec.ECDSA(digest))
            case _:
                kind = "RSA" if isinstance(key, rsa.RSAPublicKey) else "ECC"
                raise SignatureError(f"an {kind} key does not sign by {signature.alg.name}", code="scheme")
    except InvalidSignature:
        raise SignatureError("the signature does not verify with this key", code="signature") from None


def _check_size(key: ec.EllipticCurvePublicKey, signature: Signature) -> None:
    """A TPM writes r and s with at most the bytes of a coordinate (Part 1, C.8)."""
    size = (key.curve.key_size + 7) // 8
    if any(len(part) > size for part in signature.value):
        raise SignatureError(f"r and s have at most {size} bytes on this curve", code="signature")


def _admitted_hash(alg: Alg) -> hashes.HashAlgorithm:
    if alg is Alg.SHA1:
        raise SignatureError("signatures over SHA-1 are not admitted; use SHA-256 or better", code="sha1")
    if alg not in _HASHES:
        raise SignatureError(f"signatures over {alg.name} are not admitted; use SHA-256", code="hash")
    return _HASHES[alg]
