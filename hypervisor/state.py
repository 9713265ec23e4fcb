"""The protection state of a host: who exists, under which label, and what is bound to what.

Everything here is frozen. A hypercall is a pure function from one state to the next; only the reference
monitor replaces the current one. Page contents, pending events and run times are data, not protection
state: they live in :mod:`hypervisor.memory`, :mod:`hypervisor.scheduler` and the device back ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final

from hypervisor.errors import NoSuchObjectError
from hypervisor.table import Table

if TYPE_CHECKING:
    from hypervisor.frames import Frames, PhysicalMap

DOM0: Final = 0
"""The domain identifier of Domain-0."""


class DomainStatus(StrEnum):
    """Only a running domain acts; a paused one still counts for the Chinese Wall."""

    PAUSED = "paused"
    RUNNING = "running"


class GrantKind(StrEnum):
    """What a grant entry offers to its grantee (GTF_permit_access, GTF_readonly, GTF_accept_transfer)."""

    READ = "read"
    WRITE = "write"
    TRANSFER = "transfer"


class AccessMode(StrEnum):
    """How a resource is used: ``r`` only reads it, ``rw`` reads and writes."""

    READ = "r"
    WRITE = "rw"


class ResourceKind(StrEnum):
    """What a resource is."""

    DISK = "disk"
    VLAN = "vlan"


class Virq(IntEnum):
    """Virtual interrupts, with the numbers of Xen's public header (``VIRQ_*``)."""

    TIMER = 0
    """The timer of one vCPU."""
    CONSOLE = 2
    """Input on the machine's console; Domain-0's."""
    DOM_EXC = 3
    """A domain has ended; Domain-0's."""
    ARGO = 11
    """A message came into one of the domain's own Argo rings."""


@dataclass(frozen=True, slots=True)
class VirqLine:
    """A virtual interrupt of one vCPU; all but the timer belong to vCPU 0."""

    virq: Virq
    vcpu: int = 0


@dataclass(frozen=True, slots=True)
class Port:
    """One end of an event channel; ``remote_port`` is None until the remote domain has bound it.

    A port with a ``virq`` line leads nowhere: the hypervisor signals it, and ``remote`` is the domain itself.
    """

    remote: int
    remote_port: int | None = None
    virq: VirqLine | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """An entry of a domain's grant table: ``gfn`` is offered to ``grantee``.

    For a transfer ``gfn`` is the hole in which the page is to appear.
    """

    grantee: int
    gfn: int
    kind: GrantKind


@dataclass(frozen=True, slots=True)
class Mapping:
    """A page of ``granter`` that this domain has mapped; ``mfn`` was resolved when it was mapped."""

    granter: int
    ref: int
    mfn: int
    writable: bool


@dataclass(frozen=True, slots=True)
class RingId:
    """The name of an Argo ring in its domain: a port, and whose messages it takes (None: anybody's)."""

    port: int
    partner: int | None


@dataclass(frozen=True, slots=True)
class ArgoRing:
    """A ring in the owner's frames ``gfns``, resolved to ``mfns`` when it was registered.

    ``senders`` are the domains that the policy let in; nobody else can send.
    """

    gfns: tuple[int, ...]
    mfns: tuple[int, ...]
    senders: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class StoreNode:
    """A value of the configuration store, and who besides its owner may read (and write) it."""

    value: bytes
    readers: Table[int, AccessMode] = field(default_factory=Table)


@dataclass(frozen=True, slots=True)
class Resource:
    """A labelled disk or VLAN. The label belongs to ``identity``; ``path`` is only where it is found now."""

    kind: ResourceKind
    identity: str
    label: str
    access: AccessMode
    path: str | None = None
    size_mib: int = 0


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain. ``label_sealed`` says that a vTPM or a measurement speaks for the label.

    ``max_pages`` is how many pages it may own; ``store`` is its part of the configuration store, by path
    below ``/local/domain/DOMID``.
    """

    domid: int
    uuid: str
    name: str
    label: str
    status: DomainStatus
    memory: PhysicalMap
    vcpus: int
    weight: int = 256
    cap: int = 0
    started: bool = False
    label_sealed: bool = False
    ports: Table[int, Port] = field(default_factory=Table)
    grants: Table[int, Grant] = field(default_factory=Table)
    mappings: Table[int, Mapping] = field(default_factory=Table)
    attachments: Table[str, AccessMode] = field(default_factory=Table)
    max_pages: int = 0
    rings: Table[RingId, ArgoRing] = field(default_factory=Table)
    store: Table[str, StoreNode] = field(default_factory=Table)


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """Which policy is enforced; ``epoch`` grows by one with every policy that takes effect."""

    name: str
    version: str
    digest: str
    root: str
    epoch: int = 1


@dataclass(frozen=True, slots=True)
class HostState:
    """All that decides who can reach what on a host."""

    pcpus: int
    pages: int
    free: Frames
    policy: PolicyInfo
    domains: Table[int, Domain]
    resources: Table[str, Resource]

    def domain(self, domid: int) -> Domain:
        """Return a domain; raises NoSuchObjectError."""
        found = self.domains.get(domid)
        if found is None:
            raise NoSuchObjectError("no-domain", f"there is no domain {domid}")
        return found

    def resource(self, identity: str) -> Resource:
        """Return a resource by its identity; raises NoSuchObjectError."""
        found = self.resources.get(identity)
        if found is None:
            raise NoSuchObjectError("no-resource", f"there is no resource {identity}")
        return found

    def running_labels(self) -> tuple[str, ...]:
        """Return the labels of all guests, paused ones included, for the Chinese Wall; sorted."""
        return tuple(sorted(each.label for each in self.domains.values() if each.domid != DOM0))

    def with_domain(self, domain: Domain) -> HostState:
        """Return the state with ``domain`` in place of the one of its identifier."""
        return replace(self, domains=self.domains.put(domain.domid, domain))


def brings_label(before: HostState, after: HostState) -> bool:
    """Tell whether a domain of ``after`` is new there, or has a label that it had not ``before``."""
    for domid, domain in after.domains.items():
        old = before.domains.get(domid)
        if old is not domain and (old is None or old.label != domain.label):
            return True
    return False
