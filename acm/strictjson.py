"""JSON that is read strictly (RFC 8259): no key twice, no fraction, no NaN, bounded size, depth and numbers.

Every document that others write goes through here. What is our own in one possible encoding (a history of
past runs, a line of the audit trail, the records of ``vtpm``) is held against that encoding instead.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_DIGITS: Final = 20
"""Enough for 64 bits; the reader of a field knows its range."""


def read(data: bytes, limit: int, refuse: Callable[[str, str], Exception]) -> Any:  # noqa: ANN401 - JSON
    """Return the document in ``data``; ``refuse`` makes the error from a code and a message.

    Codes: ``too-big`` (more than ``limit`` bytes), ``not-utf-8``, ``too-deep``, ``syntax``. Linear in time.
    """
    if len(data) > limit:
        raise refuse("too-big", f"larger than {limit} bytes")
    try:
        return _DECODER.decode(data.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise refuse("syntax", f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise refuse("not-utf-8", f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise refuse("too-deep", "nested too deeply") from None
    except ValueError as error:
        raise refuse("syntax", str(error)) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        left = Counter(name for name, _ in pairs)
        twice = next(name for name in found if left[name] > 1)
        raise ValueError(f"the key {twice[:40]!a} stands twice in one object")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is not a whole number")


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"{text[:20]}... is too large a number")
    return int(text)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number, parse_int=_whole
)
