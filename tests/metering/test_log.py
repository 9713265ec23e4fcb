"""The log on disk: a crash at any point, one writer, and never a second tree of one size."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from metering import log as log_module
from metering.checkpoint import Checkpoint, Note, verify
from metering.errors import LockedError, MeteringUsageError, StoreError
from metering.log import CHECKPOINT, INTENT, LEAVES, STRIDE, Log, read_leaves, read_published
from metering.meter import Meter
from metering.record import LEAF_BYTES, SALT_BYTES, decode
from tests.metering.world import METER_ATTRIBUTES, ORIGIN, PERIOD, Platform, Site, TpmKey

if TYPE_CHECKING:
    from pathlib import Path

KEY = TpmKey.make(METER_ATTRIBUTES)


def leaf(number: int) -> bytes:
    return number.to_bytes(LEAF_BYTES, "big")


def filled(folder: Path, count: int) -> Log:
    log = Log.open(folder, ORIGIN)
    log.append([leaf(number) for number in range(log.size, count)])
    return log


class CrashError(Exception):
    """The process ends here."""


def test_what_was_appended_is_there_again(tmp_path: Path) -> None:
    first = filled(tmp_path, 10)
    root = first.root()
    first.close()
    seen: list[bytes] = []
    again = Log.open(tmp_path, ORIGIN, lambda data, _: seen.append(data))
    assert (again.size, again.root(), again.cut) == (10, root, 0)
    assert seen == [leaf(number) for number in range(10)]
    again.close()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    first = filled(tmp_path, 1)
    with pytest.raises(LockedError):
        Log.open(tmp_path, ORIGIN)
    first.close()
    Log.open(tmp_path, ORIGIN).close()


@pytest.mark.parametrize("reserved", [0, 1 << 20])
@pytest.mark.parametrize("torn", [LEAF_BYTES, STRIDE - 1])
def test_a_torn_tail_is_cut(tmp_path: Path, torn: int, reserved: int) -> None:
    filled(tmp_path, 10).close()
    _cut(tmp_path / LEAVES, 9 * STRIDE + torn, reserved)
    log = Log.open(tmp_path, ORIGIN)
    assert (log.size, log.cut) == (9, torn)
    log.append([leaf(9)])
    assert list(read_leaves(tmp_path)) == [leaf(number) for number in range(10)]
    log.close()


def test_a_hole_in_the_unsigned_tail_is_cut_with_what_is_behind_it(tmp_path: Path) -> None:
    log = filled(tmp_path, 5)
    log.sign(KEY)
    log.append([leaf(number) for number in range(5, 10)])
    log.close()
    _flip(tmp_path / LEAVES, 7 * STRIDE)
    again = Log.open(tmp_path, ORIGIN)
    assert (again.size, again.cut) == (7, 3 * STRIDE)
    again.close()


def test_damage_below_the_signed_tree_is_refused(tmp_path: Path) -> None:
    log = filled(tmp_path, 10)
    log.sign(KEY)
    log.close()
    _flip(tmp_path / LEAVES, 3 * STRIDE)
    with pytest.raises(StoreError) as caught:
        Log.open(tmp_path, ORIGIN)
    assert caught.value.code == "TAMPERED"
    assert "leaf 3" in str(caught.value)
    with pytest.raises(StoreError):
        read_published(tmp_path)


def test_signed_leaves_rewritten_with_good_checksums_are_refused(tmp_path: Path) -> None:
    log = filled(tmp_path, 10)
    log.sign(KEY)
    log.close()
    (tmp_path / LEAVES).unlink()
    note = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).unlink()
    (tmp_path / INTENT).unlink()
    other = Log.open(tmp_path, ORIGIN)
    other.append([leaf(number + 1) for number in range(12)])
    other.close()
    (tmp_path / CHECKPOINT).write_bytes(note)
    with pytest.raises(StoreError) as caught:
        Log.open(tmp_path, ORIGIN)
    assert caught.value.code == "TAMPERED"


def test_a_log_shorter_than_what_it_signed_is_a_rollback(tmp_path: Path) -> None:
    log = filled(tmp_path, 10)
    log.sign(KEY)
    log.close()
    for reserved in (0, 1 << 20):
        _cut(tmp_path / LEAVES, 8 * STRIDE, reserved)
        with pytest.raises(StoreError) as caught:
            Log.open(tmp_path, ORIGIN)
        assert caught.value.code == "ROLLBACK"


def test_the_checkpoint_of_another_log_is_refused(tmp_path: Path) -> None:
    log = filled(tmp_path, 3)
    log.sign(KEY)
    log.close()
    with pytest.raises(StoreError):
        Log.open(tmp_path, "host2.example/usage")


def test_a_tree_is_signed_once(tmp_path: Path) -> None:
    log = filled(tmp_path, 3)
    assert log.sign(KEY) == log.sign(KEY)
    log.append([leaf(3)])
    assert Checkpoint.of_text(Note.decode(log.sign(KEY)).text).size == 4
    log.close()


@pytest.mark.parametrize("where", ["before the signature", "before the publication"])
def test_37_crash_around_the_signature_keeps_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The head that was about to be signed is signed first, though the log has grown."""
    log = filled(tmp_path, 5)
    root = log.root()
    texts: list[bytes] = []

    class Key:
        def spki(self) -> bytes:
            return KEY.spki()

        def sign(self, digest: bytes) -> bytes:
            texts.append(digest)
            if len(texts) == 1 and where == "before the signature":
                raise CrashError
            return KEY.sign(digest)

    real = log_module._replace

    def crash(path: Path, content: bytes) -> None:
        if path.name == CHECKPOINT and where == "before the publication" and len(texts) == 1:
            raise CrashError
        real(path, content)

    monkeypatch.setattr(log_module, "_replace", crash)
    with pytest.raises(CrashError):
        log.sign(Key())
    log.close()
    assert not (tmp_path / CHECKPOINT).exists()
    again = filled(tmp_path, 8)
    published: list[Checkpoint] = []

    def watch(path: Path, content: bytes) -> None:
        if path.name == CHECKPOINT:
            published.append(Checkpoint.of_text(Note.decode(content).text))
        real(path, content)

    monkeypatch.setattr(log_module, "_replace", watch)
    again.sign(Key())
    assert [head.size for head in published] == [5, 8]
    assert published[0].root == root
    assert texts[0] == texts[1]
    again.close()


