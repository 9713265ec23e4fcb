"""The public part of a key: TPMT_PUBLIC (Part 2, 12.2.4) and its Name (Part 1, 16)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vtpm.errors import StructureError
from vtpm.tpm2.constants import Alg, Attributes, Curve
from vtpm.tpm2.fields import algorithm, digest, hash_algorithm
from vtpm.tpm2.wire import MAX_STRUCTURE, Reader, Writer

RSA_BITS: Final = frozenset({2048, 3072, 4096})
_WEAK_BITS: Final = frozenset({1024})
DEFAULT_EXPONENT: Final = 65_537
CURVES: Final[dict[Curve, ec.EllipticCurve]] = {
    Curve.NIST_P256: ec.SECP256R1(),
    Curve.NIST_P384: ec.SECP384R1(),
    Curve.NIST_P521: ec.SECP521R1(),
}
_OTHER_CURVES: Final = {
    0x0001: ("NIST_P192", 24),
    0x0002: ("NIST_P224", 28),
    0x0010: ("BN_P256", 32),
    0x0011: ("BN_P638", 80),
    0x0020: ("SM2_P256", 32),
}
"""Curves of other TPMs (Part 2, 6.4): name and bytes of a coordinate."""

_KEY_BITS: Final = frozenset({128, 192, 256})
_SYMMETRIC: Final = frozenset({Alg.AES, Alg.CAMELLIA, Alg.SM4, Alg.NULL})
_MODES: Final = frozenset({Alg.CFB, Alg.CTR, Alg.OFB, Alg.CBC, Alg.ECB})
_RSA_SCHEMES: Final = frozenset({Alg.NULL, Alg.RSASSA, Alg.RSAPSS, Alg.RSAES, Alg.OAEP})
_ECC_SCHEMES: Final = frozenset({Alg.NULL, Alg.ECDSA, Alg.ECDAA, Alg.ECDH, Alg.ECSCHNORR, Alg.SM2, Alg.ECMQV})
_KDF_SCHEMES: Final = frozenset({Alg.NULL, Alg.MGF1, Alg.KDF1_SP800_56A, Alg.KDF2, Alg.KDF1_SP800_108})
_KNOWN_ATTRIBUTES: Final = sum(Attributes)


@dataclass(frozen=True, slots=True)
class Symmetric:
    """TPMT_SYM_DEF_OBJECT of a storage key or EK: how it protects what is under it."""

    alg: Alg
    bits: int
    mode: Alg


@dataclass(frozen=True, slots=True)
class Scheme:
    """A signing, exchange or key derivation scheme; ``hash_alg`` is None for a scheme without a hash."""

    alg: Alg = Alg.NULL
    hash_alg: Alg | None = None


@dataclass(frozen=True, slots=True)
class RsaKey:
    """TPMS_RSA_PARMS and the modulus; ``exponent`` as it stands on the wire, where 0 means 65537."""

    bits: int
    exponent: int
    modulus: bytes


@dataclass(frozen=True, slots=True)
class EccKey:
    """TPMS_ECC_PARMS and the point; coordinates padded to the size of the curve (Part 1, C.8)."""

    curve: Curve
    kdf: Scheme
    x: bytes
    y: bytes


@dataclass(frozen=True, slots=True)
class Public:
    """TPMT_PUBLIC of an RSA or ECC key.

    Layout: UINT16 type, UINT16 nameAlg, UINT32 objectAttributes, TPM2B authPolicy, then the parameters and
    the unique field of the type. ``encode`` of a decoded value returns the same bytes, so ``name`` is the
    TPM's own Name.
    """

    type: Alg
    name_alg: Alg
    attributes: Attributes
    auth_policy: bytes
    symmetric: Symmetric | None
    signing: Scheme
    parameters: RsaKey | EccKey
    _encoded: bytes = field(init=False, repr=False, compare=False, default=b"")
    """The bytes that it was decoded from, which ``encode`` would write; empty where it was built."""
    _key: list[rsa.RSAPublicKey | ec.EllipticCurvePublicKey] = field(
        init=False, repr=False, compare=False, default_factory=list
    )
    """The loaded key, once it was asked for."""

    @classmethod
    def decode(cls, raw: bytes) -> Public:
        """Read a bare TPMT_PUBLIC, every byte; raises ``StructureError``.

        What was read is kept for a while: a verifier meets the keys of a host at every judgement.
        """
        return _decoded(bytes(raw))

    @classmethod
    def decode_sized(cls, raw: bytes) -> Public:
        """Read a TPM2B_PUBLIC (what ``tpm2_createak -u`` writes with ``-f tss``), every byte."""
        reader = Reader(raw, "TPM2B_PUBLIC")
        inside = reader.sub("TPMT_PUBLIC", MAX_STRUCTURE)
        reader.end()
        return cls._read(inside)

    @classmethod
    def _read(cls, reader: Reader) -> Public:
        kind = algorithm(reader, "type", {Alg.RSA, Alg.ECC})
        name_alg = hash_algorithm(reader, "nameAlg")
        attributes = _read_attributes(reader)
        policy = digest(reader, "authPolicy", empty=True)
        if policy and len(policy) != name_alg.digest_size:
            raise reader.fail(
                "authPolicy", f"{len(policy)} bytes are no {name_alg.name}", code="size", back=len(policy)
            )
        symmetric = _read_symmetric(reader)
        schemes = _RSA_SCHEMES if kind is Alg.RSA else _ECC_SCHEMES
        scheme_at = reader.offset
        signing = _read_scheme(reader, "scheme", schemes)
        parameters = _read_rsa(reader) if kind is Alg.RSA else _read_ecc(reader)
        reader.end()
        if signing.alg is Alg.ECDAA:
            raise _not_taken(reader, "scheme.scheme", scheme_at, "ECDAA is not taken", "scheme")
        public = cls(kind, name_alg, attributes, policy, symmetric, signing, parameters)
        object.__setattr__(public, "_encoded", reader.whole)
        return public

    @property
    def scheme(self) -> Alg:
        """Return the scheme that the key fixes; ``Alg.NULL`` if it fixes none."""
        return self.signing.alg

    @property
    def scheme_hash(self) -> Alg | None:
        """Return the hash that the key fixes; None if it fixes none."""
        return self.signing.hash_alg

    def encode(self) -> bytes:
        """Return the bare TPMT_PUBLIC."""
        return self._encoded or self._encode()

    def _encode(self) -> bytes:
        writer = Writer().u16(self.type).u16(self.name_alg).u32(self.attributes).sized(self.auth_policy)
        if self.symmetric is None:
            writer.u16(Alg.NULL)
        else:
            writer.u16(self.symmetric.alg).u16(self.symmetric.bits).u16(self.symmetric.mode)
        _write_scheme(writer, self.signing)
        match self.parameters:
            case RsaKey(bits, exponent, modulus):
                writer.u16(bits).u32(exponent).sized(modulus)
            case EccKey(curve, kdf, x, y):
                writer.u16(curve)
                _write_scheme(writer, kdf)
                writer.sized(x).sized(y)
        return writer.done()

    def encode_sized(self) -> bytes:
        """Return the TPM2B_PUBLIC."""
        return Writer().sized(self.encode()).done()

    def name(self) -> bytes:
        """Return the Name: nameAlg (2 bytes) ‖ H(TPMT_PUBLIC) (Part 1, 16)."""
        return Writer().u16(self.name_alg).raw(self.name_alg.digest(self.encode())).done()

    def key(self) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
        """Return the key for ``cryptography``; raises ``ValueError`` for values no decoder has checked."""
        if not self._key:
            self._key.append(self._load())
        return self._key[0]

    def _load(self) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
        match self.parameters:
            case RsaKey(_, exponent, modulus):
                number_e = exponent or DEFAULT_EXPONENT
                return rsa.RSAPublicNumbers(number_e, int.from_bytes(modulus, "big")).public_key()
            case EccKey(curve, _, x, y):
                point = ec.EllipticCurvePublicNumbers(
                    int.from_bytes(x, "big"), int.from_bytes(y, "big"), CURVES[curve]
                )
                return point.public_key()

    def spki(self) -> bytes:
        """Return the key as DER SubjectPublicKeyInfo (RFC 5280, 4.1)."""
        return self.key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@lru_cache(maxsize=1024)
def _decoded(raw: bytes) -> Public:
    return Public._read(Reader(raw, "TPMT_PUBLIC"))  # noqa: SLF001 - the one door to it


def _read_attributes(reader: Reader) -> Attributes:
    value = reader.u32("objectAttributes")
    if value & ~_KNOWN_ATTRIBUTES:
        raise reader.fail("objectAttributes", f"{value:#010x} has reserved bits set", code="reserved", back=4)
    return Attributes(value)


def _read_symmetric(reader: Reader) -> Symmetric | None:
    alg = algorithm(reader, "symmetric.algorithm", _SYMMETRIC)
    if alg is Alg.NULL:
        return None
    bits = reader.u16("symmetric.keyBits")
    if bits not in _KEY_BITS:
        raise reader.fail("symmetric.keyBits", f"{bits} is no key size of {alg.name}", code="value", back=2)
    return Symmetric(alg, bits, algorithm(reader, "symmetric.mode", _MODES))


def _read_scheme(reader: Reader, field: str, allowed: frozenset[Alg]) -> Scheme:
    alg = algorithm(reader, f"{field}.scheme", allowed)
    if alg in {Alg.NULL, Alg.RSAES}:
        return Scheme(alg)
    scheme = Scheme(alg, hash_algorithm(reader, f"{field}.hashAlg"))
    if alg is Alg.ECDAA:
        reader.u16(f"{field}.count")
    return scheme


def _write_scheme(writer: Writer, scheme: Scheme) -> None:
    writer.u16(scheme.alg)
    if scheme.hash_alg is not None:
        writer.u16(scheme.hash_alg)


def _read_rsa(reader: Reader) -> RsaKey:
    bits_at = reader.offset
    bits = reader.u16("keyBits")
    if bits not in RSA_BITS | _WEAK_BITS:
        raise reader.fail("keyBits", f"RSA-{bits} is not admitted", code="value", back=2)
    exponent = reader.u32("exponent")
    if exponent and (exponent < 3 or exponent % 2 == 0):  # noqa: PLR2004 - 3 is the smallest RSA exponent
        raise reader.fail("exponent", f"{exponent} is no RSA exponent", code="value", back=4)
    modulus = reader.sized("unique.rsa", bits // 8)
    size = len(modulus)
    if size != bits // 8:
        raise reader.fail("unique.rsa", f"{size} bytes are no RSA-{bits} modulus", code="size", back=size)
    if not modulus[0] & 0x80 or not modulus[-1] & 1:
        raise reader.fail("unique.rsa", f"not an odd number of {bits} bits", code="value", back=size)
    if bits in _WEAK_BITS:
        raise _not_taken(reader, "keyBits", bits_at, f"RSA-{bits} is too short", "weak")
    return RsaKey(bits, exponent, modulus)


def _read_ecc(reader: Reader) -> EccKey:
    curve = _read_curve(reader)
    kdf = _read_scheme(reader, "kdf", _KDF_SCHEMES)
    start = reader.offset
    x = _read_coordinate(reader, "unique.ecc.x", curve)
    y = _read_coordinate(reader, "unique.ecc.y", curve)
    key = EccKey(curve, kdf, x, y)
    if not _on_curve(key):
        back = reader.offset - start
        raise reader.fail("unique.ecc", f"the point is not on {curve.name}", code="point", back=back)
    return key


def _read_curve(reader: Reader) -> Curve:
    at = reader.offset
    value = reader.u16("curveID")
    if value not in _OTHER_CURVES:
        try:
            return Curve(value)
        except ValueError:
            raise reader.fail("curveID", f"{value:#06x} is no curve", code="algorithm", back=2) from None
    name, size = _OTHER_CURVES[value]
    _read_scheme(reader, "kdf", _KDF_SCHEMES)
    for coordinate in ("unique.ecc.x", "unique.ecc.y"):
        reader.sized(coordinate, size)
    raise _not_taken(reader, "curveID", at, f"{name} is not taken", "weak")


def _not_taken(reader: Reader, field: str, at: int, detail: str, code: str) -> StructureError:
    """Return the error for a key that is well-formed to its end, which is checked here, and not taken."""
    reader.end()
    return reader.fail(field, detail, code=code, back=reader.offset - at)


def _read_coordinate(reader: Reader, field: str, curve: Curve) -> bytes:
    value = reader.sized(field, curve.coordinate_size)
    if len(value) != curve.coordinate_size:
        detail = f"{len(value)} bytes are no coordinate of {curve.name}"
        raise reader.fail(field, detail, code="size", back=len(value))
    return value


def _on_curve(key: EccKey) -> bool:
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(CURVES[key.curve], b"\x04" + key.x + key.y)
    except ValueError:
        return False
    return True
