"""Logs of confidential guests: their registers are RTMRs, and no PCR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from attest.errors import AttestInputError
from attest.eventlog.ccel import NO_REGISTER
from attest.eventlog.data import binding
from attest.eventlog.log import EventLog, EventLogError, LogFormat, Registers
from attest.eventlog.notes import notes
from attest.eventlog.read import parse
from attest.eventlog.replay import ReplayError, replay, verify_replay
from attest.eventlog.tcg import parse_tcg
from tests.attest.eventlog.build import (
    ACTION,
    NO_ACTION,
    SEPARATION,
    SEPARATOR,
    Log,
    Record,
    digest,
    extended,
)
from tests.conftest import VECTORS, Vector, vector_params
from vtpm.tpm2.constants import Alg

SHA384 = 0x0C
TRUSTEE = VECTORS / "confidential-containers__trustee"


def ccel(*records: Record, head: Record | None = None, banks: tuple[int, ...] = (SHA384,)) -> bytes:
    return Log(records, banks, head=head or Record(1, NO_ACTION)).encode()


def refused(raw: bytes) -> EventLogError:
    with pytest.raises(EventLogError) as caught:
        parse(raw)
    assert "\n" not in str(caught.value)
    return caught.value


def rtmrs(log: EventLog, alg: Alg = Alg.SHA384) -> dict[int, bytes]:
    return dict(replay(log, alg, registers=Registers.RTMR))


class TestRead:
    def test_registers_are_rtmrs(self) -> None:
        log = parse(ccel(*[Record(index, ACTION, bytes([index])) for index in (1, 2, 3, 4, 1)]))
        assert log.format is LogFormat.CCEL
        assert [event.pcr for event in log.events] == [0, 0, 1, 2, 3, 0]
        assert rtmrs(log) == {
            0: extended(SHA384, bytes(48), b"\1", b"\1"),
            1: extended(SHA384, bytes(48), b"\2"),
            2: extended(SHA384, bytes(48), b"\3"),
            3: extended(SHA384, bytes(48), b"\4"),
        }

    def test_an_event_for_mrtd_informs_only(self) -> None:
        log = parse(ccel(Record(0, NO_ACTION, b"SP800-155 Event"), Record(1, ACTION, b"a")))
        assert log.events[1].pcr == NO_REGISTER
        assert refused(ccel(Record(0, ACTION, b"a"))).code == "pcr"

    @pytest.mark.parametrize("register", [5, 17, 24, 1 << 31])
    def test_no_other_register(self, register: int) -> None:
        assert refused(ccel(Record(register, ACTION, b"a"))).code == "pcr"

    def test_no_startup_locality_and_one_spec_id(self) -> None:
        assert refused(ccel(Record(1, NO_ACTION, b"StartupLocality\0\3"))).code == "spec-id"
        assert refused(ccel(Record(1, NO_ACTION, b"Spec ID Event03\0"))).code == "spec-id"

    def test_a_reader_of_pcrs_refuses_it(self) -> None:
        with pytest.raises(EventLogError) as caught:
            parse_tcg(ccel(Record(1, ACTION, b"a")))
        assert caught.value.code == "ccel"

    def test_a_log_of_pcrs_is_none(self) -> None:
        assert parse(ccel(head=Record(0, NO_ACTION))).format is LogFormat.TCG_AGILE

    def test_notes_about_pcrs_are_not_made(self) -> None:
        raw = ccel(
            Record(1, SEPARATOR, SEPARATION), Record(1, SEPARATOR, SEPARATION), Record(2, 0x80000007, b"x")
        )
        assert notes(parse(raw)) == ()


class TestReplay:
    LOG = parse(ccel(Record(1, ACTION, b"a")))

    def test_rtmrs_are_never_taken_for_pcrs(self) -> None:
        value = extended(SHA384, bytes(48), b"a")
        for call in (lambda: replay(self.LOG, SHA384), lambda: verify_replay(self.LOG, {0: value}, SHA384)):
            with pytest.raises(ReplayError) as caught:
                call()
            assert caught.value.code == "registers"
        tpm = parse(Log((Record(0, ACTION, b"a"),), (SHA384,)).encode())
        with pytest.raises(ReplayError) as caught:
            verify_replay(tpm, {0: value}, SHA384, registers=Registers.RTMR)
        assert caught.value.code == "registers"

    def test_quoted_rtmrs(self) -> None:
        quoted = {0: extended(SHA384, bytes(48), b"a"), 3: bytes(48)}
        proved = verify_replay(self.LOG, quoted, SHA384, registers=Registers.RTMR)
        assert [event.untrusted_data for event in proved.events] == [b"a"]
        assert proved.events[0].digest == digest(SHA384, b"a")

    def test_a_register_that_does_not_exist(self) -> None:
        with pytest.raises(ReplayError) as caught:
            verify_replay(self.LOG, {4: bytes(48)}, SHA384, registers=Registers.RTMR)
        assert caught.value.pcrs == (4,)


@pytest.mark.parametrize("vector", vector_params("eventlog/ccel"))
class TestVectors:
    def test_stated_rtmrs(self, vector: Vector) -> None:
        log = parse(vector.read())
        assert log.format is LogFormat.CCEL
        stated = {int(each): bytes.fromhex(value) for each, value in vector.expect.get("rtmrs", {}).items()}
        if stated:
            assert verify_replay(log, stated, SHA384, registers=Registers.RTMR).pcrs == stated
        for number, value in stated.items():
            wrong = {**stated, number: bytes([value[0] ^ 1]) + value[1:]}
            with pytest.raises(ReplayError) as caught:
                verify_replay(log, wrong, SHA384, registers=Registers.RTMR)
            assert caught.value.pcrs == (number,)

    def test_checkable_digests_match(self, vector: Vector) -> None:
        assert all(binding(event).matches is not False for event in parse(vector.read()).events)

    def test_stated_events(self, vector: Vector) -> None:
        beside = vector.path.with_name(f"{vector.path.name}_out.json")
        if not beside.is_file():
            return
        stated = json.loads(beside.read_text())["uefi_event_logs"]
        events = parse(vector.read()).events[1:]
        assert len(events) == len(stated)
        for event, expected in zip(events, stated, strict=True):
            assert (event.pcr + 1) & NO_REGISTER == expected["index"]
            assert [digest.hex() for _, digest in event.digests] == [
                each["digest"] for each in expected["digests"]
            ]
            assert event.untrusted_type == expected["type_name"] or expected["type_name"] not in KNOWN


KNOWN = {"EV_SEPARATOR", "EV_EFI_VARIABLE_DRIVER_CONFIG", "EV_EFI_ACTION", "EV_IPL", "EV_EVENT_TAG"}


def wrong_values() -> Iterator[Any]:
    path = TRUSTEE / "rtmr_negative.json"
    if not path.is_file():
        yield pytest.param({}, marks=pytest.mark.skip(reason="../shared/vectors is not here"))
        return
    for case in json.loads(path.read_text()):
        if (TRUSTEE / "deps/eventlog/test_data" / case["log"]).is_file():
            yield pytest.param(case, id=case["wrong"])


@pytest.mark.parametrize("case", list(wrong_values()))
def test_one_wrong_nibble_names_its_register(case: dict[str, str]) -> None:
    log = parse((TRUSTEE / "deps/eventlog/test_data" / case["log"]).read_bytes())
    number = int(case["wrong"].removeprefix("rtmr"))
    good = rtmrs(log)
    with pytest.raises(ReplayError) as caught:
        verify_replay(
            log, {**good, number: bytes.fromhex(case[case["wrong"]])}, SHA384, registers=Registers.RTMR
        )
    assert caught.value.pcrs == (number,)


def test_cut_anywhere_it_is_refused_or_shorter() -> None:
    raw = ccel(Record(1, ACTION, b"a"), Record(2, SEPARATOR, SEPARATION))
    for size in range(len(raw)):
        try:
            log = parse(raw[:size])
        except AttestInputError:
            continue
        assert len(log.events) < 3
