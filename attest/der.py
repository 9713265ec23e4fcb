"""DER elements (X.690), strictly: definite, shortest lengths; every byte belongs to one element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from attest.errors import AttestInputError

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OID: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31

_SHORT: Final = 0x80
_MULTI_BYTE_TAG: Final = 0x1F
_MAX_LENGTH_OCTETS: Final = 3


class DerError(AttestInputError):
    """Bytes that are no DER; ``offset`` counts from the start of the bytes given."""

    code = "der"

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(f"byte {offset}: {message}", code=self.code)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its tag octet, its contents, and all of its bytes. Tags above 30 are refused."""

    tag: int
    body: bytes
    raw: bytes

    def children(self, tag: int) -> list[Element]:
        """Return the elements inside; raises DerError if this is no ``tag``."""
        if self.tag != tag:
            raise DerError(0, f"tag {self.tag:#04x} where {tag:#04x} is expected")
        return elements(self.body)


def first(raw: bytes) -> Element:
    """Return the element at the start of ``raw``, whatever follows it; raises DerError."""
    return _element(raw, 0)


def elements(raw: bytes) -> list[Element]:
    """Return the elements that ``raw`` consists of, to its last byte; raises DerError."""
    found: list[Element] = []
    at = 0
    while at < len(raw):
        element = _element(raw, at)
        found.append(element)
        at += len(element.raw)
    return found


def encode(tag: int, *parts: bytes) -> bytes:
    """Return one element around ``parts``."""
    body = b"".join(parts)
    if len(body) < _SHORT:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, _SHORT | len(size)]) + size + body


def _element(raw: bytes, at: int) -> Element:
    if len(raw) - at < 2:  # noqa: PLR2004 - tag and first length octet
        raise DerError(at, "a tag and a length are needed")
    tag, size = raw[at], raw[at + 1]
    if tag & _MULTI_BYTE_TAG == _MULTI_BYTE_TAG:
        raise DerError(at, "a tag of several octets")
    start = at + 2
    if size >= _SHORT:
        octets = size - _SHORT
        length = raw[start : start + octets]
        if not 1 <= octets <= _MAX_LENGTH_OCTETS or len(length) < octets:
            raise DerError(at + 1, f"a length of {octets} octets")
        size = int.from_bytes(length, "big")
        if size < _SHORT or not length[0]:
            raise DerError(at + 1, "a length that is not the shortest")
        start += octets
    if len(raw) - start < size:
        raise DerError(at, f"{size} bytes are announced, {len(raw) - start} are left")
    return Element(tag, raw[start : start + size], raw[at : start + size])
