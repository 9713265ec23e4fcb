"""What the files on a host may be: reference values for a measurement list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from posixpath import normpath
from typing import Final

from attest.errors import AttestUsageError
from attest.ima.file_key import FileKey

WRITABLE: Final = (
    *("/tmp", "/var/tmp", "/dev/shm"),  # noqa: S108  # they stand here to be refused
    *("/run", "/home", "/root", "/proc", "/var/lib/docker"),
)
"""Folders whose content others than the administrator choose: no policy may leave them out."""

STRONG: Final = frozenset({"sha256", "sha384", "sha512"})


@dataclass(frozen=True, slots=True)
class RuntimePolicy:
    """Which entries a list may hold.

    ``allowed`` are files as the ASCII list writes them, digest, blank, path: ``b"sha256:HEX /usr/bin/cat"``.
    No digest holds a blank, so the first one ends it. The content of keyrings and other buffers stands there
    by its name (``b".ima"``).
    ``anywhere`` are digests that are allowed under any path.
    ``excluded`` are folders that are not judged, ``/`` at their end; what they cover is counted. ``keys``
    (``attest.ima.file_key.by_key_id``) admit any file that one of them signed. ``algorithms`` are those of
    file digests. ``pcr`` is IMA's register.

    Raises AttestUsageError for an excluded folder that is no absolute path, or that covers or lies in a
    folder others can write to.
    """

    allowed: frozenset[bytes] = field(repr=False)
    excluded: tuple[bytes, ...] = ()
    keys: Mapping[bytes, FileKey] = field(default_factory=dict)
    algorithms: frozenset[str] = STRONG
    admit_violations: bool = False
    anywhere: frozenset[bytes] = field(default=frozenset(), repr=False)
    pcr: int = 10
    paths: frozenset[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for folder in self.excluded:
            _check_excluded(folder.decode("utf-8", "surrogateescape"))
        object.__setattr__(self, "paths", frozenset(file.partition(b" ")[2] for file in self.allowed))

    def excludes(self, path: bytes) -> bool:
        """Tell whether a file lies in an excluded folder; a path with ``..`` or ``//`` in it never does."""
        if not path.startswith(self.excluded):
            return False
        text = path.decode("utf-8", "surrogateescape")
        return normpath(text) == text


def _check_excluded(folder: str) -> None:
    # normpath keeps two slashes at the start, as POSIX wants
    if not folder.startswith("/") or folder.startswith("//") or normpath(folder) != (folder[:-1] or "/"):
        raise AttestUsageError(f"{folder!a} is no folder: begin and end it with /", code="excluded")
    for writable in WRITABLE:
        if f"{writable}/".startswith(folder) or folder.startswith(f"{writable}/"):
            what = f"{folder!a} must not be excluded: others can write to {writable}"
            raise AttestUsageError(what, code="excluded-writable")
