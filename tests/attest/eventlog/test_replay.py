"""Replay of a log, and what a quote proves about it."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from attest.errors import AttestUsageError
from attest.eventlog.log import EventLog
from attest.eventlog.notes import notes
from attest.eventlog.read import parse
from attest.eventlog.replay import (
    ReplayError,
    VerifiedEvents,
    replay,
    startup_locality,
    verify_replay,
    with_exit_boot_services,
)
from tests.attest.eventlog.build import (
    ACTION,
    APPLICATION,
    EFI_ACTION,
    HCRTM,
    IPL,
    NO_ACTION,
    SEPARATION,
    SEPARATOR,
    SHA1,
    SHA256,
    VARIABLE,
    Record,
    agile,
    digest,
    extended,
    locality,
    sha1_log,
    variable,
)
from vtpm.tpm2.constants import Alg

ZERO = bytes(32)


def log_of(*records: Record) -> EventLog:
    return parse(agile(*records))


class TestReplay:
    def test_values(self) -> None:
        log = log_of(Record(4, ACTION, b"a"), Record(7, ACTION, b"b"), Record(4, ACTION, b"c"))
        values = replay(log, Alg.SHA256)
        assert values[4] == extended(SHA256, ZERO, b"a", b"c")
        assert values[7] == extended(SHA256, ZERO, b"b")
        assert replay(log, Alg.SHA1)[4] == extended(SHA1, bytes(20), b"a", b"c")

    def test_all_24_pcrs_have_their_start_value(self) -> None:
        values = replay(log_of(), Alg.SHA256)
        assert sorted(values) == list(range(24))
        assert {pcr for pcr, value in values.items() if value == b"\xff" * 32} == set(range(17, 23))
        assert {pcr for pcr, value in values.items() if value == ZERO} == {*range(17), 23}

    def test_the_result_cannot_be_changed(self) -> None:
        values = replay(log_of(), Alg.SHA256)
        with pytest.raises(TypeError):
            values[0] = b""  # type: ignore[index]  # that is the test

    def test_no_action_is_never_extended(self) -> None:
        claimed = Record(4, NO_ACTION, b"x", digests=((SHA1, bytes(20)), (SHA256, digest(SHA256, b"x"))))
        assert replay(log_of(claimed), Alg.SHA256)[4] == ZERO

    @pytest.mark.parametrize("value", [0, 3, 4])
    def test_startup_locality_is_the_start_of_pcr_0(self, value: int) -> None:
        log = log_of(locality(value), Record(0, ACTION, b"a"))
        assert replay(log, Alg.SHA256)[0] == extended(SHA256, bytes(31) + bytes([value]), b"a")

    def test_an_hcrtm_that_comes_first_starts_pcr_0_at_locality_4(self) -> None:
        first = Record(0, HCRTM, b"HCRTM", measured=b"code")
        log = log_of(first)
        assert replay(log, Alg.SHA256)[0] == extended(SHA256, bytes(31) + b"\4", b"code")
        assert startup_locality(log) == 4
        assert startup_locality(log_of(Record(0, ACTION, b"a"), first)) == 0

    def test_a_pcr_with_a_gap_in_a_bank_has_no_value_there(self) -> None:
        gap = Record(4, ACTION, b"a", digests=((SHA256, digest(SHA256, b"a")),))
        log = log_of(gap, Record(4, ACTION, b"b"), Record(5, ACTION, b"c"))
        assert 4 not in replay(log, Alg.SHA1)
        assert replay(log, Alg.SHA1)[5] == extended(SHA1, bytes(20), b"c")
        assert replay(log, Alg.SHA256)[4] == extended(SHA256, ZERO, b"a", b"b")

    @pytest.mark.parametrize("alg", [Alg.SHA384, Alg.RSA, 0xFFFF])
    def test_a_bank_that_the_log_does_not_have(self, alg: int) -> None:
        with pytest.raises(ReplayError) as caught:
            replay(log_of(), alg)
        assert caught.value.code == "bank"

    def test_a_bank_that_nothing_here_computes(self) -> None:
        log = parse(agile(Record(0, ACTION, b"a", digests=((0x12, bytes(32)),)), banks=(0x12,)))
        with pytest.raises(ReplayError) as caught:
            replay(log, Alg.SM3_256)
        assert caught.value.code == "bank"


A, B = Record(4, ACTION, b"a"), Record(5, APPLICATION, b"path", measured=b"image")
QUOTED = {4: extended(SHA256, ZERO, b"a"), 5: extended(SHA256, ZERO, b"image")}


class TestVerifyReplay:
    def test_events_of_quoted_pcrs_are_proved(self) -> None:
        verified = verify_replay(log_of(A, B), QUOTED, Alg.SHA256)
        assert verified.pcrs == QUOTED
        assert verified.alg is Alg.SHA256
        (event,) = verified.of(4)
        assert (event.digest, event.measured) == (digest(SHA256, b"a"), b"a")

    def test_data_that_only_describe_are_not_measured(self) -> None:
        (event,) = verify_replay(log_of(A, B), QUOTED, Alg.SHA256).of(5)
        assert event.measured is None
        assert event.untrusted_data == b"path"

    def test_events_of_other_pcrs_and_no_action_prove_nothing(self) -> None:
        log = log_of(Record(4, NO_ACTION, b"SecureBoot=1"), A, B, Record(7, ACTION, b"forged"))
        verified = verify_replay(log, {4: QUOTED[4]}, Alg.SHA256)
        assert [event.untrusted_data for event in verified.events] == [b"a"]
        for pcr in (5, 7):
            with pytest.raises(AttestUsageError):
                verified.of(pcr)

    def test_a_pcr_that_differs_is_named(self) -> None:
        with pytest.raises(ReplayError, match="PCR 5") as caught:
            verify_replay(log_of(A, Record(5, APPLICATION, measured=b"other")), QUOTED, Alg.SHA256)
        assert (caught.value.code, caught.value.pcrs) == ("replay-mismatch", (5,))

    @pytest.mark.parametrize(
        "records",
        [(), (A, A), (Record(4, ACTION, b"b"), A), (Record(4, ACTION, b"A"),)],
        ids=["left-out", "twice", "more", "altered"],
    )
    def test_events_left_out_added_or_altered(self, records: tuple[Record, ...]) -> None:
        with pytest.raises(ReplayError):
            verify_replay(log_of(*records), {4: QUOTED[4]}, Alg.SHA256)

    def test_events_in_another_order(self) -> None:
        quoted = {4: extended(SHA256, ZERO, b"a", b"b")}
        b = Record(4, ACTION, b"b")
        assert verify_replay(log_of(A, b), quoted, Alg.SHA256)
        with pytest.raises(ReplayError):
            verify_replay(log_of(b, A), quoted, Alg.SHA256)

    def test_a_quoted_pcr_that_the_log_does_not_extend_must_have_its_start_value(self) -> None:
        assert verify_replay(log_of(A), {4: QUOTED[4], 7: ZERO, 17: b"\xff" * 32}, Alg.SHA256).of(7) == ()
        with pytest.raises(ReplayError) as caught:
            verify_replay(log_of(A), {4: QUOTED[4], 7: QUOTED[5]}, Alg.SHA256)
        assert caught.value.pcrs == (7,)

    def test_a_sha1_log_does_not_explain_a_sha256_quote(self) -> None:
        log = parse(sha1_log(A))
        assert verify_replay(log, {4: extended(SHA1, bytes(20), b"a")}, Alg.SHA1)
        with pytest.raises(ReplayError) as caught:
            verify_replay(log, QUOTED, Alg.SHA256)
        assert caught.value.code == "bank"

    def test_an_event_without_the_digest_of_the_quoted_bank(self) -> None:
        gap = Record(4, ACTION, b"a", digests=((SHA1, digest(SHA1, b"a")),))
        with pytest.raises(ReplayError) as caught:
            verify_replay(log_of(gap), {4: ZERO}, Alg.SHA256)
        assert (caught.value.code, caught.value.pcrs) == ("digest-missing", (4,))

    @pytest.mark.parametrize("quoted", [{}, {24: ZERO}, {-1: ZERO}])
    def test_quoted_pcrs_must_be_pcrs(self, quoted: dict[int, bytes]) -> None:
        with pytest.raises(AttestUsageError):
            verify_replay(log_of(A), quoted, Alg.SHA256)

    def test_a_value_of_another_length_differs(self) -> None:
        with pytest.raises(ReplayError):
            verify_replay(log_of(A), {4: QUOTED[4][:20]}, Alg.SHA256)

    def test_nothing_else_makes_verified_events(self) -> None:
        with pytest.raises(AttestUsageError):
            VerifiedEvents(Alg.SHA256, QUOTED, (), object())

    def test_verified_events_cannot_be_changed(self) -> None:
        verified = verify_replay(log_of(A, B), QUOTED, Alg.SHA256)
        with pytest.raises(FrozenInstanceError):
            verified._events = ()  # type: ignore[misc]  # that is the test
        with pytest.raises((AttributeError, TypeError)):
            verified.events = ()  # type: ignore[misc]  # that is the test
        with pytest.raises(TypeError):
            verified.pcrs[9] = ZERO  # type: ignore[index]  # that is the test

    def test_a_retyped_event_keeps_its_measured_bytes(self) -> None:
        """The type is not measured: Secure Boot's variable may be called EV_UNUSED, and another forged."""
        real = variable("SecureBoot", b"\0")
        retyped, forged = Record(7, 2, real), Record(7, VARIABLE, variable("SecureBoot", b"\1"))
        quoted = {7: extended(SHA256, ZERO, real, forged.data)}
        events = verify_replay(log_of(retyped, forged), quoted, Alg.SHA256).of(7)
        assert [event.measured for event in events] == [real, forged.data]


