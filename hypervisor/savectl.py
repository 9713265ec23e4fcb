"""Save, resume and migrate: a domain leaves a host as one value, and comes back only under its policy.

Xen's sHype checked a resumed or migrated domain like a new one: is its label valid here, may this host run
it, does the Chinese Wall stand against it. The same questions stand here, with the operations ``resume`` and
``migrate-in``. Devices, channels and grants do not travel: they are bound again, and so asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from hypervisor import transition
from hypervisor.domctl import check_new, destroy, free_domid, guest
from hypervisor.errors import BadStateError, PolicyMismatch
from hypervisor.frames import PAGE, Frames, PhysicalMap
from hypervisor.memory_op import GFN_LIMIT
from hypervisor.state import DOM0, Domain, DomainStatus, HostState
from hypervisor.transition import PagePlacement, Transition
from hypervisor.xenstore import first_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acm.engine import Request
    from hypervisor.memory import MachineMemory


class Arrival(StrEnum):
    """How a saved domain comes to a host."""

    RESUME = "resume"
    MIGRATE_IN = "migrate-in"


@dataclass(frozen=True, slots=True)
class SavedDomain:
    """A domain at rest. Its label is one of the policy ``policy`` with that digest, and of no other.

    ``extents`` are (gfn, pages) that it owns, ``pages`` (gfn, 4096 bytes) those that hold something.
    """

    uuid: str
    name: str
    label: str
    policy: str
    policy_digest: str
    vcpus: int
    weight: int
    cap: int
    max_pages: int
    started: bool
    label_sealed: bool
    extents: tuple[tuple[int, int], ...]
    pages: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class SaveDomain:
    """Take a paused domain off the host: Domain-0 reads all it has, then it is destroyed."""

    caller: int
    domid: int


@dataclass(frozen=True, slots=True)
class RestoreDomain:
    """Bring a saved domain to this host, paused; the result is its domain identifier."""

    caller: int
    saved: SavedDomain
    arrival: Arrival


def save_accesses(state: HostState, call: SaveDomain) -> tuple[Request, ...]:
    """Domain-0 reads the domain."""
    return (transition.read(state, DOM0, call.domid),)


def save(state: HostState, call: SaveDomain) -> Transition:
    """Destroy the domain, whose content the monitor reads before; raises BadStateError while it runs."""
    if guest(state, call.domid).status is DomainStatus.RUNNING:
        raise BadStateError("running", f"domain {call.domid} is running: pause it first")
    return destroy(state, call)


def saved_domain(state: HostState, call: SaveDomain, memory: MachineMemory) -> SavedDomain:
    """Return the domain as a value; the monitor has permitted the call."""
    domain = state.domain(call.domid)
    return SavedDomain(
        uuid=domain.uuid,
        name=domain.name,
        label=domain.label,
        policy=state.policy.name,
        policy_digest=state.policy.digest,
        vcpus=domain.vcpus,
        weight=domain.weight,
        cap=domain.cap,
        max_pages=domain.max_pages,
        started=domain.started,
        label_sealed=domain.label_sealed,
        extents=tuple((each.gfn, each.count) for each in domain.memory.extents),
        pages=memory.contents(domain.memory),
    )


def restore_accesses(state: HostState, call: RestoreDomain) -> tuple[Request, ...]:
    """Ask as for a start; then for Domain-0's authority, and to write what the domain held."""
    ask = transition.resume if call.arrival is Arrival.RESUME else transition.migrate_in
    host = state.domain(DOM0).label
    return (
        ask(call.saved.label, host, state.running_labels()),
        transition.authorize(host, call.saved.label),
        transition.write_label(host, call.saved.label),
    )


def restore(state: HostState, call: RestoreDomain) -> Transition:
    """Add the paused domain; raises PolicyMismatch, BadStateError (a broken image), OutOfResourceError."""
    saved = call.saved
    if saved.policy_digest != state.policy.digest:
        # Another version may mean something else by the same name: renames are not followed here.
        raise PolicyMismatch(
            "policy-mismatch", f"{saved.name} was saved under another policy {saved.policy}: launch it again"
        )
    count = sum(pages for _, pages in saved.extents)
    check_new(state, saved, count)
    if not count <= saved.max_pages <= state.pages:
        raise BadStateError("bad-number", f"{saved.name}: max_pages does not fit its memory or this host")
    domid = free_domid(state)
    taken, rest = state.free.take(count)
    domain = Domain(
        domid=domid,
        uuid=saved.uuid,
        name=saved.name,
        label=saved.label,
        status=DomainStatus.PAUSED,
        memory=_memory(saved, taken),
        vcpus=saved.vcpus,
        weight=saved.weight,
        cap=saved.cap,
        started=saved.started,
        label_sealed=saved.label_sealed,
        max_pages=saved.max_pages,
    )
    domain = replace(domain, store=first_values(domain))
    placements = tuple(_placements(domain, saved))
    return Transition(replace(state, free=rest).with_domain(domain), result=domid, placements=placements)


def _memory(saved: SavedDomain, taken: Frames) -> PhysicalMap:
    memory = PhysicalMap()
    for gfn, count in saved.extents:
        if count < 1 or not 0 <= gfn <= GFN_LIMIT - count or len(memory.within(gfn, count)):
            raise BadStateError("bad-image", f"{saved.name}: its extents overlap, are empty or lie too high")
        part, taken = taken.take(count)
        memory = memory.with_frames(gfn, part)
    return memory


def _placements(domain: Domain, saved: SavedDomain) -> Iterator[PagePlacement]:
    for gfn, page in saved.pages:
        mfn = domain.memory.machine(gfn)
        if mfn is None or len(page) != PAGE:
            raise BadStateError("bad-image", f"{saved.name}: page {gfn} is not one of its own")
        yield PagePlacement((mfn,), page)
