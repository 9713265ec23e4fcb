"""The history of past runs in two files, with its anchor where no old one can be put back.

``NAME`` is the history in force. A newer one is written to ``NAME.next`` first and made durable; then the
anchor moves; then ``NAME.next`` takes the place of ``NAME``. Whichever step a crash cuts off, exactly one of
the two files is the one that the anchor names, and that one is loaded. A file that was put back from a
backup is not, so it is refused (``history-stale``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from acm import history
from acm.errors import HistoryError
from acm.history import MAX_SIZE, Anchor, History

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


class AnchorKeeper(Protocol):
    """Keeps the anchor of one history, beyond the reach of whoever can write files (a TPM's NV memory)."""

    def read(self) -> Anchor | None:
        """Return the newest anchor, None where there is none."""
        ...

    def write(self, anchor: Anchor) -> None:
        """Make this the newest anchor, and durable."""
        ...


class FileHistoryStore:
    """Fits :class:`hypervisor.ports.HistoryStore`; one process at a time has the folder."""

    def __init__(self, path: Path, anchors: AnchorKeeper) -> None:
        self._path = path
        self._next = path.with_name(f"{path.name}.next")
        self._anchors = anchors

    def begin(self, origin: bytes, types: AbstractSet[str] = frozenset()) -> History:
        """Begin a history, and forget all past runs: for a new host, or as an act of administration.

        Raises RequestError of :mod:`acm.errors`, OSError, errors of the anchor's keeper.
        """
        begun = history.begin(origin, types)
        self.save(begun)
        return begun

    def load(self) -> tuple[History | None, Anchor | None]:
        """Return the history that the anchor names, else what is there; None for what cannot be read.

        Raises OSError (other than for a missing file), errors of the anchor's keeper.
        """
        anchor = self._anchors.read()
        kept, newer = _read(self._path), _read(self._next)
        if newer is not None and newer.anchor == anchor:
            self._settle()
            return newer, anchor
        return kept, anchor

    def save(self, newest: History) -> None:
        """Make a history durable, then its anchor. Raises OSError; then the old one is still in force."""
        handle = os.open(self._next, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAGS, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(newest.encode())
            file.flush()
            os.fsync(handle)
        _sync(self._path.parent)
        self._anchors.write(newest.anchor)
        self._settle()

    def _settle(self) -> None:
        self._next.replace(self._path)
        _sync(self._path.parent)


def _read(path: Path) -> History | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _FLAGS)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        raw = file.read(MAX_SIZE + 1)
    try:
        return history.decode(raw)
    except HistoryError:
        return None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
