"""Hypercalls on whole domains: create, build, unpause, pause, schedule, destroy, relabel (Xen: ``domctl``).

All of them are Domain-0's. Each function is pure: it returns the transition or raises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from hypervisor.errors import BadStateError, NoSuchObjectError, OutOfResourceError
from hypervisor.evtchn import virq_port
from hypervisor.frames import PAGE, PAGES_PER_MIB, PhysicalMap
from hypervisor.replay import live_accesses
from hypervisor.state import DOM0, ArgoRing, Domain, DomainStatus, HostState, RingId, Virq, VirqLine
from hypervisor.table import Table, lowest_free
from hypervisor.transition import PagePlacement, Transition, authorize, start, write
from hypervisor.xenstore import first_values, without_reader

if TYPE_CHECKING:
    from acm.engine import Request
    from hypervisor.memory_op import SetMaxMemory
    from hypervisor.savectl import SaveDomain

FIRST_RESERVED_DOMID: Final = 0x7FF0
"""DOMID_FIRST_RESERVED of Xen's public header: guests have lower identifiers."""
MAX_VCPUS: Final = 128
MAX_WEIGHT: Final = 65535


@dataclass(frozen=True, slots=True)
class CreateDomain:
    """Reserve memory and an identifier for a paused domain; the result is its domain identifier.

    ``label_sealed`` fixes the label for life: set it when a vTPM or a measurement will speak for it.
    ``weight`` 1-65535 and ``cap`` (percent of one physical CPU, 0 = none) are those of the credit scheduler.
    ``domid`` asks for a certain identifier, as the toolstack of a real Xen does; without it the lowest free
    one is taken.
    """

    caller: int
    uuid: str
    name: str
    label: str
    memory_mib: int
    vcpus: int
    weight: int = 256
    cap: int = 0
    label_sealed: bool = False
    domid: int | None = None


@dataclass(frozen=True, slots=True)
class BuildDomain:
    """Lay ``image`` into the memory of a domain that has never run, from ``gfn`` on."""

    caller: int
    domid: int
    gfn: int
    image: bytes


@dataclass(frozen=True, slots=True)
class UnpauseDomain:
    """Let a paused domain run."""

    caller: int
    domid: int


@dataclass(frozen=True, slots=True)
class PauseDomain:
    """Stop a domain from running; it keeps all it has."""

    caller: int
    domid: int


@dataclass(frozen=True, slots=True)
class ScheduleDomain:
    """Set a domain's weight and cap (see CreateDomain)."""

    caller: int
    domid: int
    weight: int
    cap: int


@dataclass(frozen=True, slots=True)
class DestroyDomain:
    """End a domain: close its channels, revoke its grants, scrub and free its memory."""

    caller: int
    domid: int


@dataclass(frozen=True, slots=True)
class RelabelDomain:
    """Change the label of a domain that has never run, from ``old`` (compare) to ``new`` (swap)."""

    caller: int
    domid: int
    old: str
    new: str


def create_accesses(state: HostState, call: CreateDomain) -> tuple[Request, ...]:
    """Ask the Chinese Wall, against all guests that exist, and for Domain-0's authority over the label."""
    host = state.domain(DOM0).label
    return start(call.label, host, state.running_labels()), authorize(host, call.label)


def create(state: HostState, call: CreateDomain) -> Transition:
    """Add the paused domain; raises OutOfResourceError, BadStateError (taken name, number out of range)."""
    pages = call.memory_mib * PAGES_PER_MIB
    check_new(state, call, pages)
    domid = free_domid(state) if call.domid is None else _wanted_domid(state, call.domid)
    taken, rest = state.free.take(pages)
    domain = Domain(
        domid=domid,
        uuid=call.uuid,
        name=call.name,
        label=call.label,
        status=DomainStatus.PAUSED,
        memory=PhysicalMap.of(taken),
        vcpus=call.vcpus,
        weight=call.weight,
        cap=call.cap,
        label_sealed=call.label_sealed,
        max_pages=pages,
    )
    domain = replace(domain, store=first_values(domain))
    return Transition(replace(state, free=rest).with_domain(domain), result=domid)


