"""TPM structures: what TPMs write is read to the last byte, everything else is refused with its place."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from vtpm.errors import StructureError, VtpmInputError, VtpmUsageError
from vtpm.tpm2.attestation import (
    Attest,
    CertifyInfo,
    ClockInfo,
    CommandAuditInfo,
    CreationInfo,
    NvDigestInfo,
    NvInfo,
    QuoteInfo,
    SessionAuditInfo,
    TimeInfo,
)
from vtpm.tpm2.constants import GENERATED, Alg, AttestType, Attributes, Curve
from vtpm.tpm2.pcrs import PcrSelection, digest_of, extend
from vtpm.tpm2.public import EccKey, Public, RsaKey, Scheme, Symmetric
from vtpm.tpm2.signature import Signature
from vtpm.tpm2.wire import Reader, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

KEYLIME = Path(__file__).resolve().parents[3] / "shared/vectors/keylime__keylime/test-data/files"
NAME = b"\x00\x0b" + bytes(range(32))
CURVES: dict[Curve, ec.EllipticCurve] = {
    Curve.NIST_P256: ec.SECP256R1(),
    Curve.NIST_P384: ec.SECP384R1(),
    Curve.NIST_P521: ec.SECP521R1(),
}


def ecc_public(curve: Curve = Curve.NIST_P256, **fields: Any) -> Public:
    numbers = ec.derive_private_key(12345, CURVES[curve]).public_key().public_numbers()
    size = curve.coordinate_size
    point = EccKey(curve, Scheme(), numbers.x.to_bytes(size, "big"), numbers.y.to_bytes(size, "big"))
    values: dict[str, Any] = {
        "type": Alg.ECC,
        "name_alg": Alg.SHA256,
        "attributes": Attributes.SIGN_ENCRYPT | Attributes.RESTRICTED | Attributes.FIXED_TPM,
        "auth_policy": b"",
        "symmetric": None,
        "signing": Scheme(Alg.ECDSA, Alg.SHA256),
        "parameters": point,
    }
    return Public(**values | fields)


def rsa_public(bits: int = 2048, exponent: int = 0) -> Public:
    modulus = (1 << bits - 1 | 1).to_bytes(bits // 8, "big")
    return Public(
        type=Alg.RSA,
        name_alg=Alg.SHA256,
        attributes=Attributes.DECRYPT | Attributes.RESTRICTED,
        auth_policy=bytes(32),
        symmetric=Symmetric(Alg.AES, 128, Alg.CFB),
        signing=Scheme(),
        parameters=RsaKey(bits, exponent, modulus),
    )


def attest(kind: AttestType, attested: bytes, *, magic: int = GENERATED, safe: int = 1) -> bytes:
    writer = Writer().u32(magic).u16(kind).sized(NAME).sized(b"nonce")
    return writer.u64(1000).u32(2).u32(3).u8(safe).u64(0x20191023).raw(attested).done()


SELECTION = PcrSelection(((Alg.SHA256, frozenset({0, 7, 23})), (Alg.SHA1, frozenset({1}))))
CLOCK = ClockInfo(1000, 2, 3, safe=True)
ATTESTED: dict[AttestType, tuple[bytes, object]] = {
    AttestType.QUOTE: (
        Writer().raw(SELECTION.encode()).sized(b"d" * 32).done(),
        QuoteInfo(SELECTION, b"d" * 32),
    ),
    AttestType.CERTIFY: (Writer().sized(NAME).sized(NAME).done(), CertifyInfo(NAME, NAME)),
    AttestType.CREATION: (Writer().sized(NAME).sized(b"c" * 32).done(), CreationInfo(NAME, b"c" * 32)),
    AttestType.TIME: (
        Writer().u64(5).u64(1000).u32(2).u32(3).u8(1).u64(6).done(),
        TimeInfo(5, CLOCK, 6),
    ),
    AttestType.NV: (Writer().sized(NAME).u16(4).sized(b"contents").done(), NvInfo(NAME, 4, b"contents")),
    AttestType.NV_DIGEST: (Writer().sized(NAME).sized(b"n" * 32).done(), NvDigestInfo(NAME, b"n" * 32)),
    AttestType.SESSION_AUDIT: (
        Writer().u8(0).sized(b"s" * 32).done(),
        SessionAuditInfo(exclusive=False, digest=b"s" * 32),
    ),
    AttestType.COMMAND_AUDIT: (
        Writer().u64(9).u16(Alg.SHA256).sized(b"a" * 32).sized(b"b" * 32).done(),
        CommandAuditInfo(9, Alg.SHA256, b"a" * 32, b"b" * 32),
    ),
}
SIGNATURES = (
    Signature(Alg.ECDSA, Alg.SHA256, (b"r" * 32, b"s" * 32)),
    Signature(Alg.RSASSA, Alg.SHA256, (b"x" * 256,)),
    Signature(Alg.RSAPSS, Alg.SHA384, (b"x" * 384,)),
)
DECODERS: tuple[tuple[Callable[[bytes], object], tuple[bytes, ...]], ...] = (
    (Public.decode, (ecc_public().encode(), ecc_public(Curve.NIST_P384).encode(), rsa_public().encode())),
    (Public.decode_sized, (ecc_public().encode_sized(), rsa_public(3072).encode_sized())),
    (Attest.decode, tuple(attest(kind, body) for kind, (body, _) in ATTESTED.items())),
    (Signature.decode, tuple(signature.encode() for signature in SIGNATURES)),
    (PcrSelection.decode, (SELECTION.encode(),)),
)


@pytest.mark.parametrize("curve", Curve)
def test_an_ecc_key_is_read_as_it_was_written(curve: Curve) -> None:
    public = ecc_public(curve)
    assert Public.decode(public.encode()) == public
    assert Public.decode_sized(public.encode_sized()) == public
    key = public.key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == CURVES[curve].name


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_an_rsa_key_with_exponent_zero_has_65537(bits: int) -> None:
    public = rsa_public(bits)
    assert Public.decode(public.encode()) == public
    key = public.key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert (key.public_numbers().e, key.key_size) == (65537, bits)


def test_a_name_is_the_hash_of_the_exact_bytes() -> None:
    public = ecc_public(name_alg=Alg.SHA384)
    assert public.name() == b"\x00\x0c" + hashlib.sha384(public.encode()).digest()


@pytest.mark.skipif(not KEYLIME.is_dir(), reason="../shared/vectors is not here")
def test_keys_that_tpm2_tools_wrote_have_the_names_that_it_wrote() -> None:
    public = Public.decode_sized((KEYLIME / "ak.pub").read_bytes())
    assert public.name() == (KEYLIME / "ak.name").read_bytes()
    for pair in ("ak", "ek"):
        pem = load_pem_public_key((KEYLIME / f"{pair}pub.pem").read_bytes())
        public = Public.decode_sized((KEYLIME / f"{pair}.pub").read_bytes())
        assert public.spki() == pem.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def changed(public: Public, offset: int, value: bytes) -> bytes:
    raw = public.encode()
    return raw[:offset] + value + raw[offset + len(value) :]


@pytest.mark.parametrize(
    ("raw", "code", "field"),
    [
        (changed(ecc_public(), 0, b"\x00\x08"), "algorithm", "type"),
        (changed(ecc_public(), 0, b"\xff\xff"), "algorithm", "type"),
        (changed(ecc_public(), 2, b"\x00\x10"), "algorithm", "nameAlg"),
        (changed(ecc_public(), 4, b"\x80"), "reserved", "objectAttributes"),
        (changed(ecc_public(), 7, b"\x01"), "reserved", "objectAttributes"),
        (changed(ecc_public(), 8, b"\x00\x07"), "size", "authPolicy"),
        (ecc_public(auth_policy=bytes(48)).encode(), "size", "authPolicy"),
        (changed(ecc_public(), 10, b"\x00\x04"), "algorithm", "symmetric.algorithm"),
        (changed(ecc_public(), 12, b"\x00\x14"), "algorithm", "scheme.scheme"),
        (changed(ecc_public(), 14, b"\x00\x06"), "algorithm", "scheme.hashAlg"),
        (changed(ecc_public(), 16, b"\x00\x06"), "algorithm", "curveID"),
        (changed(ecc_public(), 16, b"\x00\x01"), "size", "unique.ecc.x.size"),
        (changed(ecc_public(), 16, b"\x00\x10"), "weak", "curveID"),
        (changed(ecc_public(), 16, b"\x00\x20") + b"\x00", "trailing", ""),
        (changed(ecc_public(), 20, b"\x00\x1f"), "size", "unique.ecc.x"),
        (changed(ecc_public(), 20, b"\x00\x21"), "size", "unique.ecc.x.size"),
        (changed(ecc_public(), 88 - 2, b"\xff\xff"), "point", "unique.ecc"),
        (changed(rsa_public(), 44, b"\x00\x81"), "value", "symmetric.keyBits"),
        (changed(rsa_public(), 50, b"\x04\x01"), "value", "keyBits"),
        (changed(rsa_public(), 50, b"\x04\x00"), "size", "unique.rsa.size"),
        (rsa_public(1024).encode(), "weak", "keyBits"),
        (rsa_public(1024).encode() + b"\x00", "trailing", ""),
        (changed(rsa_public(), 52, b"\x00\x00\x00\x01"), "value", "exponent"),
        (changed(rsa_public(), 52, b"\x00\x01\x00\x00"), "value", "exponent"),
        (changed(rsa_public(), 56, b"\x00\xff"), "size", "unique.rsa"),
        (changed(rsa_public(), 58, b"\x7f"), "value", "unique.rsa"),
        (changed(rsa_public(), 58 + 255, b"\x02"), "value", "unique.rsa"),
        (ecc_public().encode() + b"\x00", "trailing", ""),
        (ecc_public().encode()[:-1], "truncated", "unique.ecc.y"),
        (b"", "truncated", "type"),
    ],
)
def test_a_public_area_that_no_tpm_writes_is_refused(raw: bytes, code: str, field: str) -> None:
    with pytest.raises(StructureError) as caught:
        Public.decode(raw)
    assert (caught.value.code, caught.value.field) == (
        code,
        f"TPMT_PUBLIC.{field}" if field else "TPMT_PUBLIC",
    )


def test_the_outer_size_must_be_that_of_the_inside() -> None:
    raw = ecc_public().encode_sized()
    for broken, code in (
        (raw + b"\x00", "trailing"),
        (raw[:-1], "truncated"),
        (b"\x00\x57" + raw[2:-1], "truncated"),
    ):
        with pytest.raises(StructureError) as caught:
            Public.decode_sized(broken)
        assert caught.value.code == code


@pytest.mark.parametrize("kind", AttestType)
def test_every_kind_of_attestation_is_read(kind: AttestType) -> None:
    body, expected = ATTESTED[kind]
    found = Attest.decode(attest(kind, body))
    assert found == Attest(kind, NAME, b"nonce", CLOCK, 0x20191023, expected)  # type: ignore[arg-type]  # by kind


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (attest(AttestType.QUOTE, ATTESTED[AttestType.QUOTE][0], magic=0xFF544348), "magic"),
        (attest(AttestType.QUOTE, ATTESTED[AttestType.QUOTE][0], safe=2), "value"),
        (attest(AttestType.QUOTE, ATTESTED[AttestType.QUOTE][0] + b"\x00"), "trailing"),
        (attest(AttestType.QUOTE, SELECTION.encode() + b"\x00\x00"), "size"),
        (attest(AttestType.QUOTE, Writer().u32(17).done()), "size"),
        (attest(AttestType.CERTIFY, ATTESTED[AttestType.QUOTE][0]), "size"),
        (attest(AttestType.QUOTE, Writer().u32(1).u16(Alg.SHA256).u8(4).raw(bytes(4)).done()), "size"),
        (
            attest(
                AttestType.QUOTE,
                Writer().u32(2).raw((Writer().u16(11).u8(3).raw(bytes(3)).done()) * 2).done(),
            ),
            "duplicate",
        ),
        (Writer().u32(GENERATED).u16(0x8020).done(), "algorithm"),
        (Writer().u32(GENERATED).u16(0x8018).sized(b"\x00\x0b123").done(), "size"),
        (Writer().u32(GENERATED).u16(0x8018).sized(NAME).sized(bytes(67)).done(), "size"),
    ],
)
def test_an_attestation_that_no_tpm_makes_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(StructureError) as caught:
        Attest.decode(raw)
    assert caught.value.code == code


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda signature: signature.alg.name)
def test_a_signature_is_read_as_it_was_written(signature: Signature) -> None:
    assert Signature.decode(signature.encode()) == signature


def test_a_signature_must_have_a_value() -> None:
    with pytest.raises(StructureError, match="is empty"):
        Signature.decode(Writer().u16(Alg.ECDSA).u16(Alg.SHA256).sized(b"").sized(b"1").done())


def test_a_pcr_selection_keeps_its_order() -> None:
    assert PcrSelection.decode(SELECTION.encode()) == SELECTION
    assert SELECTION.pairs() == ((Alg.SHA256, 0), (Alg.SHA256, 7), (Alg.SHA256, 23), (Alg.SHA1, 1))


@pytest.mark.parametrize(
    "banks",
    [
        ((Alg.SHA256, frozenset({24})),),
        ((Alg.SHA256, frozenset({-1})),),
        ((Alg.RSA, frozenset({1})),),
        ((Alg.SHA256, frozenset()), (Alg.SHA256, frozenset())),
    ],
)
def test_a_pcr_selection_that_cannot_be_meant_is_wrong_usage(banks: Any) -> None:
    with pytest.raises(VtpmUsageError):
        PcrSelection(banks)


def test_extend_hashes_old_value_and_digest() -> None:
    value = extend(Alg.SHA256, bytes(32), b"\x01" * 32)
    assert value == hashlib.sha256(bytes(32) + b"\x01" * 32).digest()
    assert digest_of(Alg.SHA256, [value, value]) == hashlib.sha256(value + value).digest()
    with pytest.raises(VtpmUsageError):
        extend(Alg.SHA256, bytes(20), bytes(32))


def test_hash_names_are_those_of_tpm2_tools() -> None:
    assert [Alg.from_name(name) for name in ("sha1", "sha256", "sha384")] == [
        Alg.SHA1,
        Alg.SHA256,
        Alg.SHA384,
    ]
    assert Alg.SHA512.hash_name == "sha512"
    for wrong in ("md5", "SHA256", ""):
        with pytest.raises(ValueError, match="is not a hash"):
            Alg.from_name(wrong)
    with pytest.raises(ValueError, match="is not a hash"):
        _ = Alg.RSA.digest_size


def test_an_error_names_the_byte_where_the_field_begins() -> None:
    reader = Reader(b"\x00\x05abc", "THING")
    with pytest.raises(StructureError, match=r"THING\.name at byte 2: needs 5 bytes, 3 are left"):
        reader.sized("name", 8)


def test_an_input_longer_than_any_structure_is_refused_unread() -> None:
    for decode, _ in DECODERS:
        with pytest.raises(StructureError) as caught:
            decode(bytes(70_000))
        assert caught.value.code == "size"


@pytest.mark.parametrize(("decode", "samples"), DECODERS)
def test_every_cut_and_every_longer_input_is_refused(
    decode: Callable[[bytes], object], samples: tuple[bytes, ...]
) -> None:
    for sample in samples:
        decode(sample)
        for length in range(len(sample)):
            with pytest.raises(VtpmInputError):
                decode(sample[:length])
        with pytest.raises(VtpmInputError):
            decode(sample + b"\x00")


@pytest.mark.parametrize(("decode", "samples"), DECODERS)
@given(data=st.data())
def test_altered_bytes_are_read_or_refused_and_never_anything_else(
    decode: Callable[[bytes], object], samples: tuple[bytes, ...], data: st.DataObject
) -> None:
    raw = bytearray(data.draw(st.sampled_from(samples)))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found: Any = decode(bytes(raw))
    except VtpmInputError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both outcomes are good, each in its way
        return
    if hasattr(found, "encode"):
        again = found.encode_sized() if decode == Public.decode_sized else found.encode()
        assert again == bytes(raw)


@pytest.mark.parametrize(("decode", "samples"), DECODERS)
@given(raw=st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(
    decode: Callable[[bytes], object], samples: tuple[bytes, ...], raw: bytes
) -> None:
    del samples
    try:
        decode(raw)
    except VtpmInputError:
        return
