"""The runtime log as Canonical Event Log in JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from attest.errors import AttestInputError
from attest.eventlog.cel import MAX_DATA, encode_cel, new_event, parse_cel
from attest.eventlog.data import binding
from attest.eventlog.log import MAX_EVENTS, EventLogError, LogFormat
from attest.eventlog.read import parse
from attest.eventlog.replay import ReplayError, verify_replay
from tests.attest.eventlog.build import SHA256, extended
from tests.conftest import REPOSITORY
from vtpm.tpm2.constants import Alg

EVENTS = [new_event(0, 12, b"report"), new_event(1, 12, b"policy"), new_event(2, 13, b"launch")]
RAW = encode_cel(EVENTS)
QUOTED = {12: extended(SHA256, bytes(32), b"report", b"policy"), 13: extended(SHA256, bytes(32), b"launch")}


def records() -> Any:
    return json.loads(RAW)


def refused(document: Any) -> EventLogError:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(EventLogError) as caught:
        parse_cel(raw)
    assert "\n" not in str(caught.value)
    return caught.value


def test_what_is_written_is_read() -> None:
    log = parse(RAW)
    assert log.format is LogFormat.CEL_JSON
    assert log.events == tuple(EVENTS)
    assert encode_cel(log.events) == RAW
    assert encode_cel(()) == b"[]\n"
    assert parse(b"[]").banks == (Alg.SHA256,)


def test_another_writer_may_lay_it_out_differently() -> None:
    assert parse(b" \n" + json.dumps(records(), indent=3).encode()).events == tuple(EVENTS)


def test_the_schema_holds_it() -> None:
    schema = json.loads((REPOSITORY / "configs/schema/runtime-log.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(records())


def test_it_replays_to_quoted_pcrs() -> None:
    verified = verify_replay(parse(RAW), QUOTED, Alg.SHA256)
    assert [event.measured for event in verified.of(12)] == [b"report", b"policy"]
    assert all(binding(event).matches for event in parse(RAW).events)
    with pytest.raises(ReplayError):
        verify_replay(parse(encode_cel(EVENTS[:2])), QUOTED, Alg.SHA256)


def test_more_banks() -> None:
    events = [new_event(0, 12, b"report", (Alg.SHA1, Alg.SHA256, Alg.SHA384))]
    log = parse(encode_cel(events))
    assert set(log.banks) == {Alg.SHA1, Alg.SHA256, Alg.SHA384}
    assert log.events == tuple(events)


def test_altered_content_is_refused() -> None:
    document = records()
    document[1]["content"]["data"] = base64.b64encode(b"other").decode()
    assert "record 1: digests.digest is not the sha256" in str(refused(document))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("recnum", 0),
        ("recnum", 2),
        ("recnum", True),
        ("recnum", "1"),
        ("pcr", 24),
        ("pcr", -1),
        ("pcr", None),
        ("pcr", False),
        ("pcr", 1 << 60),
        ("content_type", "systemd"),
        ("content_type", ["shype"]),
        ("content", "cG9saWN5"),
        ("content", {"data": 1}),
        ("content", {"data": "cG9saWN5", "more": 1}),
        ("content", {"data": "cG9saW N5"}),
        ("content", {"data": "cG9saWN"}),
        ("content", {"data": "\u00e9"}),
        ("digests", []),
        ("digests", {}),
        ("digests", [{"hashAlg": "sha256"}]),
        ("digests", [{"hashAlg": ["sha256"], "digest": ""}]),
        ("digests", [{"hashAlg": "md5", "digest": ""}]),
        ("digests", [{"hashAlg": "sha256", "digest": hashlib.sha256(b"policy").hexdigest()}] * 2),
        ("digests", [{"hashAlg": "sha256", "digest": hashlib.sha256(b"policy").hexdigest().upper()}]),
        ("digests", [{"hashAlg": "sha1", "digest": hashlib.sha1(b"policy").hexdigest()}]),
    ],
)
def test_a_wrong_field_is_refused(field: str, value: Any) -> None:
    document = records()
    document[1][field] = value
    assert "record 1: " in str(refused(document))


def test_a_record_left_out_reordered_or_repeated_is_refused() -> None:
    first, second, third = records()
    for document in ([second, third], [first, third], [second, first], [first, first]):
        assert "recnum" in str(refused(document))


@pytest.mark.parametrize(
    "raw",
    [
        b"[",
        b"[1]",
        b"[{}]",
        b"[[]]",
        b"[null]",
        b"[" * 100_000,
        b'[{"recnum":' * 100_000,
        b"[NaN]",
        b"[1e999]",
        b"[0.5]",
        b"[" + b"9" * 5000 + b"]",
        b'["\xff"]',
        b'["\\ud800"]',
        b'[{"recnum":0,"recnum":0}]',
        RAW + b"x",
        RAW[:-2],
        b"{}",
    ],
    ids=range(17),
)
def test_what_is_no_log_is_refused(raw: bytes) -> None:
    assert refused(raw).offset is None


def test_a_key_that_stands_twice_is_refused() -> None:
    """Two readers could choose differently between the two."""
    assert "twice" in str(refused(RAW.replace(b'"pcr":13', b'"pcr":12,"pcr":13')))


def test_bounds() -> None:
    assert "more than" in str(refused(encode_cel([new_event(0, 12, bytes(MAX_DATA + 1))])))
    assert refused([{}] * (MAX_EVENTS + 1)).code == "size"
    assert refused(b"[" + b" " * (8 << 20) + b"]").code == "size"


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(RAW) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_passes_for_the_log(at: int, bit: int) -> None:
    changed = bytearray(RAW)
    changed[at] ^= 1 << bit
    try:
        log = parse(bytes(changed))
    except AttestInputError:
        return
    if log.events != tuple(EVENTS):
        with pytest.raises(ReplayError):
            verify_replay(log, QUOTED, Alg.SHA256)
