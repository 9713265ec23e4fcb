"""JSON in one possible encoding, so that its bytes can be hashed: sorted keys, no blanks, UTF-8.

Reading is strict for every document, by ``acm.strictjson``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from acm import strictjson
from attest.errors import AttestInputError

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]


class JsonError(AttestInputError):
    """Bytes that are not the JSON they should be. ``code``: ``size``, ``json`` or ``canonical``."""

    code = "json"


def encode(value: Json) -> bytes:
    """Return the canonical bytes; ValueError for a text that UTF-8 cannot carry (a lone surrogate)."""
    return _ENCODER.encode(value).encode()


def decode(raw: bytes, what: str, limit: int) -> object:
    """Read JSON of at most ``limit`` bytes strictly; raises JsonError that names ``what``."""
    return strictjson.read(
        raw,
        limit,
        lambda code, why: JsonError(f"{what}: {why}", code="size" if code == "too-big" else "json"),
    )


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


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
