"""Event logs of real machines, judged by what their origins state about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from attest.errors import AttestInputError
from attest.eventlog.data import binding
from attest.eventlog.log import EventLog, LogFormat
from attest.eventlog.notes import lacks_exit_boot_services, notes
from attest.eventlog.read import parse
from attest.eventlog.replay import ReplayError, verify_replay, with_exit_boot_services
from tests.conftest import VECTORS, Vector, vector_params, vectors
from tests.spending import at_most
from vtpm.tpm2.constants import Alg

BANKS = (Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512)

MISCOUNTED = {"event-uefi-sha1-log.bin": 17}
"""The manifest says 6; the origin's own YAML lists 17 records."""

LEGAL_RECORD = "specid_badeventtype.bin"
"""One EV_ACTION record without data: a legal TPM 1.2 record, as its ``whole_file`` note says."""

LOGS = vector_params("eventlog/sha1", "eventlog/agile")
MALFORMED = vector_params("eventlog/malformed")


def stated(vector: Vector, alg: Alg) -> dict[int, bytes]:
    pcrs = vector.expect.get("pcrs", {}).get(alg.hash_name, {})
    return {int(pcr): bytes.fromhex(value) for pcr, value in pcrs.items()}


def read_or_refused(vector: Vector) -> EventLog | None:
    try:
        return parse(vector.read())
    except AttestInputError as error:
        message = str(error)
    assert "\n" not in message
    return None


@pytest.mark.parametrize("vector", LOGS)
def test_a_log_replays_to_the_stated_pcrs(vector: Vector) -> None:
    log = parse(vector.read())
    assert log.format == (LogFormat.TCG_SHA1 if vector.kind == "eventlog/sha1" else LogFormat.TCG_AGILE)
    for alg in BANKS if vector.verdict != "mixed" else ():  # mixed: see the tests below
        if quoted := stated(vector, alg):
            verified = verify_replay(log, quoted, alg)
            assert verified.pcrs == quoted
            assert {event.pcr for event in verified.events} <= quoted.keys()


@pytest.mark.parametrize("vector", LOGS)
def test_a_log_has_the_stated_number_of_events(vector: Vector) -> None:
    expected = MISCOUNTED.get(vector.path.name, vector.expect.get("events"))
    log = parse(vector.read())
    assert len(log.events) == expected if expected else log.events


@pytest.mark.parametrize("vector", LOGS)
def test_no_event_of_a_good_log_is_named_a_mismatch(vector: Vector) -> None:
    """Checkable digests match: so the origins of strength A and B say, and so real firmware behaves."""
    for event in parse(vector.read()).events:
        assert binding(event).matches is not False, event


@pytest.mark.parametrize("vector", LOGS)
def test_one_wrong_quoted_bit_is_refused_and_named(vector: Vector) -> None:
    log = parse(vector.read())
    for alg in log.banks:
        for pcr, value in stated(vector, alg).items():
            wrong = bytes([value[0] ^ 1]) + value[1:]
            with pytest.raises(ReplayError) as caught:
                verify_replay(log, {pcr: wrong}, alg)
            assert caught.value.pcrs == (pcr,)


@pytest.mark.parametrize("vector", MALFORMED)
def test_a_malformed_file_is_refused(vector: Vector) -> None:
    with at_most(2):
        log = read_or_refused(vector)
    if log is None:
        assert vector.verdict == "parse-error"
    else:
        assert vector.verdict == "mixed" or vector.path.name == LEGAL_RECORD
        assert any(binding(event).matches is False for event in log.events)


@pytest.mark.parametrize("vector", vector_params("eventlog/fragment", "eventlog/acpi-tpm2", "eventlog/txt"))
def test_what_is_no_whole_log_never_crashes(vector: Vector) -> None:
    with at_most(2):
        read_or_refused(vector)


def named(name: str) -> Vector:
    found = [vector for vector in vectors("eventlog/sha1", "eventlog/malformed") if vector.path.name == name]
    if not found:
        pytest.skip("../shared/vectors is not here")
    return found[0]


def test_missing_exit_boot_services_are_named_and_can_be_supplied() -> None:
    vector = named("ebs_event_missing_eventlog")
    log = parse(vector.read())
    quoted = stated(vector, Alg.SHA1)
    with pytest.raises(ReplayError) as caught:
        verify_replay(log, quoted, Alg.SHA1)
    assert caught.value.pcrs == (5,)
    (note,) = [note for note in notes(log) if note.code == "exit-boot-services-events-missing"]
    assert quoted[5].hex() in note.detail
    supplied = with_exit_boot_services(log)
    assert not lacks_exit_boot_services(supplied)
    assert verify_replay(supplied, quoted, Alg.SHA1).pcrs == quoted


def test_a_tampered_variable_name_is_named_and_nothing_else() -> None:
    tampered = parse(named("uefi_event_log_invalid.bin").read())
    good_path = named("uefi_event_log_invalid.bin").path.with_name("uefi_event_log.bin")
    good = parse(good_path.read_bytes())
    wrong = [event.index for event in tampered.events if binding(event).matches is False]
    changed = [a.index for a, b in zip(tampered.events, good.events, strict=True) if a != b]
    assert wrong == changed == [31]
    assert [event.digests for event in tampered.events] == [event.digests for event in good.events]


def recipes() -> Iterator[Any]:
    folder = VECTORS / "_recipes"
    for name, code, proved in (
        ("pcr7_separator_renamed_then_secureboot.bin", "separator-missing", True),
        ("secureboot_event_as_no_action.bin", "no-action-digest", False),
    ):
        skip = [] if (folder / name).is_file() else [pytest.mark.skip(reason="../shared/vectors is not here")]
        yield pytest.param(folder / name, code, proved, id=name, marks=skip)


@pytest.mark.parametrize(("path", "code", "proved"), list(recipes()))
def test_a_log_made_by_an_attack_recipe_is_noted(path: Any, code: str, *, proved: bool) -> None:
    log = parse(path.read_bytes())
    assert code in {note.code for note in notes(log)}
    lines = (VECTORS / "manifest.jsonl").read_text().splitlines()
    entry = next(entry for entry in map(json.loads, lines) if entry["path"].endswith(path.name))
    quoted = {int(pcr): bytes.fromhex(v) for pcr, v in entry["expect"]["pcrs"]["sha256"].items()}
    if proved:
        events = verify_replay(log, quoted, Alg.SHA256).of(7)
        assert "EV_SEPARATOR" not in {event.untrusted_type for event in events}
    else:
        with pytest.raises(ReplayError):
            verify_replay(log, quoted, Alg.SHA256)
