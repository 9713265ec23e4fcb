"""A policy update judged against what lives: against the engine asked one by one, and against brute force."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from acm.engine import Request, decide
from acm.errors import AcmUsageError
from acm.history import History
from acm.labels import INACCESSIBLE
from acm.livestate import (
    DOM0,
    ArgoRing,
    Attachment,
    Channel,
    GrantMapping,
    LiveState,
    ResourceKind,
    Sharing,
)
from acm.mending import Cost, mend
from acm.operations import Operation
from acm.update import Amendment, Update, judge, revocation
from tests.acm.hosts import Case, case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acm.policy import Policy

OP = Operation
SEEDS = st.integers(0, 1 << 32)


def name_of(new: Policy, kind: str, label: str) -> str:
    """Where a label of the old policy went, worked out by hand; '?' where it is gone."""
    if label.startswith("__"):
        return label
    renames = getattr(new.lineage, f"{kind}_renames")
    for after, before in renames.items():
        if before == label:
            return after
    known = new.domain_labels if kind == "domain" else new.resource_labels
    return label if label in known and label not in renames else "?"


def asked_one_by_one(new: Policy, live: LiveState) -> Iterator[tuple[object, bool]]:
    """Put everything to the engine as the monitor would, each domain beside all those before it."""
    past = None if live.past_types is None else History("0" * 64, 0, live.past_types)
    anchor = None if past is None else past.anchor
    names = {each.domid: name_of(new, "domain", each.label) for each in live.domains}

    def permits(op: Operation, subject: str, target: str, *running: str) -> bool:
        try:
            request = Request(op, f"vm:{subject}", target, running, past, anchor)
            return decide(new, request).permitted
        except AcmUsageError:
            return False

    guests = [each for each in live.domains if each.domid != DOM0]
    for index, guest in enumerate(guests):
        beside = [f"vm:{names[each.domid]}" for each in guests[:index]]
        alone = permits(OP.START, names[guest.domid], f"vm:{names[0]}")
        yield guest, alone and permits(OP.AUTHORIZE, names[0], f"vm:{names[guest.domid]}")
        yield (guest, "walls"), permits(OP.START, names[guest.domid], f"vm:{names[0]}", *beside)
    for each in live.resources:
        yield each, name_of(new, "resource", each.label) != "?"
    for sharing in live.sharings:
        op, subject, other = question(sharing, live)
        label = (
            name_of(new, "resource", live.resource(other).label) if isinstance(other, str) else names[other]
        )
        yield sharing, permits(op, names[subject], f"{'res' if isinstance(other, str) else 'vm'}:{label}")


def question(sharing: Sharing, live: LiveState) -> tuple[Operation, int, int | str]:
    match sharing:
        case Attachment(domain, resource, mode):
            if live.resource(resource).kind is ResourceKind.VLAN:
                return OP.VLAN_ATTACH, domain, resource
            return (OP.RESOURCE_READ if mode == "r" else OP.RESOURCE_WRITE), domain, resource
        case Channel(domain, _, remote, _):
            return OP.EVENT_CHANNEL, domain, remote
        case GrantMapping(granter, _, grantee, _, mode):
            return (OP.GRANT_MAP_READ if mode == "r" else OP.GRANT_MAP_WRITE), grantee, granter
        case ArgoRing(owner, _, partner):
            return OP.ARGO, partner, owner
    raise AssertionError(sharing)


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_the_update_breaks_exactly_what_the_engine_refuses(seed: int) -> None:
    one = case(seed)
    update = judge(one.new, one.live)
    answers = dict(asked_one_by_one(one.new, one.live))
    assert bool(update.violations) == (not all(answers.values()))
    broken = {each.sharing for each in update.violations if each.sharing is not None}
    assert broken == {each for each, good in answers.items() if not good and each in one.live.sharings}
    for violation in update.violations:
        assert violation.why
        assert violation.parties


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_revocation_leaves_no_sharing_that_breaks_and_stops_nobody(seed: int) -> None:
    one = case(seed)
    amendment = revocation(judge(one.new, one.live))
    left = judge(one.new, one.live, amendment)
    assert not amendment.stop
    assert all(each.sharing is None for each in left.violations)
    assert all(each.parties[0].kind == "domain" for each in left.violations)
    # It ends nothing that the new policy permits, but for what hangs on a label that is gone.
    good = {each for each, right in asked_one_by_one(one.new, one.live) if right}
    assert not amendment.end & good


def others(update: Update) -> int | None:
    """How many revocations are left to do, None where that is not enough."""
    if any(each.sharing is None for each in update.violations):
        return None
    return len(update.violations)


def cheapest(one: Case) -> Cost | None:
    """The cheapest mend, by trying every set of stops with every relabel of every resource."""
    guests = [each.domid for each in one.live.domains if each.domid != DOM0]
    identities = [each.identity for each in one.live.resources]
    labels = [None, *one.new.resource_labels, INACCESSIBLE.name]
    for count in range(len(guests) + 1):
        found = []
        for stop in combinations(guests, count):
            for chosen in product(labels, repeat=len(identities)):
                relabel = {each: label for each, label in zip(identities, chosen, strict=True) if label}
                left = others(judge(one.new, one.live, Amendment(frozenset(stop), relabel=relabel)))
                if left is not None:
                    found.append(left + len(relabel))
        if found:
            return Cost(count, min(found))
    return None


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_mends_are_as_small_as_brute_force_finds_them(seed: int) -> None:
    one = case(seed)
    update = judge(one.new, one.live)
    found, least = mend(update), cheapest(one)
    assert (None if found is None else found.cost) == least
    if found is not None:
        assert found.optimal
        assert found.bound == found.cost
        amendment = found.amendment
        assert found.cost == Cost(len(amendment.stop), len(amendment.end) + len(amendment.relabel))
        assert not judge(one.new, one.live, amendment).violations
