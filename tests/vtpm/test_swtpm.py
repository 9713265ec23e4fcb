"""A swtpm that we start: state that is guarded, channels that nobody else has."""

from __future__ import annotations

import hashlib
import os
import random
import select
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.vtpm.conftest import open_descriptors
from vtpm.errors import ProcessError, ResponseError, VtpmUsageError
from vtpm.record import NO_LABEL
from vtpm.swtpm import State, StateKeys, Swtpm
from vtpm.tpm import Tpm
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

pytestmark = pytest.mark.host

KEYS = StateKeys(file=b"f" * 32, migration=b"m" * 32)
STATE_FILE = "tpm2-00.permall"
PCR_17 = PcrSelection.of(Alg.SHA256, [17])


def new(folder: Path) -> Swtpm:
    return Swtpm.start(folder, state=State.NEW, keys=KEYS)


def existing(folder: Path, keys: StateKeys | None = KEYS) -> Swtpm:
    return Swtpm.start(folder, state=State.EXISTING, keys=keys)


@pytest.fixture
def used(private: Path) -> Path:
    """The folder of a TPM that was started once."""
    folder = private / "tpm"
    with new(folder) as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
    return folder


def test_a_hash_sequence_after_startup_is_in_pcr_17_and_replaces_what_was_there(private: Path) -> None:
    with new(private / "tpm") as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        assert tpm.pcr_read(PCR_17) == (NO_LABEL,)
        for data in (b"first" * 1000, b"second", b""):
            swtpm.hash_sequence(data)
            expected = hashlib.sha256(bytes(32) + hashlib.sha256(data).digest()).digest()
            assert tpm.pcr_read(PCR_17) == (expected,)


def test_a_deleted_state_is_lost_and_not_made_again(used: Path) -> None:
    (used / STATE_FILE).unlink()
    with pytest.raises(ProcessError) as caught:
        existing(used)
    assert caught.value.code == "lost-state"
    assert not (used / STATE_FILE).exists()


def test_an_empty_state_file_is_lost_state(used: Path) -> None:
    (used / STATE_FILE).write_bytes(b"")
    with pytest.raises(ProcessError) as caught:
        existing(used)
    assert caught.value.code == "lost-state"


def test_a_new_tpm_is_not_put_over_an_old_one(used: Path) -> None:
    before = (used / STATE_FILE).read_bytes()
    with pytest.raises(VtpmUsageError) as caught:
        new(used)
    assert caught.value.code == "state-exists"
    assert (used / STATE_FILE).read_bytes() == before


@pytest.mark.parametrize(
    "keys", [None, StateKeys(file=b"x" * 32, migration=b"m" * 32)], ids=["none", "other"]
)
def test_the_state_does_not_open_without_its_key(used: Path, keys: StateKeys | None) -> None:
    with pytest.raises(ProcessError) as caught:
        existing(used, keys)
    assert caught.value.code == "refused"


def test_no_altered_bit_of_the_state_is_accepted(used: Path) -> None:
    good = (used / STATE_FILE).read_bytes()
    for place in [6, 9, 10, 16, len(good) - 1, *random.sample(range(6, len(good)), 12)]:
        altered = bytearray(good)
        altered[place] ^= 1 << random.randrange(8)
        (used / STATE_FILE).write_bytes(altered)
        with pytest.raises(ProcessError) as caught:
            existing(used)
        assert caught.value.code == "refused", place
    (used / STATE_FILE).write_bytes(good)
    existing(used).shutdown()


def test_the_file_header_that_swtpm_does_not_authenticate_changes_nothing(used: Path) -> None:
    def endorsement_key() -> bytes:
        with existing(used) as swtpm, Tpm(swtpm.channel) as tpm:
            tpm.startup()
            return tpm.create_ek().name

    name, good = endorsement_key(), (used / STATE_FILE).read_bytes()
    for place in range(6):
        altered = bytearray(good)
        altered[place] ^= 1 << random.randrange(8)
        (used / STATE_FILE).write_bytes(altered)
        try:
            assert endorsement_key() == name
        except ProcessError as error:
            assert error.code == "refused"  # noqa: PT017 - both outcomes are good


