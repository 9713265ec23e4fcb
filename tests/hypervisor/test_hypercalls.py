"""Every hypercall has its hook: removing a question, a row or a privilege check fails here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from acm.engine import Request
from hypervisor.errors import AccessDenied, NotPrivileged
from hypervisor.hypercalls import HYPERCALLS, Caller
from hypervisor.policyctl import ReplacePolicy
from hypervisor.state import DOM0, HostState
from hypervisor.xenstore import StoreRead
from tests.hypervisor.examples import CHANNEL, EXAMPLES, ask, busy_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypervisor.host import XenHost

LIVE = (
    ask("start", "vm:red", "vm:dom0"),
    ask("authorize", "vm:dom0", "vm:red"),
    ask("start", "vm:red-blue", "vm:dom0", "vm:red"),
    ask("authorize", "vm:dom0", "vm:red-blue"),
    ask("start", "vm:green", "vm:dom0", "vm:red", "vm:red-blue"),
    ask("authorize", "vm:dom0", "vm:green"),
    CHANNEL,
    ask("event-channel", "vm:red-blue", "vm:red"),
    ask("grant-map-write", "vm:red", "vm:red-blue"),
    ask("argo", "vm:red", "vm:red-blue"),
    ask("resource-write", "vm:red", "res:red"),
)
"""Every question of the busy host below, in the order of its domains."""

IDS = [
    f"{HYPERCALLS[type(call)].id}-{type(call).__name__}-{number}" for number, (call, _) in enumerate(EXAMPLES)
]


@pytest.fixture
def busy(host: XenHost, start: Callable[..., int]) -> HostState:
    return busy_state(host, start("red"), start("red-blue"))


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
        assert bench.monitor.state != busy or isinstance(call, StoreRead)


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
