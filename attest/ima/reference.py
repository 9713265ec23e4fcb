"""Reference values for dom0's user land: which files a host may measure, by path and SHA-256.

The part ``ima`` of reference values (``attest.reference``)::

    {"files": {PATH: [SHA-256 in hex, …]}, "any_path": [SHA-256 in hex, …]}

A path is the kernel's: absolute, without links, as it was seen when the file was measured; the content of a
keyring or another buffer stands there by its name. ``any_path`` admits a file wherever it lies: for what runs
from different mounts, and weaker, since a good program under another name may do other things there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from attest.canonical_json import Json
from attest.errors import AttestInputError
from attest.ima.entry import Entry
from attest.ima.policy import RuntimePolicy

MAX_FILES: Final = 1 << 18
MAX_PATH: Final = 4096
"""Characters of a path (Linux, PATH_MAX)."""
MAX_VERSIONS: Final = 64
"""Digests of one path."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ALGORITHM: Final = b"sha256:"


class FileReferenceError(AttestInputError):
    """Reference values for files that do not have their form; the message names the field."""

    code = "reference"


@dataclass(frozen=True, slots=True)
class FileReference:
    """Files that may be measured: ``files`` has the SHA-256 digests (hex) of each path."""

    files: Mapping[str, frozenset[str]] = field(repr=False)
    any_path: frozenset[str] = frozenset()

    def policy(self) -> RuntimePolicy:
        """Return what a measurement list is held against: no folder left out, no key, no violation."""
        files = (
            b"%b%b %b" % (_ALGORITHM, digest.encode(), path.encode())
            for path, digests in self.files.items()
            for digest in digests
        )
        anywhere = frozenset(_ALGORITHM + digest.encode() for digest in self.any_path)
        return RuntimePolicy(frozenset(files), anywhere=anywhere)

    def joined(self, other: FileReference) -> FileReference:
        """Return what either of two admits."""
        files = dict(self.files)
        for path, digests in other.files.items():
            files[path] = files.get(path, frozenset()) | digests
        return FileReference(files, self.any_path | other.any_path)

    def document(self) -> dict[str, Json]:
        """Return the part as JSON values."""
        files: dict[str, Json] = {path: sorted(digests) for path, digests in self.files.items()}
        return {"files": files, "any_path": sorted(self.any_path)}

    @classmethod
    def of(cls, value: object) -> FileReference:
        """Read what ``document`` returns; raises FileReferenceError."""
        if not isinstance(value, dict) or value.keys() != {"files", "any_path"}:
            raise FileReferenceError("ima: must be an object with files and any_path, and nothing else")
        files = value["files"]
        if not isinstance(files, dict) or len(files) > MAX_FILES:
            raise FileReferenceError(f"ima: files must be an object with at most {MAX_FILES} paths")
        found = {_path(path): _digests(digests, path, MAX_VERSIONS) for path, digests in files.items()}
        for path, digests in found.items():
            if not digests:
                raise FileReferenceError(f"ima: files: {path[:80]!a} has no digest: leave it away")
        return cls(found, _digests(value["any_path"], "any_path", MAX_FILES))

    @classmethod
    def from_entries(cls, entries: Iterable[Entry]) -> FileReference:
        """Return what admits these entries, which were proved: of SHA-256, with a name that is UTF-8.

        Violations are never taken over, since no digest binds them. What is left out is admitted by nothing.
        """
        files: defaultdict[str, set[str]] = defaultdict(set)
        for entry in entries:
            path = _readable(entry.path)
            if path and not entry.is_violation and entry.file_digest.startswith(_ALGORITHM):
                files[path].add(entry.file_digest.removeprefix(_ALGORITHM).decode())
        return cls({path: frozenset(digests) for path, digests in files.items()})


def _path(path: str) -> str:
    if not 0 < len(path) <= MAX_PATH or "\0" in path or not _encodes(path):
        what = f"a path is 1 to {MAX_PATH} characters of UTF-8 without NUL"
        raise FileReferenceError(f"ima: files: {path[:80]!a}: {what}")
    return path


def _digests(value: object, where: str, most: int) -> frozenset[str]:
    if (
        not isinstance(value, list)
        or len(value) > most
        or not all(isinstance(one, str) and _SHA256.fullmatch(one) for one in value)
    ):
        what = f"must be a list of at most {most} SHA-256 digests in lower-case hexadecimal"
        raise FileReferenceError(f"ima: {where[:80]!a} {what}")
    return frozenset(value)


def _readable(path: bytes) -> str:
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return ""
    return text if 0 < len(text) <= MAX_PATH else ""


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
