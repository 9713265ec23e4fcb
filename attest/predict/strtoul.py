"""Numbers as GRUB reads them: 0x for base 16, a leading 0 for base 8; what follows the digits is left.

Source: GRUB 2.06, kern/misc.c (grub_strtoull with base 0).
"""

from __future__ import annotations

import re
from typing import Final

END: Final = 1 << 31
"""No number in a script that makes sense is larger; GRUB's own behaviour beyond it depends on the place."""
_NUMBER: Final = re.compile(
    r"[ \t\n]*(?:0x(?P<hex>[0-9a-fA-F]+)|0(?P<octal>[0-7]+)|(?P<decimal>[0-9]+))(?P<rest>.*)", re.DOTALL
)
_BASES: Final = {"hex": 16, "octal": 8, "decimal": 10}


def leading(text: str) -> int | None:
    """Return the number that a text begins with, ``END`` for a larger one; None where there is none."""
    found = _NUMBER.match(text)
    return None if found is None else _number(found)


def whole(text: str) -> int | None:
    """Return the number that a text is, with or without a minus; None for any other text."""
    found = _NUMBER.match(text.removeprefix("-"))
    if found is None or found["rest"]:
        return None
    return -_number(found) if text.startswith("-") else _number(found)


def _number(found: re.Match[str]) -> int:
    kind = next(kind for kind in _BASES if found[kind] is not None)
    digits = found[kind].lstrip("0")
    return min(int(digits or "0", _BASES[kind]), END) if len(digits) < 16 else END  # noqa: PLR2004 - bounded