def test_half_a_state_file_is_refused(used: Path) -> None:
    good = (used / STATE_FILE).read_bytes()
    (used / STATE_FILE).write_bytes(good[: len(good) // 2])
    with pytest.raises(ProcessError) as caught:
        existing(used)
    assert caught.value.code == "refused"


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_folder_that_others_may_enter_is_refused(private: Path, mode: int) -> None:
    folder = private / "tpm"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(VtpmUsageError) as caught:
        new(folder)
    assert caught.value.code == "open-folder"


def test_a_link_in_place_of_the_folder_is_refused(private: Path, used: Path) -> None:
    link = private / "link"
    link.symlink_to(used)
    with pytest.raises(VtpmUsageError) as caught:
        existing(link)
    assert caught.value.code == "open-folder"


def test_nothing_that_could_be_connected_to_is_on_disk(private: Path) -> None:
    with new(private / "tpm") as swtpm:
        assert not [path for path in (private / "tpm").iterdir() if path.is_socket()]
        inodes = {
            str(link.readlink())[8:-1]
            for link in Path(f"/proc/{swtpm.pid}/fd").iterdir()
            if str(link.readlink()).startswith("socket:")
        }
        unix = Path(f"/proc/{swtpm.pid}/net/unix").read_text().splitlines()[1:]
        assert not [line for line in unix if line.split()[6] in inodes and len(line.split()) > 7]
        command = Path(f"/proc/{swtpm.pid}/cmdline").read_bytes()
        assert b"f" * 32 not in command
        assert KEYS.file.hex().encode() not in command
    assert not [key for key in (KEYS.file, KEYS.migration) if repr(key)[2:-1] in repr(KEYS)]


def test_the_guest_cannot_change_its_locality_or_write_pcr_17(private: Path) -> None:
    with new(private / "tpm") as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        swtpm.hash_sequence(b"label")
        labelled = tpm.pcr_read(PCR_17)
        with pytest.raises(ResponseError) as caught:
            tpm.pcr_extend(17, {Alg.SHA256: bytes(32)})
        assert caught.value.code == "locality"
        reset = bytes.fromhex("80020000001b0000013d00000011" + "00000009" + "40000009" + "0000000000")
        assert swtpm.channel.exchange(reset)[6:10] == bytes.fromhex("00000907")
        set_locality = bytes.fromhex("80010000000b2000100004")
        assert swtpm.channel.exchange(set_locality)[6:10] != bytes(4)
        assert tpm.pcr_read(PCR_17) == labelled


def test_garbage_commands_get_error_codes_and_the_tpm_lives(private: Path) -> None:
    with new(private / "tpm") as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        dice = random.Random(1)
        for _ in range(1500):
            body = dice.randbytes(dice.randrange(0, 60))
            code = dice.choice([dice.randrange(0x11F, 0x1A0), dice.randrange(1 << 32)])
            if code in {0x145, 0x126, 0x12E}:  # Shutdown, Clear, TestParms of huge keys: not garbage
                continue
            tag = dice.choice([0x8001, 0x8002, dice.randrange(1 << 16)])
            command = (
                tag.to_bytes(2, "big") + (10 + len(body)).to_bytes(4, "big") + code.to_bytes(4, "big") + body
            )
            assert len(swtpm.channel.exchange(command)) >= 10
        assert len(tpm.pcr_read(PCR_17)) == 1


@pytest.mark.parametrize("command", [b"", bytes(9), bytes.fromhex("80010000ffff00000144"), bytes(5000)])
def test_a_command_that_is_not_whole_is_not_sent(private: Path, command: bytes) -> None:
    with new(private / "tpm") as swtpm, Tpm(swtpm.channel) as tpm:
        with pytest.raises(ProcessError) as caught:
            swtpm.channel.exchange(command)
        assert caught.value.code == "protocol"
        tpm.startup()


def test_a_killed_swtpm_is_reported_and_everything_is_closed(private: Path) -> None:
    swtpm = new(private / "tpm")
    with swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        os.kill(swtpm.pid, 9)
        for _ in range(2):
            with pytest.raises(ProcessError) as caught:
                tpm.clock()
            assert caught.value.code == "ended"
        with pytest.raises(ProcessError):
            swtpm.hash_sequence(b"label")
    with pytest.raises(VtpmUsageError):
        _ = swtpm.channel
    swtpm.shutdown()


def test_no_descriptor_is_left_open(private: Path) -> None:
    new(private / "first").shutdown()
    before = open_descriptors()
    new(private / "second").shutdown()
    with pytest.raises(ProcessError):
        existing(private / "second", None)
    assert open_descriptors() == before


def test_an_orderly_shutdown_is_no_failed_authorisation(used: Path) -> None:
    for _ in range(4):
        with existing(used) as swtpm, Tpm(swtpm.channel) as tpm:
            tpm.startup()
            lockout_counter = bytes.fromhex(
                "800100000016" + "0000017a" + "00000006" + "0000020e" + "00000001"
            )
            assert swtpm.channel.exchange(lockout_counter)[-4:] == bytes(4)


STARTED = """
swtpm = Swtpm.start(Path(sys.argv[1]), state=State.NEW, keys=None)
print(swtpm.pid, flush=True)
time.sleep(60)
"""
STARTING = """
Swtpm.initialise = lambda self: (print(self.pid, flush=True), time.sleep(60))
Swtpm.start(Path(sys.argv[1]), state=State.NEW, keys=None)
"""


@pytest.mark.parametrize("when", [STARTED, STARTING], ids=["started", "starting"])
def test_swtpm_ends_when_we_are_killed(when: str, private: Path) -> None:
    """While it starts nothing was asked of it: only a data channel that is there already can tell it."""
    code = f"import sys, time; from pathlib import Path; from vtpm.swtpm import State, Swtpm\n{when}"
    arguments = [sys.executable, "-c", code, str(private / "tpm")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        watch = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            assert select.select([watch], [], [], 10)[0], "swtpm lives on"
        finally:
            os.close(watch)


def test_swtpm_outlives_the_thread_that_started_it(private: Path) -> None:
    started: list[Swtpm] = []
    starting = threading.Thread(target=lambda: started.append(new(private / "tpm")))
    starting.start()
    starting.join()
    (swtpm,) = started
    with swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        assert tpm.pcr_read(PcrSelection.of(Alg.SHA256, [0])) == (bytes(32),)


def test_a_missing_swtpm_is_named(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(private))
    with pytest.raises(ProcessError, match="swtpm") as caught:
        new(private / "tpm")
    assert caught.value.code == "start"


def test_state_keys_have_32_bytes() -> None:
    with pytest.raises(VtpmUsageError):
        StateKeys(file=b"short", migration=b"m" * 32)


def test_the_same_state_is_not_started_twice(used: Path) -> None:
    with existing(used), pytest.raises(ProcessError) as caught:
        existing(used)
    assert caught.value.code in {"refused", "ended"}
    shutil.rmtree(used)