class TestExitBootServices:
    def test_a_log_that_was_read_too_early_is_told_when_to_read_it(self) -> None:
        early = log_of(Record(5, EFI_ACTION, b"Calling"), Record(4, EFI_ACTION, b"Calling"))
        quoted = dict(replay(with_exit_boot_services(early), Alg.SHA256))
        with pytest.raises(ReplayError, match="Exit Boot Services events are missing: read the log when"):
            verify_replay(early, quoted, Alg.SHA256)
        for others in ({5: bytes(32)}, {4: bytes(32)}):
            with pytest.raises(ReplayError) as caught:
                verify_replay(early, quoted | others, Alg.SHA256)
            assert "Exit Boot" not in str(caught.value)

    def test_the_two_events_can_be_supplied_in_every_bank(self) -> None:
        log = with_exit_boot_services(log_of(Record(5, EFI_ACTION, b"Calling")))
        texts = (b"Calling", b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success")
        assert replay(log, Alg.SHA256)[5] == extended(SHA256, ZERO, *texts)
        assert replay(log, Alg.SHA1)[5] == extended(SHA1, bytes(20), *texts)
        assert [event.index for event in log.events] == [0, 1, 2, 3]


class TestNotes:
    @pytest.mark.parametrize(
        ("records", "code"),
        [
            ((locality(3), Record(0, SEPARATOR, SEPARATION)), "startup-locality"),
            ((Record(0, SEPARATOR, SEPARATION, digests=((SHA256, bytes(32)),)),), "fewer-digests"),
            ((Record(7, NO_ACTION, digests=((SHA1, b"\1" * 20), (SHA256, ZERO))),), "no-action-digest"),
            ((Record(0, ACTION, b"a", measured=b"b"),), "data-mismatch"),
            ((Record(0, ACTION, b"a"),), "separator-missing"),
            ((Record(0, SEPARATOR, SEPARATION),) * 2, "separator-twice"),
            ((Record(5, EFI_ACTION, b"Calling"),), "exit-boot-services-events-missing"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_a_fact_is_noted(self, records: tuple[Record, ...], code: str) -> None:
        assert code in {note.code for note in notes(log_of(*records))}

    def test_a_plain_log_has_none(self) -> None:
        assert notes(log_of(Record(0, SEPARATOR, SEPARATION), Record(8, IPL, b"x", measured=b"y"))) == ()

    def test_padding(self) -> None:
        log = parse(agile(Record(0, SEPARATOR, SEPARATION), tail=b"\xff" * 9))
        assert [note.code for note in notes(log)] == ["padding"]

    def test_a_long_list_is_shortened(self) -> None:
        (note,) = [
            n
            for n in notes(log_of(*[Record(8, ACTION, b"a", measured=b"b")] * 99))
            if n.code == "data-mismatch"
        ]
        assert note.detail.startswith("event 1, 2, 3, 4, 5, 6, 7, 8 and 91 more")


def test_the_recording_replays_to_the_pcrs_of_its_machine(repository: Path) -> None:
    path = repository / "configs/recordings/ovmf-2022.11-q35.bin"
    log = parse(path.read_bytes())
    stated = json.loads(path.with_suffix(".json").read_text())["pcrs"]
    for name, pcrs in stated.items():
        quoted = {int(pcr): bytes.fromhex(value) for pcr, value in pcrs.items()}
        assert verify_replay(log, quoted, Alg.from_name(name)).pcrs == quoted
