"""The driver of a real Xen: :class:`hypervisor.toolstack.Toolstack` over its library and its toolstack.

Listing, pausing and unpausing go through the binding; what needs xenstore and consoles too (create, destroy,
names, scheduling) through ``xl``. Nothing is decided here, and nothing is recorded.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from hypervisor.errors import NoSuchObjectError, XenError
from hypervisor.toolstack import DomainInfo, DomainOrder, Limits, RunState
from hypervisor.undo import Undo
from hypervisor.xen import binding, domaininfo, xllist
from hypervisor.xen.binding import Xc
from hypervisor.xen.rendering import render
from hypervisor.xen.sealed import sealed
from hypervisor.xen.xl import Xl, XlProgram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hypervisor.xen.report import XenReport


class XenDriver:
    """Acts on the Xen under this Domain-0. ``contexts`` leads from ACM labels to FLASK contexts."""

    def __init__(self, xc: Xc, xl: Xl, contexts: Mapping[str, str]) -> None:
        self._xc = xc
        self._xl = xl
        self._contexts = contexts
        self.has_flask = xc.enforcing() is not None

    @classmethod
    def here(cls, contexts: Mapping[str, str]) -> XenDriver:
        """Return the driver for the running Xen; raises XenError where none runs."""
        place = binding.place()
        return cls(Xc(binding.load(place)), XlProgram(place), contexts)

    def report(self) -> XenReport:
        """Return what the hypervisor says of itself; raises XenError."""
        return self._xc.report()

    def domains(self) -> tuple[DomainInfo, ...]:
        """Return all domains; raises XenError."""
        known: dict[int, str] = {}

        def context(sid: int) -> str | None:
            if not self.has_flask:
                return None
            if sid not in known:
                known[sid] = self._xc.context(sid)
            return known[sid]

        return domaininfo.read(self._xc.domains(), context)

    def name(self, domid: int) -> str:
        """Return the name under which Xen's toolstack knows a domain; empty where it knows none."""
        return next((each.name for each in self._listed() if each.domid == domid), "")

    def limits(self, domid: int) -> Limits:
        """Return what a domain may use; raises NoSuchObjectError, XenError."""
        listed = next((each for each in self._listed() if each.domid == domid), None)
        info = domaininfo.by_domid(self.domains(), domid)
        if info is None or listed is None or listed.weight is None:
            raise NoSuchObjectError("no-domain", f"Xen's toolstack knows no domain {domid}")
        return Limits(info.vcpus, info.max_pages, listed.weight, listed.cap or 0)

    def create(self, order: DomainOrder) -> int:
        """Make a paused domain of the very bytes in ``order``; raising leaves no domain of its UUID.

        Raises XenError, UnsupportedError.
        """
        if self._of(order.uuid):
            raise XenError("xen-domain", f"Xen has a domain with UUID {order.uuid} already")
        undo = Undo()
        undo.push("domain", lambda: self._destroy_all(order.uuid))
        with undo.on_failure():
            self._run_create(order)
            made = self._of(order.uuid)
            if len(made) != 1:
                raise XenError("xen-domain", f"xl create made {len(made)} domains of UUID {order.uuid}")
        return made[0].domid

    def _run_create(self, order: DomainOrder) -> None:
        context = self._contexts.get(order.label) if self.has_flask else None
        with ExitStack() as files:
            kernel = files.enter_context(sealed("kernel", order.kernel))
            held = [kernel]
            ramdisk = None
            if order.ramdisk is not None:
                held.append(files.enter_context(sealed("ramdisk", order.ramdisk)))
                ramdisk = _inherited(held[-1])
            config = files.enter_context(
                sealed("config", render(order, _inherited(kernel), ramdisk, context))
            )
            # -p: paused; -e: nobody in the background who would start the domain again by himself.
            self._xl(("create", "-q", "-p", "-e", _inherited(config)), (*held, config))

    def pause(self, domid: int) -> None:
        """Stop a domain from running."""
        self._xc.pause(domid)

    def unpause(self, domid: int) -> None:
        """Let a paused domain run."""
        self._xc.unpause(domid)

    def destroy(self, domid: int) -> None:
        """End a domain; raises XenError unless it is gone, or going, afterwards."""
        before = domaininfo.by_domid(self.domains(), domid)
        if before is None or before.state is RunState.DYING:
            return
        self._xl(("destroy", str(domid)))
        after = domaininfo.by_domid(self.domains(), domid)
        if after is not None and after.uuid == before.uuid and after.state is not RunState.DYING:
            raise XenError("xen-domain", f"domain {domid} is still there after xl destroy")

    def _destroy_all(self, uuid: str) -> None:
        for each in self._of(uuid):
            self.destroy(each.domid)

    def _of(self, uuid: str) -> list[DomainInfo]:
        return [each for each in self.domains() if each.uuid == uuid]

    def _listed(self) -> tuple[xllist.ListedDomain, ...]:
        return xllist.parse(self._xl(("list", "-l")))


def _inherited(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"
