"""All that lives on a host, put to another policy.

A guest is judged twice: alone beside Domain-0 (authority, walls against Domain-0 and past runs), and beside
all others, conflict set by conflict set. Together that is what a start of each guest beside all others would
be asked, in time linear in the number of guests. A Chinese Wall with history (``acm.history``) counts past
runs, and refuses everybody where they are not known.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from acm.decider import Decider
from acm.engine import Request, decide
from acm.history import History
from acm.livestate import (
    DOM0,
    ArgoRing,
    Attachment,
    Channel,
    GrantMapping,
    Mode,
    ResourceKind,
    parties,
)
from acm.operations import ADMISSIONS, Operation
from acm.violations import Fault, Party, Violation, Why, domain_party, resource_party, sharing_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from acm.chwall import ConflictSet
    from acm.decision import Decision
    from acm.labels import Label
    from acm.livestate import LiveDomain, LiveResource, LiveState, Sharing
    from acm.policy import Policy

_SHOWN: Final = 8


class Judge:
    """Refusals of one policy; each question about a pair of labels is put to the engine once.

    ``past`` are the types that have run on the host, None where that is not known.
    """

    def __init__(self, policy: Policy, past: frozenset[str] | None = None) -> None:
        self._policy = policy
        self._decider = Decider(policy)
        self._history = None if past is None or not policy.history else History("0" * 64, 0, past)
        self._anchor = None if self._history is None else self._history.anchor
        self._taken: dict[tuple[Operation, str, str], tuple[Why, ...]] = {}

    def refusal(self, op: Operation, subject: str, target: str) -> tuple[Why, ...]:
        """Return why a domain label may not, or nothing; ``target`` is ``vm:NAME`` or ``res:NAME``."""
        key = (op, subject, target)
        taken = self._taken.get(key)
        if taken is None:
            taken = self._taken[key] = self._refusal(op, f"vm:{subject}", target)
        return taken

    def _refusal(self, op: Operation, subject: str, target: str) -> tuple[Why, ...]:
        if op not in ADMISSIONS and self._decider.permits(op, subject, target):
            return ()
        return _why(decide(self._policy, Request(op, subject, target, (), self._history, self._anchor)))


class Replay:
    """Judges a host under ``policy``, where ``names`` tells the labels of its domains and resources there."""

    def __init__(self, policy: Policy, live: LiveState, names: Mapping[int | str, str | None]) -> None:
        self._policy = policy
        self._live = live
        self._names = names
        self._judge = Judge(policy, live.past_types)

    def violations(self, domains: Sequence[LiveDomain], sharings: Iterable[Sharing]) -> tuple[Violation, ...]:
        """Return what breaks among these domains, all resources, and what is bound."""
        guests: dict[str, list[LiveDomain]] = {}
        for domain in domains:
            label = self._names[domain.domid]
            if domain.domid != DOM0 and label is not None:
                guests.setdefault(label, []).append(domain)
        return tuple(
            chain(self._gone(domains), self._admissions(guests), self._walls(guests), self._shared(sharings))
        )

    def _gone(self, domains: Iterable[LiveDomain]) -> Iterator[Violation]:
        for domain in domains:
            if self._names[domain.domid] is None:
                code = Fault.DOMAIN0_LABEL if domain.domid == DOM0 else Fault.LABEL_DELETED
                yield Violation(code, (self._domain(domain),), (self._unknown(domain.domid),))
        for resource in self._live.resources:
            if self._names[resource.identity] is None:
                why = (self._unknown(resource.identity),)
                yield Violation(Fault.LABEL_DELETED, (self._resource(resource),), why)

    def _admissions(self, guests: Mapping[str, list[LiveDomain]]) -> Iterator[Violation]:
        host = self._names[DOM0]
        if host is None:
            return
        for label, domains in guests.items():
            refused = self._against(host, label)
            for domain in domains if refused else ():
                who = (self._domain(domain), self._domain(self._live.domain0))
                yield Violation(Fault.NOT_ADMITTED, who, refused, Operation.START)

    def _against(self, host: str, label: str) -> tuple[Why, ...]:
        asked = [
            self._judge.refusal(Operation.START, label, f"vm:{host}"),
            self._judge.refusal(Operation.AUTHORIZE, host, f"vm:{label}"),
        ]
        return tuple(dict.fromkeys(chain.from_iterable(asked)))

    def _walls(self, guests: Mapping[str, list[LiveDomain]]) -> Iterator[Violation]:
        """Find each conflict set of which more than one type runs; its violation names all who hold one."""
        inside: dict[str, list[str]] = {}
        for label in guests:
            for one in self._policy.conflict_sets_of(self._label(label)):
                inside.setdefault(one.name, []).append(label)
        for one in self._policy.conflict_sets:
            holders = {label: self._label(label).chwall & one.types for label in inside.get(one.name, ())}
            if len(frozenset[str]().union(*holders.values())) > 1:
                yield self._wall(one, holders, guests)

    def _wall(
        self,
        broken: ConflictSet,
        holders: Mapping[str, frozenset[str]],
        guests: Mapping[str, list[LiveDomain]],
    ) -> Violation:
        who = [
            self._domain(domain, tuple(sorted(held)))
            for label, held in holders.items()
            for domain in guests[label]
        ]
        types = sorted(frozenset[str]().union(*holders.values()))
        shown = ", ".join(f"'{each}'" for each in types[:_SHOWN])
        more = f" and {len(types) - _SHOWN} more" if len(types) > _SHOWN else ""
        detail = f"conflict set '{broken.name}': at most one of its types may run, and {shown}{more} do"
        why = (Why("chwall-conflict", detail),)
        return Violation(Fault.CHWALL_CONFLICT, tuple(who), why, Operation.START)

    def _shared(self, sharings: Iterable[Sharing]) -> Iterator[Violation]:
        for sharing in sharings:
            op, asking, asked = question(sharing, self._live)
            why = self._refusal(op, asking, asked)
            if why:
                kind = self._live.resource(asked).kind if isinstance(asked, str) else None
                yield Violation(sharing_fault(sharing, kind), self._parties(sharing), why, op, sharing)

    def _refusal(self, op: Operation, asking: int, asked: int | str) -> tuple[Why, ...]:
        subject, target = self._names[asking], self._names[asked]
        if subject is None or target is None:
            missing = [each for each in (asking, asked) if self._names[each] is None]
            return tuple(self._unknown(each) for each in missing)
        return self._judge.refusal(op, subject, f"{'res' if isinstance(asked, str) else 'vm'}:{target}")

    def _parties(self, sharing: Sharing) -> tuple[Party, ...]:
        domains = tuple(self._domain(self._live.domain(each)) for each in parties(sharing))
        if isinstance(sharing, Attachment):
            return (*domains, self._resource(self._live.resource(sharing.resource)))
        return domains

    def _label(self, name: str) -> Label:
        return self._policy.domain(f"vm:{name}")

    def _domain(self, domain: LiveDomain, holds: tuple[str, ...] = ()) -> Party:
        return domain_party(domain, self._names[domain.domid], holds)

    def _resource(self, resource: LiveResource) -> Party:
        return resource_party(resource, self._names[resource.identity])

    def _unknown(self, which: int | str) -> Why:
        kind = "domain" if isinstance(which, int) else "resource"
        label = self._live.domain(which).label if isinstance(which, int) else self._live.resource(which).label
        what = f"policy '{self._policy.name}' {self._policy.version} has no {kind} label '{label}'"
        return Why("unknown-label", what)


def question(sharing: Sharing, live: LiveState) -> tuple[Operation, int, int | str]:
    """Return by which operation something is bound, who asks, and for which domain or resource."""
    match sharing:
        case Attachment():
            kind = live.resource(sharing.resource).kind
            return attach_operation(kind, sharing.mode), sharing.domain, sharing.resource
        case Channel():
            return Operation.EVENT_CHANNEL, sharing.domain, sharing.remote
        case GrantMapping():
            write = sharing.mode is Mode.WRITE
            op = Operation.GRANT_MAP_WRITE if write else Operation.GRANT_MAP_READ
            return op, sharing.grantee, sharing.granter
        case ArgoRing():
            return Operation.ARGO, sharing.partner, sharing.domain


def attach_operation(kind: ResourceKind, mode: Mode) -> Operation:
    """Return the operation by which a resource of this kind is attached in this mode."""
    if kind is ResourceKind.VLAN:
        return Operation.VLAN_ATTACH
    return Operation.RESOURCE_WRITE if mode is Mode.WRITE else Operation.RESOURCE_READ


def _why(decision: Decision) -> tuple[Why, ...]:
    """Return the reasons of a refusal; nothing for a permit."""
    if decision.permitted:
        return ()
    return tuple(Why(str(reason.code), reason.detail) for reason in decision.reasons)
