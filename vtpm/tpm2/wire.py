"""Reading and writing big-endian TPM structures, with the place of every mistake (Part 2, 4; Part 1, 30)."""

from __future__ import annotations

from typing import Final

from vtpm.errors import StructureError

__all__ = ["MAX_STRUCTURE", "Reader", "StructureError", "Writer"]

MAX_STRUCTURE: Final = 65_536
"""No TPM structure is longer than a TPM2B can say, its size field aside."""


class Reader:
    """A cursor over one structure; every byte has to be read, and no more.

    ``offset`` counts from the start of the outermost input, also in a reader made by ``sub``.
    Raises ``StructureError`` with the field and the offset where it starts.
    """

    __slots__ = ("_base", "_data", "_next", "_what")

    def __init__(self, data: bytes, what: str, *, base: int = 0) -> None:
        if len(data) > MAX_STRUCTURE:
            raise StructureError(what, base, f"{len(data)} bytes are more than {MAX_STRUCTURE}", code="size")
        self._data = data
        self._what = what
        self._base = base
        self._next = 0

    @property
    def offset(self) -> int:
        """Return the offset of the next byte."""
        return self._base + self._next

    @property
    def whole(self) -> bytes:
        """Return all bytes of the structure, read or not."""
        return bytes(self._data)

    def fail(self, field: str, detail: str, *, code: str, back: int = 0) -> StructureError:
        """Return the error for ``field``, which began ``back`` bytes before the cursor."""
        return StructureError(f"{self._what}.{field}", self.offset - back, detail, code=code)

    def take(self, count: int, field: str) -> bytes:
        """Return the next ``count`` bytes."""
        left = len(self._data) - self._next
        if count > left:
            raise self.fail(field, f"needs {count} bytes, {left} are left", code="truncated")
        start = self._next
        self._next += count
        return self._data[start : self._next]

    def integer(self, size: int, field: str) -> int:
        """Return an unsigned integer of ``size`` bytes."""
        return int.from_bytes(self.take(size, field), "big")

    def u8(self, field: str) -> int:
        """Return a UINT8."""
        return self.integer(1, field)

    def u16(self, field: str) -> int:
        """Return a UINT16."""
        return self.integer(2, field)

    def u32(self, field: str) -> int:
        """Return a UINT32."""
        return self.integer(4, field)

    def u64(self, field: str) -> int:
        """Return a UINT64."""
        return self.integer(8, field)

    def yes_no(self, field: str) -> bool:
        """Return a TPMI_YES_NO: one byte, 0 or 1 and nothing else (Part 2, 9.2)."""
        value = self.u8(field)
        if value > 1:
            raise self.fail(field, f"{value} is neither 0 (NO) nor 1 (YES)", code="value", back=1)
        return value == 1

    def sized(self, field: str, maximum: int) -> bytes:
        """Return the buffer of a TPM2B: UINT16 size, then the bytes (Part 2, 10.4)."""
        size = self.u16(f"{field}.size")
        if size > maximum:
            raise self.fail(f"{field}.size", f"{size} is more than {maximum}", code="size", back=2)
        return self.take(size, field)

    def sub(self, field: str, maximum: int) -> Reader:
        """Return a reader over the inside of a TPM2B; call its ``end``."""
        body = self.sized(field, maximum)
        return Reader(body, field, base=self.offset - len(body))

    def end(self) -> None:
        """Raise unless every byte has been read."""
        left = len(self._data) - self._next
        if left:
            raise StructureError(self._what, self.offset, f"{left} bytes after the end", code="trailing")


class Writer:
    """Builds one structure; the counterpart of ``Reader``."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts = bytearray()

    def raw(self, data: bytes) -> Writer:
        """Append bytes as they are."""
        self._parts += data
        return self

    def u8(self, value: int) -> Writer:
        """Append a UINT8."""
        return self.raw(value.to_bytes(1, "big"))

    def u16(self, value: int) -> Writer:
        """Append a UINT16."""
        return self.raw(value.to_bytes(2, "big"))

    def u32(self, value: int) -> Writer:
        """Append a UINT32."""
        return self.raw(value.to_bytes(4, "big"))

    def u64(self, value: int) -> Writer:
        """Append a UINT64."""
        return self.raw(value.to_bytes(8, "big"))

    def sized(self, data: bytes) -> Writer:
        """Append a TPM2B: UINT16 size, then the bytes."""
        return self.u16(len(data)).raw(data)

    def done(self) -> bytes:
        """Return all bytes."""
        return bytes(self._parts)
