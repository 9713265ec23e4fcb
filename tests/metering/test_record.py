"""Records: one encoding of each value, and nothing else is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.errors import MeteringUsageError, RecordError
from metering.record import (
    COUNTERS,
    RECORD_BYTES,
    Flag,
    Kind,
    MeterRecord,
    Reason,
    UsageRecord,
    decode,
    encode,
    tenant_bytes,
)

U64 = st.integers(0, (1 << 64) - 1)
HASH = st.binary(min_size=32, max_size=32)
TENANT = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, categories=("L", "N")), min_size=1, max_size=16
)


@st.composite
def headers(draw: Any, kind: Kind, flags: int) -> dict[str, Any]:
    start, end = sorted((draw(U64), draw(U64)))
    return {
        "kind": kind,
        "flags": draw(st.sampled_from([0, flags])),
        "host": draw(HASH),
        "epoch": draw(st.integers(0, (1 << 32) - 1)),
        "tick": draw(U64),
        "seq": 0 if kind is Kind.START else draw(st.integers(1, (1 << 64) - 1)),
        "mono_start": start,
        "mono_end": end,
        "wall_ms": draw(U64),
        "prev": draw(HASH),
    }


@st.composite
def usage_records(draw: Any) -> UsageRecord:
    kind = draw(st.sampled_from([Kind.START, Kind.USAGE, Kind.IDLE, Kind.FINAL]))
    return UsageRecord(
        **draw(headers(kind, Flag.MASKED | Flag.RESET | Flag.UNSYNCED)),
        tenant=draw(TENANT),
        domain=draw(st.binary(min_size=16, max_size=16)),
        vid=draw(st.binary(min_size=16, max_size=16)),
        label=draw(HASH),
        incarnation=draw(st.integers(0, (1 << 32) - 1)),
        unique_id=draw(U64),
        pages=draw(U64),
        mem_page_ns=draw(st.integers(0, (1 << 128) - 1)),
        **{name: draw(st.integers(0, (1 << 63) - 1)) for name in COUNTERS},
    )


@st.composite
def meter_records(draw: Any) -> MeterRecord:
    kind = draw(st.sampled_from([Kind.GENESIS, Kind.TICK, Kind.GAP, Kind.CLOSE]))
    values = draw(headers(kind, Flag.UNSYNCED))
    if kind is Kind.GENESIS:
        values |= {
            "period_ns": draw(st.integers(1, (1 << 64) - 1)),
            "pcpus": draw(st.integers(1, (1 << 32) - 1)),
            "reason": draw(st.sampled_from([Reason.FIRST, Reason.REBOOT, Reason.RESTART])),
            "key": draw(HASH),
            "prev_size": draw(U64),
            "prev_root": draw(HASH),
        }
    if kind is Kind.GAP:
        first, last = sorted((draw(U64), draw(U64)))
        reason = draw(st.sampled_from([Reason.LATE, Reason.DOWN]))
        values |= {"gap_first": first, "gap_last": last, "reason": reason}
    return MeterRecord(**values)


@given(usage_records() | meter_records())
@settings(max_examples=150)
def test_a_record_is_read_as_it_was_written(record: UsageRecord | MeterRecord) -> None:
    raw = encode(record)
    assert len(raw) == RECORD_BYTES
    assert decode(raw) == record


@given(usage_records() | meter_records(), st.integers(0, RECORD_BYTES - 1), st.integers(1, 255))
@settings(max_examples=150)
def test_every_byte_counts(record: UsageRecord | MeterRecord, at: int, flip: int) -> None:
    """A changed byte is refused, or gives another record; never the same."""
    raw = bytearray(encode(record))
    raw[at] ^= flip
    try:
        other = decode(bytes(raw))
    except RecordError:
        return
    assert other != record
    assert encode(other) == bytes(raw)


@given(st.binary(max_size=2 * RECORD_BYTES) | st.binary(min_size=RECORD_BYTES, max_size=RECORD_BYTES))
def test_any_bytes_are_a_record_or_an_error(raw: bytes) -> None:
    try:
        record = decode(raw)
    except RecordError:
        return
    assert encode(record) == raw


@pytest.mark.parametrize("tenant", ["", "x" * 33, "a\nb", "a\0b", "\ud800", "é" * 17])
def test_tenants_that_no_record_can_hold(tenant: str) -> None:
    with pytest.raises(MeteringUsageError):
        tenant_bytes(tenant)


def test_field_boundaries_are_where_the_layout_says() -> None:
    record = UsageRecord(
        Kind.USAGE, Flag.RESET, b"h" * 32, 1, 2, 3, 4, 5, 6, b"p" * 32,
        "acme", b"d" * 16, b"v" * 16, b"l" * 32,
        7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
    )  # fmt: skip
    raw = encode(record)
    assert raw[:4] == b"\x01\x11\x00\x02"
    assert raw[4:36] == b"h" * 32
    assert raw[36:40] == (1).to_bytes(4, "big")
    assert raw[40:80] == b"".join(n.to_bytes(8, "big") for n in (2, 3, 4, 5, 6))
    assert raw[80:112] == b"p" * 32
    assert raw[112:144] == b"acme".ljust(32, b"\0")
    assert raw[144:208] == b"d" * 16 + b"v" * 16 + b"l" * 32
    assert raw[208:212] == (7).to_bytes(4, "big")
    assert raw[212:236] == b"".join(n.to_bytes(8, "big") for n in (8, 9, 10))
    assert raw[236:252] == (11).to_bytes(16, "big")
    assert raw[252:] == b"".join(n.to_bytes(8, "big") for n in (12, 13, 14, 15, 16, 17, 18))
