"""Grant table hypercalls (Xen: ``grant_table_op``): map, unmap, copy, transfer.

Copy and transfer are mediated like map: Xen 3.x left both out, so two unlike-labelled domains could pass
data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hypervisor.errors import BadStateError, NoSuchObjectError, OutOfResourceError, PageFaultError
from hypervisor.frames import PAGE, Frames
from hypervisor.memory_op import GFN_LIMIT, in_use
from hypervisor.state import Domain, Grant, GrantKind, HostState, Mapping
from hypervisor.table import lowest_free
from hypervisor.transition import PageCopy, Transition, copy_from, copy_to, grant_map, transfer

if TYPE_CHECKING:
    from acm.engine import Request

FIRST_REF: Final = 8
"""References 0-7 are reserved for the toolstack (GNTTAB_NR_RESERVED_ENTRIES)."""
MAX_GRANTS: Final = 32768
MAX_MAPPINGS: Final = 32768


@dataclass(frozen=True, slots=True)
class GrantAccess:
    """Offer one's own frame, or a hole for a transfer, to ``grantee``; the result is the reference.

    An offer moves nothing and needs no policy: map, copy and transfer do.
    """

    caller: int
    grantee: int
    gfn: int
    kind: GrantKind


@dataclass(frozen=True, slots=True)
class EndAccess:
    """Take an offer back; refused while it is mapped."""

    caller: int
    ref: int


@dataclass(frozen=True, slots=True)
class MapGrant:
    """Map the page that ``granter`` offers under ``ref``; the result is a handle."""

    caller: int
    granter: int
    ref: int
    writable: bool


@dataclass(frozen=True, slots=True)
class UnmapGrant:
    """End one's own mapping."""

    caller: int
    handle: int


@dataclass(frozen=True, slots=True)
class CopyEnd:
    """One end of a grant copy: the caller's own gfn, or another domain's grant reference; with an offset."""

    domid: int
    frame: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class CopyGrant:
    """Copy ``length`` bytes within one page each."""

    caller: int
    source: CopyEnd
    target: CopyEnd
    length: int


@dataclass(frozen=True, slots=True)
class TransferPage:
    """Give one's own frame with its content into the hole that ``remote`` offers under ``ref``."""

    caller: int
    gfn: int
    remote: int
    ref: int


def grant_access(state: HostState, call: GrantAccess) -> Transition:
    """Add the entry; raises PageFaultError (not the caller's frame, or no hole), OutOfResourceError."""
    domain = state.domain(call.caller)
    state.domain(call.grantee)
    owned = domain.memory.machine(call.gfn) is not None
    if not 0 <= call.gfn < GFN_LIMIT or owned == (call.kind is GrantKind.TRANSFER):
        raise PageFaultError(
            "bad-gfn", f"gfn {call.gfn} of domain {call.caller} cannot be offered for {call.kind}"
        )
    ref = lowest_free(domain.grants, FIRST_REF)
    if ref >= MAX_GRANTS:
        raise OutOfResourceError("no-grant-left", f"domain {call.caller} has no grant entry left")
    grants = domain.grants.put(ref, Grant(call.grantee, call.gfn, call.kind))
    return Transition(state.with_domain(replace(domain, grants=grants)), result=ref)


def end_access(state: HostState, call: EndAccess) -> Transition:
    """Drop the entry; raises BadStateError while the grantee has it mapped."""
    domain = state.domain(call.caller)
    grant = domain.grants.get(call.ref)
    if grant is None:
        raise NoSuchObjectError("no-grant", f"domain {call.caller} has no grant {call.ref}")
    for mapping in state.domain(grant.grantee).mappings.values():
        if (mapping.granter, mapping.ref) == (call.caller, call.ref):
            raise BadStateError("grant-in-use", f"grant {call.ref} is mapped by domain {grant.grantee}")
    return Transition(state.with_domain(replace(domain, grants=domain.grants.drop(call.ref))))


def map_accesses(state: HostState, call: MapGrant) -> tuple[Request, ...]:
    """Ask whether the caller may read the granter, and write it when the mapping is writable."""
    return (grant_map(state, call.caller, call.granter, writable=call.writable),)


def map_grant(state: HostState, call: MapGrant) -> Transition:
    """Resolve the frame and map it; raises NoSuchObjectError, BadStateError, OutOfResourceError."""
    mfn = _granted(state, call.caller, CopyEnd(call.granter, call.ref), writing=call.writable)
    domain = state.domain(call.caller)
    handle = lowest_free(domain.mappings)
    if handle >= MAX_MAPPINGS:
        raise OutOfResourceError("no-handle-left", f"domain {call.caller} has no mapping handle left")
    mappings = domain.mappings.put(handle, Mapping(call.granter, call.ref, mfn, call.writable))
    return Transition(state.with_domain(replace(domain, mappings=mappings)), result=handle)


