"""Complete mediation: an attack on every hook is stopped, and goes through once that hook is taken out.

The tests are generated from the table of hypercalls, and ``docs/hooks.md`` names them.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

import hypervisor.monitor
from acm import policyfile
from acm.update import AS_IT_IS, Amendment, Update
from hypervisor.audit import AuditTrail
from hypervisor.errors import HypervisorDenied
from hypervisor.hypercalls import HYPERCALLS, Hypercall, nothing_asked
from hypervisor.monitor import ReferenceMonitor
from hypervisor.policy import AcmEngine
from hypervisor.policyctl import ReplacePolicy
from hypervisor.state import DOM0, HostState
from tests.conftest import REPOSITORY, VECTORS
from tests.hypervisor.attacks import ATTACKS, After, Attack
from tests.hypervisor.examples import EXAMPLES, POLICY, busy_state

if TYPE_CHECKING:
    from acm.livestate import LiveState
    from acm.policy import Policy
    from hypervisor.host import XenHost

Start = Callable[..., int]
ASKING = {kind for kind, row in HYPERCALLS.items() if row.accesses is not nothing_asked}


def row_id(kind: type) -> str:
    return f"{HYPERCALLS[kind].id}-{kind.__name__}"


def rows(kinds: set[Any]) -> list[Any]:
    return [pytest.param(kind, id=row_id(kind)) for kind in sorted(kinds, key=row_id)]


def without_hook(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """Delete one hook call from the monitor's table."""
    table: dict[Any, Hypercall] = dict(HYPERCALLS)
    table[kind] = replace(table[kind], accesses=nothing_asked)
    monkeypatch.setattr(hypervisor.monitor, "HYPERCALLS", MappingProxyType(table))


def scene(host: XenHost, attack: Attack) -> tuple[ReferenceMonitor, Any]:
    """Return the call of an attack, and the monitor that it is made to."""
    call = attack.scene(host)
    text = POLICY.decode()
    if attack.edit:
        assert attack.edit[0] in text
        text = text.replace(*attack.edit)
    engine = AcmEngine(policyfile.load(text.encode()))
    return ReferenceMonitor(host.state, engine, host._memory, AuditTrail(), lambda: 0), call


def test_every_hook_has_its_attack() -> None:
    assert set(ATTACKS) | {ReplacePolicy} == ASKING


@pytest.mark.parametrize("kind", rows(set(ATTACKS)))
def test_the_hook_stops_the_attack(kind: type, host: XenHost) -> None:
    monitor, call = scene(host, ATTACKS[kind])
    before = monitor.state
    assert isinstance(call, kind)
    with pytest.raises(HypervisorDenied):
        monitor.invoke(call)
    assert monitor.state is before


