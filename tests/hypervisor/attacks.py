"""One attack on every hook: a call against policy, and what it would win if its hook were not there.

An attack sets its scene under the test policy. The call is then made under that policy, or under one that has
taken something away since (``old`` replaced by ``new`` in its text).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hypervisor.argo import ConnectRing, RegisterRing
from hypervisor.attach import AttachResource, RelabelResource
from hypervisor.domctl import BuildDomain, CreateDomain, RelabelDomain, ScheduleDomain, UnpauseDomain
from hypervisor.evtchn import AllocUnbound, BindInterdomain
from hypervisor.gnttab import CopyEnd, CopyGrant, MapGrant, TransferPage
from hypervisor.guest import Guest
from hypervisor.memory_op import SetMaxMemory
from hypervisor.monitor import ReferenceMonitor
from hypervisor.savectl import Arrival, RestoreDomain, SaveDomain
from hypervisor.state import DOM0, AccessMode, GrantKind, HostState, Port, StoreNode
from hypervisor.table import Table
from hypervisor.xenstore import StoreRead, StoreRemove, StoreShare, StoreWrite
from tests.hypervisor.examples import GREEN_DISK, SAVED, UUID

if TYPE_CHECKING:
    from hypervisor.host import XenHost
    from hypervisor.memory import MachineMemory

SECRET = b"the secret of green"
RED, GREEN = 1, 2
DOM0_WITHOUT_GREEN = ("dom0: {ste: [red, green, blue]}", "dom0: {ste: [red, blue]}")
APART = ("red-blue: {ste: [red, blue]}", "red-blue: {ste: [blue]}")


@dataclass(frozen=True)
class After:
    """The host after the call, as whoever attacked it finds it."""

    monitor: ReferenceMonitor
    memory: MachineMemory
    result: int

    @property
    def state(self) -> HostState:
        return self.monitor.state

    def guest(self, domid: int) -> Guest:
        return Guest(self.monitor, self.memory, domid)


@dataclass(frozen=True)
class Attack:
    """``scene`` returns the call; ``won`` tells whether the attacker has got what it wanted."""

    scene: Callable[[XenHost], Any]
    won: Callable[[After], bool]
    edit: tuple[str, str] | None = None


def _create(host: XenHost, label: str, uuid: str = UUID) -> int:
    return host.invoke(CreateDomain(DOM0, uuid, f"{label}-{uuid[:4]}", label, 1, 1))


def _pair(host: XenHost, other: str = "green") -> tuple[Guest, Guest]:
    """Run a red domain, 1, and another one, 2, that has a secret in its first page."""
    for label in ("red", other):
        uuid = f"00000000-0000-4000-8000-{len(host.state.domains):012x}"
        host.invoke(UnpauseDomain(DOM0, _create(host, label, uuid)))
    host.guest(GREEN).write(0, 0, SECRET)
    return host.guest(RED), host.guest(GREEN)


def _with_paused(host: XenHost, call: Any, label: str = "green") -> Any:
    """Leave the domain that a call is about paused, as the first guest."""
    _create(host, label)
    return call


def _beside_west(host: XenHost, call: Any, *labels: str) -> Any:
    """Run the competitor of what the call is about."""
    host.invoke(UnpauseDomain(DOM0, _create(host, "red-west", "00000000-0000-4000-8000-00000000000f")))
    for label in labels:
        _create(host, label)
    return call


def _both_sides(after: After) -> bool:
    return {"red-west", "red-east"} <= set(after.state.running_labels())


def _bind(host: XenHost) -> BindInterdomain:
    """A port that green holds open for red, as it would be left by a policy that let it."""
    _, green = _pair(host, "red-blue")
    return BindInterdomain(RED, GREEN, green.alloc_unbound(RED))


def _map(host: XenHost) -> MapGrant:
    _, green = _pair(host)
    return MapGrant(RED, GREEN, green.grant_access(RED, 0, GrantKind.READ), writable=False)


def _copy(host: XenHost) -> CopyGrant:
    _, green = _pair(host)
    ref = green.grant_access(RED, 0, GrantKind.READ)
    return CopyGrant(RED, CopyEnd(GREEN, ref), CopyEnd(RED, 0), len(SECRET))


def _transfer(host: XenHost) -> TransferPage:
    red, _ = _pair(host)
    red.decrease_reservation(0, 1)
    return TransferPage(GREEN, 0, RED, red.grant_access(GREEN, 0, GrantKind.TRANSFER))


def _own_ring(host: XenHost) -> RegisterRing:
    red, _ = _pair(host)
    red.write(5, 0, bytes(4096))
    return RegisterRing(RED, 7, GREEN, (5,))


def _foreign_ring(host: XenHost) -> ConnectRing:
    red, _ = _pair(host)
    red.register_ring(7, None, (5,))
    return ConnectRing(GREEN, RED, 7)


def _message(partner: int | None) -> Callable[[After], bool]:
    """Tell whether green can now tell red its secret through red's ring."""

    def won(after: After) -> bool:
        after.guest(GREEN).send_message(RED, 7, SECRET)
        message = after.guest(RED).take_message(7, partner)
        return message is not None and message.data == SECRET

    return won


