"""Writes ramdisks as ``cpio -o -H newc`` does, with code of its own."""

from __future__ import annotations

from dataclasses import dataclass

FILE, PROGRAM, FOLDER, LINK = 0o100644, 0o100755, 0o040755, 0o120777


@dataclass(frozen=True)
class Member:
    """An entry of an archive; every field can be set wrong."""

    name: str
    content: bytes = b""
    mode: int = PROGRAM
    inode: int = 0
    links: int = 1
    magic: bytes = b"070701"
    size: int | None = None
    length: int | None = None

    def encode(self) -> bytes:
        name = self.name.encode("utf-8", "surrogateescape") + b"\0"
        size = len(self.content) if self.size is None else self.size
        length = len(name) if self.length is None else self.length
        numbers = (self.inode, self.mode, 0, 0, self.links, 0, size, 8, 1, 0, 0, length, 0)
        head = self.magic + b"".join(b"%08x" % number for number in numbers) + name
        head += bytes(-len(head) % 4)
        return head + self.content + bytes(-len(self.content) % 4)


def archive(*members: Member) -> bytes:
    """One archive with its trailer."""
    return b"".join(one.encode() for one in (*members, Member("TRAILER!!!", mode=0)))
