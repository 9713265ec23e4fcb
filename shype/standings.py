"""The verifier's folder of standings, ``standings/HOST.json``: what ``attest.standing`` remembers.

Trusted: whoever can write here can make a failure be forgotten. Mode 0700 and 0600, replaced whole, and one
verification of a host at a time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attest.enrolment import check_host
from attest.standing import MAX_FILE, Standing, StandingError
from shype.errors import ShypeUsageError
from shype.files import read, write_secret

FOLDER: Final = "standings"


@dataclass(slots=True)
class Kept:
    """The standing of one host, held; ``put`` makes a new one last."""

    path: Path
    standing: Standing

    def put(self, standing: Standing) -> None:
        """Keep it."""
        write_secret(self.path, standing.encode())
        self.standing = standing


@contextmanager
def hold(state: Path, host: str) -> Iterator[Kept]:
    """Hold the standing of a host, a new one if there is none.

    Raises ShypeUsageError while another process verifies this host, StandingError for a broken record.
    """
    check_host(host)
    folder = state / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / f"{host}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ShypeUsageError(f"{host}: somebody verifies this host right now; try again") from None
        path = folder / f"{host}.json"
        yield Kept(path, _read(path) if path.exists() else Standing(host))
    finally:
        os.close(lock)


def known(state: Path) -> list[Standing]:
    """Return all standings in a folder; raises ShypeUsageError where there is no folder, StandingError."""
    if not state.is_dir():
        raise ShypeUsageError(f"{state}: no such folder; 'shype verify https://…' keeps standings there")
    return [_read(path) for path in sorted((state / FOLDER).glob("*.json"))]


def _read(path: Path) -> Standing:
    standing = Standing.decode(read(path, MAX_FILE))
    if standing.host != path.stem:
        raise StandingError(f"standing: {path.name}: it is of {standing.host}; put it back where it belongs")
    return standing
