"""What a policy update does to the state besides the policy: new names, and what it stops, ends and relabels.

Ended is ended on both sides: both ports of a channel, a mapping and the grant entry that nobody else has
mapped, the sender in a ring and the ring that was for it alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from acm.livestate import ArgoRing, Attachment, Channel, GrantMapping
from acm.violations import sharing_text
from hypervisor.domctl import DestroyDomain, destroy
from hypervisor.frames import NO_FRAMES
from hypervisor.state import DOM0, Domain, HostState, RingId
from hypervisor.table import Table
from hypervisor.transition import Transition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from acm.livestate import Sharing
    from acm.update import Amendment


def amended(state: HostState, names: Mapping[int | str, str | None], amendment: Amendment) -> Transition:
    """Return the transition to the amended state; ``names`` are the labels of domids and identities.

    A name of None leaves the old one, of which the new policy knows nothing. Raises NoSuchObjectError where
    the amendment stops a domain that is not there.
    """
    ended = _ended(amendment.end)
    domains = Table((domid, _domain(each, names, ended)) for domid, each in state.domains.items())
    resources = Table(
        (identity, replace(each, label=names.get(identity) or each.label))
        for identity, each in state.resources.items()
    )
    closed = tuple((domid, port) for domid, ports in ended.ports.items() for port in ports)
    found = Transition(
        replace(state, domains=_without_unused(domains, ended), resources=resources),
        closed=closed,
        ended=tuple(_texts(state, names, amendment)),
    )
    for domid in sorted(amendment.stop):
        found = _stopped(found, domid)
    return found


@dataclass(frozen=True, slots=True)
class _Ended:
    """What ends, by domid: ports, mapping handles, attachments, and (port, anybody, partner) of rings.

    ``offers`` are grant entries (granter, reference) of which a mapping ends.
    """

    ports: Mapping[int, set[int]]
    handles: Mapping[int, set[int]]
    attachments: Mapping[int, set[str]]
    senders: Mapping[int, set[tuple[RingId, int]]]
    offers: frozenset[tuple[int, int]]


def _ended(sharings: Iterable[Sharing]) -> _Ended:
    ports: dict[int, set[int]] = defaultdict(set)
    handles: dict[int, set[int]] = defaultdict(set)
    attachments: dict[int, set[str]] = defaultdict(set)
    senders: dict[int, set[tuple[RingId, int]]] = defaultdict(set)
    offers = set()
    for each in sharings:
        match each:
            case Channel():
                ports[each.domain].add(each.port)
                ports[each.remote].add(each.remote_port)
            case GrantMapping():
                handles[each.grantee].add(each.handle)
                offers.add((each.granter, each.ref))
            case Attachment():
                attachments[each.domain].add(each.resource)
            case ArgoRing():
                ring_id = RingId(each.port, None if each.anybody else each.partner)
                senders[each.domain].add((ring_id, each.partner))
    return _Ended(ports, handles, attachments, senders, frozenset(offers))


def _domain(domain: Domain, names: Mapping[int | str, str | None], ended: _Ended) -> Domain:
    domid = domain.domid
    ports, handles = ended.ports.get(domid, set()), ended.handles.get(domid, set())
    attachments, senders = ended.attachments.get(domid, set()), ended.senders.get(domid, set())
    rings = dict(domain.rings)
    for ring_id, sender in senders:
        rings[ring_id] = replace(rings[ring_id], senders=rings[ring_id].senders - {sender})
        if ring_id.partner is not None:
            del rings[ring_id]
    return replace(
        domain,
        label=names.get(domid) or domain.label,
        ports=domain.ports.keep(each for each in domain.ports.items() if each[0] not in ports),
        mappings=domain.mappings.keep(each for each in domain.mappings.items() if each[0] not in handles),
        attachments=domain.attachments.keep(
            each for each in domain.attachments.items() if each[0] not in attachments
        ),
        rings=Table(rings) if senders else domain.rings,
    )


def _without_unused(domains: Table[int, Domain], ended: _Ended) -> Table[int, Domain]:
    """Drop the grant entries whose last mapping has ended."""
    used = {(one.granter, one.ref) for each in domains.values() for one in each.mappings.values()}
    unused: dict[int, set[int]] = defaultdict(set)
    for granter, ref in ended.offers - used:
        unused[granter].add(ref)
    for granter, refs in unused.items():
        owner = domains[granter]
        grants = owner.grants.keep(each for each in owner.grants.items() if each[0] not in refs)
        domains = domains.put(granter, replace(owner, grants=grants))
    return domains


def _stopped(before: Transition, domid: int) -> Transition:
    after = destroy(before.state, DestroyDomain(DOM0, domid))
    return replace(
        before,
        state=after.state,
        scrub=after.scrub if before.scrub is NO_FRAMES else before.scrub.join(after.scrub),
        closed=before.closed + after.closed,
        signals=before.signals + after.signals,
    )


def _texts(state: HostState, names: Mapping[int | str, str | None], amendment: Amendment) -> Iterator[str]:
    """Yield one line for the trail for each thing that is stopped, ended, relabelled or renamed."""
    for domid in sorted(amendment.stop):
        domain = state.domain(domid)
        yield f"stopped domain {domid} {domain.name} ({domain.label})"
    yield from sorted(f"revoked {sharing_text(each)}" for each in amendment.end)
    for key, now in names.items():
        label = state.domain(key).label if isinstance(key, int) else state.resource(key).label
        if now not in (None, label) and key not in amendment.stop:
            what = "relabelled" if key in amendment.relabel else "renamed label of"
            yield f"{what} {key}: {label} -> {now}"