def test_37_key_of_a_later_boot_does_not_sign_what_an_earlier_one_was_about_to(tmp_path: Path) -> None:
    class Stopped:
        def spki(self) -> bytes:
            return KEY.spki()

        def sign(self, digest: bytes) -> bytes:
            raise CrashError(digest)

    log = filled(tmp_path, 5)
    with pytest.raises(CrashError):
        log.sign(Stopped())
    log.append([leaf(5)])
    later = TpmKey.make(METER_ATTRIBUTES)
    assert verify(log.sign(later), later.spki()).size == 6
    log.close()


def test_38_full_disk_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(tmp_path, 5)
    many = [leaf(number) for number in range(5, 5000)]
    real, written = os.pwrite, []

    def full(descriptor: int, content: memoryview, start: int) -> int:
        if written:
            raise OSError(28, "No space left on device")
        written.append(real(descriptor, content[:100], start))
        return written[0]

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        log.append(many)
    monkeypatch.undo()
    log.append(many)
    log.close()
    assert list(read_leaves(tmp_path)) == [leaf(number) for number in range(5000)]


def test_38_meter_writes_later_what_found_no_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Log, "_reserve", full)
        for _ in range(2):
            site.clock.advance()
            with pytest.raises(OSError, match="No space"):
                site.meter.tick()
    site.run(2)
    site.close()
    result = site.files().audit()
    assert result.verdict == "affirming"
    assert result.gaps == ()


