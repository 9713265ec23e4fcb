"""A TPM behind a character device of Linux (``/dev/tpm0``, ``/dev/tpmrm0``): a command in, a response out.

The driver takes a whole command in one write and gives the whole response in one read (Linux,
drivers/char/tpm/tpm-dev-common.c). This module imports no library: it is also for a measured ramdisk.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Self

from vtpm.channel import BUFFER, HEADER
from vtpm.errors import ProcessError
from vtpm.tpm2 import pcr_command
from vtpm.tpm2.constants import Alg

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class RawDevice:
    """One user of the device; threads share it. Close it, or use it in a ``with`` block.

    ``lock`` is re-entrant: hold it over commands that belong together. Another process may still stand
    between them on ``/dev/tpmrm0``, which is shared; ``/dev/tpm0`` has one user at a time.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        """Take over an open device; ``name`` is what errors call it."""
        self._name = name
        self._device: int | None = descriptor
        self.lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a device; raises OSError (EBUSY where somebody has ``/dev/tpm0``)."""
        return cls(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), str(path))

    def exchange(self, command: bytes) -> bytes:
        """Send one whole command, return the whole response.

        Raises ``ProcessError``: ``ended`` if the device fails or is closed, ``protocol`` for nonsense.
        """
        if not HEADER <= len(command) <= BUFFER or int.from_bytes(command[2:6], "big") != len(command):
            raise ProcessError(f"a TPM command of {len(command)} bytes is not whole", code="protocol")
        with self.lock:
            if self._device is None:
                raise ProcessError(f"{self._name} is closed", code="ended")
            try:
                written = os.write(self._device, command)
                response = os.read(self._device, BUFFER + 1)
            except OSError as error:
                raise ProcessError(f"{self._name}: the TPM fails: {error.strerror}", code="ended") from None
        if written != len(command):
            raise ProcessError(f"{self._name} took {written} bytes of {len(command)}", code="protocol")
        if not HEADER <= len(response) <= BUFFER or int.from_bytes(response[2:6], "big") != len(response):
            raise ProcessError(
                f"{self._name}: a response of {len(response)} bytes is not whole", code="protocol"
            )
        return response

    def extend(self, pcr: int, digests: Mapping[Alg, bytes]) -> None:
        """Extend one PCR in each of these banks; raises ResponseError, ProcessError."""
        pcr_command.check_extended(self.exchange(pcr_command.extend_command(pcr, digests)))

    def read(self, pcr: int) -> bytes:
        """Return one PCR of the SHA-256 bank; raises ResponseError, ProcessError."""
        response = self.exchange(pcr_command.read_command(Alg.SHA256, pcr))
        return pcr_command.read_value(response, Alg.SHA256, pcr)

    def close(self) -> None:
        """Close the device; harmless when repeated."""
        if self._device is not None:
            os.close(self._device)
            self._device = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
