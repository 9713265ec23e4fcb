"""Events of the runtime log: one encoding each, and a commitment that hides."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from attest.errors import AttestUsageError
from attest.runtime_events import (
    DomainCommitment,
    DomainEvent,
    DomainFound,
    DomainLaunch,
    HistoryInForce,
    HypervisorReport,
    PolicyLoaded,
    RuntimeEventError,
    decode_event,
)
from tests.conftest import REPOSITORY

H = hashlib.sha256(b"x").hexdigest()
REPORT = HypervisorReport(
    "4.17.5", "ab" * 20, "dom0_mem=1G flask=enforcing é", "FLASK", "enforcing", H, "console=hvc0 ro é"
)
BARE = HypervisorReport("4.17.5", None, "", "none", "disabled", None, None)
POLICY = PolicyLoaded("datacenter", "3", H, H)
STOP = DomainCommitment(DomainEvent.STOP, H)
LAUNCH = DomainLaunch(
    vid="0f" * 16,
    name="web",
    uuid="6b1f3a52-8f0e-4c1b-9d65-0d5a4a7a3a11",
    label="cola-web",
    config_digest=H,
    kernel=H,
    ramdisk=None,
    disks=("phy:/dev/vg/web", "file:/data"),
    policy_digest=H,
    binding_digest=H,
    salt="5a" * 32,
)
HISTORY = HistoryInForce(H, 3, H)
FOUND = DomainFound(
    7, "6b1f3a52-8f0e-4c1b-9d65-0d5a4a7a3a11", "behind", "system_u:system_r:domU_t", "5a" * 32
)
EVENTS = [REPORT, BARE, POLICY, HISTORY, STOP, FOUND.measured()]


def schema(name: str) -> Draft202012Validator:
    whole = json.loads((REPOSITORY / "configs/schema/runtime-log.schema.json").read_text())
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": whole["$defs"]})


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TYPE)
def test_an_event_is_read_as_it_was_written(event: Any) -> None:
    assert decode_event(event.encode()) == event
    assert type(event).decode(event.encode()) == event
    schema("event").validate(json.loads(event.encode()))


def test_the_exact_bytes() -> None:
    assert STOP.encode() == b'{"commitment":"' + H.encode() + b'","event":"stop","type":"domain"}'
    assert "é".encode() in REPORT.encode()


def test_a_launch_is_committed_to_by_the_hash_of_its_bytes() -> None:
    assert LAUNCH.commitment() == hashlib.sha256(LAUNCH.encode()).hexdigest()
    assert DomainLaunch.decode(LAUNCH.encode()) == LAUNCH
    schema("domain-launch").validate(json.loads(LAUNCH.encode()))
    assert replace(LAUNCH, salt="5b" * 32).commitment() != LAUNCH.commitment()


def test_a_domain_that_was_found_is_committed_to_by_the_hash_of_its_bytes() -> None:
    assert FOUND.measured() == DomainCommitment(DomainEvent.FOUND, hashlib.sha256(FOUND.encode()).hexdigest())
    assert DomainFound.decode(FOUND.encode()) == FOUND
    schema("domain-found").validate(json.loads(FOUND.encode()))
    assert replace(FOUND, salt="5b" * 32).commitment() != FOUND.commitment()
    with pytest.raises(RuntimeEventError):
        decode_event(FOUND.encode())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, None),
        ("", None),
        ("a\x1b[31m\n\u202e", "a?[31m??"),
        ("\ud800", "?"),
        ("x" * 4096, "x" * 128),
        ("é", "é"),
    ],
)
def test_no_name_keeps_a_domain_from_being_measured(name: str | None, shown: str | None) -> None:
    found = DomainFound.listed(7, FOUND.uuid, name, name, bytes(32))
    assert (found.name, found.context) == (shown, shown)
    assert DomainFound.decode(found.encode()) == found


def test_a_launch_never_passes_for_an_event_of_the_log() -> None:
    with pytest.raises(RuntimeEventError) as caught:
        decode_event(LAUNCH.encode())
    assert caught.value.code == "type"


@pytest.mark.parametrize(
    ("event", "field", "value"),
    [
        (REPORT, "version", ""),
        (REPORT, "version", 4),
        (REPORT, "build_id", "AB"),
        (REPORT, "build_id", "abc"),
        (REPORT, "commandline", "a\nb"),
        (REPORT, "commandline", "x" * 8193),
        (REPORT, "commandline", None),
        (REPORT, "dom0_commandline", "a\nb"),
        (REPORT, "dom0_commandline", "x" * 8193),
        (REPORT, "dom0_commandline", 1),
        (REPORT, "flask_policy", "ab"),
        (POLICY, "digest", H.upper()),
        (POLICY, "root", None),
        (POLICY, "name", "\x1b[31m"),
        (STOP, "event", "pause"),
        (STOP, "event", ["stop"]),
        (STOP, "commitment", H[:-1]),
        (LAUNCH, "vid", "0f" * 15),
        (LAUNCH, "uuid", "6B1F3A52-8F0E-4C1B-9D65-0D5A4A7A3A11"),
        (LAUNCH, "disks", ["a", 1]),
        (LAUNCH, "disks", ["a"] * 65),
        (LAUNCH, "disks", "abc"),
        (LAUNCH, "salt", "5a" * 31),
        (FOUND, "domid", -1),
        (FOUND, "domid", 0x7FF0),
        (FOUND, "domid", True),
        (FOUND, "domid", "7"),
        (FOUND, "name", ""),
        (FOUND, "context", "a\tb"),
    ],
)
def test_a_wrong_field_is_refused_on_both_sides(event: Any, field: str, value: Any) -> None:
    document = json.loads(event.encode()) | {field: value}
    raw = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(RuntimeEventError, match=field):
        type(event).decode(raw)
    if field != "disks":
        with pytest.raises(AttestUsageError, match=field):
            replace(event, **{field: value})


@pytest.mark.parametrize("missing", ["name", "type", "digest"])
def test_a_missing_field_is_refused(missing: str) -> None:
    document = json.loads(POLICY.encode())
    del document[missing]
    with pytest.raises(RuntimeEventError):
        decode_event(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"type":["policy"]}',
        b" " + POLICY.encode(),
        POLICY.encode() + b"\n",
        POLICY.encode().replace(b'"type"', b'"more":1,"type"'),
        POLICY.encode()[:-1] + b',"type":"policy"}',
        json.dumps(json.loads(REPORT.encode()), sort_keys=True, separators=(",", ":")).encode(),
        b'{"type":"policy","\\ud800":1}',
        b"[" * 16000,
        b'{"a":' * 3000 + b"1" + b"}" * 3000,
        b"x" * 20000,
    ],
    ids=range(14),
)
def test_every_other_encoding_is_refused(raw: bytes) -> None:
    with pytest.raises(RuntimeEventError) as caught:
        decode_event(raw)
    assert "\n" not in str(caught.value)


def test_an_event_is_bounded() -> None:
    with pytest.raises(AttestUsageError, match="more than"):
        replace(REPORT, commandline="\U0001f600" * 8000)


@settings(max_examples=200, deadline=None)
@given(event=st.sampled_from(EVENTS), at=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_passes_for_the_event(event: Any, at: float, bit: int) -> None:
    changed = bytearray(event.encode())
    changed[min(int(at * len(changed)), len(changed) - 1)] ^= 1 << bit
    with suppress(RuntimeEventError):
        assert decode_event(bytes(changed)) != event
