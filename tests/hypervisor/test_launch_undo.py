"""A launch that fails anywhere leaves nothing behind: every port, every hypercall, every record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acm import policyfile
from acm.history import Anchor
from hypervisor.audit import read_trail
from hypervisor.errors import (
    OutOfResourceError,
)
from hypervisor.history_store import FileHistoryStore
from hypervisor.host import XenHost
from tests.hypervisor.examples import POLICY

if TYPE_CHECKING:
    from pathlib import Path

    from hypervisor.hostconfig import HostDescription

from tests.hypervisor.outside import CONFIG, Outside, edited


@pytest.fixture
def outside(host: XenHost) -> Outside:
    return Outside(host, {"kernel": b"K" * 5000, "ramdisk": b"R" * 4096})


OUTSIDE_STEPS = ["read kernel", "read ramdisk", "vtpm", "measured", "meter"]
INSIDE_STEPS = ["CreateDomain", "BuildDomain", "AttachResource", "UnpauseDomain", "GrantAccess", "MapGrant",
                "AllocUnbound", "BindInterdomain"]  # fmt: skip
TAKEN_BACK = {"vtpm": "vtpm destroyed", "measured": "stop measured"}


@pytest.mark.parametrize("step", OUTSIDE_STEPS)
def test_a_failure_outside_takes_everything_back(step: str, host: XenHost, outside: Outside) -> None:
    before = host.state
    outside.fail_at = step
    with pytest.raises(RuntimeError, match=f"{step} failed"):
        outside.launcher().launch(CONFIG)
    check_as_before(host, outside, before)


@pytest.mark.parametrize("count", range(4))
@pytest.mark.parametrize("step", INSIDE_STEPS)
def test_a_failing_hypercall_takes_everything_back(
    step: str, count: int, host: XenHost, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real, seen = host.state, host.monitor.invoke, iter(range(1000))

    def failing(call: object, **more: str) -> int:
        if type(call).__name__ == step and next(seen) == count:
            raise OutOfResourceError("test", f"{step} failed")
        return real(call, **more)  # type: ignore[arg-type]  # the call is passed on as it came

    monkeypatch.setattr(host.monitor, "invoke", failing)
    try:
        outside.launcher().launch(CONFIG)
    except OutOfResourceError:
        check_as_before(host, outside, before)
    else:
        assert 1 <= next(seen) <= count, "the step never came"


@pytest.mark.parametrize("number", range(6))
def test_a_launch_that_cannot_be_recorded_takes_everything_back(
    number: int, host: XenHost, outside: Outside
) -> None:
    before, seen = host.state, iter(range(1000))

    def full(_: bytes) -> None:
        if next(seen) == number:
            raise OSError(28, "No space left on device")

    host.trail._sink = full
    with pytest.raises(OSError, match="No space"):
        outside.launcher().launch(CONFIG)
    check_as_before(host, outside, before)


@pytest.mark.parametrize(("number", "step"), [*((n, None) for n in range(6)), (6, "meter"), (5, "measured")])
def test_a_launch_is_taken_back_although_the_trail_stays_full(
    number: int, step: str | None, host: XenHost, outside: Outside
) -> None:
    """Whoever fills the disk of the trail keeps no half launched domain alive; its end is told later."""
    before, lines, room = host.state, list[bytes](), [number]
    outside.fail_at = step

    def filling(line: bytes) -> None:
        if len(lines) >= room[0]:
            raise OSError(28, "No space left on device")
        lines.append(line)

    host.trail._sink = filling
    with pytest.raises((OSError, RuntimeError)) as failed:
        outside.launcher().launch(CONFIG)
    assert not getattr(failed.value, "__notes__", ())
    assert host.state == before
    assert host._memory.touched() == 0
    with pytest.raises(OSError, match="No space"):
        outside.launcher().launch(CONFIG)
    assert host.state == before
    room[0], outside.fail_at = 1000, None
    assert outside.launcher().launch(CONFIG).domid == 1
    told = [(each.action, each.why) for each in read_trail(b"".join(lines))]
    undone = [at for at, each in enumerate(told) if each == ("H05", (("asked", "undo"),))]
    assert undone == ([number] if number else [])


def test_a_launch_that_the_history_cannot_take_takes_everything_back(
    description: HostDescription, tmp_path: Path
) -> None:
    class Broken:
        anchor: Anchor | None = None

        def read(self) -> Anchor | None:
            return self.anchor

        def write(self, anchor: Anchor) -> None:
            if self.anchor is not None:
                raise OSError(5, "the TPM does not answer")
            self.anchor = anchor

    text = POLICY.replace(b"chwall: {types", b"chwall: {history: true, types")
    store = FileHistoryStore(tmp_path / "history", Broken())
    store.begin(bytes(32))
    host = XenHost(description, policyfile.load(text), history=store)
    outside, before = Outside(host, {"kernel": b"K", "ramdisk": b"R"}), host.state
    with pytest.raises(OSError, match="TPM"):
        outside.launcher().launch(edited(b"label=red", b"label=red-west"))
    check_as_before(host, outside, before)


def check_as_before(host: XenHost, outside: Outside, before: object) -> None:
    assert host.state == before
    assert host._memory.touched() == 0
    done = [step for step in outside.steps if step in TAKEN_BACK]
    assert outside.steps[-len(done) :] == [TAKEN_BACK[step] for step in reversed(done)] if done else True
    outside.fail_at = None
    outside.steps.clear()
    assert outside.launcher().launch(CONFIG).domid == 1


def test_a_step_that_cannot_be_taken_back_is_told(
    host: XenHost, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside.fail_at = "meter"

    def stuck(vid: str) -> None:
        raise OSError(f"vTPM {vid[:4]} is stuck")

    monkeypatch.setattr(outside, "destroy", stuck)
    before = host.state
    with pytest.raises(RuntimeError) as failed:
        outside.launcher().launch(CONFIG)
    assert failed.value.__notes__ == ["could not take back: vTPM: vTPM 0000 is stuck"]
    assert host.state == before
    assert outside.steps[-1] == "stop measured"
