"""Domains: that each is the one that was launched on this host, as the reference values have it.

The host log holds a salted commitment to every launch in PCR 13; the evidence opens those of the domains it
shows. What other domains run stays private: only their number is noted.
"""

from __future__ import annotations

from attest.errors import AttestInputError
from attest.evidence import DomainEvidence
from attest.reasons import reason
from attest.reference import DomainReference
from attest.result import Reason
from attest.runtime_events import DomainEvent, DomainLaunch
from attest.verifier.claims import Appraised, DomainClaims


def read(shown: DomainEvidence, host: Appraised) -> DomainClaims | Reason:
    """Decode the opened launch of a domain; a reason where it does not have its form."""
    try:
        launch = DomainLaunch.decode(shown.launch)
    except AttestInputError as error:
        return reason("evidence-malformed", f"launch of vTPM {shown.vid}: {error}")
    return DomainClaims(shown, launch, launch.commitment(), host)


def launch_measured(domain: DomainClaims) -> list[Reason]:
    """Check that the launch that is shown is one that PCR 13 commits to."""
    if domain.commitment not in domain.host.claims.runtime.domains:
        return [reason("launch-not-measured", f"PCR 13 has no commitment {domain.commitment}")]
    return []


def still_running(domain: DomainClaims) -> list[Reason]:
    """Check that no stop was measured after the launch."""
    if domain.host.claims.runtime.domains.get(domain.commitment) is DomainEvent.STOP:
        return [reason("domain-stopped", f"PCR 13 ends the launch {domain.commitment} with a stop")]
    return []


def in_reference(domain: DomainClaims) -> list[Reason]:
    """Check that the reference values know a domain of this name."""
    if expected(domain) is None:
        return [
            reason("domain-not-in-reference", f"no domain {domain.launch.name!a} in the reference values")
        ]
    return []


def label(domain: DomainClaims) -> list[Reason]:
    """Check that the label at launch is the reference label."""
    known = expected(domain)
    if known is not None and known.label != domain.launch.label:
        detail = f"launched under {domain.launch.label!a}, the reference label is {known.label!a}"
        return [reason("domain-label-not-in-reference", detail)]
    return []


def image(domain: DomainClaims) -> list[Reason]:
    """Check that configuration, kernel, ramdisk and disks are those of the reference values."""
    known = expected(domain)
    if known is None:
        return []
    launched, wanted = _image(domain.launch), _image(known)
    different = [name for name in launched if launched[name] != wanted[name]]
    if different:
        return [
            reason("domain-image-not-in-reference", f"unlike the reference values: {', '.join(different)}")
        ]
    return []


def policy_measured(domain: DomainClaims) -> list[Reason]:
    """Check that the policy at launch is one that the host measured (``acm_policy`` has the expected one)."""
    digests = [policy.digest for policy in domain.host.claims.runtime.policies]
    if domain.launch.policy_digest not in digests:
        return [reason("domain-policy-unknown", f"PCR 12 never had a policy {domain.launch.policy_digest}")]
    if domain.launch.policy_digest != digests[-1]:
        return [
            reason(
                "domain-policy-earlier", f"launched under {domain.launch.policy_digest}, now {digests[-1]}"
            )
        ]
    return []


def label_in_policy(domain: DomainClaims) -> list[Reason]:
    """Check that the expected policy has the domain's label."""
    if domain.launch.label not in domain.host.expected.policy.domain_labels:
        policy = domain.host.expected.policy
        return [
            reason(
                "domain-label-not-in-policy", f"{domain.launch.label!a} is no domain label of {policy.name!a}"
            )
        ]
    return []


def expected(domain: DomainClaims) -> DomainReference | None:
    """Return the reference values of the domain, by its measured name."""
    return domain.host.expected.reference.domain(domain.launch.name)


def _image(source: DomainLaunch | DomainReference) -> dict[str, object]:
    return {
        "config": source.config_digest,
        "kernel": source.kernel,
        "ramdisk": source.ramdisk,
        "disks": tuple(source.disks),
    }
