"""An attacker with a signing key of its own, which passes for an AK: signs whatever structure it likes.

Four kinds of keys: RSASSA, RSAPSS, ECDSA on P-256 and on P-384.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from attest.quote import qualified_name
from attest.quote_verdict import QuoteVerdict, ShownQuote, judge_quote
from attest.result import Verdict
from tests.simulators.desk import QUOTES
from vtpm.tpm2.constants import GENERATED, Alg, AttestType, Curve, Hierarchy
from vtpm.tpm2.pcrs import PcrSelection, digest_of
from vtpm.tpm2.public import EccKey, Public, RsaKey, Scheme
from vtpm.tpm2.signature import Signature
from vtpm.tpm2.wire import Writer

KINDS = ("rsassa", "rsapss", "p256", "p384")
NONCE = bytes(range(1, 33))
VALUES = {pcr: bytes([pcr]) * 32 for pcr in (0, 1, 7)}
SELECT = PcrSelection.of(Alg.SHA256, VALUES)
HASHES: dict[Alg, hashes.HashAlgorithm] = {
    Alg.SHA1: hashes.SHA1(),
    Alg.SHA256: hashes.SHA256(),
    Alg.SHA384: hashes.SHA384(),
    Alg.SHA512: hashes.SHA512(),
}


@dataclass(frozen=True)
class Signer:
    """A key pair that passes for an attestation key, and signs whatever it is given."""

    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    public: Public

    @property
    def hash_alg(self) -> Alg:
        assert self.public.scheme_hash is not None
        return self.public.scheme_hash

    @property
    def size(self) -> int:
        """Bytes of a coordinate, or of the modulus."""
        parameters = self.public.parameters
        return parameters.bits // 8 if isinstance(parameters, RsaKey) else parameters.curve.coordinate_size

    def value(self, message: bytes, scheme: Alg | None = None, alg: Alg | None = None) -> tuple[bytes, ...]:
        hashed = HASHES[alg or self.hash_alg]
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashed)))
            return r.to_bytes(self.size, "big"), s.to_bytes(self.size, "big")
        if (scheme or self.public.scheme) is Alg.RSASSA:
            return (self.private.sign(message, padding.PKCS1v15(), hashed),)
        pss = padding.PSS(padding.MGF1(hashed), padding.PSS.DIGEST_LENGTH)
        return (self.private.sign(message, pss, hashed),)

    def sign(self, message: bytes) -> bytes:
        return Signature(self.public.scheme, self.hash_alg, self.value(message)).encode()

    def attest(
        self,
        select: bytes | None = None,
        *,
        magic: int = GENERATED,
        kind: int = AttestType.QUOTE,
        signer: bytes | None = None,
        extra: bytes | None = None,
        safe: int = 1,
        digest: bytes | None = None,
        tail: bytes = b"",
    ) -> bytes:
        """TPMS_ATTEST; ``extra`` is the whole TPM2B, ``select`` the whole TPML."""
        own = qualified_name(self.public, Hierarchy.ENDORSEMENT)
        over = digest_of(self.hash_alg, list(VALUES.values()))
        writer = Writer().u32(magic).u16(kind).sized(own if signer is None else signer)
        writer.raw(Writer().sized(NONCE).done() if extra is None else extra)
        writer.u64(5000).u32(3).u32(0).u8(safe).u64(1)
        writer.raw(SELECT.encode() if select is None else select)
        return writer.sized(over if digest is None else digest).raw(tail).done()

    def judge(
        self, message: bytes | None = None, signature: bytes | None = None, **more: object
    ) -> QuoteVerdict:
        message = self.attest() if message is None else message
        shown: dict[str, object] = {
            "ak": self.public.encode_sized(),
            "message": message,
            "signature": self.sign(message) if signature is None else signature,
            "pcrs": b"".join(VALUES.values()),
        }
        nonce, required = more.pop("nonce", NONCE), more.pop("required", None)
        return judge_quote(ShownQuote(**{**shown, **more}), nonce=nonce, required=required)  # type: ignore[arg-type]


@cache
def signer(name: str) -> Signer:
    if name.startswith("rsa"):
        private = rsa.generate_private_key(65537, 2048)
        template = Public.decode_sized((QUOTES / ("rsa.pub" if name == "rsassa" else "pss.pub")).read_bytes())
        modulus = private.public_key().public_numbers().n.to_bytes(256, "big")
        return Signer(private, replace(template, parameters=RsaKey(2048, 0, modulus)))
    curve, alg = {"p256": (Curve.NIST_P256, Alg.SHA256), "p384": (Curve.NIST_P384, Alg.SHA384)}[name]
    key = ec.generate_private_key(ec.SECP256R1() if name == "p256" else ec.SECP384R1())
    point = key.public_key().public_numbers()
    x, y = (number.to_bytes(curve.coordinate_size, "big") for number in (point.x, point.y))
    template = Public.decode_sized((QUOTES / "ecc.pub").read_bytes())
    scheme = Scheme(Alg.ECDSA, alg)
    return Signer(key, replace(template, signing=scheme, parameters=EccKey(curve, Scheme(), x, y)))


def refused(answer: QuoteVerdict, *codes: str) -> None:
    """Not authentic, for one of these reasons, and nothing of the quote is told."""
    assert answer.verdict is Verdict.NONE
    assert [reason.code for reason in answer.reasons][-1] in codes
    assert answer.quote is None
