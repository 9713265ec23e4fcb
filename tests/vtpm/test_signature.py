"""Signatures of TPM keys: what verifies, and what is refused with which code."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from vtpm.errors import SignatureError
from vtpm.tpm2.constants import Alg, Attributes, Curve
from vtpm.tpm2.public import EccKey, Public, RsaKey, Scheme
from vtpm.tpm2.signature import Signature, verify, verify_with_key

MESSAGE = b"what the TPM made"
RSA_KEY = rsa.generate_private_key(65537, 2048)
HASHES: dict[Alg, hashes.HashAlgorithm] = {
    Alg.SHA1: hashes.SHA1(),
    Alg.SHA256: hashes.SHA256(),
    Alg.SHA384: hashes.SHA384(),
    Alg.SHA512: hashes.SHA512(),
}
EC_KEYS = {Curve.NIST_P256: ec.derive_private_key(7, ec.SECP256R1())}
EC_KEYS[Curve.NIST_P384] = ec.derive_private_key(7, ec.SECP384R1())


def public_of(curve: Curve | None, scheme: Scheme) -> Public:
    parameters: RsaKey | EccKey
    if curve is None:
        modulus = RSA_KEY.public_key().public_numbers().n
        parameters = RsaKey(2048, 0, modulus.to_bytes(256, "big"))
    else:
        numbers = EC_KEYS[curve].public_key().public_numbers()
        size = curve.coordinate_size
        parameters = EccKey(curve, Scheme(), numbers.x.to_bytes(size, "big"), numbers.y.to_bytes(size, "big"))
    attributes = Attributes.SIGN_ENCRYPT | Attributes.RESTRICTED
    kind = Alg.RSA if curve is None else Alg.ECC
    return Public(kind, Alg.SHA256, attributes, b"", None, scheme, parameters)


def ecdsa(curve: Curve, alg: Alg, message: bytes = MESSAGE) -> Signature:
    r, s = decode_dss_signature(EC_KEYS[curve].sign(message, ec.ECDSA(HASHES[alg])))
    size = curve.coordinate_size
    return Signature(Alg.ECDSA, alg, (r.to_bytes(size, "big"), s.to_bytes(size, "big")))


def rsassa(alg: Alg) -> Signature:
    return Signature(Alg.RSASSA, alg, (RSA_KEY.sign(MESSAGE, padding.PKCS1v15(), HASHES[alg]),))


def rsapss(alg: Alg, salt: int) -> Signature:
    pss = padding.PSS(padding.MGF1(HASHES[alg]), salt)
    return Signature(Alg.RSAPSS, alg, (RSA_KEY.sign(MESSAGE, pss, HASHES[alg]),))


def code_of(public: Public, signature: Signature, message: bytes = MESSAGE) -> str:
    with pytest.raises(SignatureError) as caught:
        verify(public, signature, message)
    return caught.value.code


@pytest.mark.parametrize("alg", [Alg.SHA256, Alg.SHA384, Alg.SHA512])
@pytest.mark.parametrize("curve", list(EC_KEYS))
def test_ecdsa_verifies(curve: Curve, alg: Alg) -> None:
    public = public_of(curve, Scheme(Alg.ECDSA, alg))
    verify(public, ecdsa(curve, alg), MESSAGE)
    assert code_of(public, ecdsa(curve, alg), MESSAGE + b"!") == "signature"


@pytest.mark.parametrize("alg", [Alg.SHA256, Alg.SHA384, Alg.SHA512])
def test_rsa_verifies_in_both_schemes_and_with_both_salt_lengths_of_tpms(alg: Alg) -> None:
    verify(public_of(None, Scheme(Alg.RSASSA, alg)), rsassa(alg), MESSAGE)
    for salt in (alg.digest_size, 256 - 2 - alg.digest_size):
        verify(public_of(None, Scheme(Alg.RSAPSS, alg)), rsapss(alg, salt), MESSAGE)


def test_one_flipped_bit_is_enough() -> None:
    public = public_of(None, Scheme(Alg.RSASSA, Alg.SHA256))
    value = bytearray(rsassa(Alg.SHA256).value[0])
    value[100] ^= 1
    assert code_of(public, Signature(Alg.RSASSA, Alg.SHA256, (bytes(value),))) == "signature"
    curve = Curve.NIST_P256
    r, s = ecdsa(curve, Alg.SHA256).value
    swapped = Signature(Alg.ECDSA, Alg.SHA256, (s, r))
    assert code_of(public_of(curve, Scheme()), swapped) == "signature"


@pytest.mark.parametrize("value", [bytes(32), b"\xff" * 66, b"\x01"])
def test_numbers_out_of_range_do_not_verify(value: bytes) -> None:
    signature = Signature(Alg.ECDSA, Alg.SHA256, (value, value))
    assert code_of(public_of(Curve.NIST_P256, Scheme()), signature) == "signature"


def test_an_rsa_signature_of_another_length_does_not_verify() -> None:
    short = Signature(Alg.RSASSA, Alg.SHA256, (rsassa(Alg.SHA256).value[0][:-1],))
    assert code_of(public_of(None, Scheme()), short) == "signature"


def test_sha1_is_refused_though_it_would_verify() -> None:
    assert code_of(public_of(None, Scheme(Alg.RSASSA, Alg.SHA1)), rsassa(Alg.SHA1)) == "sha1"
    assert code_of(public_of(None, Scheme()), rsassa(Alg.SHA1)) == "sha1"


def test_another_hash_than_sha2_is_refused() -> None:
    signature = replace(ecdsa(Curve.NIST_P256, Alg.SHA256), hash_alg=Alg.SHA3_256)
    assert code_of(public_of(Curve.NIST_P256, Scheme()), signature) == "hash"


def test_a_key_that_fixes_its_scheme_signs_in_no_other() -> None:
    public = public_of(None, Scheme(Alg.RSASSA, Alg.SHA256))
    assert code_of(public, rsapss(Alg.SHA256, 32)) == "scheme"
    assert code_of(public, rsassa(Alg.SHA384)) == "scheme"
    verify(public_of(None, Scheme()), rsapss(Alg.SHA256, 32), MESSAGE)


def test_the_scheme_must_suit_the_kind_of_key() -> None:
    assert code_of(public_of(Curve.NIST_P256, Scheme()), rsassa(Alg.SHA256)) == "scheme"
    assert code_of(public_of(None, Scheme()), ecdsa(Curve.NIST_P256, Alg.SHA256)) == "scheme"


def test_a_decryption_key_cannot_have_signed() -> None:
    public = replace(public_of(None, Scheme()), attributes=Attributes.DECRYPT | Attributes.RESTRICTED)
    assert code_of(public, rsassa(Alg.SHA256)) == "key"


def test_a_bare_key_verifies_too() -> None:
    verify_with_key(RSA_KEY.public_key(), rsassa(Alg.SHA256), MESSAGE)
    with pytest.raises(SignatureError):
        verify_with_key(EC_KEYS[Curve.NIST_P256].public_key(), ecdsa(Curve.NIST_P384, Alg.SHA256), MESSAGE)
