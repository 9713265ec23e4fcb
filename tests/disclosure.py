"""What a document tells whoever looks closely: its bytes, and those of base64 and hexadecimal texts in it."""

from __future__ import annotations

import base64
import contextlib
import re
from uuid import UUID

_DEEP = 4
_TEXTS = re.compile(rb"[A-Za-z0-9+/]{8,}={0,2}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){4,}")


def told(raw: bytes, depth: int = 0) -> bytes:
    """Return all of it, one behind the other: a text in evidence is often a log that holds texts."""
    found = [raw]
    if depth < _DEEP:
        for text in _TEXTS.findall(raw):
            with contextlib.suppress(ValueError):
                found.append(told(base64.b64decode(text, validate=True), depth + 1))
        found += [told(bytes.fromhex(text.decode()), depth + 1) for text in _HEX.findall(raw)]
    return b"\0".join(found)


def spellings(word: str) -> set[bytes]:
    """Return how a name, UUID, identifier or digest may stand in bytes."""
    found = {word.encode(), word.upper().encode(), word.encode("utf-16-le")}
    with contextlib.suppress(ValueError):
        found.add(bytes.fromhex(word))
    with contextlib.suppress(ValueError):
        uuid = UUID(word)
        found |= {uuid.bytes, uuid.bytes_le, uuid.hex.encode()}
    return found


def named(raw: bytes, words: set[str]) -> set[str]:
    """Return which of the words a document tells."""
    everything = told(raw)
    return {word for word in words if any(each in everything for each in spellings(word))}
