"""The TPM that we hold, offered to tpm2-tools on a Unix socket.

``Relay`` serves it: socket mode 0600 in a folder of mode 0700, one client at a time (one that idles for 5 s
while another waits is dropped), whole commands, each under the channel's lock, so that our own use goes on
beside it. ``resources`` sees to it that clients leave no slot taken.

Run as a program it is the other end, for ``TPM2TOOLS_TCTI="cmd:python3 -m vtpm.relay SOCKET"``: it copies
standard input to the socket and the socket to standard output. It needs the standard library only, and
starts at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from pathlib import Path

    from vtpm.channel import Channel
    from vtpm.resources import Client

_HEADER: Final = 10
_BUFFER: Final = 4096
_MAX_PATH: Final = 107
_WHOLE_COMMAND_SECONDS: Final = 5.0
_IDLE_MILLISECONDS: Final = 5000
_STOP_SECONDS: Final = 90.0
_READABLE: Final = select.POLLIN | select.POLLHUP | select.POLLERR


class Relay:
    """A server thread for one channel; start it in a ``with`` block, or ``stop`` it."""

    def __init__(self, channel: Channel, path: Path) -> None:
        """Listen on ``path``.

        Raises ``VtpmUsageError`` if others may enter its folder (made with mode 0700 if missing), if
        something else than a socket is there, or if the path is longer than 107 bytes.
        """
        # Here and not above: the other end must start fast.
        from vtpm.resources import Sessions, shapes_of  # noqa: PLC0415

        self._listener = _listen(path)
        self._path = path
        self._channel = channel
        try:
            self._shapes = shapes_of(channel)
            self._sessions = Sessions(channel)
        except BaseException:
            self._listener.close()
            raise
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="tpm-relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the service, remove the socket; harmless when repeated."""
        if self._wake.fileno() < 0:
            return
        self._wake.close()
        self._thread.join(_STOP_SECONDS)
        self._woken.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self) -> None:
        from vtpm.errors import ProcessError  # noqa: PLC0415
        from vtpm.resources import Client  # noqa: PLC0415

        with self._listener, contextlib.suppress(ProcessError):
            while self._wait(self._listener):
                stream, _ = self._listener.accept()
                with (
                    stream,
                    contextlib.closing(Client(self._channel, self._shapes, self._sessions)) as client,
                ):
                    self._serve_one(stream, client)
            self._sessions.close()

    def _serve_one(self, stream: socket.socket, client: Client) -> None:
        stream.settimeout(_WHOLE_COMMAND_SECONDS)
        with contextlib.suppress(OSError):
            while self._wait(stream):
                command = _read_command(stream)
                if command is None:
                    return
                stream.sendall(client.exchange(command))

    def _wait(self, wanted: socket.socket) -> bool:
        """Wait for ``wanted``; False when we are to stop, or when another client waits and this one idles."""
        poll = select.poll()
        poll.register(self._woken, _READABLE)
        poll.register(wanted, _READABLE)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(_IDLE_MILLISECONDS)}
            if self._woken.fileno() in ready:
                return False
            if wanted.fileno() in ready:
                return True
            if wanted is not self._listener and _is_ready(self._listener):
                return False


def _listen(path: Path) -> socket.socket:
    from vtpm.errors import VtpmUsageError  # noqa: PLC0415
    from vtpm.private import private_folder  # noqa: PLC0415

    if len(os.fsencode(path)) > _MAX_PATH:
        raise VtpmUsageError(f"{path}: a socket's path has at most {_MAX_PATH} bytes; use a shorter one")
    private_folder(path.parent)
    if path.is_socket():
        path.unlink()
    elif path.exists():
        raise VtpmUsageError(f"{path}: is there and is not a socket; choose another name")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def _is_ready(stream: socket.socket) -> bool:
    poll = select.poll()
    poll.register(stream, _READABLE)
    return bool(poll.poll(0))


def _read_command(stream: socket.socket) -> bytes | None:
    """Return one whole command; None if the client has gone or does not speak TPM."""
    header = _read(stream, _HEADER)
    size = int.from_bytes(header[2:6], "big")
    if len(header) < _HEADER or not _HEADER <= size <= _BUFFER:
        return None
    command = header + _read(stream, size - _HEADER)
    return command if len(command) == size else None


def _read(stream: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = stream.recv(count - len(parts))
        if not part:
            break
        parts += part
    return bytes(parts)


def main(arguments: list[str]) -> int:
    """Copy between standard input and output and the socket; return the exit code."""
    if len(arguments) != 1:
        print("usage: python3 -m vtpm.relay SOCKET", file=sys.stderr)
        return 2
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.connect(arguments[0])
            _copy(stream)
    except OSError as error:
        print(f"{arguments[0]}: {error.strerror}: is the TPM's owner running?", file=sys.stderr)
        return 2
    return 0


def _copy(stream: socket.socket) -> None:
    poll = select.poll()
    poll.register(0, _READABLE)
    poll.register(stream, _READABLE)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == 0:
                data = os.read(0, _BUFFER)
                stream.sendall(data)
            else:
                data = stream.recv(_BUFFER)
                os.write(1, data)
            if not data:
                return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
