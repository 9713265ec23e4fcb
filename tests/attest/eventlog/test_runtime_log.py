"""The runtime log's writer: whatever happens between intent and confirmation, log and PCR fit."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

import attest.runtime_log as module
from attest.errors import AttestUsageError
from attest.eventlog.read import parse
from attest.eventlog.replay import replay, verify_replay
from attest.runtime_journal import JournalError, confirm, parse_journal
from attest.runtime_log import RuntimeLog, RuntimeLogBusyError, RuntimeLogFullError
from tests.attest.eventlog.build import SHA256, digest
from vtpm.tpm2.constants import Alg


class Killed(BaseException):
    """The process dies here: nothing after it runs, not even a cleanup."""


class Pcrs:
    """The simulated TPM: two registers of one bank."""

    def __init__(self) -> None:
        self.values = {12: bytes(32), 13: bytes(32)}

    def extend(self, pcr: int, digests: Mapping[Alg, bytes]) -> None:
        self.values[pcr] = digest(SHA256, self.values[pcr] + digests[Alg.SHA256])

    def read(self, pcr: int) -> bytes:
        return self.values[pcr]


@pytest.fixture
def pcrs() -> Pcrs:
    return Pcrs()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runtime.log"


def opened(path: Path, pcrs: Pcrs) -> RuntimeLog:
    return RuntimeLog(path, pcrs.extend, pcrs.read)


def data_of(path: Path, pcrs: Pcrs) -> list[bytes]:
    """Open the log, prove it by the PCRs and return its events' data."""
    with opened(path, pcrs) as log:
        verified = verify_replay(parse(log.cel()), pcrs.values, Alg.SHA256)
        assert len(verified.events) == len(log.events())
        return [event.untrusted_data for event in log.events()]


def crash(log: RuntimeLog) -> None:
    """Release what the kernel releases when a process dies."""
    log.close()


def fill(log: RuntimeLog) -> None:
    for _ in range(100):
        log.append(12, b"event")


