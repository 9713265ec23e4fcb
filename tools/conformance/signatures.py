"""Judges of signatures by Wycheproof's cases: only what a TPM key can sign with."""

from __future__ import annotations

import json
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tools.conformance.vector import OutOfScopeError, Vector, differs
from vtpm.errors import SignatureError
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.signature import Signature, verify_with_key

_HASHES: Final = {"SHA-256": Alg.SHA256, "SHA-384": Alg.SHA384, "SHA-512": Alg.SHA512}
_SCHEMES: Final = {
    "EcdsaVerify": Alg.ECDSA,
    "EcdsaP1363Verify": Alg.ECDSA,
    "RsassaPssVerify": Alg.RSAPSS,
    "RsassaPkcs1Verify": Alg.RSASSA,
}
_OTHER_SALT: Final = "s_len changed"
"""Cases whose salt has not the length that the file is about: a TPM salts with the length of the digest or
with all there is room for (Part 1, B.7), so any length is accepted here. The page says so."""


def wycheproof(vector: Vector) -> None:
    """Judge every case of a file; ``acceptable`` may go either way."""
    groups = json.loads(vector.read())["testGroups"]
    scheme = _SCHEMES.get(groups[0]["type"])
    if scheme is None:
        raise OutOfScopeError(f"{groups[0]['type']}: no TPM signature, or no verifier's work")
    if groups[0]["sha"] not in _HASHES:
        raise OutOfScopeError("signatures over SHA-1 are never admitted")
    wrong = [
        case["tcId"] for group in groups for case in group["tests"] if not _as_stated(group, case, scheme)
    ]
    if wrong:
        differs(f"cases {wrong[:12]}{'…' if len(wrong) > len(wrong[:12]) else ''}")


def _as_stated(group: dict[str, Any], case: dict[str, Any], scheme: Alg) -> bool:
    accepted = _verifies(group, case, scheme)
    if scheme is Alg.RSAPSS and case["comment"].startswith(_OTHER_SALT):
        return True
    result: str = case["result"]
    return result == "acceptable" or accepted == (result == "valid")


def _verifies(group: dict[str, Any], case: dict[str, Any], scheme: Alg) -> bool:
    key = load_pem_public_key(group["publicKeyPem"].encode())
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return False
    try:
        value = _value(group["type"], bytes.fromhex(case["sig"]), key)
        verify_with_key(key, Signature(scheme, _HASHES[group["sha"]], value), bytes.fromhex(case["msg"]))
    except (SignatureError, ValueError, OverflowError):
        return False
    return True


def _value(kind: str, raw: bytes, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> tuple[bytes, ...]:
    """Return the parts of a signature as a TPM gives them."""
    if isinstance(key, rsa.RSAPublicKey):
        return (raw,)
    size = (key.curve.key_size + 7) // 8
    if kind == "EcdsaP1363Verify":
        if len(raw) != 2 * size:
            raise ValueError
        return raw[:size], raw[size:]
    r, s = decode_dss_signature(raw)
    return r.to_bytes(size, "big"), s.to_bytes(size, "big")