def _shared_value(host: XenHost, call: Any) -> Any:
    """Let red read and write a value of the other one while the policy lets them share."""
    _, both = _pair(host, "red-blue")
    both.write_store(GREEN, "data", SECRET)
    both.share_store("data", RED, AccessMode.WRITE)
    return call


def _value(state: HostState, domid: int, path: str) -> StoreNode:
    return state.domain(domid).store.get(path, StoreNode(b"", Table()))


SHARE_NAME = StoreShare(GREEN, "name", RED, AccessMode.READ)
EAST = replace(SAVED, label="red-east")

ATTACKS: dict[type, Attack] = {
    CreateDomain: Attack(
        lambda host: _beside_west(host, CreateDomain(DOM0, UUID, "new", "red-east", 1, 1)), _both_sides
    ),
    BuildDomain: Attack(
        lambda host: _with_paused(host, BuildDomain(DOM0, 1, 0, b"not yours")),
        lambda after: after.memory.touched() == 1,
        DOM0_WITHOUT_GREEN,
    ),
    UnpauseDomain: Attack(
        lambda host: _with_paused(host, UnpauseDomain(DOM0, 1)),
        lambda after: after.state.domain(1).status == "running",
        DOM0_WITHOUT_GREEN,
    ),
    RelabelDomain: Attack(
        lambda host: _beside_west(host, RelabelDomain(DOM0, 2, "green", "red-east"), "green"), _both_sides
    ),
    AllocUnbound: Attack(
        lambda host: (_pair(host), AllocUnbound(GREEN, RED))[1],
        lambda after: after.state.domain(GREEN).ports[after.result] == Port(RED),
    ),
    BindInterdomain: Attack(
        _bind,
        lambda after: (after.guest(RED).send(after.result), after.guest(GREEN).take_signals(1))[1] == 1,
        APART,
    ),
    MapGrant: Attack(
        _map, lambda after: after.guest(RED).read_mapped(after.result, 0, len(SECRET)) == SECRET
    ),
    CopyGrant: Attack(_copy, lambda after: after.guest(RED).read(0, 0, len(SECRET)) == SECRET),
    TransferPage: Attack(_transfer, lambda after: after.guest(RED).read(0, 0, len(SECRET)) == SECRET),
    RegisterRing: Attack(_own_ring, _message(GREEN)),
    ConnectRing: Attack(_foreign_ring, _message(None)),
    AttachResource: Attack(
        lambda host: (_pair(host), AttachResource(DOM0, RED, GREEN_DISK, AccessMode.WRITE))[1],
        lambda after: GREEN_DISK in after.state.domain(RED).attachments,
    ),
    RelabelResource: Attack(
        lambda _: RelabelResource(DOM0, GREEN_DISK, "green", "red"),
        lambda after: after.state.resource(GREEN_DISK).label == "red",
        DOM0_WITHOUT_GREEN,
    ),
    SetMaxMemory: Attack(
        lambda host: _with_paused(host, SetMaxMemory(DOM0, 1, 60)),
        lambda after: after.state.domain(1).max_pages == 60 * 256,
        DOM0_WITHOUT_GREEN,
    ),
    ScheduleDomain: Attack(
        lambda host: _with_paused(host, ScheduleDomain(DOM0, 1, 65535, 0)),
        lambda after: after.state.domain(1).weight == 65535,
        DOM0_WITHOUT_GREEN,
    ),
    StoreRead: Attack(
        lambda host: _shared_value(host, StoreRead(RED, GREEN, "data")),
        lambda after: after.guest(RED).read_store(GREEN, "data") == SECRET,
        APART,
    ),
    StoreWrite: Attack(
        lambda host: _shared_value(host, StoreWrite(RED, GREEN, "data", b"from red")),
        lambda after: _value(after.state, GREEN, "data").value == b"from red",
        APART,
    ),
    StoreRemove: Attack(
        lambda host: _with_paused(host, StoreRemove(DOM0, 1, "name")),
        lambda after: "name" not in after.state.domain(1).store,
        DOM0_WITHOUT_GREEN,
    ),
    StoreShare: Attack(
        lambda host: (_pair(host), SHARE_NAME)[1],
        lambda after: RED in _value(after.state, GREEN, "name").readers,
    ),
    SaveDomain: Attack(
        lambda host: _with_paused(host, SaveDomain(DOM0, 1)),
        lambda after: 1 not in after.state.domains,
        DOM0_WITHOUT_GREEN,
    ),
    RestoreDomain: Attack(
        lambda host: _beside_west(host, RestoreDomain(DOM0, EAST, Arrival.MIGRATE_IN)), _both_sides
    ),
}
"""Call type -> the attack on it; a policy that replaces another one is attacked in ``test_hooks``."""