@pytest.mark.parametrize("kind", rows(set(ATTACKS)))
def test_without_its_hook_the_attack_goes_through(
    kind: type, host: XenHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor, call = scene(host, ATTACKS[kind])
    without_hook(monkeypatch, kind)
    result = monitor.invoke(call)
    assert ATTACKS[kind].won(After(monitor, host._memory, result))


def rebound(host: XenHost, start: Start, edited: Callable[[str, str], Policy]) -> Policy:
    """Bind two domains, and return a policy under which they must not be."""
    red, both = start("red"), start("red-blue")
    host.guest(red).bind_interdomain(both, host.guest(both).alloc_unbound(red))
    return edited("red-blue: {ste: [red, blue]}", "red-blue: {ste: [blue]}")


class Blind(AcmEngine):
    """An engine whose own judgement of an update finds nothing, so that the hook stands alone."""

    def update(self, live: LiveState, amendment: Amendment = AS_IT_IS) -> Update:
        return replace(super().update(live, amendment), violations=())


def blind(policy: Policy) -> ReplacePolicy:
    engine = Blind(policy)
    return ReplacePolicy(DOM0, engine.info(2), engine)


@pytest.mark.parametrize("kind", rows({ReplacePolicy}))
def test_a_new_policy_that_live_sharing_violates_is_stopped(
    kind: type, host: XenHost, start: Start, edited: Callable[[str, str], Policy]
) -> None:
    del kind
    policy = rebound(host, start, edited)
    with pytest.raises(HypervisorDenied):
        host.replace_policy(policy)
    with pytest.raises(HypervisorDenied):
        host.invoke(blind(policy))
    assert host.state.policy.epoch == 1


@pytest.mark.parametrize("kind", rows({ReplacePolicy}))
def test_without_the_replay_live_sharing_outlives_the_policy(
    kind: type,
    host: XenHost,
    start: Start,
    edited: Callable[[str, str], Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = rebound(host, start, edited)
    without_hook(monkeypatch, kind)
    assert host.invoke(blind(policy)) == 2
    host.guest(2).send(1)
    assert host.guest(1).take_signals(1) == 1


def reach(state: HostState) -> set[tuple[Any, ...]]:
    """Everything that somebody can read, write, signal or use: (kind, who, what, …)."""
    found: set[tuple[Any, ...]] = set()
    for domid, domain in state.domains.items():
        found |= {("memory", domid, mfn) for mfn in domain.memory.frames}
        found |= {("mapping", domid, each.mfn, each.writable) for each in domain.mappings.values()}
        found |= {
            ("channel", domid, port.remote, port.remote_port)
            for port in domain.ports.values()
            if port.remote_port is not None
        }
        found |= {
            ("ring", sender, domid, each.port)
            for each, ring in domain.rings.items()
            for sender in ring.senders
        }
        found |= {
            ("value", reader, domid, path, mode)
            for path, node in domain.store.items()
            for reader, mode in node.readers.items()
        }
        found |= {("resource", domid, each, mode) for each, mode in domain.attachments.items()}
        found |= {("runs", domid)} if domain.status == "running" else set()
    return found


@pytest.mark.parametrize("kind", rows(set(HYPERCALLS) - ASKING))
def test_a_call_that_asks_nothing_gives_nobody_more(
    kind: type, host: XenHost, start: Start, watched: Any
) -> None:
    """All that such a call may give is free memory, to its caller."""
    busy = busy_state(host, start("red"), start("red-blue"))
    calls = [call for call, _ in EXAMPLES if isinstance(call, kind)]
    assert calls
    for call in calls:
        bench = watched(busy)
        bench.monitor.invoke(call)
        won = reach(bench.monitor.state) - reach(busy)
        assert won <= {("memory", call.caller, mfn) for mfn in busy.free}


def hook_table() -> Any:
    """Load ``tools/hook-table``, a program without the ending of a module."""
    path = str(REPOSITORY / "tools" / "hook-table")
    loader = importlib.machinery.SourceFileLoader("hook_table", path)
    spec = importlib.util.spec_from_loader("hook_table", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_table_in_the_docs_is_the_one_of_the_code() -> None:
    written = (REPOSITORY / "docs/hooks.md").read_text()
    assert written == hook_table().render(), "write it again: tools/hook-table"


def test_the_table_names_tests_that_are_here() -> None:
    for kind, row in HYPERCALLS.items():
        for name in hook_table().tests(row):
            function, _, parameter = name.partition("[")
            marks = globals()[function].pytestmark
            ids = [each.id for mark in marks if mark.name == "parametrize" for each in mark.args[1]]
            assert parameter.rstrip("]") in ids
            assert row_id(kind) == parameter.rstrip("]")


def test_ids_are_unique_and_permissions_are_those_of_flask() -> None:
    assert len({row.id for row in HYPERCALLS.values()}) == len(HYPERCALLS)
    facts = VECTORS.parent / "facts" / "flask_classes.txt"
    if not facts.is_file():
        pytest.skip("../shared/facts is not here")
    classes = dict(line.split(" (", 1) for line in facts.read_text().splitlines() if " (" in line)
    for row in HYPERCALLS.values():
        for permission in row.flask:
            kind, _, name = permission.lower().partition("__")
            assert name in classes[kind].split(), permission