def test_a_disk_that_failed_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed sync nobody knows what is on disk: the log must be read again."""
    log = filled(tmp_path, 5)

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="Input/output"):
            log.append([leaf(5)])
    for call in (lambda: log.append([leaf(5)]), lambda: log.sign(KEY)):
        with pytest.raises(MeteringUsageError):
            call()
    log.close()
    log.close()


def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    log = filled(tmp_path / "log", 1)
    log.sign(KEY)
    log.close()
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "log").iterdir())


def test_a_meter_does_not_go_back_to_an_earlier_boot(site: Site) -> None:
    site.meter.abandon()
    site.epoch = 6
    with pytest.raises(MeteringUsageError):
        site.open()
    site.epoch, now = 7, site.clock.mono_ns
    site.clock.mono_ns = PERIOD
    with pytest.raises(MeteringUsageError):
        site.open()
    site.clock.mono_ns = now
    good = site.platform.setup(7)
    for wrong in (replace(good, host=bytes(32)), replace(good, period_ns=PERIOD // 2)):
        with pytest.raises(MeteringUsageError):
            Meter.resume(site.folder, ORIGIN, wrong, site.source, site.clock)


WRITER = """
import sys
from pathlib import Path
from tests.metering.world import Platform, Site
from metering.log import read_leaves
from metering.record import SALT_BYTES, decode

site = Site(Path(sys.argv[1]), Platform.of(5, 6))
last = None
if (site.folder / "leaves").exists():
    for leaf in read_leaves(site.folder):
        last = decode(leaf[SALT_BYTES:])
if last is not None:
    site.clock.mono_ns = last.mono_end
    site.clock.wall_ms = last.wall_ms
site.clock.advance()
for number in range(30):
    site.source.add(f"domain{number}", f"tenant{number % 3}", unique_id=number + 1)
site.open()
print("open", flush=True)
while True:
    site.run(1)
    site.sign()
    print(site.meter._log.size, flush=True)
"""


@pytest.mark.heavy
def test_killed_at_any_time_the_log_goes_on(tmp_path: Path) -> None:
    """What was reported as written is there after SIGKILL, and one history grows through all the crashes."""
    dice, folder = random.Random(7), tmp_path / "log"
    published: dict[int, bytes] = {}
    for _ in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        time.sleep(dice.random() / 5)
        writer.send_signal(signal.SIGKILL)
        lines = writer.stdout.read().split("\n")[:-1]
        writer.wait()
        writer.stdout.close()
        leaves = list(read_leaves(folder))
        if lines:
            assert len(leaves) >= int(lines[-1])
        if (folder / CHECKPOINT).exists():
            head = Checkpoint.of_text(Note.decode((folder / CHECKPOINT).read_bytes()).text)
            assert published.setdefault(head.size, head.root) == head.root
        log = Log.open(folder, ORIGIN)
        assert log.size >= max(published, default=0)
        log.close()
    assert published
    leaves = list(read_leaves(folder))
    last = decode(leaves[-1][SALT_BYTES:])
    site = Site(folder, Platform.of(5, 6))
    site.clock.mono_ns, site.clock.wall_ms = last.mono_end + PERIOD, last.wall_ms + PERIOD // 1_000_000
    site.open()
    site.close()
    assert site.files().audit().verdict == "affirming", site.files().audit().violations


def test_resumed_meter_counts_incarnations_on(site: Site) -> None:
    site.meter.abandon()
    site.epoch, site.clock.mono_ns = 8, 5 * PERIOD
    site.clock.advance()
    meter = Meter.resume(site.folder, ORIGIN, site.platform.setup(site.epoch), site.source, site.clock)
    site.meter = meter
    assert meter.size == site.meter.size
    site.close()
    assert {total.incarnations for total in site.files().audit().totals} == {2}


def _cut(path: Path, size: int, reserved: int) -> None:
    os.truncate(path, size)
    os.truncate(path, size + reserved)


def _flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(bytes(raw))
