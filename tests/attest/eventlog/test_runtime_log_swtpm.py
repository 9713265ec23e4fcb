"""The runtime log on a real TPM: its quote proves the log, and a crash around the extend is repaired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attest.eventlog.read import parse
from attest.eventlog.replay import verify_replay
from attest.runtime_log import RUNTIME_PCRS, RuntimeLog
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

if TYPE_CHECKING:
    from vtpm.tpm import Tpm

pytestmark = pytest.mark.host


@pytest.fixture
def tpm(private: Path) -> Iterator[Tpm]:
    from vtpm.swtpm import State, Swtpm
    from vtpm.tpm import Tpm

    with Swtpm.start(private / "tpm", state=State.NEW, keys=None) as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        yield tpm


def read_from(tpm: Tpm, pcr: int) -> bytes:
    return tpm.pcr_read(PcrSelection.of(Alg.SHA256, [pcr]))[0]


def test_the_log_fits_the_registers_of_the_tpm(tpm: Tpm, private: Path) -> None:
    with RuntimeLog(private / "log", tpm.pcr_extend, lambda pcr: read_from(tpm, pcr)) as log:
        log.append(12, b"report")
        log.append(13, b"launch")
        raw = log.cel()
    values = {pcr: read_from(tpm, pcr) for pcr in RUNTIME_PCRS}
    verified = verify_replay(parse(raw), values, Alg.SHA256)
    assert [event.measured for event in verified.events] == [b"report", b"launch"]


@pytest.mark.parametrize("extended", [False, True])
def test_an_extend_that_may_have_happened_is_found_in_the_register(
    tpm: Tpm, private: Path, *, extended: bool
) -> None:
    def dying(pcr: int, digests: Mapping[Alg, bytes]) -> None:
        if extended:
            tpm.pcr_extend(pcr, digests)
        raise InterruptedError

    def read(pcr: int) -> bytes:
        return read_from(tpm, pcr)

    with RuntimeLog(private / "log", dying, read) as log, pytest.raises(InterruptedError):
        log.append(13, b"launch")
    with RuntimeLog(private / "log", tpm.pcr_extend, read) as log:
        assert [event.untrusted_data for event in log.events()] == [b"launch"] * extended
        assert verify_replay(parse(log.cel()), {13: read(13)}, Alg.SHA256)
