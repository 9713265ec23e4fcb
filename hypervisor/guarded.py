"""A host behind a reference monitor: the policy side that the model and a real Xen have in common.

Who exists under which label, what is attached, which policy is in force: all of it is the monitor's state,
and every change of it is a hypercall that the monitor judges and records. What then happens to memory and
processors is for the kind of host to carry out (:mod:`hypervisor.toolstack`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from acm.update import AS_IT_IS, Amendment
from hypervisor import update
from hypervisor.audit import AuditTrail
from hypervisor.domctl import CreateDomain
from hypervisor.frames import PAGES_PER_MIB, Frames, PhysicalMap
from hypervisor.memory import MachineMemory
from hypervisor.monitor import ReferenceMonitor
from hypervisor.policy import AcmEngine
from hypervisor.replay import live_state
from hypervisor.state import DOM0, Domain, DomainStatus, HostState
from hypervisor.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from acm.livestate import LiveState
    from acm.policy import Policy
    from acm.update import Update
    from hypervisor.blkif import BlockDevice
    from hypervisor.hostconfig import HostDescription
    from hypervisor.hypercalls import Call
    from hypervisor.netif import NetDevice
    from hypervisor.ports import HistoryMeasurer, HistoryStore
    from hypervisor.toolstack import DomainOrder

DOM0_UUID = "00000000-0000-0000-0000-000000000000"


class GuardedHost(ABC):
    """A host whose state only its reference monitor changes.

    ``clock`` (nanoseconds) dates audit records, ``trail`` is the audit trail to append to, ``history`` keeps
    past runs for policies that count them, and ``measure_history`` measures which history counts.
    """

    def __init__(
        self,
        description: HostDescription,
        policy: Policy,
        *,
        clock: Callable[[], int],
        trail: AuditTrail | None = None,
        history: HistoryStore | None = None,
        measure_history: HistoryMeasurer | None = None,
    ) -> None:
        self.description = description
        self.trail = AuditTrail() if trail is None else trail
        self._memory = MachineMemory()
        engine = AcmEngine(policy)
        engine.label(description.dom0_label)
        first = first_state(description, engine)
        self.monitor = ReferenceMonitor(
            first,
            engine,
            self._memory,
            self.trail,
            clock,
            history=history,
            measure_history=measure_history,
        )

    @property
    def state(self) -> HostState:
        """The current protection state."""
        return self.monitor.state

    def invoke(self, call: Call, *, actor: str = "", why: str = "") -> int:
        """Carry out a hypercall; see :meth:`hypervisor.monitor.ReferenceMonitor.invoke`."""
        return self.monitor.invoke(call, actor=actor, why=why)

    def reserve(self, order: DomainOrder, domid: int | None = None) -> int:
        """Admit a paused domain as ordered, its label sealed; ``domid`` is the one that it has already."""
        call = CreateDomain(
            caller=DOM0,
            uuid=order.uuid,
            name=order.name,
            label=order.label,
            memory_mib=order.memory_mib,
            vcpus=order.vcpus,
            weight=order.weight,
            cap=order.cap,
            label_sealed=True,
            domid=domid,
        )
        return self.invoke(call, actor="launch", why=f"config {order.config_digest}")

    @abstractmethod
    def is_connected(self, domid: int, device: BlockDevice | NetDevice) -> bool:
        """Tell whether a device of a domain is joined to its back end."""

    def live_state(self) -> LiveState:
        """Return what lives on this host, as a value: what a policy update is judged against."""
        return live_state(self.state, self.monitor.past_types)

    def judge_policy(
        self, policy: Policy, amendment: Amendment = AS_IT_IS, *, revoke: bool = False
    ) -> Update:
        """Judge an update without any effect; see :func:`hypervisor.update.judged`."""
        return update.judged(self.monitor, policy, amendment, revoke=revoke)

    def enforce(
        self, judged: Update, *, actor: str = "", why: str = "", measure: Callable[[], object] | None = None
    ) -> int:
        """Carry out a judged update and return the epoch; see :func:`hypervisor.update.enforce`."""
        return update.enforce(self.monitor, judged, actor=actor, why=why, measure=measure)

    def replace_policy(
        self, policy: Policy, amendment: Amendment = AS_IT_IS, *, revoke: bool = False, why: str = ""
    ) -> int:
        """Judge an update to ``policy`` and carry it out, all or nothing; returns the epoch."""
        return self.enforce(self.judge_policy(policy, amendment, revoke=revoke), why=why)


def first_state(description: HostDescription, engine: AcmEngine) -> HostState:
    """Return the state of a host that has just booted: Domain-0 runs, nothing else exists."""
    pages = description.memory_mib * PAGES_PER_MIB
    own, free = Frames(((0, pages),)).take(description.dom0_memory_mib * PAGES_PER_MIB)
    dom0 = Domain(
        domid=DOM0,
        uuid=DOM0_UUID,
        name="Domain-0",
        label=description.dom0_label,
        status=DomainStatus.RUNNING,
        memory=PhysicalMap.of(own),
        vcpus=description.dom0_vcpus,
        started=True,
        label_sealed=True,
        max_pages=len(own),
    )
    return HostState(
        pcpus=description.pcpus,
        pages=pages,
        free=free,
        policy=engine.info(),
        domains=Table({DOM0: dom0}),
        resources=Table((resource.identity, resource) for resource in description.resources),
    )
