"""ACM policy: which one the host enforces, by what it measured before enforcing it.

Facts are the ``PolicyLoaded`` events of PCR 12. The last one counts; earlier ones are listed.
"""

from __future__ import annotations

from attest.reasons import reason
from attest.result import Reason
from attest.verifier.claims import Appraised


def measured(subject: Appraised) -> list[Reason]:
    """Check that the host measured a policy at all; without one nothing says what it enforces."""
    if not subject.claims.runtime.policies:
        return [reason("policy-missing", "PCR 12 holds no policy event")]
    return []


def as_expected(subject: Appraised) -> list[Reason]:
    """Check that digest and Merkle root of the last policy are those of the expected file."""
    policies = subject.claims.runtime.policies
    if not policies:
        return []
    last, expected = policies[-1], subject.expected.policy
    if (last.digest, last.root) != (expected.digest, expected.root):
        found = f"{last.name!a} {last.version!a}, SHA-256 {last.digest}"
        detail = f"the host loaded {found}; expected {expected.digest}"
        return [reason("policy-mismatch", detail)]
    return []


def notes(subject: Appraised) -> list[str]:
    """Return one line for each policy that took effect."""
    policies = subject.claims.runtime.policies
    return [
        f"policy {i} of {len(policies)}: {policy.name!a} {policy.version!a} {policy.digest[:16]}…"
        for i, policy in enumerate(policies, 1)
    ]