class TestWriting:
    def test_events_are_extended_and_logged_in_order(self, path: Path, pcrs: Pcrs) -> None:
        with opened(path, pcrs) as log:
            assert [log.append(12, b"report").index, log.append(13, b"launch").index] == [0, 1]
            assert log.append(12, b"policy").untrusted_data == b"policy"
        assert data_of(path, pcrs) == [b"report", b"launch", b"policy"]

    def test_an_empty_log(self, path: Path, pcrs: Pcrs) -> None:
        assert data_of(path, pcrs) == []
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_every_bank_gets_its_digest(self, path: Path, pcrs: Pcrs) -> None:
        seen: list[dict[Alg, bytes]] = []

        def extend(pcr: int, digests: Mapping[Alg, bytes]) -> None:
            seen.append(dict(digests))
            pcrs.extend(pcr, digests)

        with RuntimeLog(path, extend, pcrs.read, banks=(Alg.SHA256, Alg.SHA384)) as log:
            log.append(12, b"report")
            assert parse(log.cel()).banks == (Alg.SHA256, Alg.SHA384)
        assert seen == [{alg: alg.digest(b"report") for alg in (Alg.SHA256, Alg.SHA384)}]

    def test_one_writer(self, path: Path, pcrs: Pcrs) -> None:
        with opened(path, pcrs), pytest.raises(RuntimeLogBusyError) as caught:
            opened(path, pcrs)
        assert caught.value.code == "busy"
        opened(path, pcrs).close()

    def test_wrong_calls(self, path: Path, pcrs: Pcrs) -> None:
        with opened(path, pcrs) as log:
            for pcr, data in ((11, b"x"), (12, b""), (12, bytes(16385))):
                with pytest.raises(AttestUsageError):
                    log.append(pcr, data)
        with pytest.raises(AttestUsageError):
            log.append(12, b"x")
        with pytest.raises(AttestUsageError):
            RuntimeLog(path, pcrs.extend, pcrs.read, banks=(Alg.SHA384,))
        assert data_of(path, pcrs) == []

    def test_a_full_log_measures_nothing(
        self, path: Path, pcrs: Pcrs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_JOURNAL", 1500)
        with opened(path, pcrs) as log:
            with pytest.raises(RuntimeLogFullError):
                fill(log)
            full = dict(pcrs.values)
            with pytest.raises(RuntimeLogFullError):
                log.append(12, b"event")
        assert pcrs.values == full
        assert path.stat().st_size <= 1500
        assert data_of(path, pcrs)

    def test_a_symbolic_link_or_a_folder_is_not_a_log(self, path: Path, pcrs: Pcrs, tmp_path: Path) -> None:
        (tmp_path / "target").write_bytes(b"")
        path.symlink_to(tmp_path / "target")
        with pytest.raises(OSError, match="symbolic"):
            opened(path, pcrs)
        with pytest.raises(OSError, match="directory"):
            opened(tmp_path, pcrs)


class TestFailedCalls:
    """The process lives on after an error of the TPM or of the disk."""

    def test_the_tpm_fails_before_the_extend(self, path: Path, pcrs: Pcrs) -> None:
        failing = [True]

        def extend(pcr: int, digests: Mapping[Alg, bytes]) -> None:
            if failing.pop() if failing else False:
                raise OSError("TPM")
            pcrs.extend(pcr, digests)

        with RuntimeLog(path, extend, pcrs.read) as log:
            with pytest.raises(OSError, match="TPM"):
                log.append(12, b"lost")
            log.append(12, b"kept")
        assert data_of(path, pcrs) == [b"kept"]

    def test_the_tpm_fails_after_the_extend(self, path: Path, pcrs: Pcrs) -> None:
        failing = [True]

        def extend(pcr: int, digests: Mapping[Alg, bytes]) -> None:
            pcrs.extend(pcr, digests)
            if failing.pop() if failing else False:
                raise OSError("TPM")

        with RuntimeLog(path, extend, pcrs.read) as log:
            with pytest.raises(OSError, match="TPM"):
                log.append(12, b"measured")
            log.append(12, b"next")
            assert len(parse(log.cel()).events) == 2
        assert data_of(path, pcrs) == [b"measured", b"next"]

    def test_the_tpm_can_not_be_read_then_nothing_is_logged(self, path: Path, pcrs: Pcrs) -> None:
        def broken(_: int) -> bytes:
            raise OSError("TPM")

        with pytest.raises(OSError, match="TPM"):
            RuntimeLog(path, pcrs.extend, broken)
        assert data_of(path, pcrs) == []


def points(log_calls: Callable[[RuntimeLog], None], path: Path) -> int:
    """Count the places where a process can die: before and after each system call and TPM command."""
    with Dying(Pcrs(), die_at=-1) as dying:
        log = RuntimeLog(path, dying.extend, dying.read)
        log_calls(log)
        log.close()
    return dying.point


class Dying:
    """Kills the writer at its nth step; half of a write is a step as well."""

    def __init__(self, pcrs: Pcrs, die_at: int) -> None:
        self.pcrs, self.die_at, self.point = pcrs, die_at, 0
        self.patch = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        pwrite = os.pwrite

        def halved(descriptor: int, data: bytes, offset: int) -> int:
            self.step()
            half = pwrite(descriptor, data[: len(data) // 2], offset)
            self.step()
            return half + pwrite(descriptor, data[half:], offset + half)

        self.patch.setattr(module.os, "pwrite", halved)
        for name in ("fsync", "ftruncate"):
            self.patch.setattr(module.os, name, self.wrapped(getattr(os, name)))
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()

    def step(self) -> None:
        self.point += 1
        if self.point == self.die_at:
            raise Killed

    def wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any) -> Any:
            self.step()
            result = call(*args)
            self.step()
            return result

        return stepped

    def extend(self, pcr: int, digests: Mapping[Alg, bytes]) -> None:
        self.wrapped(self.pcrs.extend)(pcr, digests)

    def read(self, pcr: int) -> bytes:
        value: bytes = self.wrapped(self.pcrs.read)(pcr)
        return value


WANTED = [(12, b"report"), (13, b"launch"), (12, b"policy")]


def write_all(log: RuntimeLog) -> None:
    for pcr, data in WANTED[len(log.events()) :]:
        log.append(pcr, data)


def test_a_process_killed_at_any_step_leaves_a_log_that_fits(tmp_path: Path) -> None:
    steps = points(write_all, tmp_path / "count")
    assert steps > 30
    for die_at in range(1, steps + 1):
        path, pcrs = tmp_path / f"{die_at}", Pcrs()
        killed(path, pcrs, die_at)
        done = data_of(path, pcrs)
        assert done == [data for _, data in WANTED[: len(done)]]


def test_a_process_killed_again_while_it_repairs(tmp_path: Path) -> None:
    """The repair is killed at each of its steps too, and the work is done in the end."""
    steps = points(write_all, tmp_path / "count")
    for first in range(1, steps + 1, 3):
        for second in range(1, 14):
            path, pcrs = tmp_path / f"{first}-{second}", Pcrs()
            killed(path, pcrs, first)
            killed(path, pcrs, second)
            with opened(path, pcrs) as log:
                write_all(log)
            assert data_of(path, pcrs) == [data for _, data in WANTED]


def test_an_error_at_any_step_leaves_a_log_that_can_go_on(tmp_path: Path) -> None:
    """The same steps, but the process survives and goes on with the same object."""
    for die_at in range(8, points(write_all, tmp_path / "count") + 1):
        path, pcrs = tmp_path / f"{die_at}", Pcrs()
        with Dying(pcrs, die_at) as dying, RuntimeLog(path, dying.extend, dying.read) as log:
            for _ in range(3):
                try:
                    write_all(log)
                except Killed:
                    continue
        assert data_of(path, pcrs) == [data for _, data in WANTED]


def killed(path: Path, pcrs: Pcrs, die_at: int) -> None:
    log = None
    with Dying(pcrs, die_at) as dying:
        try:
            log = RuntimeLog(path, dying.extend, dying.read)
            write_all(log)
        except Killed:
            pass
    if log is not None:
        crash(log)


SCRIPT = """
import os, sys
from pathlib import Path
from attest.runtime_log import RuntimeLog
from vtpm.tpm2.constants import Alg

folder, when = Path(sys.argv[1]), sys.argv[2]
def read(pcr):
    file = folder / f"pcr{pcr}"
    return file.read_bytes() if file.exists() else bytes(32)
def extend(pcr, digests):
    if when == "before":
        os.kill(os.getpid(), 9)
    (folder / f"pcr{pcr}").write_bytes(Alg.SHA256.digest(read(pcr) + digests[Alg.SHA256]))
    if when == "after":
        os.kill(os.getpid(), 9)
with RuntimeLog(folder / "runtime.log", extend, read) as log:
    log.append(12, b"report")
    print(len(log.events()))
"""


@pytest.mark.parametrize(("when", "events"), [("before", 1), ("after", 2)])
def test_a_real_process_killed_around_the_extend(tmp_path: Path, when: str, events: int) -> None:
    def run(when: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), when]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)

    assert run(when).returncode == -signal.SIGKILL
    assert run("never").stdout == f"{events}\n"


