"""Attacks on firmware logs by their numbers in facts/attest.md 3.2; 45 to 57 stand in test_rules.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attest.eventlog.log import EventLogError
from attest.eventlog.read import parse
from attest.eventlog.replay import ReplayError, replay, verify_replay
from attest.eventlog.rules import appraise_firmware
from tests.attest.eventlog.build import (
    ACTION,
    NO_ACTION,
    SHA1,
    SHA256,
    Log,
    Record,
    SpecId,
    agile,
    digest,
    extended,
    sha1_log,
)
from vtpm.tpm2.constants import Alg

GOOD = (Record(0, ACTION, b"a"), Record(4, ACTION, b"b"), Record(4, ACTION, b"c"))
QUOTED = {
    0: extended(SHA256, bytes(32), b"a"),
    4: extended(SHA256, bytes(32), b"b", b"c"),
}


class TestCase40Sizes:
    @pytest.mark.parametrize("size", [2**32 - 1, 2**31, 65535])
    def test_a_size_past_the_end_is_refused_at_once(self, size: int) -> None:
        raw = agile(*GOOD)
        for at in range(len(raw) - 4):
            try:
                log = parse(raw[:at] + size.to_bytes(4, "little") + raw[at + 4 :])
            except EventLogError:
                continue
            assert len(log.events) <= 4


class TestCase42ResettablePcrs:
    @pytest.mark.parametrize("pcr", range(17, 23))
    def test_without_a_dynamic_launch_they_are_ff(self, pcr: int) -> None:
        log = parse(agile(*GOOD))
        assert verify_replay(log, {pcr: b"\xff" * 32}, Alg.SHA256).events == ()
        with pytest.raises(ReplayError):
            verify_replay(log, {pcr: bytes(32)}, Alg.SHA256)

    def test_a_log_cannot_pretend_that_one_was_reset(self) -> None:
        log = parse(agile(Record(17, ACTION, b"mle")))
        with pytest.raises(ReplayError):
            verify_replay(log, {17: extended(SHA256, bytes(32), b"mle")}, Alg.SHA256)


class TestCase43Replay:
    @pytest.mark.parametrize(
        "records",
        [GOOD[:2], GOOD[::-1], (*GOOD, GOOD[2]), (GOOD[0], GOOD[1], replace(GOOD[2], pcr=5)), ()],
        ids=["left out", "order", "twice", "other register", "empty"],
    )
    def test_a_log_that_differs_from_the_quote(self, records: tuple[Record, ...]) -> None:
        with pytest.raises(ReplayError) as caught:
            verify_replay(parse(agile(*records)), QUOTED, Alg.SHA256)
        assert caught.value.pcrs

    def test_the_good_one(self) -> None:
        assert verify_replay(parse(agile(*GOOD)), QUOTED, Alg.SHA256).pcrs == QUOTED


class TestCase51SpecId:
    @pytest.mark.parametrize(
        "log",
        [
            Log(GOOD, spec=replace(SpecId.of(SHA1, SHA256), signature=b"Spec ID Event04\0")),
            Log(GOOD, spec=SpecId(((SHA1, 20), (SHA256, 31)))),
            Log(GOOD, spec=SpecId(((SHA1, 20),))),
            Log(GOOD, spec=replace(SpecId.of(SHA1, SHA256), count=3)),
            Log((*GOOD, Record(0, NO_ACTION, SpecId.of(SHA1, SHA256).encode()))),
        ],
        ids=["signature", "digest size", "algorithm not listed", "count", "second header"],
    )
    def test_refused(self, log: Log) -> None:
        with pytest.raises(EventLogError):
            parse(log.encode())


class TestCase52MissingDigests:
    def test_an_event_without_the_digest_of_the_quoted_bank(self) -> None:
        gap = Record(4, ACTION, b"c", digests=((SHA1, digest(SHA1, b"c")),))
        with pytest.raises(ReplayError) as caught:
            verify_replay(parse(agile(*GOOD[:2], gap)), QUOTED, Alg.SHA256)
        assert (caught.value.code, caught.value.pcrs) == ("digest-missing", (4,))

    def test_a_sha1_log_for_a_sha256_quote(self) -> None:
        with pytest.raises(ReplayError) as caught:
            verify_replay(parse(sha1_log(*GOOD)), QUOTED, Alg.SHA256)
        assert caught.value.code == "bank"


class TestCase63HalfRead:
    def test_nothing_of_a_record_that_is_cut_is_used(self) -> None:
        """Zeros at the end are the rest of a memory area, and are named as such."""
        raw = agile(*GOOD)
        ends = {len(agile(*GOOD[:count])) for count in range(4)}
        for size in set(range(1, len(raw))) - ends:
            try:
                log = parse(raw[:size])
            except EventLogError:
                continue
            assert log.padding is not None
            assert log.padding.offset in ends


def test_rules_use_proved_events_only() -> None:
    log = parse(agile(*GOOD))
    values = replay(log, Alg.SHA256)
    found = appraise_firmware(log, verify_replay(log, {4: values[4]}, Alg.SHA256))
    assert {finding.pcr for finding in found.findings} == {4}
