"""Judging a host with one guest, beside nothing but the signature checks in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from attest.evidence import Evidence
from attest.result import Verdict
from attest.verifier.verify import verify
from tests.bench.measure import Pair, Side, Size
from tests.simulators.host import POLICY, Ca, Host
from vtpm.tpm2.public import Public
from vtpm.tpm2.signature import Signature

JUDGINGS = {Size.FULL: 20, Size.SMALL: 1}
"""In one run: a single one of a millisecond would time the caches of the processor."""


@contextmanager
def judge(folder: Path, size: Size) -> Iterator[Pair]:
    """Evidence as bytes, reference values and policy read before, as a verifier has them."""
    del folder
    times = JUDGINGS[size]
    host = Host.booted()
    host.load_policy(POLICY)
    host.launch("web", "cola-web")
    evidence, expectation = host.evidence(), host.expectation()
    raw, checks = evidence.encode(), _signatures(evidence)

    def ours() -> None:
        for _ in range(times):
            assert verify(raw, expectation).verdict is Verdict.AFFIRMING

    def theirs() -> None:
        for _ in range(times):
            for check in checks:
                check()

    yield Pair(
        Side(f"attest.verifier.verify: evidence to result, {times} times", ours),
        Side(f"cryptography: its ECDSA P-256 checks, keys loaded, {times} times", theirs),
        {"signatures": float(len(checks)), "bytes of evidence": float(len(raw))},
    )


def _signatures(evidence: Evidence) -> list[Callable[[], None]]:
    """The quotes of host and guest, and the EK certificate by its CA."""
    quotes = [(evidence.host.ak, evidence.host.quote, evidence.host.signature)]
    quotes += [(domain.vak, domain.quote, domain.signature) for domain in evidence.domains]
    certificate = x509.load_der_x509_certificate(Host().enrolment().ek_certificate)
    found = [_check(Public.decode(ak).key(), Signature.decode(by).der(), said) for ak, said, by in quotes]
    authority = Ca().certificate().public_key()
    return [*found, _check(authority, certificate.signature, certificate.tbs_certificate_bytes)]


def _check(key: object, signature: bytes, message: bytes) -> Callable[[], None]:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return lambda: key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
