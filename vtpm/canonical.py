"""Canonical JSON of records: sorted keys, no blanks, UTF-8, one possible encoding of each value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from vtpm.errors import RecordError
from vtpm.tpm2.fields import name_problem

Value = str | int | list[str] | dict[str, "Value"] | None
Check = Callable[[object], str | None]
Record = TypeVar("Record")

MAX_RECORD: Final = 2048
"""Bytes; the limit of one NV index in libtpms."""

MAX_TEXT: Final = 128
_MAX_TYPES: Final = 64
_HEX: Final = re.compile(r"[0-9a-f]*")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def encode(values: Mapping[str, Value]) -> bytes:
    """Return the canonical bytes."""
    return _ENCODER.encode(values).encode()


def decode(raw: bytes, what: str, checks: Mapping[str, Check]) -> dict[str, Value]:
    """Read canonical bytes whose fields are exactly those of ``checks``; raises ``RecordError``."""
    if len(raw) > MAX_RECORD:
        raise RecordError(f"{what}: {len(raw)} bytes are more than {MAX_RECORD}", code="size")
    try:
        values = json.loads(raw.decode("utf-8", errors="strict"))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{what}: not JSON in UTF-8: {error}", code="json") from None
    if not isinstance(values, dict):
        raise RecordError(f"{what}: not a JSON object", code="json")
    problem = problem_of(values, checks)
    if problem:
        raise RecordError(f"{what}: {problem}", code="field")
    if encode(values) != raw:
        raise RecordError(f"{what}: not canonical: sorted keys, no blanks, each key once", code="canonical")
    return values


def made(kind: type[Record], values: Mapping[str, object], encoded: bytes) -> Record:
    """Return a frozen record of values that were checked just now, with the bytes they were read from.

    Building it by its constructor would check and encode everything a second time.
    """
    record = object.__new__(kind)
    for key, value in values.items():
        object.__setattr__(record, key, value)
    object.__setattr__(record, "_encoded", bytes(encoded))
    return record


def problem_of(values: Mapping[str, object], checks: Mapping[str, Check]) -> str | None:
    """Say what is wrong with the fields; None if nothing is."""
    if values.keys() != checks.keys():
        name = min(values.keys() ^ checks.keys())
        return f"field {name!r} {'is missing' if name in checks else 'is not known'}"
    for name, check in checks.items():
        problem = check(values[name])
        if problem:
            return f"field {name!r} {problem}"
    return None


def text(value: object) -> str | None:
    """Admit 1 to 128 printable characters."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        return f"must be 1 to {MAX_TEXT} printable characters"
    return None


def types(value: object) -> str | None:
    """Admit a sorted list of at most 64 different texts."""
    if not isinstance(value, list) or len(value) > _MAX_TYPES or any(text(item) for item in value):
        return f"must be a list of at most {_MAX_TYPES} printable names"
    return None if value == sorted(set(value)) else "must be sorted, each name once"


def counter(value: object) -> str | None:
    """Admit a whole number from 0 to 2^53 - 1, which every JSON reader keeps exactly (RFC 8259, 6)."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        return "must be a whole number from 0 to 2^53 - 1"
    return None


def truth(value: object) -> str | None:
    """Admit true and false."""
    return None if isinstance(value, bool) else "must be true or false"


def sha256(value: object) -> str | None:
    """Admit 64 lower-case hexadecimal digits."""
    return None if _is_hex(value, 32) else "must be 64 lower-case hexadecimal digits"


def vid(value: object) -> str | None:
    """Admit 32 lower-case hexadecimal digits: 128 random bits."""
    return None if _is_hex(value, 16) else "must be 32 lower-case hexadecimal digits"


def uuid(value: object) -> str | None:
    """Admit a UUID in its lower-case form with hyphens (RFC 9562, 4)."""
    good = isinstance(value, str) and _UUID.fullmatch(value) is not None
    return None if good else "must be a lower-case UUID with hyphens"


def name(value: object) -> str | None:
    """Admit the Name of a TPM object in lower-case hexadecimal."""
    if not isinstance(value, str) or len(value) % 2 or not _HEX.fullmatch(value):
        return "must be a Name in lower-case hexadecimal"
    problem = name_problem(bytes.fromhex(value))
    return f"is no Name: {problem}" if problem else None


def _is_hex(value: object, size: int) -> bool:
    return isinstance(value, str) and len(value) == 2 * size and _HEX.fullmatch(value) is not None
