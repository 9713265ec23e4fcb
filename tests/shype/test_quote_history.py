"""``shype verify`` remembers each host's last quote beside its enrolment (rows 36, 37, 39, 88)."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from attest.enrolment import Enrolment
from attest.quote_history import QuoteHistory, QuoteHistoryError, Told, after
from shype.quotehistory import remembered
from tests.schemas import validator
from tests.shype.test_verify_cli import Folder
from tests.simulators.host import Host
from vtpm.tpm2.attestation import ClockInfo

CLOCK = Path("anchors/enrolled/xen1.example.clock")


@pytest.fixture
def host() -> Host:
    return Host.serving()


@pytest.fixture
def folder(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path, host)


def judge(folder: Folder, host: Host, **changes: str) -> tuple[int, list[Any]]:
    (folder.path / "evidence.json").write_bytes(host.evidence().encode())
    outcome = folder.verify("--json", **changes)
    return outcome.exit, outcome.codes


def kept() -> QuoteHistory:
    return QuoteHistory.decode(CLOCK.read_bytes())


def test_first_quote_is_remembered(folder: Folder, host: Host) -> None:
    assert judge(folder, host) == (0, [])
    assert kept().told == Told(ClockInfo(1_000_000, 7, 0, safe=True), 1)
    validator("quote-history").validate(json.loads(CLOCK.read_text()))
    assert stat.S_IMODE(CLOCK.stat().st_mode) == 0o600


def test_same_evidence_may_be_judged_again(folder: Folder, host: Host) -> None:
    assert judge(folder, host) == judge(folder, host) == (0, [])


@pytest.mark.parametrize(
    ("name", "value"), [("clock", 999_999), ("reset_count", 6)], ids=["clock", "reset-count"]
)
def test_36_clock_or_counter_back(folder: Folder, host: Host, name: str, value: int) -> None:
    judge(folder, host)
    before = CLOCK.read_bytes()
    setattr(host.tpm, name, value)
    assert judge(folder, host) == (3, ["clock-back"])
    assert CLOCK.read_bytes() == before


def test_36_old_quote_after_a_reboot(folder: Folder, host: Host) -> None:
    old = host.evidence().encode()
    host.tpm.reset_count, host.tpm.clock = 8, 2_000_000
    assert judge(folder, host)[0] == 1  # its vTPMs were bound before
    (folder.path / "evidence.json").write_bytes(old)
    outcome = folder.verify("--json")
    assert (outcome.exit, outcome.document["reasons"][0]["code"]) == (3, "clock-back")


def test_39_firmware_changed_until_enrolled_again(folder: Folder, host: Host) -> None:
    record = Enrolment.decode((folder.path / "anchors/enrolled/xen1.example.json").read_bytes())
    older = after(None, record, Told(ClockInfo(1, 7, 0, safe=True), 0))
    CLOCK.write_bytes(older.encode())
    assert judge(folder, host) == (1, ["tpm-firmware-changed"])
    assert judge(folder, host) == (1, ["tpm-firmware-changed"])
    assert kept().told.clock.clock == 1_000_000


def test_88_resumed_until_reset(folder: Folder, host: Host) -> None:
    judge(folder, host)
    host.tpm.restart_count = 1
    assert judge(folder, host) == (1, ["tpm-resumed"])
    assert judge(folder, host) == (1, ["tpm-resumed"])
    host.tpm.reset_count, host.tpm.restart_count = 8, 0
    assert "tpm-resumed" not in judge(folder, host)[1]


def test_what_is_not_authentic_is_not_remembered(folder: Folder, host: Host) -> None:
    assert judge(folder, host, nonce="ab" * 32) == (3, ["nonce-mismatch"])
    assert not CLOCK.exists()


def test_authentic_and_bad_is_remembered(folder: Folder, host: Host) -> None:
    host.tpm.clock = 3_000_000
    host.stop("web")
    assert judge(folder, host)[0] == 1
    assert kept().told.clock.clock == 3_000_000


def test_another_tpm_begins_anew(folder: Folder, host: Host) -> None:
    record = Enrolment.decode((folder.path / "anchors/enrolled/xen1.example.json").read_bytes())
    judge(folder, host)
    values = json.loads(CLOCK.read_text())
    CLOCK.write_text(json.dumps({**values, "ek_name": "000b" + "11" * 32, "reset_count": 99}))
    assert judge(folder, host) == (0, [])
    assert kept().ek_name == record.ek_name


def test_a_record_that_is_named_has_its_clock_beside_it(folder: Folder, host: Host) -> None:
    (folder.path / "anchors/enrolled/xen1.example.json").rename(folder.path / "host.json")
    assert judge(folder, host, enrolment="host.json") == (0, [])
    assert Path("host.clock").exists()
    assert not CLOCK.exists()


def test_the_registrar_still_reads_its_folder(folder: Folder, host: Host) -> None:
    judge(folder, host)
    assert folder.run("enroll", "nonce", "--host", "xen1.example", "--state", "anchors").exit == 0


def test_broken_memory_judges_nothing(folder: Folder, host: Host) -> None:
    judge(folder, host)
    CLOCK.write_bytes(CLOCK.read_bytes()[:-5])
    (folder.path / "evidence.json").write_bytes(host.evidence().encode())
    outcome = folder.verify("--json")
    assert (outcome.exit, outcome.document["verdict"]) == (3, "none")
    assert outcome.document["reasons"][0]["code"] == "quote-history-malformed"
    assert "take the file away" in outcome.err


def test_nowhere_to_remember_judges_nothing(folder: Folder, host: Host) -> None:
    CLOCK.mkdir()
    (folder.path / "evidence.json").write_bytes(host.evidence().encode())
    outcome = folder.verify()
    assert (outcome.exit, outcome.out) == (2, "")


def test_two_verifiers_take_turns(folder: Folder) -> None:
    record = folder.path / "anchors/enrolled/xen1.example.json"
    enrolment = Enrolment.decode(record.read_bytes())

    def count() -> None:
        for _ in range(20):
            with remembered(record, enrolment) as (history, remember):
                clock = 0 if history is None else history.told.clock.clock
                remember(Told(ClockInfo(clock + 1, 7, 0, safe=True), 1))

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept().told.clock.clock == 60


@pytest.mark.parametrize(
    "changes",
    [
        {"clock": -1},
        {"clock": 1 << 64},
        {"clock": True},
        {"clock": "5"},
        {"restart_count": 1 << 32},
        {"first_restart_count": 9},
        {"ek_name": "000b00"},
        {"safe": 1},
        {"enrolled_at": "yesterday"},
        {"schema": "shype.quote-history/2"},
        {"more": 1},
    ],
)
def test_altered_memory_is_refused(folder: Folder, host: Host, changes: dict[str, object]) -> None:
    judge(folder, host)
    values = {**json.loads(CLOCK.read_text()), **changes}
    with pytest.raises(QuoteHistoryError):
        QuoteHistory.decode(json.dumps(values).encode())
