"""What a hypercall asks of the policy, and what it would change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from acm.engine import Operation, Request
from hypervisor.frames import NO_FRAMES, Frames
from hypervisor.state import AccessMode, HostState, ResourceKind

MAX_QUESTIONS: Final = 16384
"""Questions that are kept: a hook asks the same at each bind, and making one costs more than its answer."""


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

    ``scrub`` are frames that become free and must hold nothing. Of event channel ends (domain, port),
    ``closed`` are those whose pending events die with them, ``signals`` those that get one. ``ended`` tells
    the audit trail, one line each, what else comes to its end by the call.
    """

    state: HostState
    result: int = 0
    scrub: Frames = NO_FRAMES
    copy: PageCopy | None = None
    placements: tuple[PagePlacement, ...] = ()
    closed: tuple[tuple[int, int], ...] = ()
    signals: tuple[tuple[int, int], ...] = ()
    ended: tuple[str, ...] = ()


def vm(label: str) -> str:
    """Name a domain label so that no resource label can be meant."""
    return f"vm:{label}"


def res(label: str) -> str:
    """Name a resource label so that no domain label can be meant."""
    return f"res:{label}"


def start(label: str, host: str, running: tuple[str, ...]) -> Request:
    """May ``label`` start on a host whose Domain-0 is ``host``, beside the labels that exist there."""
    return Request(Operation.START, vm(label), vm(host), tuple(vm(each) for each in running))


def resume(label: str, host: str, running: tuple[str, ...]) -> Request:
    """May a saved domain of ``label`` go on here: the question of a start."""
    return Request(Operation.RESUME, vm(label), vm(host), tuple(vm(each) for each in running))


def migrate_in(label: str, host: str, running: tuple[str, ...]) -> Request:
    """May a domain of ``label`` from another host go on here: the question of a start."""
    return Request(Operation.MIGRATE_IN, vm(label), vm(host), tuple(vm(each) for each in running))


def authorize(host: str, label: str) -> Request:
    """May a host whose Domain-0 has label ``host`` run ``label``."""
    return between(Operation.AUTHORIZE, host, label)


def use(
    label: str, resource: str, mode: AccessMode, kind: ResourceKind = ResourceKind.DISK
) -> tuple[Request, ...]:
    """May a domain of ``label`` use a resource of label ``resource`` in this mode; a VLAN goes both ways."""
    if kind is ResourceKind.VLAN:
        op = Operation.VLAN_ATTACH
    else:
        op = Operation.RESOURCE_READ if mode is AccessMode.READ else Operation.RESOURCE_WRITE
    return (upon(op, label, resource),)


def share(state: HostState, subject: int, other: int) -> Request:
    """Both ways between two domains: the configuration store."""
    return _between(Operation.SHARE, state, subject, other)


def channel(state: HostState, subject: int, other: int) -> Request:
    """Both ways between two domains: event channels."""
    return _between(Operation.EVENT_CHANNEL, state, subject, other)


def argo(state: HostState, sender: int, owner: int) -> Request:
    """Messages of ``sender`` go into a ring of ``owner``, and its answers come back."""
    return _between(Operation.ARGO, state, sender, owner)


def grant_map(state: HostState, subject: int, granter: int, *, writable: bool) -> Request:
    """Bytes of ``granter`` come to ``subject``, and with ``writable`` go back."""
    op = Operation.GRANT_MAP_WRITE if writable else Operation.GRANT_MAP_READ
    return _between(op, state, subject, granter)


def copy_from(state: HostState, subject: int, granter: int) -> Request:
    """Bytes of ``granter`` come to ``subject``, once."""
    return _between(Operation.GRANT_COPY_FROM, state, subject, granter)


def copy_to(state: HostState, subject: int, granter: int) -> Request:
    """Bytes of ``subject`` go to ``granter``, once."""
    return _between(Operation.GRANT_COPY_TO, state, subject, granter)


def transfer(state: HostState, subject: int, receiver: int) -> Request:
    """A page of ``subject`` goes to ``receiver`` with all that is in it."""
    return _between(Operation.GRANT_TRANSFER, state, subject, receiver)


def read(state: HostState, subject: int, other: int) -> Request:
    """Bytes of domain ``other`` come to ``subject``."""
    return _between(Operation.READ, state, subject, other)


def write(state: HostState, subject: int, other: int) -> Request:
    """Bytes of ``subject`` go to domain ``other``."""
    return _between(Operation.WRITE, state, subject, other)


def write_label(subject: str, other: str) -> Request:
    """Bytes of a domain of label ``subject`` go to a domain of label ``other`` that is to be made."""
    return between(Operation.WRITE, subject, other)


def read_resource(subject: str, resource: str) -> Request:
    """Bytes of a resource of label ``resource`` come to a domain of label ``subject``."""
    return upon(Operation.READ, subject, resource)


def write_resource(subject: str, resource: str) -> Request:
    """Bytes of a domain of label ``subject`` go to a resource of label ``resource``."""
    return upon(Operation.WRITE, subject, resource)


def _between(op: Operation, state: HostState, subject: int, other: int) -> Request:
    return between(op, state.domain(subject).label, state.domain(other).label)


@lru_cache(MAX_QUESTIONS)
def between(op: Operation, subject: str, other: str) -> Request:
    """The question of an operation between two domain labels; one object for all who ask it."""
    return Request(op, vm(subject), vm(other))


@lru_cache(MAX_QUESTIONS)
def upon(op: Operation, label: str, resource: str) -> Request:
    """The question of an operation of a domain label upon a resource label; one object for all who ask it."""
    return Request(op, vm(label), res(resource))
