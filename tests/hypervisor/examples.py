"""One example of every hypercall, with the questions that its hook must put; the state they are made for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from acm.engine import Operation, Request
from hypervisor.argo import ConnectRing, RegisterRing, UnregisterRing
from hypervisor.attach import AttachResource, DetachResource, RelabelResource
from hypervisor.domctl import (
    BuildDomain,
    CreateDomain,
    DestroyDomain,
    PauseDomain,
    RelabelDomain,
    ScheduleDomain,
    UnpauseDomain,
)
from hypervisor.evtchn import AllocUnbound, BindInterdomain, BindVirq, ClosePort
from hypervisor.gnttab import CopyEnd, CopyGrant, EndAccess, GrantAccess, MapGrant, TransferPage, UnmapGrant
from hypervisor.memory_op import DecreaseReservation, IncreaseReservation, SetMaxMemory
from hypervisor.savectl import Arrival, RestoreDomain, SavedDomain, SaveDomain
from hypervisor.state import DOM0, AccessMode, GrantKind, HostState, Virq
from hypervisor.xenstore import StoreRead, StoreRemove, StoreShare, StoreWrite

if TYPE_CHECKING:
    from hypervisor.host import XenHost

POLICY = b"""
format: shype.policy/1
name: test
version: "1.0"
bootstrap: dom0
ste: {types: [red, green, blue]}
chwall: {types: [west, east], conflict_sets: {sides: [west, east]}}
domain_labels:
  dom0: {ste: [red, green, blue]}
  red: {ste: [red]}
  red-west: {ste: [red], chwall: [west]}
  red-east: {ste: [red], chwall: [east]}
  green: {ste: [green]}
  blue: {ste: [blue]}
  red-blue: {ste: [red, blue]}
resource_labels:
  red: {ste: red}
  green: {ste: green}
  blue: {ste: blue}
