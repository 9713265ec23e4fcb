"""Attestation keys: which public areas are taken, and which files are read."""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.ak import AkError, AkFailure, BareKey, check_ak, check_bare, decode_ak
from vtpm.tpm2.constants import Alg, Attributes, Curve
from vtpm.tpm2.public import EccKey, Public, RsaKey, Scheme, Symmetric
from vtpm.tpm2.wire import Writer

RECORDED = Path(__file__).resolve().parent.parent / "recordings" / "quotes"
RSA = Public.decode_sized((RECORDED / "rsa.pub").read_bytes())
ECC = Public.decode_sized((RECORDED / "ecc.pub").read_bytes())
REQUIRED = [
    Attributes.FIXED_TPM,
    Attributes.FIXED_PARENT,
    Attributes.SENSITIVE_DATA_ORIGIN,
    Attributes.RESTRICTED,
    Attributes.SIGN_ENCRYPT,
]


def refusal(public: Public) -> AkFailure:
    with pytest.raises(AkError) as error:
        check_ak(public)
    assert error.value.code == error.value.failure.value
    return error.value.failure


def pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class TestRules:
    @pytest.mark.parametrize("public", [RSA, ECC], ids=["rsa", "ecc"])
    def test_recorded_keys_are_taken(self, public: Public) -> None:
        check_ak(public)

    @pytest.mark.parametrize("public", [RSA, ECC], ids=["rsa", "ecc"])
    @pytest.mark.parametrize("attribute", REQUIRED, ids=lambda each: each.name)
    def test_1_required_attribute_missing(self, public: Public, attribute: Attributes) -> None:
        assert refusal(replace(public, attributes=public.attributes & ~attribute)) is AkFailure.ATTRIBUTES

    @pytest.mark.parametrize("attribute", [Attributes.DECRYPT, Attributes.ENCRYPTED_DUPLICATION])
    def test_3_attribute_that_no_ak_has(self, attribute: Attributes) -> None:
        assert refusal(replace(ECC, attributes=ECC.attributes | attribute)) is AkFailure.ATTRIBUTES

    @pytest.mark.parametrize(
        "scheme", [Scheme(), Scheme(Alg.ECDSA, Alg.SHA256), Scheme(Alg.OAEP, Alg.SHA256), Scheme(Alg.RSAES)]
    )
    def test_34_scheme_of_an_rsa_key(self, scheme: Scheme) -> None:
        assert refusal(replace(RSA, signing=scheme)) is AkFailure.SCHEME

    @pytest.mark.parametrize("alg", [Alg.NULL, Alg.ECDAA, Alg.SM2, Alg.ECSCHNORR, Alg.ECDH])
    def test_34_scheme_of_an_ecc_key(self, alg: Alg) -> None:
        hash_alg = None if alg is Alg.NULL else Alg.SHA256
        assert refusal(replace(ECC, signing=Scheme(alg, hash_alg))) is AkFailure.SCHEME

    def test_33_sha1(self) -> None:
        assert refusal(replace(RSA, signing=Scheme(Alg.RSASSA, Alg.SHA1))) is AkFailure.STRENGTH
        assert refusal(replace(RSA, name_alg=Alg.SHA1)) is AkFailure.STRENGTH

    def test_3_weak_numbers(self) -> None:
        assert isinstance(RSA.parameters, RsaKey)
        assert isinstance(ECC.parameters, EccKey)
        for parameters in (replace(RSA.parameters, bits=1024), replace(RSA.parameters, exponent=3)):
            assert refusal(replace(RSA, parameters=parameters)) is AkFailure.STRENGTH
        other_curve = replace(ECC.parameters, curve=Curve.NIST_P521)
        assert refusal(replace(ECC, parameters=other_curve)) is AkFailure.STRENGTH

    def test_3_a_weak_key_is_refused_and_not_called_malformed(self) -> None:
        """They are public areas to their last byte: a TPM makes such keys when it is asked to."""
        assert isinstance(RSA.parameters, RsaKey)
        short = replace(RSA, parameters=replace(RSA.parameters, bits=1024, modulus=b"\xc1" * 128)).encode()
        curve_at = ECC.encode().index(Curve.NIST_P256.to_bytes(2, "big") + Alg.NULL.to_bytes(2, "big"))
        head = ECC.encode()[:curve_at]
        curves = [
            head + Writer().u16(curve).u16(Alg.NULL).sized(b"\1" * size).sized(b"\2" * size).done()
            for curve, size in ((1, 24), (2, 28), (0x10, 32), (0x11, 80), (0x20, 32))
        ]
        for raw in (short, *curves):
            for each in (raw, Writer().sized(raw).done()):
                with pytest.raises(AkError) as error:
                    decode_ak(each)
                assert error.value.failure is AkFailure.STRENGTH
                with pytest.raises(AkError) as error:
                    decode_ak(each + b"\0")
                assert error.value.failure is AkFailure.MALFORMED

    def test_34_ecdaa_is_refused_and_not_called_malformed(self) -> None:
        raw = replace(ECC, signing=Scheme(Alg.ECDAA, Alg.SHA256)).encode()
        at = raw.index(Alg.ECDAA.to_bytes(2, "big") + Alg.SHA256.to_bytes(2, "big")) + 4
        with pytest.raises(AkError) as error:
            decode_ak(raw[:at] + b"\0\1" + raw[at:])
        assert error.value.failure is AkFailure.SCHEME

    def test_parts_of_other_kinds_of_keys(self) -> None:
        assert refusal(replace(ECC, symmetric=Symmetric(Alg.AES, 128, Alg.CFB))) is AkFailure.SCHEME
        assert isinstance(ECC.parameters, EccKey)
        derived = replace(ECC.parameters, kdf=Scheme(Alg.KDF1_SP800_108, Alg.SHA256))
        assert refusal(replace(ECC, parameters=derived)) is AkFailure.SCHEME

    def test_weak_bare_keys(self) -> None:
        weak_rsa = rsa.generate_private_key(65537, 1024).public_key()
        odd_curve = ec.generate_private_key(ec.SECP256K1()).public_key()
        for key in (weak_rsa, odd_curve):
            with pytest.raises(AkError) as error:
                check_bare(BareKey(key))
            assert error.value.failure is AkFailure.STRENGTH


