"""What a hypercall asks of the policy, and what it would change."""

from __future__ import annotations

from dataclasses import dataclass

from acm.engine import Operation, Request
from hypervisor.frames import NO_FRAMES, Frames
from hypervisor.state import AccessMode, HostState


@dataclass(frozen=True, slots=True)
class PageCopy:
    """Bytes that move inside machine memory at commit: ``length`` from one frame and offset to another."""

    source: int
    source_offset: int
    target: int
    target_offset: int
    length: int


@dataclass(frozen=True, slots=True)
class PagePlacement:
    """``image`` is laid into machine frames from the first byte of ``frames[0]`` on, in that order."""

    frames: tuple[int, ...]
    image: bytes


@dataclass(frozen=True, slots=True)
class Transition:
    """A prepared hypercall: the next state, its result, and the data that moves when it is committed.

    ``scrub`` are frames that become free and must hold nothing; ``closed`` are event channel ends
    (domain, port) whose pending events die with them.
    """

    state: HostState
    result: int = 0
    scrub: Frames = NO_FRAMES
    copy: PageCopy | None = None
    placement: PagePlacement | None = None
    closed: tuple[tuple[int, int], ...] = ()


def vm(label: str) -> str:
    """Name a domain label so that no resource label can be meant."""
    return f"vm:{label}"


def res(label: str) -> str:
    """Name a resource label so that no domain label can be meant."""
    return f"res:{label}"


def start(label: str, host: str, running: tuple[str, ...]) -> Request:
    """May ``label`` start on a host whose Domain-0 is ``host``, beside the labels that exist there."""
    return Request(Operation.START, vm(label), vm(host), tuple(vm(each) for each in running))


def authorize(host: str, label: str) -> Request:
    """May a host whose Domain-0 has label ``host`` run ``label``."""
    return Request(Operation.AUTHORIZE, vm(host), vm(label), ())


def use(label: str, resource: str, mode: AccessMode) -> tuple[Request, ...]:
    """May a domain of ``label`` use a resource of label ``resource`` in this mode."""
    reads = Request(Operation.READ, vm(label), res(resource), ())
    if mode is AccessMode.READ:
        return (reads,)
    return reads, Request(Operation.WRITE, vm(label), res(resource), ())


def share(state: HostState, subject: int, other: int) -> Request:
    """Both ways between two domains: event channels."""
    return _between(Operation.SHARE, state, subject, other)


def read(state: HostState, subject: int, other: int) -> Request:
    """Bytes of domain ``other`` come to ``subject``."""
    return _between(Operation.READ, state, subject, other)


def write(state: HostState, subject: int, other: int) -> Request:
    """Bytes of ``subject`` go to domain ``other``."""
    return _between(Operation.WRITE, state, subject, other)


def _between(op: Operation, state: HostState, subject: int, other: int) -> Request:
    return Request(op, vm(state.domain(subject).label), vm(state.domain(other).label), ())
