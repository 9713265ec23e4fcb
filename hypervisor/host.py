"""The model host: monitor, memory, scheduler and devices of one x86 machine under Xen, put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hypervisor import blkif, netif
from hypervisor.audit import AuditTrail
from hypervisor.blkif import BlockBackend, BlockDevice, BlockTally, VirtualDisk
from hypervisor.counters import Counters, HostCounters
from hypervisor.domctl import BuildDomain, DestroyDomain, PauseDomain, UnpauseDomain
from hypervisor.errors import (
    BadStateError,
    HypervisorUsageError,
    NoSuchObjectError,
    OutOfResourceError,
)
from hypervisor.frames import PAGE, PAGES_PER_MIB
from hypervisor.guarded import GuardedHost
from hypervisor.guest import Guest
from hypervisor.link import Link
from hypervisor.netif import NetBackend, NetDevice, NetTally, VlanSwitch
from hypervisor.ports import DomainReading, HistoryMeasurer, HistoryStore
from hypervisor.savectl import SavedDomain, SaveDomain
from hypervisor.scheduler import CreditScheduler, Party, Runstate
from hypervisor.state import DOM0, AccessMode, Domain, DomainStatus, ResourceKind, Virq, VirqLine
from hypervisor.toolstack import DomainInfo, DomainOrder, Limits, RunState
from hypervisor.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Callable

    from acm.policy import Policy
    from acm.update import Update
    from hypervisor.hostconfig import HostDescription
    from hypervisor.xlconfig import DomainConfig

KERNEL_GFN: Final = 0x100
"""Images are placed from 1 MiB on."""
DRIVER_PAGES: Final = 1024
"""Pages at the end of a guest's memory that images leave to its drivers."""


@dataclass(slots=True)
class _Usage:
    """What the host keeps for a domain beside the protection state, from creation to destruction."""

    page_ns: int = 0
    driver_pages: int = 0
    block: BlockTally = field(default_factory=BlockTally)
    net: NetTally = field(default_factory=NetTally)
    devices: dict[str, BlockDevice | NetDevice] = field(default_factory=dict)
    timers: dict[int, int] = field(default_factory=dict)


