"""What the hypervisor needs from outside, as protocols, and the values that pass through them.

``attest``, ``vtpm`` and ``metering`` fit these by shape; ``shype`` wires them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from acm.decision import Decision
    from acm.engine import Request
    from acm.history import Anchor, History
    from acm.labels import Label
    from acm.livestate import LiveState
    from acm.mls import Range
    from acm.update import Amendment, Update
    from hypervisor.counters import Counters


class PolicyEngine(Protocol):
    """Decides, or raises an error of :mod:`acm.errors`; the monitor takes that as no."""

    def decide(self, request: Request) -> Decision:
        """Return the verdict with its reasons."""
        ...

    def label(self, name: str) -> Label:
        """Return a domain label with its types."""
        ...

    def trusts(self, name: str) -> bool:
        """Whether the domain label of this name may span levels."""
        ...

    @property
    def counts_past_runs(self) -> bool:
        """Whether the policy's Chinese Wall has a history."""
        ...

    def update(self, live: LiveState, amendment: Amendment) -> Update:
        """Judge the update of a host to this policy."""
        ...


class HistoryStore(Protocol):
    """Keeps the history of past runs of one host, so that no older one passes for the newest."""

    def load(self) -> tuple[History | None, Anchor | None]:
        """Return what is kept and what it must be; None for what is missing or cannot be read."""
        ...

    def save(self, history: History) -> None:
        """Make the history last, then its anchor; raising keeps the domain from starting."""
        ...


class HistoryMeasurer(Protocol):
    """Measures which history of past runs counts, before it takes effect."""

    def __call__(self, history: History) -> object:
        """Record it; raising keeps it from taking effect, and the domain from starting."""
        ...


class FileSource(Protocol):
    """Gives private copies of files: what is hashed is what is used, whatever happens to the file."""

    def read(self, path: str, limit: int) -> bytes:
        """Return the whole file; raises HypervisorInputError above ``limit`` bytes, OSError."""
        ...


@dataclass(frozen=True, slots=True)
class VtpmOrder:
    """A virtual TPM that is wanted: for whom, under which label of which policy. Digests are hex.

    ``mls`` is None where the policy does not enforce MLS; ``trusted`` labels may span levels.
    """

    vid: str
    domain: str
    label: str
    ste_types: tuple[str, ...]
    chwall_types: tuple[str, ...]
    mls: Range | None
    trusted: bool
    policy_digest: str
    policy_version: str


class VtpmProvider(Protocol):
    """Makes one labelled virtual TPM a domain."""

    def create(self, order: VtpmOrder) -> str:
        """Make it and return the digest of its binding, in hex."""
        ...

    def destroy(self, vid: str) -> None:
        """End it and wipe its state."""
        ...


@dataclass(frozen=True, slots=True)
class LaunchMeasurement:
    """What a launch is measured by: the fields of ``attest.runtime_events.DomainLaunch`` without its salt.

    ``vid`` is 32 hexadecimal digits, digests are SHA-256 in hex, ``disks`` are ``VDEV MODE IDENTITY``.
    """

    vid: str
    name: str
    uuid: str
    label: str
    config_digest: str
    kernel: str
    ramdisk: str | None
    disks: tuple[str, ...]
    policy_digest: str
    binding_digest: str


class Measurer(Protocol):
    """Extends and logs launches and stops. A launch is measured before the domain runs."""

    def measure_launch(self, launch: LaunchMeasurement) -> None:
        """Record the launch; raising keeps the domain from running."""
        ...

    def measure_stop(self, launch: LaunchMeasurement) -> None:
        """Record that a measured launch has ended, or never came to run."""
        ...


@dataclass(frozen=True, slots=True)
class DomainReading:
    """A domain's identity and its counters at ``time_ns`` of system time."""

    time_ns: int
    domid: int
    uuid: str
    name: str
    label: str
    counters: Counters


class Meter(Protocol):
    """Is told of the life of domains, with the first and the last reading."""

    def started(self, reading: DomainReading) -> None:
        """Take the first reading of a domain that begins to run."""
        ...

    def stopped(self, reading: DomainReading) -> None:
        """Take the last reading of a domain."""
        ...
