"""Signed files in measurement lists: row 70 of facts/attest.md 3.2."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from attest.ima.file_key import by_key_id
from attest.ima.policy import RuntimePolicy
from tests.attest.ima.build import Made, ng, sig, v2, with_bytes
from tests.attest.ima.world import AGGREGATE, CAT, KEY, POLICY, RSA_KEY, allow, codes, signed


class TestCase70Signatures:
    KEYS = RuntimePolicy(POLICY.allowed, keys=by_key_id(KEY.public_key(), RSA_KEY.public_key()))
    NEW = ng("/usr/bin/new", b"new")

    def judged(self, raw: bytes, policy: RuntimePolicy | None = None) -> dict[str, int]:
        return codes(AGGREGATE, sig("/usr/bin/new", raw, b"new"), policy=policy or self.KEYS)

    @pytest.mark.parametrize("key", [KEY, RSA_KEY], ids=["ec", "rsa"])
    @pytest.mark.parametrize("version", [2, 3])
    def test_a_file_signed_by_a_trusted_key(self, key: object, version: int) -> None:
        assert self.judged(signed(self.NEW, key=key, version=version)) == {}

    def test_a_verity_file_signed_by_a_trusted_key(self) -> None:
        plain = v2("/usr/bin/v", kind="verity")
        raw = signed(plain, version=3, kind=6)
        made = Made("ima-sigv2", (*plain.values, raw), (*plain.shown, raw.hex()))
        assert codes(AGGREGATE, made, policy=self.KEYS) == {}

    def test_an_unknown_key(self) -> None:
        stranger = ec.derive_private_key(8, ec.SECP256R1())
        assert self.judged(signed(self.NEW, key=stranger)) == {"ima-signature-key-unknown": 1}

    def test_no_key_is_learned_from_the_list(self) -> None:
        stranger = ec.derive_private_key(8, ec.SECP256R1())
        learned = with_bytes("ima-buf", ".ima", b"certificate of the stranger")
        made = (AGGREGATE, learned, sig("/usr/bin/new", signed(self.NEW, key=stranger), b"new"))
        assert codes(*made, policy=self.KEYS) == {"ima-not-allowed": 1, "ima-signature-key-unknown": 1}

    def test_the_content_of_a_keyring_is_allowed_by_its_digest_only(self) -> None:
        policy = RuntimePolicy(allow(with_bytes("ima-buf", ".ima", b"k", b"known")))
        assert codes(AGGREGATE, with_bytes("ima-buf", ".ima", b"o", b"other"), policy=policy) == {
            "ima-digest-differs": 1
        }

    def test_a_signature_of_another_file(self) -> None:
        assert self.judged(signed(CAT)) == {"ima-signature-invalid": 1}
        assert self.judged(signed(self.NEW)[:-1] + b"\0") == {"ima-signature-invalid": 1}

    def test_a_signature_over_another_algorithm(self) -> None:
        assert self.judged(signed(self.NEW, number=2)) == {"ima-signature-algorithm": 1}
        assert self.judged(signed(self.NEW, number=6)) == {"ima-signature-algorithm": 1}
        assert self.judged(signed(self.NEW, version=3, kind=6)) == {"ima-signature-algorithm": 1}

    @pytest.mark.parametrize("raw", [b"\x03", b"\x03\x02\x04keyi\x00\x01", b"\x03\x02\x04keyi\x00\x05ab"])
    def test_a_malformed_signature(self, raw: bytes) -> None:
        assert self.judged(raw) == {"ima-signature-malformed": 1}
        assert self.judged(b"\x01" + signed(self.NEW)[1:]) == {"ima-signature-malformed": 1}

    def test_without_keys_a_signature_admits_nothing(self) -> None:
        assert self.judged(signed(self.NEW), POLICY) == {"ima-not-allowed": 1}
