"""What lives on a host: domains, resources and all that is bound between them, as one value.

It is what a policy update is judged against (``acm.update``). A host writes it, ``acm.statefile`` reads it;
nothing in it gives power over the host. Domain-0 is the domain of identifier 0.

What only moves data once (grant copy, page transfer, an Argo send) does not live, so it is not here. Neither
is what was offered and is not used: an unbound port, a grant entry that nobody has mapped. Each is judged
when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DOM0: Final = 0
"""The identifier of Domain-0."""


class Mode(StrEnum):
    """How a resource or a granted page is used: ``r`` only reads, ``rw`` reads and writes."""

    READ = "r"
    WRITE = "rw"


class ResourceKind(StrEnum):
    """What a labelled resource is."""

    DISK = "disk"
    VLAN = "vlan"


@dataclass(frozen=True, slots=True)
class PolicyReference:
    """The policy in force: its name, its version, and SHA-256 of its bytes in hex where that is known."""

    name: str
    version: str
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class LiveDomain:
    """A domain that exists, running or paused; a paused one counts like a running one."""

    domid: int
    name: str
    label: str


@dataclass(frozen=True, slots=True)
class LiveResource:
    """A labelled disk or VLAN of the host, attached or not, known by its identity."""

    kind: ResourceKind
    identity: str
    label: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """Domain ``domain`` uses resource ``resource``."""

    domain: int
    resource: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Channel:
    """A bound event channel: port ``port`` of ``domain`` and port ``remote_port`` of ``remote``."""

    domain: int
    port: int
    remote: int
    remote_port: int


@dataclass(frozen=True, slots=True)
class GrantMapping:
    """Domain ``grantee`` has mapped, under ``handle``, the page that ``granter`` offers as ``ref``."""

    granter: int
    ref: int
    grantee: int
    handle: int
    mode: Mode


@dataclass(frozen=True, slots=True)
class ArgoRing:
    """Ring ``port`` of ``domain``, to which ``partner`` sends and from which it is answered.

    ``anybody`` says that the ring takes messages of whoever the policy lets in, and this partner is in.
    """

    domain: int
    port: int
    partner: int
    anybody: bool = False


Sharing = Attachment | Channel | GrantMapping | ArgoRing
"""What is bound between two parties, and can be ended without stopping either."""


@dataclass(frozen=True, slots=True)
class LiveState:
    """All that lives on a host under ``policy``.

    ``past_types`` are the Chinese Wall types that have ever run there; None where the host keeps no history.
    Constructed values are consistent: every reference leads somewhere, Domain-0 is there, no identifier
    stands twice. ``acm.statefile`` checks that for files; code that builds a state answers for it.
    """

    policy: PolicyReference
    domains: tuple[LiveDomain, ...]
    resources: tuple[LiveResource, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    channels: tuple[Channel, ...] = ()
    grants: tuple[GrantMapping, ...] = ()
    argo: tuple[ArgoRing, ...] = ()
    past_types: frozenset[str] | None = None
    _domains: Mapping[int, LiveDomain] = field(init=False, repr=False, compare=False)
    _resources: Mapping[str, LiveResource] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_domains", {each.domid: each for each in self.domains})
        object.__setattr__(self, "_resources", {each.identity: each for each in self.resources})

    def domain(self, domid: int) -> LiveDomain:
        """Return a domain by its identifier; KeyError where there is none."""
        return self._domains[domid]

    def resource(self, identity: str) -> LiveResource:
        """Return a resource by its identity; KeyError where there is none."""
        return self._resources[identity]

    @property
    def domain0(self) -> LiveDomain:
        """Domain-0."""
        return self._domains[DOM0]

    @property
    def sharings(self) -> tuple[Sharing, ...]:
        """Everything that is bound."""
        return (*self.attachments, *self.channels, *self.grants, *self.argo)


def parties(sharing: Sharing) -> tuple[int, ...]:
    """Return the domains that have a part in what is bound."""
    match sharing:
        case Attachment():
            return (sharing.domain,)
        case Channel():
            return sharing.domain, sharing.remote
        case GrantMapping():
            return sharing.granter, sharing.grantee
        case ArgoRing():
            return sharing.domain, sharing.partner
