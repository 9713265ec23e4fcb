"""Records that are kept as one flat JSON object: each getter names the field that is wrong.

A record has exactly its fields. Bytes are base64 or lower-case hexadecimal, each in its one form; times are
UTC with whole seconds, ``2026-01-31T12:00:00Z``.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from attest.canonical_json import Json, JsonError, decode
from attest.errors import AttestInputError

_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_MAX_HOST: Final = 253
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"

Fail = Callable[[str], AttestInputError]
"""Makes the error of a record, from what is wrong with it."""


def is_host(name: str) -> bool:
    """Tell whether ``name`` is a lower-case host name (RFC 1123), which is a safe file name too."""
    return len(name) <= _MAX_HOST and _HOST.fullmatch(name) is not None


def stamp(time: datetime) -> str:
    """Return a UTC time as records have it."""
    return time.strftime(_TIME)


def encode(values: Mapping[str, Json]) -> bytes:
    """Return the JSON document that people may read, too."""
    return json.dumps(values, indent=2).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one record; ``fail`` makes the error that its getters raise."""

    values: Mapping[str, object]
    fail: Fail

    @classmethod
    def decode(cls, raw: bytes, schema: str, names: set[str], *, limit: int, fail: Fail) -> Self:
        """Read a JSON object with ``schema`` and exactly the fields ``names`` beside it."""
        try:
            values = decode(raw, schema.partition(".")[2], limit)
        except JsonError as error:
            raise fail(str(error)) from None
        if not isinstance(values, dict) or values.get("schema") != schema:
            raise fail(f"not a JSON object with schema {schema}")
        expected = {"schema", *names}
        if values.keys() != expected:
            raise fail(f"fields {sorted(values.keys() ^ expected)} are missing or unknown")
        return cls(values, fail)

    def text(self, name: str) -> str:
        """Return printable text."""
        value = self.values[name]
        if not isinstance(value, str) or not value.isprintable():
            raise self.fail(f"{name} is not printable text")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.values[name]
        if not isinstance(value, bool):
            raise self.fail(f"{name} is neither true nor false")
        return value

    def number(self, name: str, bits: int) -> int:
        """Return an unsigned number of at most ``bits`` bits."""
        value = self.values[name]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << bits:
            raise self.fail(f"{name} is not a number of {bits} bits")
        return value

    def host(self, name: str) -> str:
        """Return a host name in lower case."""
        value = self.text(name)
        if not is_host(value):
            raise self.fail(f"{name} is not a host name in lower case")
        return value

    def hex(self, name: str) -> bytes:
        """Return bytes, at least one."""
        text = self.text(name)
        if not _HEX.fullmatch(text):
            raise self.fail(f"{name} is not lower-case hexadecimal")
        return bytes.fromhex(text)

    def base64(self, name: str) -> bytes:
        """Return bytes."""
        text = self.text(name)
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self.fail(f"{name} is not base64") from None
        if base64.b64encode(value).decode() != text:
            raise self.fail(f"{name} is not the one base64 form of its bytes")
        return value

    def time(self, name: str) -> datetime:
        """Return a time in UTC."""
        text = self.text(name)
        try:
            value = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
        except ValueError:
            raise self.fail(f"{name} is not a time as 2026-01-31T12:00:00Z") from None
        if stamp(value) != text:
            raise self.fail(f"{name} is not a time as 2026-01-31T12:00:00Z")
        return value
