"""JSON objects whose fields are known: each getter names the field that is wrong, and where it stands.

An object has exactly its fields. Bytes are base64 or lower-case hexadecimal, each in its one form; times are
UTC with whole seconds, ``2026-01-31T12:00:00Z``. ``attest.evidence`` reads its own: it is judged most often.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self, TypeVar

from attest.canonical_json import Json, JsonError, decode
from attest.errors import AttestInputError

_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_MAX_HOST: Final = 253
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"

Fail = Callable[[str], AttestInputError]
"""Makes the error of a record, from what is wrong with it."""

Value = TypeVar("Value")


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
    """The fields of one object; ``fail`` makes the error that its getters raise.

    ``where`` leads to the object, and is empty for a whole document.
    """

    values: Mapping[str, object]
    fail: Fail
    where: str = ""

    @classmethod
    def of(
        cls,
        value: object,
        names: AbstractSet[str],
        *,
        optional: AbstractSet[str] = frozenset(),
        where: str = "",
        fail: Fail,
    ) -> Self:
        """Return the fields of a JSON value: an object that has ``names``, and may have ``optional``."""
        if not isinstance(value, dict):
            raise fail(f"{where}: is no object" if where else "is no object")
        fields = cls(value, fail, where)
        if value.keys() != names:
            for name in sorted(names - value.keys() | value.keys() - names - optional):
                raise fields.refuse(name, "is missing" if name in names else "is not known")
        return fields

    @classmethod
    def decode(
        cls,
        raw: bytes,
        schema: str,
        names: set[str],
        *,
        optional: AbstractSet[str] = frozenset(),
        limit: int,
        fail: Fail,
    ) -> Self:
        """Read a JSON object with ``schema`` and, beside it, the fields ``names``, and maybe ``optional``."""
        try:
            value = decode(raw, schema.partition(".")[2], limit)
        except JsonError as error:
            raise fail(str(error)) from None
        return cls.document(value, schema, names, optional=optional, fail=fail)

    @classmethod
    def document(
        cls,
        value: object,
        schema: str,
        names: AbstractSet[str],
        *,
        optional: AbstractSet[str] = frozenset(),
        fail: Fail,
    ) -> Self:
        """Return the fields of a JSON value: an object with ``schema`` and, beside it, ``names``."""
        if not isinstance(value, dict) or value.get("schema") != schema:
            raise fail(f"not a JSON object with schema {schema}")
        return cls.of(value, {"schema", *names}, optional=optional, fail=fail)

    def refuse(self, name: str, what: str) -> AttestInputError:
        """Return the error for a field of which ``what`` is wrong."""
        where = f"{self.where}: " if self.where else ""
        return self.fail(f"{where}{name[:40] if name.isprintable() else ascii(name[:40])} {what}")

    def or_null(self, name: str, getter: Callable[[str], Value]) -> Value | None:
        """Return what ``getter`` finds, or None for null."""
        return None if self.values[name] is None else getter(name)

    def text(self, name: str) -> str:
        """Return printable text."""
        value = self.values[name]
        if not isinstance(value, str) or not value.isprintable():
            raise self.refuse(name, "is not printable text")
        return value

    def lines(self, name: str, most: int, *, empty: bool = False) -> str:
        """Return text of at most ``most`` characters, in which tabs and line feeds may stand."""
        value = self.values[name]
        if not isinstance(value, str) or len(value) > most or not (value or empty) or _has_controls(value):
            raise self.refuse(name, f"is not text of {'' if empty else '1 to '}{most} characters")
        return value

    def word(self, name: str, known: Collection[str]) -> str:
        """Return one of the known words."""
        value = self.values[name]
        if not isinstance(value, str) or value not in known:
            raise self.refuse(name, f"is none of {', '.join(known)}")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.values[name]
        if not isinstance(value, bool):
            raise self.refuse(name, "is neither true nor false")
        return value

    def number(self, name: str, bits: int) -> int:
        """Return an unsigned number of at most ``bits`` bits."""
        return self._below(name, 1 << bits, f"of {bits} bits")

    def below(self, name: str, end: int) -> int:
        """Return a whole number from 0 to below ``end``."""
        return self._below(name, end, f"below {end}")

    def _below(self, name: str, end: int, which: str) -> int:
        value = self.values[name]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < end:
            raise self.refuse(name, f"is not a number {which}")
        return value

    def host(self, name: str) -> str:
        """Return a host name in lower case."""
        value = self.text(name)
        if not is_host(value):
            raise self.refuse(name, "is not a host name in lower case")
        return value

    def hex(self, name: str, size: int | None = None) -> bytes:
        """Return bytes: ``size`` of them, or at least one."""
        value = self.values[name]
        if not isinstance(value, str) or not _HEX.fullmatch(value) or (size and len(value) != 2 * size):
            raise self.refuse(name, f"is not {f'{size} bytes in ' if size else ''}lower-case hexadecimal")
        return bytes.fromhex(value)

    def base64(self, name: str) -> bytes:
        """Return bytes."""
        text = self.text(name)
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self.refuse(name, "is not base64") from None
        if base64.b64encode(value).decode() != text:
            raise self.refuse(name, "is not the one base64 form of its bytes")
        return value

    def time(self, name: str) -> datetime:
        """Return a time in UTC."""
        text = self.text(name)
        try:
            value = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
        except ValueError:
            raise self.refuse(name, "is not a time as 2026-01-31T12:00:00Z") from None
        if stamp(value) != text:
            raise self.refuse(name, "is not a time as 2026-01-31T12:00:00Z")
        return value

    def items(self, name: str, most: int) -> list[object]:
        """Return a list of at most ``most``."""
        value = self.values[name]
        if not isinstance(value, list) or len(value) > most:
            raise self.refuse(name, f"is not a list of at most {most}")
        return value

    def each(self, name: str, most: int, getter: Callable[[Fields, str], Value]) -> tuple[Value, ...]:
        """Return what ``getter`` finds in each place of a list of at most ``most``."""
        items = self.items(name, most)
        return tuple(getter(Fields({name: item}, self.fail, self.where), name) for item in items)

    def objects(self, name: str, most: int, names: AbstractSet[str]) -> Iterator[Fields]:
        """Yield the objects of a list of at most ``most``, each with exactly these fields."""
        for index, each in enumerate(self.items(name, most)):
            yield Fields.of(each, names, where=f"{name}[{index}]", fail=self.fail)

    def object(self, name: str, names: AbstractSet[str]) -> Fields:
        """Return an object with exactly these fields."""
        return Fields.of(self.values[name], names, where=name, fail=self.fail)


def _has_controls(value: str) -> bool:
    """Tell whether a text has control characters but tab and line feed, or cannot be UTF-8."""
    if any(char < " " and char not in "\t\n" for char in value):
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False
