"""JSON in one possible encoding, so that its bytes can be hashed: sorted keys, no blanks, UTF-8.

Reading is strict for every document (RFC 8259): no key twice, no fraction, no NaN, bounded size and depth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from attest.errors import AttestInputError

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]

_MAX_DIGITS: Final = 20


class JsonError(AttestInputError):
    """Bytes that are not the JSON they should be. ``code``: ``size``, ``json`` or ``canonical``."""

    code = "json"


def encode(value: Json) -> bytes:
    """Return the canonical bytes; ValueError for a text that UTF-8 cannot carry (a lone surrogate)."""
    return _ENCODER.encode(value).encode()


def decode(raw: bytes, what: str, limit: int) -> object:
    """Read JSON of at most ``limit`` bytes strictly; raises JsonError that names ``what``."""
    if len(raw) > limit:
        raise JsonError(f"{what}: {len(raw)} bytes are more than {limit}", code="size")
    try:
        text = raw.decode()
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise JsonError(f"{what}: {where}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise JsonError(f"{what}: byte {error.start}: not UTF-8") from None
    except RecursionError:
        raise JsonError(f"{what}: nested too deeply") from None
    except ValueError as error:
        raise JsonError(f"{what}: {error}") from None


def decode_canonical(raw: bytes, what: str, limit: int) -> object:
    """Read JSON as ``decode`` does, and refuse every encoding but the canonical one."""
    value = decode(raw, what, limit)
    try:
        canonical = encode(value) == raw  # type: ignore[arg-type]  # json.loads returns nothing else
    except (ValueError, RecursionError):
        canonical = False
    if not canonical:
        raise JsonError(f"{what}: not canonical JSON: sorted keys, no blanks, UTF-8", code="canonical")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!a} stands twice in one object")
    return found


def _number(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is not a whole number")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"{text[:40]}... is too large a number")
    return int(text)


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_number, parse_constant=_number, parse_int=_integer
)
