"""A quoted list, a policy for it, and a key that signs files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from attest.ima.appraise import AppraisedList, appraise_list
from attest.ima.entry import entry_of
from attest.ima.file_key import key_id_of
from attest.ima.policy import RuntimePolicy
from tests.attest.ima.build import Made, ascii_of, binary_of, ng, replayed
from vtpm.tpm2.constants import Alg

BOOT = {pcr: bytes([pcr]) * 32 for pcr in range(10)}
AGGREGATE = ng("boot_aggregate", b"".join(BOOT.values()))
CAT, DD, SH = (ng(f"/usr/bin/{name}", name.encode()) for name in ("cat", "dd", "sh"))
GOOD = (AGGREGATE, CAT, DD, SH)
KEY = ec.derive_private_key(7, ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def allow(*made: Made) -> frozenset[tuple[bytes, bytes]]:
    entries = (entry_of(each.pcr, each.digest(), each.template, each.data()) for each in made)
    return frozenset((entry.path, entry.file_digest) for entry in entries)


POLICY = RuntimePolicy(allow(CAT, DD, SH))


def quoted(*made: Made, bank: str = "sha256") -> dict[int, bytes]:
    return {**BOOT, 10: replayed(*made, bank=bank)}


def appraise(
    *made: Made, policy: RuntimePolicy = POLICY, pcrs: Mapping[int, bytes] | None = None
) -> AppraisedList:
    both = [
        appraise_list([form(*made)], pcrs or quoted(*made), Alg.SHA256, policy)
        for form in (ascii_of, binary_of)
    ]
    assert both[0] == both[1]
    return both[0]


def codes(*made: Made, policy: RuntimePolicy = POLICY) -> dict[str, int]:
    return dict(appraise(*made, policy=policy).counts)


def signed(made: Made, *, key: object = KEY, version: int = 2, kind: int = 3, number: int = 4) -> bytes:
    content = made.values[0].rpartition(b":\0")[2]
    message = hashlib.sha256(bytes((kind, number)) + content).digest() if version == 3 else content
    if isinstance(key, rsa.RSAPrivateKey):
        value = key.sign(message, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
        public: object = key.public_key()
    else:
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        value, public = key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256()))), key.public_key()
    assert isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    head = bytes((kind, version, number)) + key_id_of(public) + len(value).to_bytes(2, "big")
    return head + value
