"""The audit trail: append-only, chained, readable by others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor.audit import MAX_LINE, AuditEvent, AuditTrail, Outcome, read_trail
from hypervisor.domctl import CreateDomain
from hypervisor.errors import HypervisorDenied, HypervisorInputError
from hypervisor.host import XenHost
from hypervisor.state import DOM0

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acm.policy import Policy
    from hypervisor.hostconfig import HostDescription


def filled() -> tuple[AuditTrail, bytes]:
    lines: list[bytes] = []
    trail = AuditTrail(lines.append)
    for number in range(4):
        trail.append(
            AuditEvent(
                time_ns=number,
                epoch=1,
                who="domain 1 «web»",
                action="H07",
                what="AllocUnbound(remote=2)",
                outcome=Outcome.DENIED,
                why=(("ste-no-shared-type", "no type\u2026"),),
            )
        )
    return trail, b"".join(lines)


def test_a_trail_is_read_back() -> None:
    trail, data = filled()
    assert read_trail(data) == tuple(trail)
    assert read_trail(b"") == ()


class Disk:
    """What a trail is written to; it takes lines while it has room."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.room = True

    def write(self, line: bytes) -> None:
        if not self.room:
            raise OSError(28, "No space left on device")
        self.lines.append(line)


def record(act: Callable[..., object], what: str) -> None:
    act(AuditEvent(1, 1, "host", "H05", what, Outcome.DONE, ()))


def test_what_is_owed_is_written_before_anything_else() -> None:
    disk = Disk()
    trail = AuditTrail(disk.write)
    record(trail.append, "one")
    disk.room = False
    record(trail.owe, "two")
    record(trail.owe, "three")
    with pytest.raises(OSError, match="No space"):
        record(trail.append, "never asked again")
    assert [each.what for each in trail] == ["one"]
    disk.room = True
    record(trail.append, "four")
    told = [each.what for each in read_trail(b"".join(disk.lines))]
    assert told == [each.what for each in trail] == ["one", "two", "three", "four"]


def test_what_is_owed_is_written_at_once_where_there_is_room() -> None:
    disk = Disk()
    trail = AuditTrail(disk.write)
    record(trail.owe, "one")
    assert [each.what for each in read_trail(b"".join(disk.lines))] == ["one"]


@pytest.mark.parametrize("fault", ["edit", "drop", "swap", "repeat", "cut", "blank"])
def test_a_changed_trail_is_refused(fault: str) -> None:
    _, data = filled()
    first, second, *rest = data.splitlines(keepends=True)
    changed = {
        "edit": [first.replace(b"remote=2", b"remote=3"), second, *rest],
        "drop": [first, *rest],
        "swap": [second, first, *rest],
        "repeat": [first, first, second, *rest],
        "cut": [first, second[:-1]],
        "blank": [first, b"\n", second, *rest],
    }[fault]
    with pytest.raises(HypervisorInputError):
        read_trail(b"".join(changed))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"index": 7}, "audit-chain"),
        ({"index": True}, "audit-line"),
        ({"time_ns": 1.5}, "audit-line"),
        ({"epoch": "1"}, "audit-line"),
        ({"who": 5}, "audit-line"),
        ({"what": "x" * MAX_LINE}, "audit-line"),
    ],
)
def test_a_record_that_no_trail_writes_is_refused_although_its_chain_is_right(
    change: dict[str, object], code: str
) -> None:
    _, data = filled()
    fields = json.loads(data.splitlines()[0]) | change
    line = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(HypervisorInputError) as refused:
        read_trail(line + b"\n")
    assert refused.value.code == code


@settings(deadline=None, max_examples=150)
@given(data=st.binary(max_size=100), at=st.integers(0, 900), bit=st.integers(0, 7))
def test_any_input_is_read_or_refused(data: bytes, at: int, bit: int) -> None:
    _, good = filled()
    flipped = bytearray(good)
    flipped[at % len(good)] ^= 1 << bit
    for each in (data, data + b"\n", bytes(flipped), b'{"why":[]}\n', b"[" * 9000 + b"\n", b'"\\ud800"\n'):
        try:
            read_trail(each)
        except HypervisorInputError as error:
            refused = error
        else:
            continue
        assert "\n" not in str(refused)
    with pytest.raises(HypervisorInputError):
        read_trail(good.replace(b'"time_ns":0', b'"time_ns":NaN'))


@pytest.mark.parametrize(("clock", "dated"), [(lambda: 1234, 1234), (None, 500)])
def test_records_are_dated_by_the_clock_that_was_given_or_by_system_time(
    clock: Callable[[], int] | None, dated: int, description: HostDescription, policy: Policy
) -> None:
    host = XenHost(description, policy, clock=clock)
    host.run(500)
    with pytest.raises(HypervisorDenied):
        host.invoke(CreateDomain(DOM0, "u", "n", "nobody", 1, 1))
    [only] = host.trail
    assert only.time_ns == dated


def test_the_schema_describes_real_records(
    repository: Path, host: XenHost, start: Callable[..., int]
) -> None:
    schema = json.loads((repository / "configs/schema/host-audit.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(HypervisorDenied):
        host.guest(start("red")).alloc_unbound(start("green"))
    records = list(host.trail)
    assert {record.outcome for record in records} == {"done", "denied"}
    for record in records:
        jsonschema.validate(json.loads(record.encode()), schema)
