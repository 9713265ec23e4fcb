"""The decision: one request, all components of the policy, primary first.

Rule of combination (sHype): the primary component decides first; where it denies, the secondary is not
asked. A request is permitted if no component denies. CHWALL is primary wherever it is enforced.

==========  =====================================  =========================  ==============================
operation   meaning                                CHWALL                     STE
==========  =====================================  =========================  ==============================
share       event channel, Argo: both ways         not mediated               a type in common
read        grant, disk, VLAN: object to subject   not mediated               a type in common
write       grant, disk, VLAN: subject to object   not mediated               a type in common
start       subject starts on a host whose         no conflict with running   Domain-0 holds every type of
            Domain-0 has the object's label        labels, Domain-0 included  the subject
authorize   may the subject, a host's Domain-0     not mediated               subject holds every type of
            label, run the object                                             the object
==========  =====================================  =========================  ==============================

Two rules stand before the components, whatever the policy enforces:

- ``__UNLABELED__`` is confined to itself: a request between it and any label is denied, so an unlabelled
  domain starts only on a host whose Domain-0 is unlabelled.
- ``__INACCESSIBLE__``, a resource, is for nobody.

A request is judged on the labels it names. Where its labels are unknown or ambiguous, or the labels that are
said to run cannot run together, there is no answer: an AcmUsageError, never a permit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from acm import chwall, ste
from acm.decision import Code, Decision, Reason, Verdict, deny, permit
from acm.errors import RequestError
from acm.labels import INACCESSIBLE, UNLABELED, Label
from acm.policy import Component, Policy


class Operation(StrEnum):
    """What a subject asks for; see the table above."""

    SHARE = "share"
    READ = "read"
    WRITE = "write"
    START = "start"
    AUTHORIZE = "authorize"


@dataclass(frozen=True, slots=True)
class Request:
    """One question. Labels are ``NAME``, ``vm:NAME`` or ``res:NAME``; the subject is a domain label.

    ``running`` are the labels of the domains that run on the host, Domain-0 aside.
    """

    op: Operation
    subject: str
    object: str | None
    running: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Case:
    """A request whose labels are found in the policy."""

    op: Operation
    subject: Label
    target: Label
    running: tuple[Label, ...]


_RESOURCE_OPERATIONS: Final = frozenset({Operation.READ, Operation.WRITE})


def decide(policy: Policy, request: Request) -> Decision:
    """Decide one request; every decision has a reason, permits too.

    Raises LabelError (``unknown-label``, ``wrong-kind``, ``ambiguous-label``) and RequestError
    (``object-missing``, ``running-conflict``).
    """
    case = _resolve(policy, request)
    refused = _confinement(case)
    if refused is not None:
        return refused
    reasons: list[Reason] = []
    for component in policy.components:
        opinion = _opinion(component, policy, case)
        if opinion is None:
            continue
        if opinion.verdict is not Verdict.PERMIT:
            return opinion
        reasons += opinion.reasons
    return permit(*reasons) if reasons else permit(_not_mediated(policy, case.op))


def _resolve(policy: Policy, request: Request) -> _Case:
    if request.object is None:
        raise RequestError("object-missing", f"operation '{request.op}' needs an object label (--object)")
    find = policy.domain_or_resource if request.op in _RESOURCE_OPERATIONS else policy.domain
    case = _Case(
        request.op,
        policy.domain(request.subject),
        find(request.object),
        tuple(policy.domain(name) for name in request.running),
    )
    _refuse_impossible(policy, case.running)
    return case


def _refuse_impossible(policy: Policy, running: tuple[Label, ...]) -> None:
    """Raise RequestError where the running labels cannot run together: no host is in that state."""
    found = chwall.mutual_conflict(policy.conflict_sets, running)
    if found is not None:
        label, conflict = found
        raise RequestError(
            "running-conflict",
            f"these labels cannot run together: conflict set '{conflict.conflict_set}' excludes "
            f"'{conflict.own}' of '{label.name}' beside '{conflict.other}' of '{conflict.holder}'",
        )


def _confinement(case: _Case) -> Decision | None:
    if case.target is INACCESSIBLE:
        return deny(Reason(Code.RESOURCE_INACCESSIBLE, f"resource '{case.target.name}' is for nobody"))
    if (case.subject is UNLABELED) == (case.target is UNLABELED):
        return None
    labelled = case.target if case.subject is UNLABELED else case.subject
    detail = f"'{UNLABELED.name}' is confined to itself: nothing between it and '{labelled.name}'"
    return deny(Reason(Code.UNLABELED_CONFINED, detail))


def _opinion(component: Component, policy: Policy, case: _Case) -> Decision | None:
    """Return what one component says, or None where it does not mediate the operation."""
    if component is Component.CHWALL:
        if case.op is not Operation.START:
            return None
        return chwall.decide_start(policy.conflict_sets, case.subject, (case.target, *case.running))
    if case.op is Operation.START:
        return ste.decide_authorization(case.target, case.subject)
    if case.op is Operation.AUTHORIZE:
        return ste.decide_authorization(case.subject, case.target)
    return ste.decide_sharing(case.subject, case.target)


def _not_mediated(policy: Policy, op: Operation) -> Reason:
    names = " and ".join(policy.components) or "nothing"
    return Reason(
        Code.NOT_MEDIATED, f"policy '{policy.name}' enforces {names}, which does not mediate '{op}'"
    )
