"""Whatever the bytes are, the verifier answers with a result, quickly, and never affirms what was changed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.result import Result, Verdict
from attest.verifier.claims import Expectation
from attest.verifier.verify import verify
from tests.simulators.host import Host

HOST = Host.serving()
GOOD = HOST.evidence().encode()
EXPECTED: Expectation = HOST.expectation()


def judged(document: object) -> Result:
    return verify(json.dumps(document).encode(), EXPECTED)


def binary_fields() -> list[tuple[object, ...]]:
    """The paths of all base64 fields."""
    host = [("host", name) for name in ("ak", "quote", "signature", "runtime_log")]
    names = ("launch", "record", "binding", "vak", "quote", "signature")
    domains = [("domains", i, name) for i in range(2) for name in names]
    return [*host, ("host", "firmware_log", "log"), *domains]


def at(document: Any, path: tuple[object, ...]) -> Any:
    for name in path:
        document = document[name]
    return document


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes(raw: bytes) -> None:
    result = verify(raw, EXPECTED)
    assert [reason.code for _, reason in result.reasons()] == ["evidence-malformed"]
    assert result.verdict is Verdict.NONE


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(binary_fields()), place=st.integers(0, 1 << 16), bit=st.integers(0, 7))
def test_any_bit_of_any_structure(path: tuple[object, ...], place: int, bit: int) -> None:
    document = json.loads(GOOD)
    raw = bytearray(base64.b64decode(at(document, path)))
    raw[place % len(raw)] ^= 1 << bit
    at(document, path[:-1])[path[-1]] = base64.b64encode(raw).decode()
    result = judged(document)
    if result.verdict is Verdict.AFFIRMING:
        assert path == ("host", "firmware_log", "log"), (
            "only what no digest covers may change: event data and types"
        )


@settings(max_examples=100, deadline=None)
@given(path=st.sampled_from(binary_fields()), raw=st.binary(max_size=300))
def test_any_bytes_in_any_structure(path: tuple[object, ...], raw: bytes) -> None:
    document = json.loads(GOOD)
    at(document, path[:-1])[path[-1]] = base64.b64encode(raw).decode()
    assert judged(document).verdict is Verdict.NONE


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_json_in_place_of_any_part(value: object) -> None:
    for path in (("host",), ("domains",), ("host", "pcrs"), ("domains", 0, "proof"), ("tree_size",)):
        document = json.loads(GOOD)
        at(document, path[:-1])[path[-1]] = value
        assert judged(document).verdict is not Verdict.AFFIRMING


HOSTILE = {
    "empty": b"",
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 50_000,
    "NaN": b'{"schema": NaN}',
    "huge number": b'{"tree_size": ' + b"9" * 100_000 + b"}",
    "exponent": b'{"tree_size": 1e999}',
    "two documents": GOOD + GOOD,
    "not UTF-8": b'{"schema": "\xff"}',
    "UTF-16": GOOD.decode().encode("utf-16"),
    "a field twice": GOOD.replace(b'{"domains"', b'{"tree_size":0,"domains"', 1),
    "lone surrogate": b'{"\\ud800": 1}',
    "too long": b" " * (16 * 1024 * 1024 + 1),
    "trailing byte": GOOD + b"\x00",
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_documents(raw: bytes) -> None:
    result = verify(raw, EXPECTED)
    [(path, reason)] = result.reasons()
    assert (path, reason.code) == ("host", "evidence-malformed")
    assert reason.detail.isprintable()
    assert reason.detail.isascii() or "‖" in reason.detail