def unmap_grant(state: HostState, call: UnmapGrant) -> Transition:
    """Drop the mapping; raises NoSuchObjectError."""
    domain = state.domain(call.caller)
    if call.handle not in domain.mappings:
        raise NoSuchObjectError("no-mapping", f"domain {call.caller} has no mapping {call.handle}")
    return Transition(state.with_domain(replace(domain, mappings=domain.mappings.drop(call.handle))))


def copy_accesses(state: HostState, call: CopyGrant) -> tuple[Request, ...]:
    """Ask whether the caller may read a foreign source and write a foreign target."""
    accesses = []
    if call.source.domid != call.caller:
        accesses.append(copy_from(state, call.caller, call.source.domid))
    if call.target.domid != call.caller:
        accesses.append(copy_to(state, call.caller, call.target.domid))
    return tuple(accesses)


def copy_grant(state: HostState, call: CopyGrant) -> Transition:
    """Prepare the copy; raises PageFaultError, NoSuchObjectError, BadStateError."""
    for end in (call.source, call.target):
        if call.length < 0 or end.offset < 0 or end.offset + call.length > PAGE:
            raise PageFaultError("page-crossed", f"a copy stays within one page of {PAGE} bytes")
    source = _copy_frame(state, call.caller, call.source, writing=False)
    target = _copy_frame(state, call.caller, call.target, writing=True)
    copy = PageCopy(source, call.source.offset, target, call.target.offset, call.length)
    return Transition(state, copy=copy)


def transfer_accesses(state: HostState, call: TransferPage) -> tuple[Request, ...]:
    """Ask whether the caller may write the receiver."""
    return (transfer(state, call.caller, call.remote),)


def transfer_page(state: HostState, call: TransferPage) -> Transition:
    """Move the frame.

    Raises PageFaultError, NoSuchObjectError, BadStateError while the page is in use, OutOfResourceError where
    the receiver owns all that it may.
    """
    giver = state.domain(call.caller)
    mfn = giver.memory.machine(call.gfn)
    if mfn is None:
        raise PageFaultError("no-page", f"domain {call.caller} has no frame at gfn {call.gfn}")
    grant = _entry(state, call.caller, call.remote, call.ref)
    if grant.kind is not GrantKind.TRANSFER:
        raise BadStateError("not-a-transfer", f"grant {call.ref} of domain {call.remote} accepts no page")
    page = Frames(((mfn, 1),))
    if in_use(state, page):
        raise BadStateError(
            "page-in-use", f"gfn {call.gfn} of domain {call.caller} is mapped: unmap it first"
        )
    state = state.with_domain(replace(giver, memory=giver.memory.without(call.gfn)))
    taker = _room_for_one(state.domain(call.remote), grant)
    memory = taker.memory.with_frames(grant.gfn, page)
    return Transition(state.with_domain(replace(taker, memory=memory, grants=taker.grants.drop(call.ref))))


def _room_for_one(taker: Domain, grant: Grant) -> Domain:
    if taker.memory.machine(grant.gfn) is not None:
        raise BadStateError("no-hole", f"gfn {grant.gfn} of domain {taker.domid} has a frame by now")
    if taker.memory.pages >= taker.max_pages:
        raise OutOfResourceError(
            "max-pages", f"domain {taker.domid} owns all {taker.max_pages} pages that it may own"
        )
    return taker


def _copy_frame(state: HostState, caller: int, end: CopyEnd, *, writing: bool) -> int:
    if end.domid != caller:
        return _granted(state, caller, end, writing=writing)
    mfn = state.domain(caller).memory.machine(end.frame)
    if mfn is None:
        raise PageFaultError("no-page", f"domain {caller} has no frame at gfn {end.frame}")
    return mfn


def _granted(state: HostState, caller: int, end: CopyEnd, *, writing: bool) -> int:
    grant = _entry(state, caller, end.domid, end.frame)
    if grant.kind is GrantKind.TRANSFER or (writing and grant.kind is not GrantKind.WRITE):
        raise BadStateError("grant-kind", f"grant {end.frame} of domain {end.domid} is for {grant.kind} only")
    return _frame_behind(state.domain(end.domid), grant)


def _entry(state: HostState, caller: int, granter: int, ref: int) -> Grant:
    grant = state.domain(granter).grants.get(ref)
    if grant is None or grant.grantee != caller:
        raise NoSuchObjectError("no-grant", f"domain {granter} has no grant {ref} for domain {caller}")
    return grant


def _frame_behind(granter: Domain, grant: Grant) -> int:
    mfn = granter.memory.machine(grant.gfn)
    if mfn is None:
        raise PageFaultError("no-page", f"domain {granter.domid} has no frame at gfn {grant.gfn} any more")
    return mfn
