"""Every hypercall has its hook: removing a question, a row or a privilege check fails here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from acm.engine import Operation, Request
from hypervisor.attach import AttachResource, DetachResource, RelabelResource
from hypervisor.domctl import (
    BuildDomain,
    CreateDomain,
    DestroyDomain,
    PauseDomain,
    RelabelDomain,
    UnpauseDomain,
)
from hypervisor.errors import AccessDenied, NotPrivileged
from hypervisor.evtchn import AllocUnbound, BindInterdomain, ClosePort
from hypervisor.gnttab import CopyEnd, CopyGrant, EndAccess, GrantAccess, MapGrant, TransferPage, UnmapGrant
from hypervisor.hypercalls import HYPERCALLS, Caller
from hypervisor.policyctl import ReplacePolicy
from hypervisor.state import DOM0, AccessMode, GrantKind, HostState

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypervisor.host import XenHost

RED_DISK = "uuid:00000000-0000-0000-0000-00000000000a"
GREEN_DISK = "uuid:00000000-0000-0000-0000-00000000000b"
RED_ROM = "uuid:00000000-0000-0000-0000-00000000000c"
UUID = "11111111-1111-4111-8111-111111111111"


def ask(op: str, subject: str, target: str, *running: str) -> Request:
    return Request(Operation(op), subject, target, running)


READ, WRITE, SHARE = (
    ask("read", "vm:red", "vm:red-blue"),
    ask("write", "vm:red", "vm:red-blue"),
    ask("share", "vm:red", "vm:red-blue"),
)
LIVE = (
    ask("start", "vm:red", "vm:dom0"),
    ask("authorize", "vm:dom0", "vm:red"),
    SHARE,
    READ,
    WRITE,
    ask("read", "vm:red", "res:red"),
    ask("write", "vm:red", "res:red"),
    ask("start", "vm:red-blue", "vm:dom0", "vm:red"),
    ask("authorize", "vm:dom0", "vm:red-blue"),
    ask("share", "vm:red-blue", "vm:red"),
    ask("start", "vm:green", "vm:dom0", "vm:red", "vm:red-blue"),
    ask("authorize", "vm:dom0", "vm:green"),
)
"""Every question of the busy host below, in the order of its domains."""

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
    (AllocUnbound(1, 2), (SHARE,)),
    (BindInterdomain(1, 2, 2), (SHARE,)),
    (ClosePort(1, 1), ()),
    (GrantAccess(1, 2, 0, GrantKind.READ), ()),
    (EndAccess(2, 9), ()),
    (MapGrant(1, 2, 9, writable=False), (READ,)),
    (MapGrant(1, 2, 8, writable=True), (READ, WRITE)),
    (UnmapGrant(1, 0), ()),
    (CopyGrant(1, CopyEnd(2, 9), CopyEnd(1, 0), 16), (READ,)),
    (CopyGrant(1, CopyEnd(1, 0), CopyEnd(2, 8), 16), (WRITE,)),
    (CopyGrant(1, CopyEnd(2, 9), CopyEnd(2, 8), 16), (READ, WRITE)),
    (TransferPage(1, 5, 2, 10), (WRITE,)),
    (AttachResource(DOM0, 1, RED_ROM, AccessMode.READ), (ask("read", "vm:red", "res:red"),)),
    (
        AttachResource(DOM0, 1, GREEN_DISK, AccessMode.WRITE),
        (ask("read", "vm:red", "res:green"), ask("write", "vm:red", "res:green")),
    ),
    (DetachResource(DOM0, 1, RED_DISK), ()),
    (RelabelResource(DOM0, GREEN_DISK, "green", "blue"), ()),
]

IDS = [
    f"{HYPERCALLS[type(call)].id}-{type(call).__name__}-{number}" for number, (call, _) in enumerate(EXAMPLES)
]


@pytest.fixture
def busy(host: XenHost, start: Callable[..., int]) -> HostState:
    """Two sharing domains, bound to each other in every way, and a paused third one that never ran."""
    red, both = start("red"), start("red-blue")
    first, second = host.guest(red), host.guest(both)
    first.bind_interdomain(both, second.alloc_unbound(red))
    second.alloc_unbound(red)
    first.map_grant(both, second.grant_access(red, 0, GrantKind.WRITE), writable=True)
    second.grant_access(red, 1, GrantKind.READ)
    second.grant_access(red, 999, GrantKind.TRANSFER)
    host.invoke(AttachResource(DOM0, red, RED_DISK, AccessMode.WRITE))
    host.invoke(CreateDomain(DOM0, "22222222-2222-4222-8222-222222222222", "third", "green", 1, 1))
    return host.state


def test_every_row_has_an_example() -> None:
    assert {type(call) for call, _ in EXAMPLES} | {ReplacePolicy} == set(HYPERCALLS)
    assert len({row.id for row in HYPERCALLS.values()}) == len(HYPERCALLS)


@pytest.mark.parametrize(("call", "questions"), EXAMPLES, ids=IDS)
def test_the_hook_asks_exactly_this(
    call: Any, questions: tuple[Request, ...], busy: HostState, watched: Any
) -> None:
    bench = watched(busy)
    bench.monitor.invoke(call)
    assert tuple(bench.engine.asked) == questions


@pytest.mark.parametrize(("call", "questions"), EXAMPLES, ids=IDS)
def test_one_denied_question_refuses_the_call(
    call: Any, questions: tuple[Request, ...], busy: HostState, watched: Any
) -> None:
    for denied in questions:
        bench = watched(busy, lambda request, denied=denied: request != denied)
        with pytest.raises(AccessDenied):
            bench.monitor.invoke(call)
        assert bench.monitor.state is busy
        assert bench.memory.touched() == 0
        assert [record.outcome for record in bench.trail] == ["denied"]


@pytest.mark.parametrize(("call", "questions"), EXAMPLES, ids=IDS)
def test_calls_that_only_give_up_rights_work_under_an_engine_that_denies_all(
    call: Any, questions: tuple[Request, ...], busy: HostState, watched: Any
) -> None:
    bench = watched(busy, lambda _: False)
    if questions:
        with pytest.raises(AccessDenied):
            bench.monitor.invoke(call)
    else:
        bench.monitor.invoke(call)
        assert bench.monitor.state != busy


@pytest.mark.parametrize(("call", "questions"), EXAMPLES, ids=IDS)
def test_a_guest_may_not_make_the_calls_of_domain_0(
    call: Any, questions: tuple[Request, ...], busy: HostState, watched: Any
) -> None:
    del questions
    if HYPERCALLS[type(call)].caller is not Caller.DOM0:
        return
    bench = watched(busy)
    with pytest.raises(NotPrivileged):
        bench.monitor.invoke(replace(call, caller=2))
    assert bench.monitor.state is busy
    assert bench.engine.asked == []


def test_a_new_policy_is_asked_about_all_that_lives(busy: HostState, watched: Any) -> None:
    for denied in (None, *LIVE):
        bench = watched(busy)
        new = type(bench.engine)(lambda request, denied=denied: request != denied)
        call = ReplacePolicy(DOM0, replace(busy.policy, version="2.0", epoch=2), new)
        if denied is None:
            assert bench.monitor.invoke(call) == 2
            assert sorted(new.asked, key=repr) == sorted(LIVE, key=repr)
            assert bench.engine.asked == []
            continue
        with pytest.raises(AccessDenied):
            bench.monitor.invoke(call)
        assert bench.monitor.state is busy
        assert bench.monitor.engine is bench.engine
