"""What the verifier works with: what is expected, what is shown, and what is verified.

``Expectation`` comes from the relying party. ``HostQuote`` holds shown, decoded, unverified values.
``VerifiedClaims`` exist only after the platform's quote and logs have been authenticated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from acm import merkle
from acm.errors import InclusionError
from acm.policy import Policy
from attest.appraisal import AppraisalProfile
from attest.attester import IMA_PCR, host_qualifying, leaf
from attest.endorsement import Anchors, Endorsement
from attest.enrolment import Enrolment
from attest.eventlog.belief import Belief
from attest.eventlog.replay import VerifiedEvents
from attest.evidence import DomainEvidence, Evidence
from attest.ima.appraise import AppraisedList
from attest.quote_history import QuoteHistory, Told
from attest.reference import ReferenceValues
from attest.runtime_events import (
    DomainCommitment,
    DomainEvent,
    DomainFound,
    DomainLaunch,
    HypervisorReport,
    PolicyLoaded,
    RuntimeEvent,
)
from attest.verifier.boot import Comparison
from attest.verifier.quotes import QuoteClaim
from vtpm.binding import Binding
from vtpm.record import LabelRecord
from vtpm.tpm2.attestation import ClockInfo
from vtpm.tpm2.constants import Alg


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel to the host, named by 32 bytes (``attest.attester``).

    ``seen`` is what the relying party saw of its own connection. ``claimed`` is what the peer says that its
    host signed: believed only to tell a relayed answer from a replayed one, never to accept.
    """

    seen: bytes
    claimed: bytes | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the relying party expects. Trusted: whoever chooses it decides what passes.

    ``reference_digest`` is the SHA-256 (hex) of the bytes that the reference values were read from, and
    ``reference_expires`` the time until which they are good; None for ever.
    ``enrolment`` is the record of the host that the evidence names, None where there is none. ``domains`` are
    the names of the domains to be appraised; None for all that reference values and evidence name.
    ``earlier`` is what earlier authentic quotes of the enrolled TPM said, where the caller kept it.
    ``channel`` is the channel that the evidence came over; None where it is a file.
    """

    reference: ReferenceValues
    reference_digest: str
    policy: Policy
    profile: AppraisalProfile
    enrolment: Enrolment | None
    nonce: bytes
    now: datetime
    anchors: Anchors
    domains: frozenset[str] | None = None
    earlier: QuoteHistory | None = None
    reference_expires: datetime | None = None
    channel: Channel | None = None

    @property
    def bank(self) -> Alg:
        """The one PCR bank that counts."""
        return Alg.from_name(self.profile.bank)

    @property
    def asks_for_list(self) -> bool:
        """Whether dom0's user land is to be appraised: by the profile, or since reference values speak of it.

        Reference values that nobody compares would make a result that says more than was checked.
        """
        return IMA_PCR in self.profile.pcrs or self.reference.ima is not None

    def asks_for(self, name: str) -> bool:
        """Tell whether a domain of this name is to be appraised."""
        return self.domains is None or name in self.domains

    def qualifying(self, root: bytes) -> bytes:
        """Return what the host has to sign with this nonce, over this channel or none, for a root."""
        return host_qualifying(self.nonce, root, None if self.channel is None else self.channel.seen)

    def elsewhere(self, root: bytes) -> frozenset[bytes]:
        """Return what it signs for this nonce where it answers over no channel, or the one that is claimed.

        Empty where no channel is expected.
        """
        if self.channel is None:
            return frozenset()
        others = {None, self.channel.claimed} - {self.channel.seen}
        return frozenset(host_qualifying(self.nonce, root, other) for other in others)


@dataclass(frozen=True, slots=True)
class HostQuote:
    """The host's quote as shown, beside what it is held against.

    ``endorsement`` is who made the enrolled TPM, or why nobody says so.
    """

    evidence: Evidence
    claim: QuoteClaim
    expected: Expectation
    endorsement: Endorsement | str

    @property
    def told(self) -> Told:
        """What the quote says of its TPM."""
        return Told(self.claim.attest.clock, self.claim.attest.firmware_version)


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """What the replayed runtime log says: the events of PCR 12 and 13, and what follows from them.

    ``policies`` took effect in this order. ``domains`` has what happened last to those that were launched, by
    commitment; ``found`` are the commitments to domains that nobody launched. One of these stays found: what
    is measured about it later takes nothing back.
    """

    pcr12: tuple[RuntimeEvent, ...]
    pcr13: tuple[RuntimeEvent, ...]
    policies: tuple[PolicyLoaded, ...] = field(init=False)
    domains: Mapping[str, DomainEvent] = field(init=False)
    found: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        policies = tuple(event for event in self.pcr12 if isinstance(event, PolicyLoaded))
        events = [event for event in self.pcr13 if isinstance(event, DomainCommitment)]
        found = dict.fromkeys(event.commitment for event in events if event.event is DomainEvent.FOUND)
        last = {event.commitment: event.event for event in events if event.event is not DomainEvent.FOUND}
        object.__setattr__(self, "policies", policies)
        object.__setattr__(self, "domains", MappingProxyType(last))
        object.__setattr__(self, "found", tuple(found))

    @property
    def report(self) -> HypervisorReport | None:
        """The hypervisor's report, if PCR 12 begins with it."""
        first = self.pcr12[0] if self.pcr12 else None
        return first if isinstance(first, HypervisorReport) else None

    @property
    def running(self) -> int:
        """How many of the launched domains run on the host, shown or not."""
        return sum(event is DomainEvent.LAUNCH for event in self.domains.values())


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """What the enrolled TPM has signed: PCR values and, by replay, the events behind them.

    ``firmware`` is None where no firmware log was shown, ``belief`` is what its events say of the boot.
    ``root`` is the Merkle root under the host's signature. ``software`` tells that a program plays the TPM.
    ``bent`` is what was put up with in its maker's certificates. ``found`` has the domains that nobody
    launched, None for each that is not opened. ``ima`` is dom0's measurement list up to the quote; None where
    it was not asked for, or where there is nothing to prove: no PCR 10 in the quote, or no list.
    """

    pcrs: Mapping[int, bytes]
    firmware: VerifiedEvents | None
    runtime: RuntimeFacts
    root: bytes
    ak_name: bytes
    told: Told
    software: bool
    bent: tuple[str, ...]
    found: tuple[DomainFound | None, ...] = ()
    ima: AppraisedList | None = None
    belief: Belief | None = None

    @property
    def clock(self) -> ClockInfo:
        """Clock and counters of the host's TPM."""
        return self.told.clock


