"""A TPM's device file as the kernel's: one write takes a whole command, one read gives the whole response."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vtpm.rawdevice import RawDevice


@contextmanager
def device(answer: Callable[[bytes], bytes]) -> Iterator[RawDevice]:
    """Give a device behind which ``answer`` is the TPM."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def serve() -> None:
        with theirs:
            while command := theirs.recv(1 << 16):
                theirs.send(answer(command))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours, RawDevice(os.dup(ours.fileno()), "the device") as raw:
            yield raw
    finally:
        thread.join()
