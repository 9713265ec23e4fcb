"""What lies in the folder of a host, and who may use it: one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shype.errors import HostBusyError

AUDIT_LOG: Final = "audit.log"
LOCK: Final = "host.lock"
VTPMS: Final = "vtpm"


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold the folder before anything in it is touched: no TPM survives two users. Raises HostBusyError."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostBusyError(
                f"{folder}: this host is on already; switch it off: shype host poweroff {folder}"
            ) from None
        yield
    finally:
        os.close(lock)
