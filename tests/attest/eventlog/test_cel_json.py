"""Canonical Event Logs in JSON that others write."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import AttestInputError
from attest.eventlog.data import binding
from attest.eventlog.log import MAX_EVENTS, EventLog, EventLogError, LogFormat
from attest.eventlog.read import parse
from attest.eventlog.replay import replay
from tests.attest.eventlog.build import SHA256, extended
from tests.attest.ima.build import AGGREGATE, old
from vtpm.tpm2.constants import Alg


def hashed(data: bytes, *names: str) -> list[dict[str, str]]:
    return [
        {"hashAlg": name, "digest": hashlib.new(name, data).hexdigest()}
        for name in names or ("sha1", "sha256")
    ]


def record(recnum: int | None, pcr: int = 4, **fields: Any) -> dict[str, Any]:
    whole = {
        "pcr": pcr,
        "digests": hashed(b"a"),
        "content_type": "pcclient_std",
        "content": {"event_type": "EV_ACTION", "event_data": b"a".hex()},
        **fields,
    }
    return whole if recnum is None else {"recnum": recnum, **whole}


def log_of(*records: dict[str, Any]) -> EventLog:
    return parse(json.dumps(records).encode())


def refused(*records: Any, raw: bytes | None = None) -> EventLogError:
    with pytest.raises(EventLogError) as caught:
        parse(json.dumps(records).encode() if raw is None else raw)
    assert "\n" not in str(caught.value)
    return caught.value


EXAMPLE = b"""[{"content": {"event_type": "EV_COMPACT_HASH",
  "event_data": "44656c6c20436f6e66696775726174696f6e20496e666f726d6174696f6e2032"},
  "content_type": "pcclient_std", "pcr": 6, "recnum": 0, "digests": [
  {"hashAlg": "sha1", "digest": "bac9a8935b720760bcdea2faae75152f5d1e4bea"},
  {"hashAlg": "sha256", "digest": "d18bf8d221a3a3b08774c8d077328c4b2ca205e4f1618ad4bac2b5786f453bc7"}]}]"""
"""The record of the CEL specification 1.0, 5.3, with number 0."""


class TestRead:
    def test_the_example_of_the_specification(self) -> None:
        log = parse(EXAMPLE)
        (event,) = log.events
        assert log.format is LogFormat.CEL_JSON
        assert log.banks == (Alg.SHA1, Alg.SHA256)
        assert (event.pcr, event.untrusted_type) == (6, "EV_COMPACT_HASH")
        assert event.untrusted_data == b"Dell Configuration Information 2"

    @pytest.mark.parametrize("kind", ["EV_ACTION", "ev_action", "5", 5, "0x5", "0x00000005"])
    def test_ways_to_write_a_type(self, kind: str | int) -> None:
        log = log_of(record(0, content={"event_type": kind, "event_data": "61"}))
        assert log.events[0].untrusted_type == "EV_ACTION"
        assert binding(log.events[0]).matches is True

    def test_types_without_a_name_here(self) -> None:
        kinds = [1078, "EV_VENDOR_THING"]
        records = [record(n, content={"event_type": kind, "event_data": ""}) for n, kind in enumerate(kinds)]
        assert [event.untrusted_type for event in log_of(*records).events] == [
            "0x00000436",
            "EV_VENDOR_THING",
        ]

    def test_replay_and_startup_locality(self) -> None:
        locality = {"event_type": "EV_NO_ACTION", "event_data": b"StartupLocality\0\3".hex()}
        records = (record(0, 0, digests=[], content=locality), record(1, 0), record(2, 4))
        values = replay(log_of(*records), Alg.SHA256)
        assert values[0] == extended(SHA256, bytes(31) + b"\3", b"a")
        assert values[4] == extended(SHA256, bytes(32), b"a")
        assert refused(records[1] | {"recnum": 0}, records[0] | {"recnum": 1}).code == "locality"

    @pytest.mark.parametrize("name", ["sha3_256", "sha3-256", "0x0027", 0x27, "SHA3_256"])
    def test_ways_to_write_an_algorithm(self, name: str | int) -> None:
        digests = [{"hashAlg": name, "digest": hashlib.sha3_256(b"a").hexdigest()}]
        assert log_of(record(0, digests=digests)).banks == (Alg.SHA3_256,)

    def test_an_ima_template(self) -> None:
        data = AGGREGATE.data()
        content = {"template_name": "ima-ng", "template_data": data.hex()}
        made = record(0, 10, digests=hashed(data), content_type="ima_template", content=content)
        (event,) = log_of(made).events
        assert (event.untrusted_type, binding(event).matches) == ("ima-ng", True)
        altered = made | {"content": content | {"template_data": old("/a").data().hex()}}
        assert refused(altered).code == "cel"

    def test_the_old_ima_template_may_lack_its_filling(self) -> None:
        data = old("/a").data()
        content = {"template_name": "ima", "template_data": data.rstrip(b"\0").hex()}
        made = record(0, 10, digests=hashed(data), content_type="ima_template", content=content)
        assert binding(log_of(made).events[0]).matches is True

    def test_systemd(self) -> None:
        content = {"string": "enter-initrd", "bootId": "00", "timestamp": 1, "eventType": "phase"}
        bound = record(0, 11, digests=hashed(b"enter-initrd"), content_type="systemd", content=content)
        secret = record(1, 15, digests=hashed(b"key"), content_type="systemd", content=content)
        as_bytes = record(2, 15, digests=hashed(b"x"), content_type="systemd", content=b"x".hex())
        matches = [binding(event).matches for event in log_of(bound, secret, as_bytes).events]
        assert matches == [True, None, True]

    def test_events_of_the_log_itself_and_tlv_are_described(self) -> None:
        version = record(
            0, content_type="cel", content={"type": "cel_version", "data": {"major": 1, "minor": 0}}
        )
        tlv = record(1, content_type="ima_tlv", content="00000001")
        nothing = record(2)
        del nothing["content"], nothing["content_type"]
        events = log_of(version, tlv, nothing).events
        assert [event.untrusted_type for event in events] == ["cel", "ima_tlv", "none"]
        assert [binding(event).matches for event in events] == [None, None, None]

    @pytest.mark.parametrize(
        "numbers",
        [
            [(4, 0), (5, 1), (4, 2)],
            [(4, 1), (5, 2), (4, 3)],
            [(4, 0), (5, 0), (4, 1)],
            [(4, 1), (5, 1), (4, 2)],
        ],
    )
    def test_numbers_count_over_the_log_or_each_pcr(self, numbers: list[tuple[int, int]]) -> None:
        assert len(log_of(*[record(recnum, pcr) for pcr, recnum in numbers]).events) == 3

    def test_a_sequence_of_systemd(self) -> None:
        content = {"string": "ready", "bootId": "00", "timestamp": 1}
        one = record(None, 11, digests=hashed(b"ready", "sha256"), content_type="systemd", content=content)
        log = parse(b"".join(b"\x1e" + json.dumps(one).encode() + b"\n" for _ in range(2)))
        assert replay(log, Alg.SHA256)[11] == extended(SHA256, bytes(32), b"ready", b"ready")


class TestRefused:
    @pytest.mark.parametrize(
        "change",
        [
            {"pcr": 24},
            {"pcr": -1},
            {"pcr": True},
            {"pcr": "4"},
            {"nv_index": 1},
            {"note": "x"},
            {"recnum": 2},
            {"recnum": "0"},
            {"digests": {}},
            {"digests": [{"hashAlg": "sha1"}]},
            {"digests": [{"hashAlg": "sha385", "digest": "00"}]},
            {"digests": [{"hashAlg": None, "digest": "00"}]},
            {"digests": [{"hashAlg": "sha1", "digest": "00"}]},
            {"digests": [{"hashAlg": "sha1", "digest": "0" * 39}]},
            {"digests": [{"hashAlg": "sha1", "digest": 5}]},
            {"digests": hashed(b"a", "sha1", "sha1")},
            {"digests": hashed(b"a") * 5},
            {"content_type": "shype"},
            {"content_type": 5},
            {"content_type": "other"},
            {"content": None},
            {"content": {"event_type": "EV_ACTION"}},
            {"content": {"event_type": "EV_ACTION", "event_data": "6"}},
            {"content": {"event_type": "EV_ACTION", "event_data": "zz"}},
            {"content": {"event_type": 0, "event_data": ""}},
            {"content": {"event_type": "EV_PREBOOT_CERT", "event_data": ""}},
            {"content": {"event_type": True, "event_data": ""}},
            {"content": {"event_type": 1 << 32, "event_data": ""}},
            {"content": {"event_type": "ACTION", "event_data": ""}},
            {"content_type": "ima_template", "content": {"template_name": "x", "template_data": ""}},
            {"content_type": "ima_template", "content": {"template_name": None, "template_data": ""}},
            {"content_type": "systemd", "content": {"string": 5}},
            {"content_type": "systemd", "content": {"string": "a\nb"}},
            {"content_type": "systemd", "content": [1]},
            {"content_type": "ima_tlv", "content": "0"},
        ],
        ids=str,
    )
    def test_a_record(self, change: dict[str, Any]) -> None:
        error = refused(record(0), {**record(1), **change})
        assert "record" in str(error)
        assert error.offset is None

    def test_what_is_no_record(self) -> None:
        for wrong in ({}, [], 5, None, {"pcr": 4}):
            refused(record(0), wrong)

    def test_numbers_with_a_gap(self) -> None:
        for numbers in ([(4, 0), (4, 2)], [(4, 2)], [(4, 0), (5, 1), (4, 1)]):
            assert "recnum" in str(refused(*[record(recnum, pcr) for pcr, recnum in numbers]))

    @pytest.mark.parametrize(
        "raw",
        [
            b'{"a": 1}',
            b"[1",
            b'[{"pcr": 1, "pcr": 1}]',
            b"[" * 100_000,
            b"\x1e",
            b"\x1e{}",
            b"\x1e[]\n",
            b"[1.5]",
        ],
    )
    def test_a_file(self, raw: bytes) -> None:
        refused(raw=raw)

    def test_a_sequence_has_no_numbers(self) -> None:
        refused(raw=b"\x1e" + json.dumps(record(0)).encode())

    def test_too_many_records(self) -> None:
        assert refused(raw=b"\x1e1" * (MAX_EVENTS + 1)).code == "size"
        assert refused(raw=b"[" + b"1," * MAX_EVENTS + b"1]").code == "size"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["pcr", "recnum", "digests", "content", "content_type", "x"]), JSON))
@settings(max_examples=200)
def test_any_fields(change: dict[str, Any]) -> None:
    with suppress(AttestInputError):
        log_of(record(0) | change)
