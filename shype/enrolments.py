"""The registrar's folder of challenges and enrolments: ``pending/HOST.json`` and ``enrolled/HOST.json``.

Trusted: whoever can write here decides which TPM is which host. Folders have mode 0700, files 0600. All
changes happen under one lock, and a file is replaced whole or not at all. No secret is stored: a challenge
holds the digest of its answer.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attest.enrolment import MAX_FILE, Challenge, Enrolment, EnrolmentError, EnrolmentFailure, check_host
from shype.files import read, sync, write_secret

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class EnrolmentStore:
    """One such folder; make it by ``open_store``, which holds the lock."""

    root: Path

    def known(self) -> list[Enrolment]:
        """Return all enrolments; raises EnrolmentError for a file that is none."""
        return [_enrolment(path) for path in sorted((self.root / "enrolled").glob("*.json"))]

    def put_challenge(self, challenge: Challenge) -> None:
        """Keep a challenge; it takes the place of an earlier one for that host."""
        write_secret(self.root / "pending" / f"{challenge.member.host}.json", challenge.encode())

    def take_challenge(self, host: str) -> Challenge:
        """Return the open challenge of a host and forget it, so that it is answered once.

        Raises EnrolmentError, with ``challenge-unknown`` if there is none.
        """
        check_host(host)
        path = self.root / "pending" / f"{host}.json"
        try:
            raw = read(path, MAX_FILE)
            path.unlink()
        except FileNotFoundError:
            what = f"{host}: no open challenge; it was answered, refused or never made"
            raise EnrolmentError(EnrolmentFailure.NO_CHALLENGE, what) from None
        sync(path.parent)
        return Challenge.decode(raw)

    def put_enrolment(self, enrolment: Enrolment) -> None:
        """Keep an enrolment; it takes the place of an earlier one of that host."""
        write_secret(self.root / "enrolled" / f"{enrolment.host}.json", enrolment.encode())


@contextmanager
def open_store(root: Path) -> Iterator[EnrolmentStore]:
    """Lock the folder, made if it is missing, for as long as the store is used."""
    for folder in (root, root / "pending", root / "enrolled"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield EnrolmentStore(root)
    finally:
        os.close(lock)


def _enrolment(path: Path) -> Enrolment:
    enrolment = Enrolment.decode(read(path, MAX_FILE))
    if enrolment.host != path.stem:
        what = f"{path.name}: the enrolment in it is of {enrolment.host}; put it back where it belongs"
        raise EnrolmentError(EnrolmentFailure.MALFORMED, what)
    return enrolment
