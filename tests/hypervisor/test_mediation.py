"""Nothing goes around the reference monitor: shown over the source of the whole package.

The protection state is frozen and has one writer. Machine memory and pending events have the writers that are
listed here, each with the argument that makes it safe.
"""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import hypervisor.state
from hypervisor.memory import MachineMemory

PACKAGE = Path(hypervisor.state.__file__).parent
SOURCES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}


def calls(attribute: str) -> set[tuple[str, str]]:
    """Return (file, call as written) of every call of a method of this name."""
    return {
        (name, ast.unparse(node))
        for name, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == attribute
    }


def files(attribute: str) -> set[str]:
    return {name for name, _ in calls(attribute)}


def writers(attribute: str) -> set[tuple[str, str]]:
    """Return (file, function) of everything that binds, deletes or fills this attribute of an object."""
    return {
        (name, function.name)
        for name, tree in SOURCES.items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if _stores(node, attribute)
    }


def _stores(node: ast.AST, attribute: str) -> bool:
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        node = node.value
        return isinstance(node, ast.Attribute) and node.attr == attribute
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        changing = {"pop", "clear", "update", "setdefault", "popitem"}
        inner = node.func.value
        return node.func.attr in changing and isinstance(inner, ast.Attribute) and inner.attr == attribute
    return isinstance(node, ast.Attribute) and node.attr == attribute and not isinstance(node.ctx, ast.Load)


def test_only_the_monitor_replaces_the_state() -> None:
    assert writers("_state") == {("monitor.py", "__init__"), ("monitor.py", "_commit")}


def test_only_the_monitor_applies_hypercalls_and_commits_data() -> None:
    assert files("apply") == {"monitor.py"}
    assert files("accesses") == {"monitor.py"}
    assert files("commit") == {"monitor.py"}


def test_nobody_changes_what_is_frozen() -> None:
    assert calls("__setattr__") == set()
    for tree in SOURCES.values():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert names.isdisjoint({"setattr", "delattr", "vars", "exec", "eval", "globals"})
    kinds = [each for each in vars(hypervisor.state).values() if dataclasses.is_dataclass(each)]
    assert len(kinds) >= 10
    assert all(each.__dataclass_params__.frozen for each in kinds)
    assert writers("_items") == {("table.py", "__init__")}


def test_every_effect_of_a_hypercall_is_a_function_of_the_state() -> None:
    """The modules of the table have no class but frozen data: nothing that could remember or reach."""
    pure = ("argo", "attach", "domctl", "evtchn", "gnttab", "memory_op", "policyctl", "savectl", "xenstore")
    for name in pure:
        for node in ast.walk(SOURCES[f"{name}.py"]):
            if isinstance(node, ast.ClassDef):
                bases = [ast.unparse(each) for each in node.bases]
                assert bases in (["StrEnum"], ["Protocol"]) or any(
                    "frozen=True" in ast.unparse(each) for each in node.decorator_list
                ), f"{name}.{node.name}"
            assert not isinstance(node, ast.Global | ast.Nonlocal)


def test_frames_are_written_only_where_they_are_reached_by_right() -> None:
    """A guest writes its own frames and what it has mapped; the monitor alone writes for somebody else."""
    memory_writes = {
        (name, text)
        for name, text in calls("write")
        if name not in ("memory.py", "folder.py", "audit_file.py", "history_store.py") and "memory" in text
    }
    assert memory_writes == {
        ("guest.py", "self._memory.write(self._own(gfn), offset, data)"),
        ("guest.py", "self._memory.write(self._mapped(handle, writing=True), offset, data)"),
    }
    makers = {
        name
        for name, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "FramePage"
    }
    assert makers == {"monitor.py"}


def test_frames_are_read_only_where_they_are_reached_by_right() -> None:
    reads = {(name, text) for name, text in calls("read") if "_memory.read" in text and name != "memory.py"}
    assert reads == {
        ("guest.py", "self._memory.read(self._own(gfn), *_within(offset, length))"),
        ("guest.py", "self._memory.read(self._mapped(handle, writing=False), *_within(offset, length))"),
    }
    assert files("contents") == {"savectl.py"}
    users = {
        name
        for name, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "saved_domain"
    }
    assert users == {"monitor.py"}


def test_events_of_others_are_signalled_by_the_monitor_alone() -> None:
    assert files("signal") == {"memory.py", "monitor.py"}
    takers = {text for name, text in calls("take_signals") if "_memory" in text}
    assert takers == {"self._memory.take_signals(self.domid, port)"}


def test_what_memory_holds_is_changed_by_memory_alone() -> None:
    assert {name for name, _ in writers("_frames") | writers("_pending")} == {"memory.py"}
    outside = {
        name
        for name, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("_frames", "_pending")
    }
    assert outside == {"memory.py"}
    holders = {name for name, tree in SOURCES.items() if "MachineMemory(" in ast.unparse(tree)}
    assert holders == {"guarded.py"}
    assert {name for name in vars(MachineMemory) if not name.startswith("_")} == {
        "read",
        "write",
        "touched",
        "contents",
        "signal",
        "take_signals",
        "commit",
    }