class TestWhatNoCrashExplains:
    @pytest.fixture
    def written(self, path: Path, pcrs: Pcrs) -> Path:
        with opened(path, pcrs) as log:
            write_all(log)
        return path

    def test_a_foreign_extend(self, written: Path, pcrs: Pcrs) -> None:
        pcrs.extend(13, {Alg.SHA256: digest(SHA256, b"foreign")})
        with pytest.raises(JournalError, match="PCR 13") as caught:
            opened(written, pcrs)
        assert caught.value.code == "pcr"

    def test_a_foreign_extend_while_an_intent_is_open(self, written: Path, pcrs: Pcrs) -> None:
        lines = written.read_bytes().splitlines(keepends=True)
        written.write_bytes(b"".join(lines[:-1]))
        pcrs.extend(12, {Alg.SHA256: digest(SHA256, b"foreign")})
        with pytest.raises(JournalError, match="PCR 12"):
            opened(written, pcrs)

    def test_a_log_that_was_deleted(self, written: Path, pcrs: Pcrs) -> None:
        written.unlink()
        with pytest.raises(JournalError):
            opened(written, pcrs)

    def test_a_log_that_lost_its_last_event(self, written: Path, pcrs: Pcrs) -> None:
        written.write_bytes(b"".join(written.read_bytes().splitlines(keepends=True)[:-2]))
        with pytest.raises(JournalError):
            opened(written, pcrs)

    def test_the_lock_is_free_after_an_error(self, written: Path, pcrs: Pcrs) -> None:
        good = written.read_bytes()
        written.write_bytes(good + b"x\n")
        with pytest.raises(JournalError):
            opened(written, pcrs)
        written.write_bytes(good)
        assert len(data_of(written, pcrs)) == 3

    @pytest.mark.parametrize(
        "change",
        [
            lambda raw: raw + b"x",
            lambda raw: raw + b"\n",
            lambda raw: raw + b"{}\n",
            lambda raw: raw + b'{"confirm":2}\n',
            lambda raw: raw + b'{"confirm":3}',
            lambda raw: raw + b"\0" * 20,
            lambda raw: raw.replace(b'"confirm":1', b'"confirm":2'),
            lambda raw: raw.replace(b'"confirm":1', b'"confirm": 1'),
            lambda raw: raw.replace(b'"confirm":1', b'"drop":1'),
            lambda raw: raw.replace(b'"recnum":1', b'"recnum":7'),
            lambda raw: b"\n".join(raw.split(b"\n")[2:]),
            lambda raw: raw.splitlines(keepends=True)[0] + raw,
            lambda raw: raw + b'{"intent":{"content":{"data":"' + b"A" * 70_000,
        ],
        ids=range(13),
    )
    def test_lines_that_were_altered(
        self, written: Path, change: Callable[[bytes], bytes], pcrs: Pcrs
    ) -> None:
        changed = change(written.read_bytes())
        written.write_bytes(changed)
        with pytest.raises(JournalError) as caught:
            opened(written, pcrs)
        assert "\n" not in str(caught.value)
        assert written.read_bytes() == changed

    def test_a_journal_that_is_too_long(
        self, written: Path, pcrs: Pcrs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("attest.runtime_journal.MAX_JOURNAL", 10)
        with pytest.raises(JournalError):
            opened(written, pcrs)


class TestTornLines:
    def test_every_torn_intent_is_cut(self, path: Path, pcrs: Pcrs) -> None:
        with opened(path, pcrs) as log:
            log.append(12, b"report")
        whole = path.read_bytes()
        line = whole.split(b"\n")[0].replace(b'"recnum":0', b'"recnum":1')
        for size in range(1, len(line) + 1):
            path.write_bytes(whole + line[:size])
            assert data_of(path, pcrs) == [b"report"]
            assert path.read_bytes() == whole

    def test_every_torn_confirmation_is_made_whole(self, path: Path, pcrs: Pcrs) -> None:
        with opened(path, pcrs) as log:
            event = log.append(12, b"report")
        whole = path.read_bytes()
        for size in range(len(confirm(event))):
            path.write_bytes(whole[: len(whole) - size])
            assert data_of(path, pcrs) == [b"report"]
            assert path.read_bytes() == whole


class TestReboot:
    def test_a_log_of_an_earlier_boot_is_put_aside(self, path: Path, pcrs: Pcrs) -> None:
        with opened(path, pcrs) as log:
            write_all(log)
        old = path.read_bytes()
        assert data_of(path, Pcrs()) == []
        assert path.with_name("runtime.log.previous").read_bytes() == old
        assert path.read_bytes() == b""

    def test_an_intent_of_an_earlier_boot_is_dropped(self, path: Path, pcrs: Pcrs) -> None:
        killed(path, pcrs, points(write_all, path.with_name("count")) // 4)
        fresh = Pcrs()
        with opened(path, fresh) as log:
            write_all(log)
        assert data_of(path, fresh) == [data for _, data in WANTED]


def test_the_journal_can_be_read_without_the_lock(path: Path, pcrs: Pcrs) -> None:
    with opened(path, pcrs) as log:
        write_all(log)
        journal = parse_journal(path.read_bytes())
        assert journal.events == log.events()
        assert (journal.pending, journal.torn) == (None, False)
        assert replay(parse(log.cel()), Alg.SHA256)[12] == pcrs.values[12]


@pytest.fixture(autouse=True)
def _quick_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real flushes cost milliseconds each and prove nothing in a test that cannot cut the power."""
    monkeypatch.setattr(module.os, "fsync", lambda _: None)
