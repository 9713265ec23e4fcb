"""A host on a real Xen: the reference monitor decides and records, the driver carries out.

The monitor's state says who was launched here under which ACM label; Xen says who runs. Both are compared
before anything starts and at every survey. A domain is made paused before the monitor admits it, since Xen
chooses its number; it cannot act until it is unpaused, and a refusal destroys it. What domains share with one
another at run time is for Xen's own policy (FLASK) to permit, by the context that stands for the label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from hypervisor.domctl import DestroyDomain, PauseDomain, UnpauseDomain
from hypervisor.errors import NoContext, StrangerRuns, UnsupportedError, XenError
from hypervisor.guarded import GuardedHost
from hypervisor.state import DOM0
from hypervisor.toolstack import RunState, Toolstack
from hypervisor.undo import Undo
from hypervisor.xen.domaininfo import by_domid
from hypervisor.xen.rendering import check_text
from hypervisor.xen.survey import Launched, Survey, survey

if TYPE_CHECKING:
    from collections.abc import Callable

    from acm.policy import Policy
    from acm.update import Update
    from hypervisor.audit import AuditTrail
    from hypervisor.blkif import BlockDevice
    from hypervisor.hostconfig import HostDescription
    from hypervisor.netif import NetDevice
    from hypervisor.ports import DomainReading, HistoryMeasurer, HistoryStore
    from hypervisor.toolstack import DomainInfo, DomainOrder, Limits
    from hypervisor.xlconfig import DomainConfig


class LabellingToolstack(Toolstack, Protocol):
    """A toolstack of a Xen; ``has_flask`` says whether it runs domains under FLASK contexts."""

    has_flask: bool


class GuardedXen(GuardedHost):
    """Fits :class:`hypervisor.toolstack.LaunchHost`, for paravirtual guests that bring all in a ramdisk."""

    def __init__(
        self,
        description: HostDescription,
        policy: Policy,
        xen: LabellingToolstack,
        *,
        clock: Callable[[], int],
        trail: AuditTrail | None = None,
        history: HistoryStore | None = None,
        measure_history: HistoryMeasurer | None = None,
    ) -> None:
        super().__init__(
            description,
            policy,
            clock=clock,
            trail=trail,
            history=history,
            measure_history=measure_history,
        )
        self._xen = xen
        self._retired: set[tuple[int, str]] = set()
        self._seen: dict[tuple[int, str], int] = {}

    def admit(self, config: DomainConfig) -> None:
        """Refuse what a real Xen does not get from us yet, and everything while a stranger runs.

        Raises UnsupportedError, NoContext, StrangerRuns; the latter two are recorded.
        """
        for what, there in (
            ("disks", config.disks),
            ("network interfaces", config.vifs),
            (f"type {config.type!r}", config.type != "pv"),
        ):
            if there:
                raise UnsupportedError(
                    "not-supported",
                    f"{config.name}: a guest of a real Xen cannot have {what} yet: take that out",
                )
        check_text("cmdline", config.cmdline)
        if self._xen.has_flask and config.label not in self.description.flask:
            what = f"label {config.label} has no FLASK context: add it under flask: in the host's description"
            raise self.monitor.refuse("launch", NoContext("no-flask-context", what))
        found = self.survey().found
        if found:
            what = f"domain {found[0].domid} ({found[0].uuid}) was not launched here: destroy it first"
            raise self.monitor.refuse("launch", StrangerRuns("unknown-domain", what))

    def create(self, order: DomainOrder) -> int:
        """Make a paused domain, see that Xen has it as ordered, and admit it; raising leaves no domain."""
        undo, domid = Undo(), self._xen.create(order)
        undo.push("domain", lambda: self._retire(domid, order.uuid))
        with undo.on_failure():
            self._expect_paused(domid, Launched(order.uuid, self._context(order.label)))
            self.reserve(order, domid)
        return domid

    def pause(self, domid: int) -> None:
        """Stop a domain from running; it is stopped before that is recorded."""
        self.state.domain(domid)
        self._xen.pause(domid)
        self.invoke(PauseDomain(DOM0, domid))

    def unpause(self, domid: int) -> None:
        """Let a domain run, if Xen still has it as it was launched; recorded before it runs."""
        domain = self.state.domain(domid)
        ours = Launched(domain.uuid, self._context(domain.label))
        self._expect_paused(domid, ours, has_run=domain.started)
        self.invoke(UnpauseDomain(DOM0, domid))
        self._xen.unpause(domid)

    def destroy(self, domid: int) -> None:
        """End a domain: in Xen first, so that none runs that the state does not know."""
        self._retire(domid, self.state.domain(domid).uuid)
        self.invoke(DestroyDomain(DOM0, domid))

    def take_back(self, domid: int) -> None:
        """End a domain whose launch has failed, also where that cannot be recorded now."""
        self._retire(domid, self.state.domain(domid).uuid)
        self.monitor.take_back(DestroyDomain(DOM0, domid), actor="launch", why="undo")

    def domains(self) -> tuple[DomainInfo, ...]:
        """Return all domains as Xen lists them."""
        return self._xen.domains()

    def limits(self, domid: int) -> Limits:
        """Return what Xen lets a domain use."""
        return self._xen.limits(domid)

    def survey(self) -> Survey:
        """Compare Xen's list with what was launched here."""
        ours = {
            domid: Launched(each.uuid, self._context(each.label), self._seen.get((domid, each.uuid), 0))
            for domid, each in self.state.domains.items()
            if domid != DOM0
        }
        listed = self._xen.domains()
        compared = survey(listed, ours, self._retired)
        known = [each for each in listed if each.domid in ours and each not in compared.found]
        self._seen |= {(each.domid, each.uuid): each.cpu_ns for each in known}
        return compared

    def enforce(
        self, judged: Update, *, actor: str = "", why: str = "", measure: Callable[[], object] | None = None
    ) -> int:
        """Carry out a judged update.

        The domains that are to stop are destroyed in Xen when all is judged and recorded, before it is
        measured.
        """

        def last() -> None:
            for domid in sorted(judged.amendment.stop):
                self._retire(domid, self.state.domain(domid).uuid)
            if measure is not None:
                measure()

        return super().enforce(judged, actor=actor, why=why, measure=last)

    def connect_disk(self, domid: int, identity: str, content: bytes = b"") -> BlockDevice:
        """Refuse: see :meth:`admit`."""
        del content
        self._no_device(domid, identity)

    def connect_vif(self, domid: int, identity: str, mac: str) -> NetDevice:
        """Refuse: see :meth:`admit`."""
        del mac
        self._no_device(domid, identity)

    def is_connected(self, domid: int, device: BlockDevice | NetDevice) -> bool:
        """Say no: no domain has a device."""
        del domid, device
        return False

    def reading(self, domid: int) -> DomainReading:
        """Refuse: there is no meter on a real Xen yet, so nobody asks."""
        raise UnsupportedError("no-meter", f"domain {domid}: a real Xen is not metered yet")

    def _no_device(self, domid: int, identity: str) -> NoReturn:
        raise UnsupportedError("not-supported", f"domain {domid} of a real Xen cannot use {identity} yet")

    def _context(self, label: str) -> str | None:
        return self.description.flask.get(label) if self._xen.has_flask else None

    def _expect_paused(self, domid: int, ours: Launched, *, has_run: bool = False) -> None:
        """Raise XenError unless Xen lists the domain, paused, with this UUID and context, and never run."""
        info = by_domid(self._xen.domains(), domid)
        if info is None or (info.uuid, info.label) != (ours.uuid, ours.context):
            raise XenError("xen-domain", f"domain {domid} is not the one that was ordered")
        if info.state is not RunState.PAUSED:
            raise XenError("xen-domain", f"domain {domid} is {info.state}, and was to be paused")
        if info.cpu_ns and not has_run:
            raise XenError("xen-domain", f"domain {domid} has run before it was measured")

    def _retire(self, domid: int, uuid: str) -> None:
        info = by_domid(self._xen.domains(), domid)
        if info is not None and info.uuid == uuid:
            self._retired.add((domid, uuid))
            self._xen.destroy(domid)
