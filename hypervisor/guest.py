"""A domain's own view of the machine: its memory, its mappings, its ports, and its hypercalls.

The data path is here: it looks up what is bound in the domain's own tables, as an MMU does, and asks no
policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypervisor.argo import RegisterRing, UnregisterRing
from hypervisor.argo_ring import ArgoMessage, ArgoWindow
from hypervisor.errors import BadStateError, NoSuchObjectError, PageFaultError
from hypervisor.evtchn import AllocUnbound, BindInterdomain, BindVirq, ClosePort
from hypervisor.frames import PAGE
from hypervisor.gnttab import (
    CopyEnd,
    CopyGrant,
    EndAccess,
    GrantAccess,
    MapGrant,
    TransferPage,
    UnmapGrant,
)
from hypervisor.memory_op import DecreaseReservation, IncreaseReservation
from hypervisor.state import AccessMode, Domain, DomainStatus, GrantKind, RingId, Virq
from hypervisor.xenstore import StoreRead, StoreRemove, StoreShare, StoreWrite

if TYPE_CHECKING:
    from hypervisor.hypercalls import Call
    from hypervisor.memory import MachineMemory
    from hypervisor.monitor import ReferenceMonitor


class Guest:
    """What software inside one domain can do; a paused domain can do nothing."""

    def __init__(self, monitor: ReferenceMonitor, memory: MachineMemory, domid: int) -> None:
        self.domid = domid
        self._monitor = monitor
        self._memory = memory
        self._uuid = monitor.state.domain(domid).uuid

    def read(self, gfn: int, offset: int, length: int) -> bytes:
        """Read one's own memory within a page; raises PageFaultError."""
        return self._memory.read(self._own(gfn), *_within(offset, length))

    def write(self, gfn: int, offset: int, data: bytes) -> None:
        """Write one's own memory within a page; raises PageFaultError."""
        _within(offset, len(data))
        self._memory.write(self._own(gfn), offset, data)

    def read_mapped(self, handle: int, offset: int, length: int) -> bytes:
        """Read a mapped page; raises PageFaultError."""
        return self._memory.read(self._mapped(handle, writing=False), *_within(offset, length))

    def write_mapped(self, handle: int, offset: int, data: bytes) -> None:
        """Write a mapped page; raises PageFaultError when it is mapped read-only."""
        _within(offset, len(data))
        self._memory.write(self._mapped(handle, writing=True), offset, data)

    def send(self, port: int) -> None:
        """Signal the other end of a bound channel; raises NoSuchObjectError, BadStateError."""
        self._running()
        self._monitor.send(self.domid, port)

    def take_signals(self, port: int) -> int:
        """Return how often one's own port was signalled since the last call."""
        if port not in self._running().ports:
            raise NoSuchObjectError("no-port", f"domain {self.domid} has no port {port}")
        return self._memory.take_signals(self.domid, port)

    def alloc_unbound(self, remote: int) -> int:
        """Hypercall; returns the new port."""
        return self._invoke(AllocUnbound(self.domid, remote))

    def bind_interdomain(self, remote: int, remote_port: int) -> int:
        """Hypercall; returns the new local port."""
        return self._invoke(BindInterdomain(self.domid, remote, remote_port))

    def close(self, port: int) -> None:
        """Hypercall."""
        self._invoke(ClosePort(self.domid, port))

    def bind_virq(self, virq: Virq, vcpu: int = 0) -> int:
        """Hypercall; returns the port that the interrupt signals."""
        return self._invoke(BindVirq(self.domid, virq, vcpu))

    def grant_access(self, grantee: int, gfn: int, kind: GrantKind) -> int:
        """Offer a frame (or a hole, for a transfer); returns the reference."""
        return self._invoke(GrantAccess(self.domid, grantee, gfn, kind))

    def end_access(self, ref: int) -> None:
        """Take an offer back."""
        self._invoke(EndAccess(self.domid, ref))

    def map_grant(self, granter: int, ref: int, *, writable: bool) -> int:
        """Hypercall; returns a handle for ``read_mapped`` and ``write_mapped``."""
        return self._invoke(MapGrant(self.domid, granter, ref, writable))

    def unmap_grant(self, handle: int) -> None:
        """Hypercall."""
        self._invoke(UnmapGrant(self.domid, handle))

    def copy_grant(self, source: CopyEnd, target: CopyEnd, length: int) -> None:
        """Hypercall; see :class:`hypervisor.gnttab.CopyGrant`."""
        self._invoke(CopyGrant(self.domid, source, target, length))

    def transfer_page(self, gfn: int, remote: int, ref: int) -> None:
        """Hypercall; gives the page away."""
        self._invoke(TransferPage(self.domid, gfn, remote, ref))

    def decrease_reservation(self, gfn: int, count: int) -> None:
        """Hypercall; gives frames back to the host."""
        self._invoke(DecreaseReservation(self.domid, gfn, count))

    def increase_reservation(self, gfn: int, count: int) -> None:
        """Hypercall; takes free frames into a hole."""
        self._invoke(IncreaseReservation(self.domid, gfn, count))

    def register_ring(self, port: int, partner: int | None, gfns: tuple[int, ...]) -> None:
        """Hypercall; empties the ring first, as its owner does."""
        if gfns:
            ArgoWindow([OwnPage(self, gfn) for gfn in gfns[:1]]).clear()
        self._invoke(RegisterRing(self.domid, port, partner, gfns))

    def unregister_ring(self, port: int, partner: int | None) -> None:
        """Hypercall."""
        self._invoke(UnregisterRing(self.domid, port, partner))

    def send_message(self, owner: int, port: int, data: bytes, *, kind: int = 0, source: int = 0) -> None:
        """Put a message into another domain's ring, from one's own port ``source``.

        See :meth:`hypervisor.monitor.ReferenceMonitor.send_message`.
        """
        self._running()
        self._monitor.send_message(self.domid, owner, port, ArgoMessage(self.domid, source, kind, data))

    def take_message(self, port: int, partner: int | None) -> ArgoMessage | None:
        """Take the oldest message out of one's own ring; raises NoSuchObjectError, RingError."""
        domain = self._running()
        ring = domain.rings.get(RingId(port, partner))
        if ring is None:
            raise NoSuchObjectError("no-ring", f"domain {self.domid} has no such ring at port {port}")
        return ArgoWindow([OwnPage(self, gfn) for gfn in ring.gfns]).take()

    def read_store(self, owner: int, path: str) -> bytes:
        """Return a value of the configuration store; raises NoSuchObjectError, HypervisorDenied."""
        self._invoke(StoreRead(self.domid, owner, path))
        return self._monitor.state.domain(owner).store[path].value

    def write_store(self, owner: int, path: str, value: bytes) -> None:
        """Hypercall."""
        self._invoke(StoreWrite(self.domid, owner, path, value))

    def remove_store(self, owner: int, path: str) -> None:
        """Hypercall; removes what lies below as well."""
        self._invoke(StoreRemove(self.domid, owner, path))

    def share_store(self, path: str, reader: int, mode: AccessMode | None) -> None:
        """Hypercall; lets another domain read, or read and write, one's own value."""
        self._invoke(StoreShare(self.domid, path, reader, mode))

    def _invoke(self, call: Call) -> int:
        self._same()
        return self._monitor.invoke(call)

    def _same(self) -> Domain:
        domain = self._monitor.state.domain(self.domid)
        if domain.uuid != self._uuid:
            raise NoSuchObjectError("no-domain", f"domain {self.domid} is another one by now")
        return domain

    def _running(self) -> Domain:
        domain = self._same()
        if domain.status is not DomainStatus.RUNNING:
            raise BadStateError("not-running", f"domain {self.domid} is paused")
        return domain

    def _own(self, gfn: int) -> int:
        mfn = self._running().memory.machine(gfn)
        if mfn is None:
            raise PageFaultError("no-page", f"domain {self.domid} has no frame at gfn {gfn}")
        return mfn

    def _mapped(self, handle: int, *, writing: bool) -> int:
        mapping = self._running().mappings.get(handle)
        if mapping is None:
            raise PageFaultError("no-page", f"domain {self.domid} has no mapping {handle}")
        if writing and not mapping.writable:
            raise PageFaultError("read-only-page", f"mapping {handle} of domain {self.domid} is read-only")
        return mapping.mfn


def _within(offset: int, length: int) -> tuple[int, int]:
    if offset < 0 or length < 0 or offset + length > PAGE:
        raise PageFaultError("page-crossed", f"an access stays within one page of {PAGE} bytes")
    return offset, length


@dataclass(frozen=True, slots=True)
class OwnPage:
    """A guest's own frame as one side of a ring."""

    guest: Guest
    gfn: int

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the page; raises PageFaultError."""
        return self.guest.read(self.gfn, offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Change bytes of the page; raises PageFaultError."""
        self.guest.write(self.gfn, offset, data)


@dataclass(frozen=True, slots=True)
class MappedPage:
    """A mapping as one side of a ring."""

    guest: Guest
    handle: int

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the page; raises PageFaultError."""
        return self.guest.read_mapped(self.handle, offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Change bytes of the page; raises PageFaultError."""
        self.guest.write_mapped(self.handle, offset, data)