@dataclass(frozen=True, slots=True)
class Appraised:
    """Verified claims beside expectations: the subject of all checks on the boot chain and the policy.

    ``boot`` is how PCR 0-9 differ from the reference values.
    """

    claims: VerifiedClaims
    expected: Expectation
    boot: Comparison


@dataclass(frozen=True, slots=True)
class DomainClaims:
    """One domain as shown; ``launch`` is a fact once its ``commitment`` is found in PCR 13."""

    shown: DomainEvidence
    launch: DomainLaunch
    commitment: str
    host: Appraised


@dataclass(frozen=True, slots=True)
class VtpmClaims:
    """A domain's vTPM as shown: its quote, and what it says that it was bound to."""

    domain: DomainClaims
    quote: QuoteClaim
    record: LabelRecord
    binding: Binding
    root: bytes | None


def shown_root(domain: DomainEvidence, size: int) -> bytes | None:
    """Return the Merkle root that a domain's proof leads to; None for a proof that cannot be."""
    data = leaf(domain.binding, domain.quote, domain.signature)
    try:
        return merkle.root_from_path(merkle.leaf_hash(data), index=domain.index, size=size, path=domain.proof)
    except InclusionError:
        return None


def candidate_roots(evidence: Evidence) -> tuple[bytes, ...]:
    """Return the different roots that the domains' proofs lead to; without domains that of no leaves.

    One of them has to be under the host's signature. Where a single domain's proof is false, it alone fails.
    """
    if not evidence.domains:
        return (merkle.root([]),)
    roots = (shown_root(domain, evidence.tree_size) for domain in evidence.domains)
    return tuple(dict.fromkeys(root for root in roots if root is not None))


def signed_root(quote: HostQuote) -> bytes:
    """Return the root that the host signed; where none fits, which the nonce check refuses, any."""
    roots = candidate_roots(quote.evidence)
    extra = quote.claim.attest.extra_data
    fitting = (root for root in roots if quote.expected.qualifying(root) == extra)
    return next(fitting, roots[0] if roots else b"")
