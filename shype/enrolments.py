"""The registrar's folder of sessions and enrolments: ``sessions/HOST.json`` and ``enrolled/HOST.json``.

Trusted: whoever can write here decides which TPM is which host. Folders have mode 0700, files 0600. All
changes happen under one lock, and a file is replaced whole or not at all. No secret is stored: a session
holds the digest of an answer, and the nonce that it sent.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attest import session_file
from attest.enrolment import MAX_FILE, Enrolment, EnrolmentError, EnrolmentFailure, check_host
from attest.session import Session, SessionError
from attest.session_state import SessionFailure
from shype.errors import ShypeUsageError
from shype.files import read, write_secret

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class EnrolmentStore:
    """One such folder; make it by ``open_store``, which holds the lock."""

    root: Path

    def known(self) -> list[Enrolment]:
        """Return all enrolments; raises EnrolmentError for a file that is none."""
        return [_enrolment(path) for path in sorted((self.root / "enrolled").glob("*.json"))]

    def enrolment(self, host: str) -> Enrolment:
        """Return the enrolment of a host; raises EnrolmentError with ``host-not-enrolled`` without one."""
        check_host(host)
        path = self.root / "enrolled" / f"{host}.json"
        if not path.exists():
            what = f"{host}: not enrolled; challenge it first (shype enroll challenge)"
            raise EnrolmentError(EnrolmentFailure.NOT_ENROLLED, what)
        return _enrolment(path)

    def put_enrolment(self, enrolment: Enrolment) -> None:
        """Keep an enrolment; it takes the place of an earlier one of that host."""
        write_secret(self.root / "enrolled" / f"{enrolment.host}.json", enrolment.encode())

    def put_session(self, session: Session) -> None:
        """Keep a session; it takes the place of an earlier one with that host."""
        write_secret(self._session_of(session.host), session_file.encode_session(session))

    def find_session(self, host: str) -> Session | None:
        """Return the session with a host as it stands; None where there is none."""
        path = self._session_of(host)
        if not path.exists():
            return None
        try:
            session = session_file.decode_session(read(path, session_file.MAX_FILE))
        except SessionError as error:
            what = f"{path}: {str(error).removeprefix('session: ')}; take the file away, and begin anew"
            raise SessionError(error.failure, what) from None
        if session.host != host:
            what = f"{path.name}: the session in it is with {session.host}; put it back where it belongs"
            raise SessionError(SessionFailure.MALFORMED, what)
        return session

    @contextmanager
    def session(self, host: str) -> Iterator[Session]:
        """Give the session with a host, and keep what becomes of it.

        In between it lies there as failed: a crash uses up what was answered. Raises SessionError, with
        ``session-unknown`` if there is none.
        """
        session = self.find_session(host)
        if session is None:
            what = f"{host}: there is none; nothing was asked of this host (shype enroll)"
            raise SessionError(SessionFailure.UNKNOWN, what)
        self.put_session(session.spent())
        try:
            yield session
        finally:
            self.put_session(session)

    def _session_of(self, host: str) -> Path:
        check_host(host)
        return self.root / "sessions" / f"{host}.json"


@contextmanager
def open_store(root: Path) -> Iterator[EnrolmentStore]:
    """Lock the folder, made if it is missing, for as long as the store is used."""
    for folder in (root, root / "sessions", root / "enrolled"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield EnrolmentStore(root)
    finally:
        os.close(lock)


@contextmanager
def existing_store(root: Path) -> Iterator[EnrolmentStore]:
    """Like ``open_store`` for a folder that must be there; raises ShypeUsageError."""
    _check_folder(root)
    with open_store(root) as store:
        yield store


def record_of(root: Path, host: str) -> tuple[Path, Enrolment]:
    """Return the file of a host's enrolment, and what it says; it is replaced whole, so no lock is needed.

    Raises ShypeUsageError for a folder that is missing, EnrolmentError for a host without a record.
    """
    _check_folder(root)
    return root / "enrolled" / f"{host}.json", EnrolmentStore(root).enrolment(host)


def _check_folder(root: Path) -> None:
    if not root.is_dir():
        raise ShypeUsageError(f"{root}: no such folder; 'shype enroll challenge' makes it")


def _enrolment(path: Path) -> Enrolment:
    enrolment = Enrolment.decode(read(path, MAX_FILE))
    if enrolment.host != path.stem:
        what = f"{path.name}: the enrolment in it is of {enrolment.host}; put it back where it belongs"
        raise EnrolmentError(EnrolmentFailure.MALFORMED, what)
    return enrolment
