"""The verifier's one entrance: evidence in, result out. See ``attest.verifier.steps`` for what it does.

Two stages. First the platform is authenticated; where that fails, nothing else is read, and all other parts
are "not evaluated" with the verdict ``none`` and no reasons of their own. Then every part is judged by itself
and all reasons are collected, so that one false part leaves the others as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from attest.domain_digest import domain_digest
from attest.errors import AttestUsageError
from attest.evidence import DomainEvidence, Evidence, EvidenceError
from attest.reasons import reason
from attest.reference import Component
from attest.result import Node, Reason, Result, Verdict, worst
from attest.runtime_events import DomainEvent
from attest.verifier import acm_policy, boot, dom0, domain, firmware, past_runs, platform, quotes, steps, vtpm
from attest.verifier.claims import Appraised, DomainClaims, Expectation, VerifiedClaims

NONCE_BYTES: Final = range(16, 65)
NOT_EVALUATED: Final = "not evaluated: the platform is not authentic"
_PARTS: Final = ("firmware", "loader", "xen", "dom0", "acm-policy")


def verify(evidence: bytes | Evidence, expected: Expectation) -> Result:
    """Appraise evidence against what is expected; every flaw of the evidence is a reason in the result.

    Pure: no clock, file, socket or process. Raises AttestUsageError for a nonce of another length than 16 to
    64 bytes, and for a time without zone.
    """
    if len(expected.nonce) not in NONCE_BYTES:
        raise AttestUsageError(f"a nonce has 16 to 64 bytes, not {len(expected.nonce)}", code="nonce-length")
    if expected.now.tzinfo is None:
        raise AttestUsageError(
            "the time of verification has no time zone; pass an aware datetime", code="time"
        )
    try:
        shown = Evidence.decode(evidence) if isinstance(evidence, bytes) else evidence
    except EvidenceError as error:
        root = Node.judge("host", [reason("evidence-malformed", str(error))])
        return Result(root, expected.nonce, policy_ids(expected))
    root, claims = _host(shown, expected)
    told = None if claims is None else claims.told
    return Result(root, expected.nonce, policy_ids(expected), told)


def _host(evidence: Evidence, expected: Expectation) -> tuple[Node, VerifiedClaims | None]:
    name = f"host {evidence.host.name}"
    found, reasons = authenticate(evidence, expected)
    reasons = [expected.profile.weigh(one) for one in reasons]
    if found is None:
        others = [_unread(part) for part in (*_PARTS, *_asked(expected))]
        return Node.judge(name, (), [Node.judge("platform", reasons), *others]), None
    compared = boot.compare(found.pcrs, found.firmware, expected.reference, expected.profile)
    subject = Appraised(found, expected, compared)
    domains = [domain.read(shown, subject) for shown in evidence.domains]
    trunk = Node.judge("platform", reasons, notes=_platform_notes(subject, domains))
    whole = [expected.profile.weigh(one) for one in quotes.run(steps.HOST, subject)]
    return Node.judge(name, whole, [trunk, *_chain(subject), *_domains(evidence, domains, subject)]), found


def authenticate(evidence: Evidence, expected: Expectation) -> tuple[VerifiedClaims | None, list[Reason]]:
    """Run steps 1 to 11; claims only if no reason says "not authentic". No claim is appraised."""
    quote = platform.read(evidence, expected)
    if isinstance(quote, Reason):
        return None, [quote]
    reasons = quotes.run(steps.PLATFORM, quote)
    if not _refused(reasons):
        reasons += quotes.run(steps.QUOTE, quote.claim)
    if not _refused(reasons):
        reasons += quotes.run(steps.PLATFORM_STATE, quote)
    if _refused(reasons):
        return None, reasons
    claims = platform.authenticate(quote)
    return (None, [*reasons, claims]) if isinstance(claims, Reason) else (claims, reasons)


def _refused(reasons: Sequence[Reason]) -> bool:
    return any(one.verdict is Verdict.NONE for one in reasons)


def _chain(subject: Appraised) -> list[Node]:
    """Judge the boot chain and the policy."""
    return [
        _judge(
            "firmware",
            quotes.run(steps.FIRMWARE, subject),
            subject,
            Component.FIRMWARE,
            firmware.notes(subject),
        ),
        _judge("loader", quotes.run(steps.LOADER, subject), subject, Component.LOADER),
        _judge("xen", quotes.run(steps.XEN, subject), subject, Component.XEN),
        _judge("dom0", quotes.run(steps.DOM0, subject), subject, Component.DOM0, dom0.notes(subject)),
        _judge(
            "acm-policy",
            quotes.run(steps.ACM_POLICY, subject),
            subject,
            notes=[*acm_policy.notes(subject), *past_runs.notes(subject)],
        ),
    ]


def _judge(
    name: str,
    reasons: Sequence[Reason],
    subject: Appraised,
    component: Component | None = None,
    notes: Sequence[str] = (),
) -> Node:
    """Weigh reasons by the profile; a component in a register that differs as a whole is left open."""
    weighed = tuple(subject.expected.profile.weigh(one) for one in reasons)
    verdicts = [one.verdict for one in weighed]
    if component in subject.boot.open:
        verdicts.append(Verdict.INCONCLUSIVE)
        notes = [*notes, "open: a register it shares with others is not as expected, and no log says why"]
    return Node(name, worst(verdicts), weighed, (), tuple(notes))


def _domains(evidence: Evidence, domains: Sequence[DomainClaims | Reason], subject: Appraised) -> list[Node]:
    """Judge every domain that is shown and asked for, and name those that are asked for and not shown."""
    twice = _duplicates(evidence.domains)
    nodes: list[Node] = []
    names: Counter[str] = Counter()
    for shown, claims in zip(evidence.domains, domains, strict=True):
        if isinstance(claims, Reason):
            nodes.append(Node.judge(f"domain of vTPM {shown.vid}", [claims]))
        elif subject.expected.asks_for(name := claims.launch.name):
            names[name] += 1
            duplicate = shown.vid in twice or names[name] > 1
            nodes.append(_domain(claims, evidence.tree_size, duplicate=duplicate))
    missing = [name for name in _wanted(subject.expected) if name not in names]
    nodes += [_missing(name, subject) for name in missing]
    return nodes


def _domain(claims: DomainClaims, tree_size: int, *, duplicate: bool) -> Node:
    weigh = claims.host.expected.profile.weigh
    name = f"domain {claims.launch.name}"
    if duplicate:
        detail = f"vTPM {claims.shown.vid} or the name {claims.launch.name!a} stands twice"
        return Node.judge(name, [reason("domain-duplicate", detail)], [_unread("vtpm", "not evaluated")])
    reasons = [weigh(one) for one in quotes.run(steps.DOMAIN, claims)]
    digest = domain_digest(claims.launch, claims.launch.policy_digest)
    notes = (f"label {claims.launch.label!a}, vTPM {claims.shown.vid}", f"domain digest {digest}")
    if _refused(reasons):
        return Node.judge(
            name, reasons, [_unread("vtpm", "not evaluated: the launch is not authentic")], notes
        )
    return Node.judge(name, reasons, [_vtpm(claims, tree_size)], notes)


def _vtpm(claims: DomainClaims, tree_size: int) -> Node:
    found = vtpm.read(claims, tree_size)
    if isinstance(found, Reason):
        return Node.judge("vtpm", [found])
    reasons = quotes.run(steps.VTPM_KEY, found)
    if not _refused(reasons):
        reasons += quotes.run(steps.QUOTE, found.quote)
    if not _refused(reasons):
        reasons += quotes.run(steps.VTPM, found)
    return Node.judge("vtpm", [claims.host.expected.profile.weigh(one) for one in reasons])


def _missing(name: str, subject: Appraised) -> Node:
    detail = f"no domain {name!a} in the evidence"
    return Node.judge(f"domain {name}", [subject.expected.profile.weigh(reason("domain-missing", detail))])


def _duplicates(domains: Sequence[DomainEvidence]) -> set[str]:
    return {vid for vid, count in Counter(shown.vid for shown in domains).items() if count > 1}


def _wanted(expected: Expectation) -> list[str]:
    """Return the names of the domains that have to be there: those asked for, else all of the reference."""
    if expected.domains is not None:
        return sorted(expected.domains)
    return [known.name for known in expected.reference.domains]


def _asked(expected: Expectation) -> list[str]:
    return [f"domain {name}" for name in _wanted(expected)]


def _unread(name: str, why: str = NOT_EVALUATED) -> Node:
    return Node(name, Verdict.NONE, (), (), (why,))


def _platform_notes(subject: Appraised, domains: Sequence[DomainClaims | Reason]) -> list[str]:
    claims = subject.claims
    judged = {
        one.commitment
        for one in domains
        if isinstance(one, DomainClaims) and subject.expected.asks_for(one.launch.name)
    }
    others = sum(
        event is DomainEvent.LAUNCH and commitment not in judged
        for commitment, event in claims.runtime.domains.items()
    )
    tpm = "software TPM, admitted by the profile" if claims.software else "hardware TPM"
    log = "firmware log replayed" if claims.firmware else "no firmware log: register values compared"
    counted = f"resets {claims.clock.reset_count}, domains running {claims.runtime.running}"
    counted += f", {others} of them not judged" if others else ""
    return [tpm, log, counted, *claims.bent]


def policy_ids(expected: Expectation) -> tuple[str, ...]:
    """Return the names of what evidence is appraised by, each with its digest."""
    profile = expected.profile
    return (
        f"urn:shype:appraisal:{profile.name}:sha256:{profile.digest}",
        f"urn:shype:reference:sha256:{expected.reference_digest}",
        f"urn:shype:policy:sha256:{expected.policy.digest}",
    )