class NewDomain(Protocol):
    """What is checked of a domain that is to be: a created one, or one that was saved."""

    @property
    def uuid(self) -> str: ...  # noqa: D102 - said by CreateDomain
    @property
    def name(self) -> str: ...  # noqa: D102 - same
    @property
    def vcpus(self) -> int: ...  # noqa: D102 - same
    @property
    def weight(self) -> int: ...  # noqa: D102 - same
    @property
    def cap(self) -> int: ...  # noqa: D102 - same


def check_new(state: HostState, new: NewDomain, pages: int) -> None:
    """Raise BadStateError for a taken name or an impossible number, OutOfResourceError for too few pages."""
    if not 1 <= new.vcpus <= MAX_VCPUS:
        raise BadStateError("bad-number", f"vcpus must be 1-{MAX_VCPUS}")
    _check_schedule(state, new.weight, new.cap)
    for other in state.domains.values():
        if new.uuid == other.uuid or new.name == other.name:
            raise BadStateError(
                "name-taken", f"domain {other.domid} already has this name or UUID: {new.name}"
            )
    if not 1 <= pages <= len(state.free):
        raise OutOfResourceError("no-memory", f"{pages} pages wanted, {len(state.free)} are free")


def _check_schedule(state: HostState, weight: int, cap: int) -> None:
    if not 1 <= weight <= MAX_WEIGHT or not 0 <= cap <= 100 * state.pcpus:
        raise BadStateError("bad-number", f"weight is 1-{MAX_WEIGHT}, cap 0-{100 * state.pcpus} percent here")


def free_domid(state: HostState) -> int:
    """Return the lowest domain identifier that is not in use; raises OutOfResourceError."""
    domid = lowest_free(state.domains, 1)
    if domid >= FIRST_RESERVED_DOMID:
        raise OutOfResourceError("no-domid", "all domain identifiers are in use; destroy a domain first")
    return domid


def _wanted_domid(state: HostState, domid: int) -> int:
    if not DOM0 < domid < FIRST_RESERVED_DOMID or domid in state.domains:
        raise BadStateError("bad-number", f"{domid} is no free domain identifier")
    return domid


def build_accesses(state: HostState, call: BuildDomain) -> tuple[Request, ...]:
    """Domain-0 writes into the domain."""
    return (write(state, DOM0, call.domid),)


