"""Ballooning (Xen: ``memory_op`` decrease and increase reservation) and its limit (``domctl max_mem``).

A domain gives its own frames back and takes free ones, up to its limit. A frame that somebody else can still
reach, by a mapping or through an Argo ring, is not given back: its next owner would be read. How much is free
on a host shows to whoever balloons; that is a covert channel of the machine, not a flow of data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hypervisor.errors import BadStateError, OutOfResourceError, PageFaultError
from hypervisor.frames import PAGES_PER_MIB, Frames
from hypervisor.state import HostState
from hypervisor.transition import Transition

if TYPE_CHECKING:
    from collections.abc import Iterator


GFN_LIMIT: Final = 1 << 40
"""The first guest frame number that no domain can have (52 bits of address)."""
MAX_EXTENT: Final = 1 << 24
"""Pages that one call gives or takes: 64 GiB."""


@dataclass(frozen=True, slots=True)
class DecreaseReservation:
    """Give ``count`` of one's own frames from ``gfn`` on back to the host; the result is the count."""

    caller: int
    gfn: int
    count: int


@dataclass(frozen=True, slots=True)
class IncreaseReservation:
    """Take ``count`` free frames into the holes from ``gfn`` on; the result is the count."""

    caller: int
    gfn: int
    count: int


@dataclass(frozen=True, slots=True)
class SetMaxMemory:
    """Set how many MiB a domain may own; what it owns above that stays until it gives it back."""

    caller: int
    domid: int
    memory_mib: int


def decrease(state: HostState, call: DecreaseReservation) -> Transition:
    """Scrub and free the frames; raises PageFaultError for a hole, BadStateError while one is in use."""
    domain = state.domain(call.caller)
    _check_extent(call)
    frames = domain.memory.within(call.gfn, call.count)
    if len(frames) != call.count:
        raise PageFaultError(
            "no-page", f"domain {call.caller} does not own {call.count} frames from gfn {call.gfn} on"
        )
    if in_use(state, frames):
        raise BadStateError("page-in-use", f"a frame of domain {call.caller} is mapped: unmap it first")
    domain = replace(domain, memory=domain.memory.without(call.gfn, call.count))
    after = replace(state, free=state.free.join(frames)).with_domain(domain)
    return Transition(after, result=call.count, scrub=frames)


def increase(state: HostState, call: IncreaseReservation) -> Transition:
    """Add frames; raises PageFaultError where one is, OutOfResourceError above the limit or what is free."""
    domain = state.domain(call.caller)
    _check_extent(call)
    if len(domain.memory.within(call.gfn, call.count)):
        raise PageFaultError(
            "no-hole", f"domain {call.caller} has frames at gfn {call.gfn} to {call.gfn + call.count - 1}"
        )
    if domain.memory.pages + call.count > domain.max_pages:
        raise OutOfResourceError("max-pages", f"domain {call.caller} may own {domain.max_pages} pages")
    if call.count > len(state.free):
        raise OutOfResourceError("no-memory", f"{call.count} pages wanted, {len(state.free)} are free")
    taken, rest = state.free.take(call.count)
    domain = replace(domain, memory=domain.memory.with_frames(call.gfn, taken))
    return Transition(replace(state, free=rest).with_domain(domain), result=call.count)


def set_max(state: HostState, call: SetMaxMemory) -> Transition:
    """Set the limit; raises BadStateError for a size that this host does not have."""
    pages = call.memory_mib * PAGES_PER_MIB
    if not 1 <= pages <= state.pages:
        raise BadStateError("bad-number", f"memory must be 1-{state.pages // PAGES_PER_MIB} MiB on this host")
    return Transition(state.with_domain(replace(state.domain(call.domid), max_pages=pages)))


def in_use(state: HostState, frames: Frames) -> bool:
    """Tell whether a mapping or an Argo ring reaches any of these frames."""
    return any(mfn in frames for mfn in _reached(state))


def _reached(state: HostState) -> Iterator[int]:
    for domain in state.domains.values():
        for mapping in domain.mappings.values():
            yield mapping.mfn
        for ring in domain.rings.values():
            yield from ring.mfns


def _check_extent(call: DecreaseReservation | IncreaseReservation) -> None:
    if not 1 <= call.count <= MAX_EXTENT or not 0 <= call.gfn <= GFN_LIMIT - call.count:
        raise BadStateError("bad-number", f"an extent is 1-{MAX_EXTENT} pages below gfn {GFN_LIMIT}")
