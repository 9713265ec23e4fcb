"""The decision: one request, all components of the policy, one after the other.

Rule of combination (sHype): the primary component decides first; where one denies, the next is not asked. A
request is permitted if no component denies. The order is CHWALL, STE, MLS, or what ``enforce`` of the policy
says. Nothing is changed by a decision: what a start would change (who runs, what has ever run) is committed
only when all components have permitted it (``acm.admission``), so there is nothing to be taken back.

=========  ===========================================  ==========================  ========================
question   CHWALL                                       STE                         MLS
=========  ===========================================  ==========================  ========================
flow       not mediated                                 a type in common            each direction: the high
                                                                                    end of the receiver
                                                                                    dominates the low end of
                                                                                    the sender
admission  no conflict with running labels, Domain-0    Domain-0 holds every type   Domain-0's range holds
           included; where history counts, none with    of the subject              the subject's
           past runs, and the newest history is known
authority  not mediated                                 subject holds every type    subject's range holds
                                                        of the object               the object's
=========  ===========================================  ==========================  ========================

Which operation puts which question, and in which directions, is said by ``acm.operations``; an operation that
is not in that table is denied.

Two rules stand before the components, whatever the policy enforces:

- ``__UNLABELED__`` is confined to itself: a request between it and any label is denied, so an unlabelled
  domain starts only on a host whose Domain-0 is unlabelled. The one exception is a domain label that holds
  the STE type ``__UNLABELED__``, as Domain-0 of ACM's policy DEFAULT-UL does: for it the components decide.
- ``__INACCESSIBLE__``, a resource, is for nobody.

A request is judged on the labels it names. Where its labels are unknown or ambiguous, or the labels that are
said to run cannot run together, there is no answer: an AcmUsageError, never a permit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from acm import chwall, history, mls, ste
from acm.decision import Code, Decision, Reason, Verdict, deny, permit
from acm.errors import RequestError
from acm.labels import INACCESSIBLE, UNLABELED, Label
from acm.operations import RULES, Operation, Question, Rule
from acm.policy import Component, Kind, Policy

if TYPE_CHECKING:
    from acm.history import Anchor, History

__all__ = ["Operation", "Request", "decide"]


class Request(NamedTuple):
    """One question. Labels are ``NAME``, ``vm:NAME`` or ``res:NAME``; the subject is a domain label.

    ``running`` are the labels of the domains that run on the host, Domain-0 aside. ``history`` is what has
    run there, and ``anchor`` what the newest history of this host must be; an admission needs both where the
    policy counts past runs.
    """

    op: Operation
    subject: str
    object: str | None
    running: tuple[str, ...] = ()
    history: History | None = None
    anchor: Anchor | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """A request whose labels are found in the policy."""

    request: Request
    rule: Rule
    subject: Label
    target: Label
    running: tuple[Label, ...]


def decide(policy: Policy, request: Request) -> Decision:
    """Decide one request; every decision has a reason, permits too.

    Raises LabelError (``unknown-label``, ``wrong-kind``, ``ambiguous-label``) and RequestError
    (``object-missing``, ``running-conflict``).
    """
    rule = RULES.get(request.op)
    if rule is None:
        detail = f"no rule describes the operation {str(request.op)[:80]!r}"
        return deny(Reason(Code.UNKNOWN_OPERATION, detail))
    case = _resolve(policy, rule, request)
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
    return permit(*reasons) if reasons else permit(_not_mediated(policy, request.op))


def _resolve(policy: Policy, rule: Rule, request: Request) -> _Case:
    if request.object is None:
        raise RequestError("object-missing", f"operation '{request.op}' needs an object label (--object)")
    if len(rule.objects) > 1:
        target = policy.domain_or_resource(request.object)
    elif Kind.DOMAIN in rule.objects:
        target = policy.domain(request.object)
    else:
        target = policy.resource(request.object)
    subject = policy.domain(request.subject)
    running = tuple(policy.domain(name) for name in request.running)
    if running:
        _refuse_impossible(policy, running)
    return _Case(request, rule, subject, target, running)


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
    if labelled.mls is None and UNLABELED.name in labelled.ste:
        return None
    detail = f"'{UNLABELED.name}' is confined to itself: nothing between it and '{labelled.name}'"
    return deny(Reason(Code.UNLABELED_CONFINED, detail))


def _opinion(component: Component, policy: Policy, case: _Case) -> Decision | None:
    """Return what one component says, or None where it does not mediate the operation."""
    if component is Component.CHWALL:
        return _wall(policy, case) if case.rule.question is Question.ADMISSION else None
    return _OPINIONS[component](case)


def _wall(policy: Policy, case: _Case) -> Decision:
    past = frozenset[str]()
    if policy.history:
        refused = history.refusal(case.request.history, case.request.anchor)
        if refused is not None:
            return deny(refused)
        assert case.request.history is not None, "no history is refused"
        past = case.request.history.types
        if not case.request.history.has_room(case.subject.chwall | case.target.chwall):
            return deny(Reason(Code.HISTORY_FULL, "the history of this host is full: begin a new one"))
    sets = policy.conflict_sets_of(case.subject)
    return chwall.decide_start(sets, case.subject, (case.target, *case.running), past)


def _ste(case: _Case) -> Decision:
    if case.rule.question is Question.FLOW:
        return ste.decide_sharing(case.subject, case.target)
    return ste.decide_authorization(*_domain0_and_guest(case))


def _mls(case: _Case) -> Decision:
    rule = case.rule
    if rule.question is Question.FLOW:
        return mls.decide_flows(case.subject, case.target, reads=rule.reads, writes=rule.writes)
    return mls.decide_authorization(*_domain0_and_guest(case))


_OPINIONS: Final = {Component.STE: _ste, Component.MLS: _mls}


def _domain0_and_guest(case: _Case) -> tuple[Label, Label]:
    if case.rule.question is Question.ADMISSION:
        return case.target, case.subject
    return case.subject, case.target


def _not_mediated(policy: Policy, op: Operation) -> Reason:
    names = " and ".join(policy.components) or "nothing"
    return Reason(
        Code.NOT_MEDIATED, f"policy '{policy.name}' enforces {names}, which does not mediate '{op}'"
    )
