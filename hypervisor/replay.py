"""All that lives on a host, as questions to a policy.

A new policy, or a new label, takes effect only if every answer is still yes (ACM's replay of running domains,
event channels and pinned grants; Xen 3.x ``acm_policy.c``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypervisor.state import DOM0, Domain, HostState
from hypervisor.transition import authorize, read, share, start, use, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acm.engine import Request


def live_accesses(state: HostState, only: int | None = None) -> tuple[Request, ...]:
    """Return the questions for the whole host, or for what domain ``only`` has a part in."""
    return tuple(dict.fromkeys(_questions(state, only)))


def _questions(state: HostState, only: int | None) -> Iterator[Request]:
    for domain in state.domains.values():
        if domain.domid != DOM0 and only in (None, domain.domid):
            yield from _starts(state, domain, only)
        yield from _channels(state, domain, only)
        yield from _mappings(state, domain, only)
        if only in (None, domain.domid):
            yield from _attachments(state, domain)


def _starts(state: HostState, domain: Domain, only: int | None) -> Iterator[Request]:
    """One domain starts beside all others; of a whole host, each beside those before it."""
    beside = [
        other.label
        for other in state.domains.values()
        if other.domid not in (DOM0, domain.domid) and (only is not None or other.domid < domain.domid)
    ]
    host = state.domain(DOM0).label
    yield start(domain.label, host, tuple(sorted(beside)))
    yield authorize(host, domain.label)


def _channels(state: HostState, domain: Domain, only: int | None) -> Iterator[Request]:
    for port in domain.ports.values():
        if port.remote_port is not None and only in (None, domain.domid, port.remote):
            yield share(state, domain.domid, port.remote)


def _mappings(state: HostState, domain: Domain, only: int | None) -> Iterator[Request]:
    for mapping in domain.mappings.values():
        if only not in (None, domain.domid, mapping.granter):
            continue
        yield read(state, domain.domid, mapping.granter)
        if mapping.writable:
            yield write(state, domain.domid, mapping.granter)


def _attachments(state: HostState, domain: Domain) -> Iterator[Request]:
    for identity, mode in domain.attachments.items():
        yield from use(domain.label, state.resource(identity).label, mode)
