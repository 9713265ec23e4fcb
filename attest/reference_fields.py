"""The JSON objects of reference values: fields taken one by one, each checked, and nothing left over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attest.errors import AttestInputError

_HEX: Final = re.compile(r"(?:[0-9a-f]{2}){1,64}")
_MAX_TEXT: Final = 1 << 17


class ReferenceValuesError(AttestInputError):
    """Reference values that are not well-formed or contradict themselves; the message names the field."""

    code = "reference"


@dataclass(slots=True)
class Fields:
    """A JSON object. Methods that take a field raise ``ReferenceValuesError`` for a wrong one."""

    where: str
    fields: dict[str, object]

    @classmethod
    def of(cls, value: object, where: str) -> Fields:
        """Return the fields of a JSON value that must be an object; ``where`` names it in messages."""
        if not isinstance(value, dict):
            raise ReferenceValuesError(f"{where}: must be an object")
        return cls(where, dict(value))

    def take(self, name: str) -> object:
        """Return a field that must be there."""
        if name not in self.fields:
            raise ReferenceValuesError(f"{self.where}: field {name!r} is missing")
        return self.fields.pop(name)

    def finish(self) -> None:
        """Refuse what was not taken."""
        for name in self.fields:
            raise ReferenceValuesError(f"{self.where}: field {name[:40]!a} is not known")

    def refuse(self, name: str, rule: str) -> ReferenceValuesError:
        """Return the error for a field that breaks a rule."""
        return ReferenceValuesError(f"{self.where}: field {name!r} must be {rule}")

    def text(self, name: str, *, empty: bool = False) -> str:
        """Return printable text; the empty one only where it is admitted."""
        value = self.take(name)
        if not isinstance(value, str) or len(value) > _MAX_TEXT or not (value or empty) or unprintable(value):
            raise self.refuse(name, "printable text")
        return value

    def text_or_null(self, name: str) -> str | None:
        """Return printable text, or None for null."""
        return None if self._drop_null(name) else self.text(name)

    def number(self, name: str, end: int) -> int:
        """Return a whole number from 0 to below ``end``."""
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < end:
            raise self.refuse(name, f"a whole number below {end}")
        return value

    def number_or_null(self, name: str, end: int) -> int | None:
        """Return a whole number below ``end``, or None for null."""
        return None if self._drop_null(name) else self.number(name, end)

    def word(self, name: str, known: Sequence[str]) -> str:
        """Return one of the known words."""
        value = self.take(name)
        if not isinstance(value, str) or value not in known:
            raise self.refuse(name, f"one of {', '.join(known)}")
        return value

    def hexadecimal(self, name: str, size: int | None) -> str:
        """Return lower-case hexadecimal of ``size`` bytes, or of 1 to 64."""
        value = self.take(name)
        if (
            not isinstance(value, str)
            or not _HEX.fullmatch(value)
            or len(value) // 2 != (size or len(value) // 2)
        ):
            raise self.refuse(name, f"{size or 'some'} bytes in lower-case hexadecimal")
        return value

    def hexadecimal_or_null(self, name: str, size: int | None) -> str | None:
        """Return hexadecimal as ``hexadecimal`` does, or None for null."""
        return None if self._drop_null(name) else self.hexadecimal(name, size)

    def items(self, name: str, most: int) -> list[object]:
        """Return a list of at most ``most``."""
        value = self.take(name)
        if not isinstance(value, list) or len(value) > most:
            raise self.refuse(name, f"a list of at most {most}")
        return value

    def objects(self, name: str, most: int) -> list[Fields]:
        """Return a list of at most ``most`` objects."""
        return [Fields.of(each, f"{name} {index}") for index, each in enumerate(self.items(name, most))]

    def _drop_null(self, name: str) -> bool:
        return self.fields.get(name, 0) is None and self.fields.pop(name, 0) is None


def unprintable(value: str) -> bool:
    """Tell whether a text has control characters but tab and line feed, or cannot be UTF-8."""
    return any(char < " " and char not in "\t\n" for char in value) or not _encodes(value)


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
