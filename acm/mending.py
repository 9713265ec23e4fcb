"""What mends an update that breaks something: the fewest stops, then the fewest other actions.

- A domain whose label is gone, or that the host may not run any more, has to stop.
- Of domains that the Chinese Wall keeps apart, some have to stop: a smallest choice (``acm.walls``).
- What else breaks is sharing. It is revoked, each at the price of one action; or, where one relabel of a disk
  or VLAN saves more revocations than it costs, the resource is relabelled (``acm.relabels``).

A mend is *smallest* in this order: no other one stops fewer domains, and none that stops as few has fewer
revocations and relabels. That is certain (``optimal``) as long as no cluster has more than EXACT_KINDS kinds
of domains that exclude each other; beyond that the stops are at most twice the fewest. ``bound`` says in both
cases below what no mend can go.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from acm.livestate import Attachment, Mode, ResourceKind, Sharing, parties
from acm.relabels import Relabels
from acm.update import Amendment, judge
from acm.violations import Fault
from acm.walls import EXACT_KINDS, clusters, small_cover, smallest_covers, walls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from acm.livestate import LiveResource
    from acm.relabels import Use
    from acm.update import Update
    from acm.violations import Violation

IMPOSSIBLE: Final = "Domain-0's own label is not in the new policy: no stop, relabel or revocation mends that"


@dataclass(frozen=True, slots=True)
class Cost:
    """Domains stopped, and other actions: revocations and relabels."""

    stops: int
    others: int


@dataclass(frozen=True, slots=True)
class Mend:
    """An amendment under which nothing breaks, what it costs, and below what none can go."""

    amendment: Amendment
    cost: Cost
    bound: Cost
    optimal: bool


def mend(update: Update) -> Mend | None:
    """Return a mend of everything that an update breaks, beside its lineage; None where there is none.

    The mend is checked: with it and the update's own amendment nothing breaks.
    """
    if any(each.code is Fault.DOMAIN0_LABEL for each in update.violations):
        return None
    found = _Mending(update).mend()
    if judge(update.new, update.live, update.amendment | found.amendment).violations:
        raise RuntimeError("a mend that mends not everything: this is a defect of acm.mending")
    return found


class _Mending:
    """One search: what must stop is settled first, then each choice between domains is priced."""

    def __init__(self, update: Update) -> None:
        self._update = update
        self._relabels = Relabels(update.new)
        self._forced = frozenset(_must_stop(update.violations))
        self._stopped = self._forced | update.amendment.stop
        self._graph = walls(list(_groups(update.violations, self._forced)))
        self._kind = {domid: kind for kind, domids in enumerate(self._graph.domids) for domid in domids}
        broken = [each.sharing for each in update.violations if each.sharing is not None]
        self._broken = [each for each in broken if self._stopped.isdisjoint(parties(each))]
        self._resources = self._broken_resources()
        self._used = {
            identity: self._kinds(each.domain for each in resource.users)
            for identity, resource in self._resources.items()
        }
        self._prices: dict[tuple[str, int], int] = {}
        self._between = self._domain_sharing()

    def mend(self) -> Mend:
        cover = least = 0
        optimal = True
        for cluster in clusters(self._graph, (*self._between, *self._used.values())):
            if cluster.bit_count() <= EXACT_KINDS:
                found = self._best(cluster)
                least += self._graph.weight(found)
            else:
                found, bound = small_cover(self._graph, cluster)
                least += bound
                optimal = False
            cover |= found
        stops = self._forced | self._graph.who(cover)
        others = self._others(cover)
        everybody = (1 << self._graph.kinds) - 1
        return Mend(
            amendment=self._amendment(stops),
            cost=Cost(len(stops), others),
            bound=Cost(len(self._forced) + least, others if optimal else self._others(everybody)),
            optimal=optimal,
        )

    def _best(self, cluster: int) -> int:
        """Return the smallest cover of a cluster that leaves the fewest other actions."""
        covers = smallest_covers(self._graph, cluster)
        return min(covers, key=lambda each: (self._others(each, cluster), sorted(self._graph.who(each))))

    def _others(self, cover: int, cluster: int | None = None) -> int:
        """Return how many revocations and relabels are needed where these kinds stop.

        With ``cluster``, only those that depend on its kinds.
        """
        count = 0
        for kinds, number in self._between.items():
            if not kinds & cover and (cluster is None or kinds & cluster):
                count += number
        for identity, resource in self._resources.items():
            if cluster is None or self._used[identity] & cluster:
                count += self._price(resource, cover)
        return count

    def _domain_sharing(self) -> Mapping[int, int]:
        """Count broken sharing between domains by the kinds of domains that have a part in it."""
        found: Counter[int] = Counter()
        for sharing in self._broken:
            if not isinstance(sharing, Attachment):
                found[self._kinds(parties(sharing))] += 1
        return found

    def _kinds(self, domids: Iterable[int]) -> int:
        found = 0
        for domid in domids:
            if domid in self._kind:
                found |= 1 << self._kind[domid]
        return found

    def _broken_resources(self) -> Mapping[str, _Resource]:
        wanted = {each.resource for each in self._broken if isinstance(each, Attachment)}
        gone = {
            str(each.parties[0].id)
            for each in self._update.violations
            if each.code is Fault.LABEL_DELETED and each.parties[0].kind != "domain"
        }
        users: dict[str, list[Attachment]] = {identity: [] for identity in sorted(wanted | gone)}
        for each in self._update.live.attachments:
            alive = each.domain not in self._stopped and each not in self._update.amendment.end
            if each.resource in users and alive:
                users[each.resource].append(each)
        broken = frozenset(self._broken)
        return {
            identity: _Resource(
                self._update.live.resource(identity), tuple(used), broken & frozenset(used), identity in gone
            )
            for identity, used in users.items()
        }

    def _price(self, resource: _Resource, cover: int) -> int:
        key = resource.live.identity, self._used[resource.live.identity] & cover
        if key not in self._prices:
            stay = [each for each in resource.users if not self._kinds((each.domain,)) & cover]
            amendment = self._for_resource(resource, stay)
            self._prices[key] = len(amendment.end) + len(amendment.relabel)
        return self._prices[key]

    def _amendment(self, stops: frozenset[int]) -> Amendment:
        gone = self._stopped | stops
        ends = frozenset(
            each
            for each in self._broken
            if not isinstance(each, Attachment) and gone.isdisjoint(parties(each))
        )
        found = Amendment(stop=stops, end=ends)
        for resource in self._resources.values():
            found |= self._for_resource(
                resource, [each for each in resource.users if each.domain not in stops]
            )
        return found

    def _for_resource(self, resource: _Resource, users: list[Attachment]) -> Amendment:
        """Return the cheapest of: end what is refused, or relabel and end what is refused then."""
        broken = frozenset[Sharing](each for each in users if each in resource.broken)
        if not resource.gone and len(broken) <= 1:
            return Amendment(end=broken)
        uses = {each: self._use(resource, each) for each in users}
        best = self._relabels.best(list(uses.values()))
        refused = frozenset[Sharing](each for each, use in uses.items() if use in best.refused)
        if not resource.gone and 1 + len(refused) >= len(broken):
            return Amendment(end=broken)
        return Amendment(end=refused, relabel={resource.live.identity: best.label})

    def _use(self, resource: _Resource, attachment: Attachment) -> Use:
        writes = resource.live.kind is ResourceKind.VLAN or attachment.mode is Mode.WRITE
        return str(self._update.names[attachment.domain]), writes


@dataclass(frozen=True, slots=True)
class _Resource:
    """A resource in trouble: all who use it, which uses break, and whether its label is gone."""

    live: LiveResource
    users: tuple[Attachment, ...]
    broken: frozenset[Sharing]
    gone: bool


def _must_stop(violations: Iterable[Violation]) -> Iterator[int]:
    for each in violations:
        first = each.parties[0]
        if each.code in {Fault.LABEL_DELETED, Fault.NOT_ADMITTED} and isinstance(first.id, int):
            yield first.id


def _groups(
    violations: Iterable[Violation], stopped: frozenset[int]
) -> Iterator[Mapping[str, frozenset[int]]]:
    """Yield for each broken conflict set who still runs of each of its types."""
    for each in violations:
        if each.code is not Fault.CHWALL_CONFLICT:
            continue
        holders: dict[str, set[int]] = {}
        for party in each.parties:
            if isinstance(party.id, int) and party.id not in stopped:
                for held in party.holds:
                    holders.setdefault(held, set()).add(party.id)
        yield {held: frozenset(domids) for held, domids in holders.items()}
