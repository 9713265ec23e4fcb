"""Argo hypercalls (Xen: ``argo_op``): rings in a domain's own pages, into which the hypervisor puts messages.

A ring names its one partner, or takes messages of anybody. Who may send is bound once, like everything here:

- a ring for one partner asks the policy when it is registered, and that partner is its only sender;
- a ring for anybody asks nothing at first, for nobody can send to it. A domain's first send connects it: the
  policy is asked for that pair of labels, and the sender stands in the ring from then on.

So every sender of every ring is in the protection state: a send asks no policy, a new policy is put to all
of them, and one that must go can be taken out. Today's FLASK default policy lets every domain type register
such rings and send to every other one, isolated ones included (facts/acm.md, F4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hypervisor.errors import BadStateError, NoSuchObjectError, OutOfResourceError, PageFaultError
from hypervisor.state import ArgoRing, HostState, RingId
from hypervisor.transition import Transition, argo

if TYPE_CHECKING:
    from acm.engine import Request

MAX_RINGS: Final = 128
"""Rings of one domain (MAX_RINGS_PER_DOMAIN)."""
MAX_RING_PAGES: Final = 4096
"""Pages of one ring: 16 MiB (XEN_ARGO_MAX_RING_SIZE)."""
PORT_LIMIT: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class RegisterRing:
    """Make a ring of one's own frames ``gfns`` for messages to ``port`` of ``partner``; None: of anybody."""

    caller: int
    port: int
    partner: int | None
    gfns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UnregisterRing:
    """End one's own ring; the pages are ordinary again."""

    caller: int
    port: int
    partner: int | None


@dataclass(frozen=True, slots=True)
class ConnectRing:
    """Become a sender of a ring that takes messages of anybody: a domain's first ``sendv`` to it."""

    caller: int
    owner: int
    port: int


def register_accesses(state: HostState, call: RegisterRing) -> tuple[Request, ...]:
    """Ask whether the partner may send; nobody has been let in to a ring for anybody yet."""
    return () if call.partner is None else (argo(state, call.partner, call.caller),)


def register(state: HostState, call: RegisterRing) -> Transition:
    """Add the ring; raises BadStateError, PageFaultError, OutOfResourceError."""
    domain, ring_id = state.domain(call.caller), RingId(call.port, call.partner)
    if not 0 <= call.port < PORT_LIMIT or not 1 <= len(call.gfns) <= MAX_RING_PAGES:
        raise BadStateError("bad-number", f"a ring has 1-{MAX_RING_PAGES} pages and a port of 32 bits")
    if ring_id in domain.rings:
        raise BadStateError("ring-exists", f"domain {call.caller} has this ring at port {call.port} already")
    if len(domain.rings) >= MAX_RINGS:
        raise OutOfResourceError("no-ring-left", f"domain {call.caller} has all its {MAX_RINGS} rings")
    mfns = tuple(mfn for gfn in call.gfns if (mfn := domain.memory.machine(gfn)) is not None)
    if len(mfns) != len(call.gfns) or len(set(mfns)) != len(mfns):
        raise PageFaultError("no-page", f"a ring consists of distinct frames of its owner, {call.caller}")
    senders = frozenset(() if call.partner is None else (call.partner,))
    rings = domain.rings.put(ring_id, ArgoRing(call.gfns, mfns, senders))
    return Transition(state.with_domain(replace(domain, rings=rings)))


def unregister(state: HostState, call: UnregisterRing) -> Transition:
    """Drop the ring; raises NoSuchObjectError."""
    domain, ring_id = state.domain(call.caller), RingId(call.port, call.partner)
    if ring_id not in domain.rings:
        raise NoSuchObjectError("no-ring", f"domain {call.caller} has no such ring at port {call.port}")
    return Transition(state.with_domain(replace(domain, rings=domain.rings.drop(ring_id))))


def connect_accesses(state: HostState, call: ConnectRing) -> tuple[Request, ...]:
    """Ask whether the caller may send to the owner."""
    return (argo(state, call.caller, call.owner),)


def connect(state: HostState, call: ConnectRing) -> Transition:
    """Add the sender; raises NoSuchObjectError where the owner has no ring for anybody at this port."""
    owner, ring_id = state.domain(call.owner), RingId(call.port, None)
    ring = owner.rings.get(ring_id)
    if ring is None:
        raise _no_ring(call.caller, call.owner, call.port)
    rings = owner.rings.put(ring_id, replace(ring, senders=ring.senders | {call.caller}))
    return Transition(state.with_domain(replace(owner, rings=rings)))


def route(state: HostState, sender: int, owner: int, port: int) -> ArgoRing | None:
    """Return the ring that takes this sender's messages, None where it must connect first.

    A ring for this very sender goes before one for anybody. Raises NoSuchObjectError where there is neither.
    This is the data path: a look-up, no question to the policy.
    """
    rings = state.domain(owner).rings
    ring = rings.get(RingId(port, sender)) or rings.get(RingId(port, None))
    if ring is None:
        raise _no_ring(sender, owner, port)
    return ring if sender in ring.senders else None


def _no_ring(sender: int, owner: int, port: int) -> NoSuchObjectError:
    return NoSuchObjectError("no-ring", f"domain {owner} has no ring at port {port} for domain {sender}")