def build(state: HostState, call: BuildDomain) -> Transition:
    """Place the image; raises BadStateError once the domain has run, OutOfResourceError for its size."""
    domain = guest(state, call.domid)
    if domain.started:
        raise BadStateError("already-started", f"domain {call.domid} has run: nothing can be placed in it")
    count = -(-len(call.image) // PAGE)
    frames = tuple(domain.memory.machine(call.gfn + index) for index in range(count))
    if call.gfn < 0 or None in frames:
        raise OutOfResourceError(
            "no-memory", f"{count} pages from gfn {call.gfn} on do not fit: give it more memory"
        )
    placed = tuple(frame for frame in frames if frame is not None)
    return Transition(state, result=count, placements=(PagePlacement(placed, call.image),))


def authority_accesses(
    state: HostState, call: UnpauseDomain | ScheduleDomain | SetMaxMemory
) -> tuple[Request, ...]:
    """Domain-0's authority, under the policy of this moment."""
    return (authorize(state.domain(DOM0).label, state.domain(call.domid).label),)


def unpause(state: HostState, call: UnpauseDomain) -> Transition:
    """Set the domain running; raises BadStateError when it is."""
    domain = guest(state, call.domid)
    if domain.status is DomainStatus.RUNNING:
        raise BadStateError("running", f"domain {call.domid} is running already")
    return Transition(state.with_domain(replace(domain, status=DomainStatus.RUNNING, started=True)))


def pause(state: HostState, call: PauseDomain) -> Transition:
    """Set the domain paused; raises BadStateError when it is."""
    domain = guest(state, call.domid)
    if domain.status is DomainStatus.PAUSED:
        raise BadStateError("paused", f"domain {call.domid} is paused already")
    return Transition(state.with_domain(replace(domain, status=DomainStatus.PAUSED)))


def schedule(state: HostState, call: ScheduleDomain) -> Transition:
    """Set weight and cap, Domain-0's own too; raises BadStateError for a number out of range."""
    _check_schedule(state, call.weight, call.cap)
    return Transition(state.with_domain(replace(state.domain(call.domid), weight=call.weight, cap=call.cap)))


def destroy(state: HostState, call: DestroyDomain | SaveDomain) -> Transition:
    """Remove the domain and every reference to it, so that a later domain of its number inherits nothing.

    Xen keeps a dying domain until the last foreign mapping is gone; here such mappings end at once.
    """
    dead = guest(state, call.domid)
    closed = [(dead.domid, port) for port in dead.ports]
    domains = []
    for domid, domain in state.domains.items():
        if domid == dead.domid:
            continue
        closed += [(domid, number) for number, port in domain.ports.items() if port.remote == dead.domid]
        domains.append((domid, _without_references(domain, dead.domid)))
    frames = dead.memory.frames
    after = replace(state, domains=state.domains.keep(domains), free=state.free.join(frames))
    port = virq_port(state.domain(DOM0), VirqLine(Virq.DOM_EXC))
    signals = () if port is None else ((DOM0, port),)
    return Transition(after, scrub=frames, closed=tuple(closed), signals=signals)


def _without_references(domain: Domain, dead: int) -> Domain:
    ports = domain.ports.keep(item for item in domain.ports.items() if item[1].remote != dead)
    grants = domain.grants.keep(item for item in domain.grants.items() if item[1].grantee != dead)
    mappings = domain.mappings.keep(item for item in domain.mappings.items() if item[1].granter != dead)
    rings, store = _rings_without(domain.rings, dead), without_reader(domain.store, dead)
    parts = ((ports, domain.ports), (grants, domain.grants), (mappings, domain.mappings))
    if all(new is old for new, old in (*parts, (rings, domain.rings), (store, domain.store))):
        return domain
    return replace(domain, ports=ports, grants=grants, mappings=mappings, rings=rings, store=store)


def _rings_without(rings: Table[RingId, ArgoRing], dead: int) -> Table[RingId, ArgoRing]:
    if not any(each.partner == dead or dead in ring.senders for each, ring in rings.items()):
        return rings
    return Table(
        (each, replace(ring, senders=ring.senders - {dead}))
        for each, ring in rings.items()
        if each.partner != dead
    )


def relabel_accesses(state: HostState, call: RelabelDomain) -> tuple[Request, ...]:
    """All that the domain has, judged again under the new label."""
    domain = guest(state, call.domid)
    return live_accesses(state.with_domain(replace(domain, label=call.new)), only=call.domid)


def relabel(state: HostState, call: RelabelDomain) -> Transition:
    """Swap the label; raises BadStateError for a domain that runs, has run, is sealed, or has another label.

    A domain that has run holds data of its old label: it must be destroyed and launched again.
    """
    domain = guest(state, call.domid)
    if domain.status is DomainStatus.RUNNING:
        raise BadStateError(
            "running", f"domain {call.domid} is running: stop it and launch it under the new label"
        )
    if domain.started or domain.label_sealed:
        raise BadStateError(
            "label-sealed", f"domain {call.domid} keeps its label: launch it again under the new one"
        )
    if domain.label != call.old:
        raise BadStateError("label-changed", f"domain {call.domid} has label {domain.label}, not {call.old}")
    return Transition(state.with_domain(replace(domain, label=call.new)))


def guest(state: HostState, domid: int) -> Domain:
    """Return a domain that is not Domain-0; raises NoSuchObjectError."""
    if domid == DOM0:
        raise NoSuchObjectError(
            "no-guest", "Domain-0 is not a guest: it is neither built, stopped nor relabelled"
        )
    return state.domain(domid)