"""

RED_DISK = "uuid:00000000-0000-0000-0000-00000000000a"
GREEN_DISK = "uuid:00000000-0000-0000-0000-00000000000b"
RED_ROM = "uuid:00000000-0000-0000-0000-00000000000c"
UUID = "11111111-1111-4111-8111-111111111111"


def ask(op: str, subject: str, target: str, *running: str) -> Request:
    return Request(Operation(op), subject, target, running)


SHARE = ask("share", "vm:red", "vm:red-blue")
CHANNEL = ask("event-channel", "vm:red", "vm:red-blue")
COPY_FROM, COPY_TO = (
    ask("grant-copy-from", "vm:red", "vm:red-blue"),
    ask("grant-copy-to", "vm:red", "vm:red-blue"),
)
SAVED = SavedDomain(
    uuid=UUID,
    name="saved",
    label="blue",
    policy="test",
    policy_digest=hashlib.sha256(POLICY).hexdigest(),
    vcpus=1,
    weight=256,
    cap=0,
    max_pages=4,
    started=True,
    label_sealed=False,
    extents=((0, 2), (8, 1)),
    pages=((1, b"one".ljust(4096, b".")), (8, b"eight".ljust(4096, b"."))),
)
ARRIVES = (ask("authorize", "vm:dom0", "vm:blue"), ask("write", "vm:dom0", "vm:blue"))
EXAMPLES: list[tuple[Any, tuple[Request, ...]]] = [
    (
        CreateDomain(DOM0, UUID, "new", "blue", 1, 1),
        (
            ask("start", "vm:blue", "vm:dom0", "vm:green", "vm:red", "vm:red-blue"),
            ask("authorize", "vm:dom0", "vm:blue"),
        ),
    ),
    (BuildDomain(DOM0, 3, 0, b"image"), (ask("write", "vm:dom0", "vm:green"),)),
    (UnpauseDomain(DOM0, 3), (ask("authorize", "vm:dom0", "vm:green"),)),
    (PauseDomain(DOM0, 1), ()),
    (DestroyDomain(DOM0, 1), ()),
    (
        RelabelDomain(DOM0, 3, "green", "blue"),
        (ask("start", "vm:blue", "vm:dom0", "vm:red", "vm:red-blue"), ask("authorize", "vm:dom0", "vm:blue")),
    ),
    (AllocUnbound(1, 2), (CHANNEL,)),
    (BindInterdomain(1, 2, 2), (CHANNEL,)),
    (ClosePort(1, 1), ()),
    (GrantAccess(1, 2, 0, GrantKind.READ), ()),
    (EndAccess(2, 9), ()),
    (MapGrant(1, 2, 9, writable=False), (ask("grant-map-read", "vm:red", "vm:red-blue"),)),
    (MapGrant(1, 2, 8, writable=True), (ask("grant-map-write", "vm:red", "vm:red-blue"),)),
    (UnmapGrant(1, 0), ()),
    (CopyGrant(1, CopyEnd(2, 9), CopyEnd(1, 1), 16), (COPY_FROM,)),
    (CopyGrant(1, CopyEnd(1, 0), CopyEnd(2, 8), 16), (COPY_TO,)),
    (CopyGrant(1, CopyEnd(2, 9), CopyEnd(2, 8), 16), (COPY_FROM, COPY_TO)),
    (TransferPage(1, 5, 2, 10), (ask("grant-transfer", "vm:red", "vm:red-blue"),)),
    (AttachResource(DOM0, 1, RED_ROM, AccessMode.READ), (ask("resource-read", "vm:red", "res:red"),)),
    (
        AttachResource(DOM0, 1, GREEN_DISK, AccessMode.WRITE),
        (ask("resource-write", "vm:red", "res:green"),),
    ),
    (AttachResource(DOM0, 1, "vlan:1", AccessMode.WRITE), (ask("vlan-attach", "vm:red", "res:red"),)),
    (DetachResource(DOM0, 1, RED_DISK), ()),
    (
        RelabelResource(DOM0, GREEN_DISK, "green", "blue"),
        (ask("read", "vm:dom0", "res:green"), ask("write", "vm:dom0", "res:blue")),
    ),
    (DecreaseReservation(1, 100, 8), ()),
    (IncreaseReservation(2, 200, 4), ()),
    (SetMaxMemory(DOM0, 1, 2), (ask("authorize", "vm:dom0", "vm:red"),)),
    (ScheduleDomain(DOM0, 1, 512, 50), (ask("authorize", "vm:dom0", "vm:red"),)),
    (BindVirq(1, Virq.TIMER), ()),
    (RegisterRing(1, 7, 2, (20,)), (ask("argo", "vm:red-blue", "vm:red"),)),
    (RegisterRing(1, 7, None, (20,)), ()),
    (UnregisterRing(2, 5, None), ()),
    (ConnectRing(1, 2, 6), (ask("argo", "vm:red", "vm:red-blue"),)),
    (StoreRead(1, 1, "name"), ()),
    (StoreRead(1, 2, "name"), (SHARE,)),
    (StoreRead(DOM0, 2, "name"), (ask("authorize", "vm:dom0", "vm:red-blue"),)),
    (StoreWrite(1, 1, "data/own", b"x"), ()),
    (StoreWrite(1, 2, "name", b"x"), (SHARE,)),
    (StoreWrite(DOM0, 2, "control/shutdown", b"x"), (ask("authorize", "vm:dom0", "vm:red-blue"),)),
    (StoreRemove(1, 1, "memory"), ()),
    (StoreRemove(DOM0, 2, "name"), (ask("authorize", "vm:dom0", "vm:red-blue"),)),
    (StoreShare(2, "name", 3, AccessMode.READ), (ask("share", "vm:red-blue", "vm:green"),)),
    (StoreShare(2, "name", 1, None), ()),
    (SaveDomain(DOM0, 3), (ask("read", "vm:dom0", "vm:green"),)),
    (
        RestoreDomain(DOM0, SAVED, Arrival.RESUME),
        (ask("resume", "vm:blue", "vm:dom0", "vm:green", "vm:red", "vm:red-blue"), *ARRIVES),
    ),
    (
        RestoreDomain(DOM0, SAVED, Arrival.MIGRATE_IN),
        (ask("migrate-in", "vm:blue", "vm:dom0", "vm:green", "vm:red", "vm:red-blue"), *ARRIVES),
    ),
]


def busy_state(host: XenHost, red: int, both: int) -> HostState:
    """Two sharing domains, bound to each other in most ways, and a paused third one that never ran."""
    first, second = host.guest(red), host.guest(both)
    first.bind_interdomain(both, second.alloc_unbound(red))
    second.alloc_unbound(red)
    first.map_grant(both, second.grant_access(red, 0, GrantKind.WRITE), writable=True)
    second.grant_access(red, 1, GrantKind.READ)
    second.grant_access(red, 999, GrantKind.TRANSFER)
    second.decrease_reservation(200, 8)
    second.register_ring(5, None, (30, 31))
    second.register_ring(6, None, (32,))
    first.send_message(both, 5, b"hello")
    second.share_store("name", red, AccessMode.WRITE)
    host.invoke(AttachResource(DOM0, red, RED_DISK, AccessMode.WRITE))
    host.invoke(CreateDomain(DOM0, "22222222-2222-4222-8222-222222222222", "third", "green", 1, 1))
    return host.state
