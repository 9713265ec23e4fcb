"""The port to a hypervisor: what a toolstack asks of it, be it the model or a real Xen.

:mod:`hypervisor.host` (the model) and :mod:`hypervisor.xen.driver` (Xen, through its own libraries) fit it.
Nothing here decides: a host asks its reference monitor first (:mod:`hypervisor.guarded`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hypervisor.blkif import BlockDevice
    from hypervisor.hostconfig import HostDescription
    from hypervisor.hypercalls import Call
    from hypervisor.monitor import ReferenceMonitor
    from hypervisor.netif import NetDevice
    from hypervisor.ports import DomainReading
    from hypervisor.state import HostState
    from hypervisor.xlconfig import DomainConfig


class RunState(StrEnum):
    """What a hypervisor says that a domain does; a blocked vCPU waits, and its domain runs."""

    PAUSED = "paused"
    RUNNING = "running"
    ENDED = "ended"
    """It has shut itself down or crashed; it holds memory until it is destroyed."""
    DYING = "dying"
    """It is being destroyed."""


@dataclass(frozen=True, slots=True)
class DomainOrder:
    """A domain that is wanted, with the very bytes that it is to run.

    ``label`` is that of the ACM policy; ``cap`` is in percent of one CPU, 0 for none.
    """

    uuid: str
    name: str
    label: str
    memory_mib: int
    vcpus: int
    weight: int
    cap: int
    cmdline: str
    kernel: bytes
    ramdisk: bytes | None
    config_digest: str


@dataclass(frozen=True, slots=True)
class DomainInfo:
    """One domain as the hypervisor lists it.

    ``label`` is what the hypervisor itself enforces by: the ACM label in the model, the FLASK context on Xen,
    None where Xen runs without FLASK. ``cpu_ns`` is the CPU time over all vCPUs since it was created,
    ``pages`` what it owns now and ``max_pages`` what it may own (4096 bytes each).
    """

    domid: int
    uuid: str
    label: str | None
    state: RunState
    vcpus: int
    cpu_ns: int
    pages: int
    max_pages: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a domain may use: vCPUs, pages, weight, and cap in percent of one CPU (0: none)."""

    vcpus: int
    max_pages: int
    weight: int
    cap: int


class Toolstack(Protocol):
    """Lists and moves domains. Every method may raise what the hypervisor's own interface raises.

    Identifiers are of this moment: a caller that means a certain domain compares its UUID.
    """

    def domains(self) -> tuple[DomainInfo, ...]:
        """Return all domains, Domain-0 included, in the order of their identifiers."""
        ...

    def limits(self, domid: int) -> Limits:
        """Return what a domain may use; raises NoSuchObjectError."""
        ...

    def create(self, order: DomainOrder) -> int:
        """Make a paused domain of these bytes and return its identifier; raising leaves no domain."""
        ...

    def pause(self, domid: int) -> None:
        """Stop a domain from running."""
        ...

    def unpause(self, domid: int) -> None:
        """Let a paused domain run."""
        ...

    def destroy(self, domid: int) -> None:
        """End a domain and free what it had."""
        ...


class LaunchHost(Toolstack, Protocol):
    """A host that can be launched on: a toolstack whose every act the reference monitor judges and records.

    ``create`` admits and makes in one, ``destroy`` ends both the domain and its place in the state.
    """

    description: HostDescription
    monitor: ReferenceMonitor

    @property
    def state(self) -> HostState:
        """The current protection state."""
        ...

    def invoke(self, call: Call, *, actor: str = "", why: str = "") -> int:
        """Carry out a hypercall through the monitor."""
        ...

    def take_back(self, domid: int) -> None:
        """End a domain whose launch has failed: this happens also where it cannot be recorded now."""
        ...

    def admit(self, config: DomainConfig) -> None:
        """Refuse, with a record, what this kind of host cannot give to any domain; acts on nothing."""
        ...

    def connect_disk(self, domid: int, identity: str, content: bytes = b"") -> BlockDevice:
        """Join a running guest to an attached disk."""
        ...

    def connect_vif(self, domid: int, identity: str, mac: str) -> NetDevice:
        """Join a running guest to an attached VLAN."""
        ...

    def reading(self, domid: int) -> DomainReading:
        """Return a domain's identity and counters now; asked only where there is a meter."""
        ...