class XenHost(GuardedHost):
    """A host that runs domains under a policy. Time passes only in :meth:`run`.

    ``clock`` (nanoseconds) dates audit records; without it they carry the host's system time. ``trail`` is
    the audit trail to append to, ``history`` keeps past runs for policies that count them,
    and ``measure_history`` measures which history counts.
    """

    def __init__(
        self,
        description: HostDescription,
        policy: Policy,
        *,
        trail: AuditTrail | None = None,
        clock: Callable[[], int] | None = None,
        history: HistoryStore | None = None,
        measure_history: HistoryMeasurer | None = None,
    ) -> None:
        self._scheduler = CreditScheduler(description.pcpus)
        dates = (lambda: self._scheduler.now) if clock is None else clock
        super().__init__(
            description,
            policy,
            clock=dates,
            trail=trail,
            history=history,
            measure_history=measure_history,
        )
        self._disks: dict[str, VirtualDisk] = {}
        self._switches: dict[str, VlanSwitch] = {}
        self._usage: dict[str, _Usage] = {}

    @property
    def now_ns(self) -> int:
        """System time: nanoseconds since the host started."""
        return self._scheduler.now

    def create(self, order: DomainOrder) -> int:
        """Reserve a paused domain and lay kernel and ramdisk into it; raising leaves no domain."""
        behind = KERNEL_GFN + _pages(order.kernel)
        if behind + _pages(order.ramdisk or b"") + DRIVER_PAGES > order.memory_mib * PAGES_PER_MIB:
            raise OutOfResourceError("no-memory", f"{order.name}: memory is too small for kernel and ramdisk")
        undo, domid = Undo(), self.reserve(order)
        undo.push("domain", lambda: self.take_back(domid))
        with undo.on_failure():
            self.invoke(BuildDomain(DOM0, domid, KERNEL_GFN, order.kernel))
            if order.ramdisk is not None:
                self.invoke(BuildDomain(DOM0, domid, behind, order.ramdisk))
        return domid

    def pause(self, domid: int) -> None:
        """Stop a domain from running."""
        self.invoke(PauseDomain(DOM0, domid))

    def unpause(self, domid: int) -> None:
        """Let a paused domain run."""
        self.invoke(UnpauseDomain(DOM0, domid))

    def destroy(self, domid: int) -> None:
        """End a domain and scrub its memory."""
        self.invoke(DestroyDomain(DOM0, domid))
        self._sync()

    def take_back(self, domid: int) -> None:
        """End a domain whose launch has failed, also where that cannot be recorded now."""
        self.monitor.take_back(DestroyDomain(DOM0, domid), actor="launch", why="undo")
        self._sync()

    def domains(self) -> tuple[DomainInfo, ...]:
        """Return all domains, Domain-0 included."""
        return tuple(self._info(domain) for _, domain in sorted(self.state.domains.items()))

    def _info(self, domain: Domain) -> DomainInfo:
        return DomainInfo(
            domid=domain.domid,
            uuid=domain.uuid,
            label=domain.label,
            state=RunState.RUNNING if domain.status is DomainStatus.RUNNING else RunState.PAUSED,
            vcpus=domain.vcpus,
            cpu_ns=self.counters(domain.domid).cpu_ns,
            pages=domain.memory.pages,
            max_pages=domain.max_pages,
        )

    def limits(self, domid: int) -> Limits:
        """Return what a domain may use; raises NoSuchObjectError."""
        domain = self.state.domain(domid)
        return Limits(domain.vcpus, domain.max_pages, domain.weight, domain.cap)

    def admit(self, config: DomainConfig) -> None:
        """Take every config that the policy permits: the model has all that a config can name."""

    def enforce(
        self, judged: Update, *, actor: str = "", why: str = "", measure: Callable[[], object] | None = None
    ) -> int:
        """Carry out a judged update and return the epoch; see :func:`hypervisor.update.enforce`."""
        epoch = super().enforce(judged, actor=actor, why=why, measure=measure)
        self._drop_severed()
        return epoch

    def _drop_severed(self) -> None:
        """Let go of devices that have lost their link to the back end, or their resource."""
        self._sync()
        for domain in self.state.domains.values():
            devices = self._usage_of(domain).devices
            for identity, device in list(devices.items()):
                if not device.is_bound(self.state):
                    devices.pop(identity).abandon()
                elif identity not in domain.attachments:
                    devices.pop(identity).disconnect()

    def is_connected(self, domid: int, device: BlockDevice | NetDevice) -> bool:
        """Tell whether a device of a domain is joined to its back end."""
        return device in self._usage_of(self.state.domain(domid)).devices.values()

    def guest(self, domid: int) -> Guest:
        """Return what software inside a domain can do; raises NoSuchObjectError."""
        return Guest(self.monitor, self._memory, domid)

    def add_work(self, domid: int, work_ns: int, vcpu: int = 0) -> None:
        """Give a domain's vCPU something to do for ``work_ns`` of CPU time."""
        self._sync()
        self._scheduler.add_work(self.state.domain(domid).uuid, vcpu, work_ns)

    def save(self, domid: int, *, actor: str = "", why: str = "") -> SavedDomain:
        """Take a paused domain off the host; see :mod:`hypervisor.savectl`. Its devices stay behind."""
        saved = self.monitor.save(SaveDomain(DOM0, domid), actor=actor, why=why)
        self._sync()
        return saved

    def set_timer(self, domid: int, at_ns: int, vcpu: int = 0) -> None:
        """Let VIRQ_TIMER of a vCPU be signalled, once, when system time reaches ``at_ns``."""
        domain = self.state.domain(domid)
        if not 0 <= vcpu < domain.vcpus:
            raise NoSuchObjectError("no-vcpu", f"domain {domid} has vCPUs 0-{domain.vcpus - 1}, not {vcpu}")
        self._usage_of(domain).timers[vcpu] = at_ns

    def run(self, duration_ns: int) -> None:
        """Let system time pass: vCPUs run, memory is held, timers fire."""
        self._sync()
        self._scheduler.run(duration_ns)
        for domain in self.state.domains.values():
            usage = self._usage_of(domain)
            usage.page_ns += domain.memory.pages * duration_ns
            for vcpu in [vcpu for vcpu, at_ns in usage.timers.items() if at_ns <= self.now_ns]:
                del usage.timers[vcpu]
                self.monitor.raise_virq(domain.domid, VirqLine(Virq.TIMER, vcpu))

    def runstates(self, domid: int) -> tuple[Runstate, ...]:
        """Return the four runstate times of each vCPU."""
        self._sync()
        return self._scheduler.runstates(self.state.domain(domid).uuid)

    def counters(self, domid: int) -> Counters:
        """Return a domain's usage so far."""
        domain, states = self.state.domain(domid), self.runstates(domid)
        usage = self._usage_of(domain)
        return Counters(
            cpu_ns=sum(state.running for state in states),
            runnable_ns=sum(state.runnable for state in states),
            pages=domain.memory.pages,
            page_ns=usage.page_ns,
            blk_rd_ops=usage.block.rd_ops,
            blk_rd_bytes=usage.block.rd_bytes,
            blk_wr_ops=usage.block.wr_ops,
            blk_wr_bytes=usage.block.wr_bytes,
            net_rx_packets=usage.net.rx_packets,
            net_rx_bytes=usage.net.rx_bytes,
            net_tx_packets=usage.net.tx_packets,
            net_tx_bytes=usage.net.tx_bytes,
        )

    def host_counters(self) -> HostCounters:
        """Return the host's side of the books."""
        self._sync()
        return HostCounters(
            time_ns=self._scheduler.now,
            idle_ns=self._scheduler.idle_ns,
            retired_cpu_ns=self._scheduler.retired_ns,
            pages=self.state.pages,
            free_pages=len(self.state.free),
        )

    def reading(self, domid: int) -> DomainReading:
        """Return a domain's identity and counters now."""
        domain = self.state.domain(domid)
        return DomainReading(self.now_ns, domid, domain.uuid, domain.name, domain.label, self.counters(domid))

    def connect_disk(self, domid: int, identity: str, content: bytes = b"") -> BlockDevice:
        """Join a running guest to the back end of an attached disk; raises BadStateError where it is not.

        ``content`` is what the disk holds if this is its first connection.
        """
        domain, usage = self._attached(domid, identity, ResourceKind.DISK)
        resource = self.state.resource(identity)
        sectors = resource.size_mib * PAGES_PER_MIB * blkif.SECTORS_PER_PAGE
        disk = self._disks.setdefault(identity, VirtualDisk(sectors, content))
        link = self._link(domain, usage, blkif.PAGES)

        def mode() -> AccessMode | None:
            return self._mode(domain, identity)

        device = BlockDevice(link, BlockBackend(link, disk, usage.block, mode))
        usage.devices[identity] = device
        return device

    def connect_vif(self, domid: int, identity: str, mac: str) -> NetDevice:
        """Join a running guest to an attached VLAN; raises BadStateError where it is not."""
        domain, usage = self._attached(domid, identity, ResourceKind.VLAN)
        link = self._link(domain, usage, netif.PAGES)
        switch = self._switches.setdefault(identity, VlanSwitch())

        def attached() -> bool:
            return self._mode(domain, identity) is not None

        backend = NetBackend(link, switch, netif.mac_bytes(mac), usage.net, attached)
        try:
            switch.plug(backend)
        except HypervisorUsageError:
            link.disconnect()
            usage.driver_pages -= netif.PAGES
            raise
        device = NetDevice(link, backend, switch)
        usage.devices[identity] = device
        return device

    def disconnect(self, domid: int) -> None:
        """End all device links of a domain; attachments stay."""
        usage = self._usage_of(self.state.domain(domid))
        while usage.devices:
            usage.devices.popitem()[1].disconnect()
        usage.driver_pages = 0

    def _attached(self, domid: int, identity: str, kind: ResourceKind) -> tuple[Domain, _Usage]:
        self._sync()
        domain = self.state.domain(domid)
        usage = self._usage_of(domain)
        if identity not in domain.attachments or self.state.resource(identity).kind is not kind:
            raise BadStateError("not-attached", f"{identity} is not attached to domain {domid} as a {kind}")
        if identity in usage.devices:
            raise BadStateError("connected", f"{identity} is connected to domain {domid} already")
        return domain, usage

    def _mode(self, domain: Domain, identity: str) -> AccessMode | None:
        """Return how this very domain, not a later one of its number, has a resource attached now."""
        present = self.state.domains.get(domain.domid)
        same = present is not None and present.uuid == domain.uuid
        return present.attachments.get(identity) if present is not None and same else None

    def _link(self, domain: Domain, usage: _Usage, count: int) -> Link:
        """Join a guest to Domain-0 by ``count`` pages, taken from the end of its memory downwards."""
        end = domain.memory.end - usage.driver_pages
        if end < count:
            raise OutOfResourceError(
                "no-memory", f"domain {domain.domid} has no {count} pages for another device"
            )
        link = Link(self.guest(domain.domid), self.guest(DOM0), range(end - count, end))
        usage.driver_pages += count
        return link

    def _usage_of(self, domain: Domain) -> _Usage:
        return self._usage.setdefault(domain.uuid, _Usage())

    def _sync(self) -> None:
        domains = self.state.domains.values()
        alive = {domain.uuid for domain in domains}
        for uuid in self._usage.keys() - alive:
            for device in self._usage.pop(uuid).devices.values():
                device.abandon()
        self._scheduler.sync(
            Party(each.uuid, each.vcpus, each.weight, each.cap, each.status is DomainStatus.PAUSED)
            for each in domains
        )


def _pages(image: bytes) -> int:
    return -(-len(image) // PAGE)
