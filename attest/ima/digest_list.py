r"""A list of files and digests as ``sha256sum`` writes it, for a tree that is not at hand.

Source: GNU coreutils manual, "md5sum invocation": the digest, a blank, a blank or ``*``, the name. Where the
name has a line feed or a backslash, the line begins with a backslash, and these are ``\n`` and ``\\``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from posixpath import normpath
from typing import Final

from attest.errors import AttestInputError
from attest.ima.programs import reference_of
from attest.ima.reference import FileReference

MAX_LIST: Final = 64 << 20
_LINE: Final = re.compile(r"(\\?)([0-9a-f]{64}) [ *](/.*)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.?)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "\\": "\\"}


class DigestListError(AttestInputError):
    """A list that is not as ``sha256sum`` writes it; the message has the line."""

    code = "digest-list"


def listed(raw: bytes) -> FileReference:
    """Return every file of a list, of whatever kind; its names are absolute. Raises DigestListError."""
    if len(raw) > MAX_LIST:
        raise DigestListError(f"digest list: more than {MAX_LIST} bytes")
    if not raw:
        raise DigestListError("digest list: line 1: the list is empty: did what wrote it fail?")
    return reference_of(_lines(raw))


def _lines(raw: bytes) -> Iterator[tuple[str, str]]:
    lines = raw.decode("utf-8", "surrogateescape").split("\n")
    if lines.pop():
        raise DigestListError(f"digest list: line {len(lines) + 1}: has no end: the list was cut")
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None:
            what = "write DIGEST, two blanks and an absolute path, as 'sha256sum /usr/bin/*' does"
            raise DigestListError(f"digest list: line {number}: {what}")
        escaped, digest, path = match.groups()
        if escaped:
            path = _unescaped(path, number)
        if normpath(path) != path or path.startswith("//"):
            raise DigestListError(f"digest list: line {number}: {path!a} has '.', '..' or '//' in it")
        yield path, digest


def _unescaped(path: str, number: int) -> str:
    unknown = {found[1] for found in _ESCAPE.finditer(path)} - _ESCAPES.keys()
    if unknown:
        raise DigestListError(f"digest list: line {number}: an escape that sha256sum does not write")
    return _ESCAPE.sub(lambda found: _ESCAPES[found[1]], path)