class TestFiles:
    def test_all_forms_hold_the_same_key(self) -> None:
        for name, public in (("rsa", RSA), ("ecc", ECC)):
            raw = (RECORDED / f"{name}.pub").read_bytes()
            assert decode_ak(raw) == decode_ak(raw[2:]) == public
            bare = decode_ak((RECORDED / f"{name}.pem").read_bytes())
            assert isinstance(bare, BareKey)
            assert bare.key.public_numbers() == public.key().public_numbers()

    def test_pem_may_miss_its_last_line_end_or_have_dos_ones(self) -> None:
        raw = (RECORDED / "ecc.pem").read_bytes()
        assert decode_ak(raw.rstrip(b"\n")) == decode_ak(raw) == decode_ak(raw.replace(b"\n", b"\r\n"))

    def test_pem_in_any_other_form_is_refused(self) -> None:
        raw = (RECORDED / "ecc.pem").read_bytes()
        head, *body, tail = raw.splitlines()
        altered = [
            raw + raw,
            b" " + raw,
            raw + b"#",
            raw.replace(b"PUBLIC", b"PRIVATE"),
            b"\n".join([head, b"".join(body), tail]),
            b"\n".join([head, b"", *body, tail]),
            b"\n".join([head, tail]),
            head,
        ]
        for each in altered:
            with pytest.raises(AkError) as error:
                decode_ak(each)
            assert error.value.failure is AkFailure.MALFORMED

    def test_pem_with_an_encoding_of_its_own_is_refused(self) -> None:
        """A compressed point, and spare bits in the base64: the same key in other bytes."""
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        der = bytearray(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        short = bytes([0x30, 0x39]) + der[2:23] + bytes([0x03, 0x22, 0x00]) + point
        text = base64.b64encode(short)
        lines = [text[at : at + 64] for at in range(0, len(text), 64)]
        with pytest.raises(AkError, match="one DER encoding"):
            decode_ak(b"\n".join([b"-----BEGIN PUBLIC KEY-----", *lines, b"-----END PUBLIC KEY-----"]))

    def test_pem_of_another_kind_of_key(self) -> None:
        with pytest.raises(AkError) as error:
            decode_ak(pem(ed25519.Ed25519PrivateKey.generate().public_key()))
        assert error.value.failure is AkFailure.STRENGTH

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"# ours\n",
            bytes.fromhex("badcc0de"),
            bytes.fromhex("30593013"),
            b"-----BEGIN CERTIFICATE-----",
        ],
        ids=["nothing", "text", "context file", "DER", "certificate"],
    )
    def test_who_gives_another_file_is_told_which_to_give(self, raw: bytes) -> None:
        with pytest.raises(AkError, match="give what tpm2_createak -u or tpm2_readpublic -o writes"):
            decode_ak(raw)

    def test_huge_file(self) -> None:
        with pytest.raises(AkError):
            decode_ak(b"\0" * 10_000)

    @settings(max_examples=200, deadline=None)
    @given(
        st.binary(max_size=400)
        | st.binary(max_size=200).map(lambda tail: b"-----BEGIN PUBLIC KEY-----\n" + tail)
    )
    def test_no_other_error_on_any_bytes(self, raw: bytes) -> None:
        with suppress(AkError):
            decode_ak(raw)
