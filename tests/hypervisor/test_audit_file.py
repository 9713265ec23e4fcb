"""The trail as a file: over boots, over crashes, and against whoever changed it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from hypervisor import audit
from hypervisor.audit import AuditEvent, AuditTrail, Outcome, read_trail, without_torn_end
from hypervisor.audit_file import AuditFile
from hypervisor.errors import HypervisorDenied, HypervisorInputError, HypervisorUsageError

if TYPE_CHECKING:
    from pathlib import Path

    from hypervisor.host import XenHost

Start = Callable[..., int]


def note(trail: AuditTrail, what: str = "something", **more: Any) -> None:
    values: dict[str, Any] = {
        "time_ns": 1,
        "epoch": 1,
        "who": "alice",
        "action": "H04",
        "what": what,
        "outcome": Outcome.DONE,
        "why": (),
    }
    trail.append(AuditEvent(**{**values, **more}))


def boot(path: Path, *whats: str) -> None:
    with AuditFile(path) as file:
        trail = file.trail(7)
        for what in whats:
            note(trail, what)


def test_a_trail_goes_on_over_boots(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    for whats in (("a", "b"), (), ("c",)):
        boot(path, *whats)
    records = read_trail(path.read_bytes())
    assert [(each.index, each.what) for each in records] == [(0, "a"), (1, "b"), (2, "c")]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("torn", [b"{", b'{"action":"H04"', b"\0" * 4096])
def test_a_line_that_a_crash_has_torn_is_taken_away_and_told(torn: bytes, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    boot(path, "a", "b")
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert without_torn_end(path.read_bytes()) == (whole, torn)
    boot(path, "c")
    records = read_trail(path.read_bytes())
    assert [each.what for each in records if each.action != "audit"] == ["a", "b", "c"]
    told = records[2]
    assert (told.who, told.action, told.outcome, told.time_ns) == ("host", "audit", "failed", 7)
    assert told.what.startswith(f"{len(torn)} bytes")
    assert told.why[0][0] == "audit-torn"


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0].replace(b'"a"', b'"x"'), *lines[1:]],
        lambda lines: lines[1:],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [*lines, b"x" * 70_000],
        lambda lines: [*lines, b"{}\n"],
    ],
)
def test_nothing_goes_on_behind_a_trail_that_was_changed(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    boot(path, "a", "b", "c")
    changed = b"".join(change(path.read_bytes().splitlines(keepends=True)))
    path.write_bytes(changed)
    with pytest.raises(HypervisorInputError):
        AuditFile(path)
    assert path.read_bytes() == changed


def test_a_link_is_no_trail(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        AuditFile(tmp_path / "link")


def test_a_record_that_does_not_fit_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.log"
    with AuditFile(path) as file:
        trail, write = file.trail(0), os.write
        note(trail, "a")
        whole = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda handle, data: write(handle, data[:20]))
            with pytest.raises(OSError, match="no room"):
                note(trail, "lost")
        assert path.read_bytes() == whole
        note(trail, "b")
    assert [each.what for each in read_trail(path.read_bytes())] == ["a", "b"]


def test_what_guests_choose_spoils_neither_trail_nor_terminal(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    nasty = ("\x1b[2J\n", "\ud800", "\u202e", "x" * 100_000, "\0")
    with AuditFile(path) as file:
        trail = file.trail(0)
        for text in nasty:
            note(trail, text, who=text, why=((("code", text),) * 50))
    raw = path.read_bytes()
    records = read_trail(raw)
    assert len(records) == len(nasty)
    assert all(text.isprintable() for each in records for text in (each.who, each.what, each.why[0][1]))
    assert max(len(line) for line in raw.splitlines()) < audit.MAX_LINE


def test_the_longest_calls_of_a_guest_are_recorded(host: XenHost, start: Start, tmp_path: Path) -> None:
    red = host.guest(start("red"))
    with AuditFile(tmp_path / "audit.log") as file:
        host.trail._sink = file.trail(0)._sink
        host.trail._last = None
        for act in (
            lambda: red.register_ring(1, None, tuple(range(1 << 70, (1 << 70) + 5000))),
            lambda: red.read_store(2, "/" * 100_000),
            lambda: red.read_store(2, "\ud800"),
            lambda: red.write_store(red.domid, "\n", b"x" * 100_000),
            lambda: red.decrease_reservation(1 << 4000, 1 << 4000),
        ):
            with suppress(HypervisorUsageError, HypervisorDenied):
                act()
    assert len(read_trail((tmp_path / "audit.log").read_bytes())) >= 4


def test_a_trail_holds_the_newest_records_and_its_sink_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "HELD", 3)
    lines: list[bytes] = []
    trail = AuditTrail(lines.append)
    for number in range(5):
        note(trail, str(number))
    assert [each.what for each in trail] == ["2", "3", "4"]
    assert [json.loads(line)["index"] for line in lines] == [0, 1, 2, 3, 4]
