"""The data channel of a TPM: one command, one response, nobody in between (Part 1, 18; Part 3, 5.1)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol

from vtpm.errors import ProcessError

if TYPE_CHECKING:
    import socket
    from contextlib import AbstractContextManager

HEADER: Final = 10
"""UINT16 tag, UINT32 size of all bytes, UINT32 command or response code."""

BUFFER: Final = 4096
"""Longest command or response of a swtpm, in bytes."""

_ATTEMPT_SECONDS: Final = 60.0
"""An RSA-3072 primary key takes seconds on a slow machine."""


class CommandChannel(Protocol):
    """The way to one TPM: a stream to a swtpm (``Channel``), or a device (``vtpm.rawdevice``)."""

    @property
    def lock(self) -> AbstractContextManager[bool]:
        """Hold it, re-entrantly, over commands that belong together."""
        ...

    def exchange(self, command: bytes) -> bytes:
        """Send one whole command, return the whole response; raises ``ProcessError``."""
        ...


class Channel:
    """A byte stream to one TPM, shared by threads.

    ``lock`` is re-entrant: hold it over commands that belong together, so that nobody else's command stands
    between them. A channel that failed once is out of step and stays closed.
    """

    def __init__(self, stream: socket.socket) -> None:
        stream.settimeout(_ATTEMPT_SECONDS)
        self._stream = stream
        self.lock = threading.RLock()

    def exchange(self, command: bytes) -> bytes:
        """Send one whole command, return the whole response.

        Raises ``ProcessError``: ``ended`` if the TPM is gone, ``timeout``, ``protocol`` if it answers
        nonsense.
        """
        if not HEADER <= len(command) <= BUFFER or int.from_bytes(command[2:6], "big") != len(command):
            raise ProcessError(f"a TPM command of {len(command)} bytes is not whole", code="protocol")
        with self.lock:
            try:
                self._stream.sendall(command)
                return self._receive_response()
            except TimeoutError:
                self.close()
                raise ProcessError(
                    f"the TPM did not answer in {_ATTEMPT_SECONDS:.0f} s", code="timeout"
                ) from None
            except OSError as error:
                self.close()
                raise ProcessError(f"the TPM is gone: {error}", code="ended") from None
            except ProcessError:
                self.close()
                raise

    def close(self) -> None:
        """Close the stream; harmless when repeated."""
        self._stream.close()

    def _receive_response(self) -> bytes:
        header = self._receive(HEADER)
        size = int.from_bytes(header[2:6], "big")
        if not HEADER <= size <= BUFFER:
            raise ProcessError(f"the TPM announces a response of {size} bytes", code="protocol")
        return header + self._receive(size - HEADER)

    def _receive(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._stream.recv(count - len(parts))
            if not part:
                raise ProcessError("the TPM closed its data channel", code="ended")
            parts += part
        return bytes(parts)
