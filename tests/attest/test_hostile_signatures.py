"""Signatures that an attacker would send with a quote (facts/attest.md 3.2, rows 3, 18, 19, 33, 34)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest import quote_verdict
from attest.quote import QuoteError, QuoteFailure
from attest.quote_verdict import ShownQuote, judge_quote
from attest.result import Verdict
from tests.simulators.forger import KINDS, NONCE, SELECT, Signer, refused, signer
from vtpm.tpm2.constants import Alg, Curve
from vtpm.tpm2.public import EccKey, RsaKey
from vtpm.tpm2.signature import Signature

ORDER = {
    Curve.NIST_P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Curve.NIST_P384: int(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
    ),
}


@pytest.fixture(params=KINDS)
def ak(request: pytest.FixtureRequest) -> Signer:
    return signer(request.param)


@pytest.fixture(params=["p256", "p384"])
def ecc(request: pytest.FixtureRequest) -> Signer:
    return signer(request.param)


@pytest.fixture(params=["rsassa", "rsapss"])
def rsa_ak(request: pytest.FixtureRequest) -> Signer:
    return signer(request.param)


def test_what_is_right_is_affirmed(ak: Signer) -> None:
    answer = ak.judge(required=SELECT)
    assert (answer.verdict, answer.reasons) == (Verdict.AFFIRMING, ())


class TestRow18Signature:
    def test_flipped_bits(self, ak: Signer) -> None:
        message = ak.attest()
        good = ak.sign(message)
        for at in range(6, len(good), 5):
            bad = good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :]
            refused(ak.judge(message, bad), "signature-invalid", "signature-malformed")

    def test_of_another_key_of_this_kind(self, ak: Signer) -> None:
        if isinstance(ak.public.parameters, RsaKey):
            other: Signer = replace(ak, private=rsa.generate_private_key(65537, 2048))
        else:
            curve = ec.SECP256R1() if ak.public.parameters.curve is Curve.NIST_P256 else ec.SECP384R1()
            other = replace(ak, private=ec.generate_private_key(curve))
        refused(ak.judge(signature=other.sign(ak.attest())), "signature-invalid")

    def test_over_the_digest_and_not_the_message(self, ak: Signer) -> None:
        message = ak.attest()
        refused(ak.judge(message, ak.sign(ak.hash_alg.digest(message))), "signature-invalid")

    def test_numbers_that_no_signature_has(self, ecc: Signer) -> None:
        assert isinstance(ecc.public.parameters, EccKey)
        order, size = ORDER[ecc.public.parameters.curve], ecc.size
        message = ecc.attest()
        r, s = (int.from_bytes(part, "big") for part in ecc.value(message))
        for pair in [
            (0, s),
            (r, 0),
            (0, 0),
            (order, s),
            (r, order),
            (order, order),
            (1, 1),
            (order - 1, s),
            (s, r),
        ]:
            parts = tuple(number.to_bytes(size, "big") for number in pair)
            refused(
                ecc.judge(message, Signature(Alg.ECDSA, ecc.hash_alg, parts).encode()), "signature-invalid"
            )
            refused(ecc.judge(message, encode_dss_signature(*pair)), "signature-invalid")

    def test_numbers_above_the_order(self, ecc: Signer) -> None:
        """r + n and s + n are the same numbers modulo n, and fit where a wider part is let in."""
        assert isinstance(ecc.public.parameters, EccKey)
        order, size = ORDER[ecc.public.parameters.curve], ecc.size
        message = ecc.attest()
        r, s = (int.from_bytes(part, "big") for part in ecc.value(message))
        for pair in [(r + order, s), (r, s + order)]:
            parts = tuple(number.to_bytes(size + 1, "big") for number in pair)
            refused(
                ecc.judge(message, Signature(Alg.ECDSA, ecc.hash_alg, parts).encode()), "signature-invalid"
            )

    def test_leading_zeros_beyond_the_curve(self, ecc: Signer) -> None:
        message = ecc.attest()
        r, s = ecc.value(message)
        refused(
            ecc.judge(message, Signature(Alg.ECDSA, ecc.hash_alg, (b"\0" + r, s)).encode()),
            "signature-invalid",
        )
        huge = Signature(Alg.ECDSA, ecc.hash_alg, (bytes(20) + r, bytes(66))).encode()
        refused(ecc.judge(message, huge), "signature-invalid", "signature-malformed")

    def test_either_half_of_s_is_a_signature(self, ecc: Signer) -> None:
        """ECDSA has no low-s rule, and a TPM keeps none: both are right, and say the same."""
        assert isinstance(ecc.public.parameters, EccKey)
        message = ecc.attest()
        r, s = ecc.value(message)
        other = ORDER[ecc.public.parameters.curve] - int.from_bytes(s, "big")
        parts = (r, other.to_bytes(ecc.size, "big"))
        assert (
            ecc.judge(message, Signature(Alg.ECDSA, ecc.hash_alg, parts).encode()).verdict
            is Verdict.AFFIRMING
        )

    def test_rsa_values_that_no_signature_has(self, rsa_ak: Signer) -> None:
        assert isinstance(rsa_ak.public.parameters, RsaKey)
        modulus = int.from_bytes(rsa_ak.public.parameters.modulus, "big")
        message = rsa_ak.attest()
        (right,) = rsa_ak.value(message)
        values = [
            bytes(256),
            b"\0" * 255 + b"\1",
            modulus.to_bytes(256, "big"),
            b"\xff" * 256,
            right[1:],
            right[:-1],
        ]
        for value in [*values, right + b"\0", b"\0" + right]:
            signature = Signature(rsa_ak.public.scheme, rsa_ak.hash_alg, (value,)).encode()
            refused(rsa_ak.judge(message, signature), "signature-invalid")

    def test_tpmt_signature_that_lies_about_its_sizes(self, ak: Signer) -> None:
        message = ak.attest()
        good = ak.sign(message)
        for size in (
            0,
            1,
            0xFFFF,
            int.from_bytes(good[4:6], "big") + 1,
            int.from_bytes(good[4:6], "big") - 1,
        ):
            bad = good[:4] + size.to_bytes(2, "big") + good[6:]
            refused(ak.judge(message, bad), "signature-malformed")
        for bad in (good + b"\0", good[:-1], good[:5], b"", good * 2):
            refused(ak.judge(message, bad), "signature-malformed")

    def test_der_with_more_than_r_and_s(self, ecc: Signer) -> None:
        message = ecc.attest()
        r, s = (int.from_bytes(part, "big") for part in ecc.value(message))
        good = encode_dss_signature(r, s)
        assert ecc.judge(message, good).verdict is Verdict.AFFIRMING
        padded = b"\x30" + bytes([good[1] + 1, 2, good[3] + 1, 0]) + good[4:]
        negative = b"\x30" + bytes([6, 2, 1, 0x80, 2, 1, 0x80])
        three = b"\x30" + bytes([good[1] + 3]) + good[2:] + b"\x02\x01\x01"
        for bad in (
            good + b"\0",
            padded,
            negative,
            three,
            good[:-1],
            b"\x30\x00",
            b"\x30\x80" + good[2:] + b"\0\0",
        ):
            refused(ecc.judge(message, bad), "signature-malformed", "signature-invalid")

    def test_bare_rsa_value_where_the_key_says_another_scheme(self) -> None:
        one, other = signer("rsassa"), signer("rsapss")
        message = one.attest()
        (value,) = one.value(message, scheme=Alg.RSAPSS)
        refused(one.judge(message, value), "signature-invalid")
        message = other.attest()
        (value,) = other.value(message, scheme=Alg.RSASSA)
        refused(other.judge(message, value), "signature-invalid")


class TestRow19FallsClosed:
    @pytest.mark.parametrize("message", ["", " ", "\n"])
    def test_error_without_words(self, ak: Signer, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
        def fail(*_: object, **__: object) -> None:
            raise QuoteError(QuoteFailure.SIGNATURE_INVALID, message)

        monkeypatch.setattr(quote_verdict, "verify_quote", fail)
        refused(ak.judge(), "signature-invalid")

    def test_error_that_nobody_foresaw_is_no_verdict(
        self, ak: Signer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(quote_verdict, "verify_quote", fail)
        with pytest.raises(ZeroDivisionError):
            ak.judge()


class TestRow33And34Algorithms:
    def test_hash_unlike_the_keys(self, ak: Signer) -> None:
        message = ak.attest()
        for alg in {Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512} - {ak.hash_alg}:
            signature = Signature(ak.public.scheme, alg, ak.value(message, alg=alg)).encode()
            refused(ak.judge(message, signature), "signature-algorithm")

    def test_hash_that_is_only_claimed(self, ak: Signer) -> None:
        message = ak.attest()
        for alg in {Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512} - {ak.hash_alg}:
            refused(
                ak.judge(message, Signature(ak.public.scheme, alg, ak.value(message)).encode()),
                "signature-algorithm",
            )

    def test_scheme_unlike_the_keys(self, rsa_ak: Signer) -> None:
        other = Alg.RSAPSS if rsa_ak.public.scheme is Alg.RSASSA else Alg.RSASSA
        message = rsa_ak.attest()
        signature = Signature(other, rsa_ak.hash_alg, rsa_ak.value(message, scheme=other)).encode()
        refused(rsa_ak.judge(message, signature), "signature-algorithm")

    @pytest.mark.parametrize(
        "scheme", [0, Alg.RSA, Alg.HMAC, Alg.NULL, Alg.RSAES, Alg.SM2, Alg.ECSCHNORR, Alg.ECDAA]
    )
    def test_scheme_that_signs_no_quote(self, ak: Signer, scheme: int) -> None:
        message = ak.attest()
        signature = scheme.to_bytes(2, "big") + ak.sign(message)[2:]
        refused(ak.judge(message, signature), "signature-malformed")

    def test_scheme_of_another_kind_of_key(self, ak: Signer) -> None:
        other = signer("p256" if isinstance(ak.public.parameters, RsaKey) else "rsassa")
        message = ak.attest()
        refused(ak.judge(message, other.sign(message)), "signature-algorithm")

    @pytest.mark.parametrize("bits", [1024, 1536, 2047])
    def test_3_small_rsa_keys(self, bits: int) -> None:
        small = rsa.generate_private_key(65537, max(bits, 1024))
        pem = small.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        message = signer("rsassa").attest()
        value = small.sign(message, padding.PKCS1v15(), hashes.SHA256())
        answer = judge_quote(
            ShownQuote(pem, message, Signature(Alg.RSASSA, Alg.SHA256, (value,)).encode()), nonce=NONCE
        )
        refused(answer, "ak-strength")

    @pytest.mark.parametrize("curve", [ec.SECP521R1(), ec.SECP256K1(), ec.SECP224R1(), ec.BrainpoolP256R1()])
    def test_3_other_curves(self, curve: ec.EllipticCurve) -> None:
        key = ec.generate_private_key(curve)
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        message = signer("p256").attest()
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
        size = (curve.key_size + 7) // 8
        parts = (r.to_bytes(size, "big"), s.to_bytes(size, "big"))
        shown = ShownQuote(pem, message, Signature(Alg.ECDSA, Alg.SHA256, parts).encode())
        refused(judge_quote(shown, nonce=NONCE), "ak-strength")

    def test_3_unusual_exponents(self) -> None:
        for exponent in (3, 17, 65_539):
            key = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
            odd = rsa.RSAPublicNumbers(exponent, key.n).public_key()
            pem = odd.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            message = signer("rsassa").attest()
            shown = ShownQuote(pem, message, signer("rsassa").sign(message))
            refused(judge_quote(shown, nonce=NONCE), "ak-strength")
