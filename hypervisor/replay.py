"""All that lives on a host, as questions to a policy, and as the value that an update is judged by.

A new policy, or a new label, takes effect only if every answer is still yes (ACM's replay of running domains,
event channels and pinned grants; Xen 3.x ``acm_policy.c``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acm import livestate
from acm.livestate import Attachment, Channel, GrantMapping, LiveDomain, LiveResource, LiveState, Mode
from hypervisor.state import DOM0, AccessMode, Domain, HostState
from hypervisor.transition import argo, authorize, channel, grant_map, start, use

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acm.engine import Request


def live_accesses(state: HostState, only: int | None = None) -> tuple[Request, ...]:
    """Return the questions for the whole host, or for what domain ``only`` has a part in."""
    return tuple(dict.fromkeys(_questions(state, only)))


def live_state(state: HostState, past_types: frozenset[str] | None = None) -> LiveState:
    """Return what lives on a host; ``past_types`` are the Chinese Wall types that have run, if known."""
    return LiveState(
        policy=livestate.PolicyReference(state.policy.name, state.policy.version, state.policy.digest),
        domains=tuple(LiveDomain(each.domid, each.name, each.label) for each in _domains(state)),
        resources=tuple(
            LiveResource(livestate.ResourceKind(each.kind), each.identity, each.label)
            for each in state.resources.values()
        ),
        attachments=tuple(
            Attachment(each.domid, identity, Mode(mode))
            for each in _domains(state)
            for identity, mode in each.attachments.items()
        ),
        channels=tuple(one for each in _domains(state) for one in _live_channels(each)),
        grants=tuple(
            GrantMapping(one.granter, one.ref, each.domid, handle, Mode.WRITE if one.writable else Mode.READ)
            for each in _domains(state)
            for handle, one in each.mappings.items()
        ),
        argo=tuple(one for each in _domains(state) for one in _live_rings(each)),
        past_types=past_types,
    )


def _domains(state: HostState) -> list[Domain]:
    return [state.domains[domid] for domid in sorted(state.domains)]


def _live_channels(domain: Domain) -> Iterator[Channel]:
    """Yield each bound channel once, at its lower end."""
    for number, port in domain.ports.items():
        if port.remote_port is not None and (domain.domid, number) <= (port.remote, port.remote_port):
            yield Channel(domain.domid, number, port.remote, port.remote_port)


def _live_rings(domain: Domain) -> Iterator[livestate.ArgoRing]:
    for ring_id, ring in domain.rings.items():
        for sender in sorted(ring.senders):
            yield livestate.ArgoRing(domain.domid, ring_id.port, sender, ring_id.partner is None)


def _questions(state: HostState, only: int | None) -> Iterator[Request]:
    yield from _starts(state, only)
    for domain in state.domains.values():
        yield from _channels(state, domain, only)
        yield from _mappings(state, domain, only)
        yield from _rings(state, domain, only)
        if only in (None, domain.domid):
            yield from _attachments(state, domain)


def _starts(state: HostState, only: int | None) -> Iterator[Request]:
    """One domain starts beside all others; of a whole host, each label beside those that came before it."""
    host = state.domain(DOM0).label
    guests = [each for each in _domains(state) if each.domid != DOM0]
    if only is not None:
        beside = {each.label for each in guests if each.domid != only}
        yield from _start(state.domain(only).label, host, beside)
        return
    before: set[str] = set()
    for label in dict.fromkeys(each.label for each in guests):
        yield from _start(label, host, before)
        before.add(label)


def _start(label: str, host: str, beside: set[str]) -> Iterator[Request]:
    yield start(label, host, tuple(sorted(beside)))
    yield authorize(host, label)


def _channels(state: HostState, domain: Domain, only: int | None) -> Iterator[Request]:
    for port in domain.ports.values():
        if port.remote_port is not None and only in (None, domain.domid, port.remote):
            yield channel(state, domain.domid, port.remote)


def _mappings(state: HostState, domain: Domain, only: int | None) -> Iterator[Request]:
    for mapping in domain.mappings.values():
        if only in (None, domain.domid, mapping.granter):
            yield grant_map(state, domain.domid, mapping.granter, writable=mapping.writable)


def _rings(state: HostState, domain: Domain, only: int | None) -> Iterator[Request]:
    for ring in domain.rings.values():
        for sender in sorted(ring.senders):
            if only in (None, domain.domid, sender):
                yield argo(state, sender, domain.domid)


def _attachments(state: HostState, domain: Domain) -> Iterator[Request]:
    for identity, mode in domain.attachments.items():
        resource = state.resource(identity)
        yield from use(domain.label, resource.label, AccessMode(mode), resource.kind)
