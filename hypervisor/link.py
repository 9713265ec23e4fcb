"""What joins a front end to its back end: granted pages that stay mapped, and an event channel.

Grants and channel are bound once, under the policy. After that a request moves bytes without any question
(Xen's persistent grants).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from hypervisor.errors import HypervisorDenied, HypervisorUsageError
from hypervisor.frames import PAGE
from hypervisor.guest import Guest, MappedPage, OwnPage
from hypervisor.state import GrantKind, Port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hypervisor.state import HostState


class Link:
    """A connected front end (a guest) and back end (Domain-0) with shared pages.

    ``front_pages`` and ``back_pages`` are the same frames seen from both sides; ``refs`` are the guest's
    grant references for them. Raises HypervisorDenied or HypervisorUsageError; then nothing stays bound.
    """

    def __init__(self, front: Guest, back: Guest, gfns: Sequence[int]) -> None:
        self._undo = ExitStack()
        self.front, self.back = front, back
        with ExitStack() as undo:
            self.refs = tuple(self._grant(undo, gfn) for gfn in gfns)
            self._handles = tuple(self._map(undo, ref) for ref in self.refs)
            self.front_port = front.alloc_unbound(back.domid)
            undo.callback(_quietly, front.close, self.front_port)
            self.back_port = back.bind_interdomain(front.domid, self.front_port)
            undo.callback(_quietly, back.close, self.back_port)
            self._undo = undo.pop_all()
        self.front_pages = tuple(OwnPage(front, gfn) for gfn in gfns)
        self.back_pages = tuple(MappedPage(back, handle) for handle in self._handles)
        for page in self.front_pages:
            page.write(0, bytes(PAGE))

    def buffer(self, ref: int) -> MappedPage | None:
        """Return the back end's view of the page behind a grant reference, if it is one of this link."""
        return self.back_pages[self.refs.index(ref)] if ref in self.refs else None

    def is_bound(self, state: HostState) -> bool:
        """Tell whether channel and mappings are all there still. Ask before their numbers are used again."""
        front, back = state.domains.get(self.front.domid), state.domain(self.back.domid)
        if front is None or front.ports.get(self.front_port) != Port(self.back.domid, self.back_port):
            return False
        mapped = [back.mappings.get(handle) for handle in self._handles]
        return all(
            one is not None and (one.granter, one.ref) == (self.front.domid, ref)
            for one, ref in zip(mapped, self.refs, strict=True)
        )

    def disconnect(self) -> None:
        """Unbind everything; what is gone already (a destroyed domain) is no error."""
        self._undo.close()

    def _grant(self, undo: ExitStack, gfn: int) -> int:
        ref = self.front.grant_access(self.back.domid, gfn, GrantKind.WRITE)
        undo.callback(_quietly, self.front.end_access, ref)
        return ref

    def _map(self, undo: ExitStack, ref: int) -> int:
        handle = self.back.map_grant(self.front.domid, ref, writable=True)
        undo.callback(_quietly, self.back.unmap_grant, handle)
        return handle


def _quietly(action: Callable[[int], object], number: int) -> None:
    try:
        action(number)
    except (HypervisorUsageError, HypervisorDenied):
        return
