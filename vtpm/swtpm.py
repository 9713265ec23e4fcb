"""A swtpm process, driven as QEMU drives it: channels by inherited descriptor, nothing on disk but state.

The control protocol is that of swtpm_ioctls(3): UINT32 command, body; the answer begins with a UINT32 result.
Whoever has this channel has the whole TPM, so it is one end of a socketpair and never a path.

The data channel is there from the start (``--fd``), and swtpm ends when it is closed, by us or by our death.
So nothing has to run between fork and exec, and the fork need not copy this process, which takes longer than
all that the TPM does.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final, Self

from vtpm import lifeline
from vtpm.channel import Channel
from vtpm.errors import ProcessError, VtpmUsageError
from vtpm.private import private_folder
from vtpm.tpm2.constants import Command
from vtpm.tpm2.wire import Writer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEY_SIZE: Final = 32
"""Bytes of an AES-256 key for the state."""

_STATE_FILE: Final = "tpm2-00.permall"
_LOG_FILE: Final = "swtpm.log"
_ANSWER_SECONDS: Final = 10.0
_END_SECONDS: Final = 5.0
_NO_SESSIONS: Final = 0x8001
_HASH_CHUNK: Final = 2048
_KEYS: Final = ("--key", "--migration-key")


class _Control(IntEnum):
    """Commands of the control channel."""

    INIT = 2
    SHUTDOWN = 3
    HASH_START = 6
    HASH_DATA = 7
    HASH_END = 8


class State(StrEnum):
    """What must be in the state folder before the start."""

    NEW = "new"
    """Nothing: swtpm manufactures a TPM with new seeds."""
    EXISTING = "existing"
    """A TPM: swtpm would silently manufacture another one in place of a lost state, so we look first."""


@dataclass(frozen=True, slots=True, repr=False)
class StateKeys:
    """AES-256 keys: ``file`` encrypts the state on disk, ``migration`` state that is exported."""

    file: bytes
    migration: bytes

    def __post_init__(self) -> None:
        if len(self.file) != KEY_SIZE or len(self.migration) != KEY_SIZE:
            raise VtpmUsageError(f"state keys have {KEY_SIZE} bytes")


class Swtpm:
    """A running swtpm; ``channel`` is its data channel, at locality 0.

    End it with ``shutdown``, or use it in a ``with`` block. It ends too when this process ends.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], control: socket.socket, data: Channel, folder: Path
    ) -> None:
        self._process = process
        self._control = control
        self._data = data
        self.folder = folder
        self._is_initialised = False

    @classmethod
    def start(cls, folder: Path, *, state: State, keys: StateKeys | None) -> Self:
        """Start a swtpm on the state in ``folder`` (made with mode 0700 if missing) and initialise it.

        ``TPM2_Startup`` is not sent. Raises ``ProcessError``: ``lost-state`` if state is expected and not
        there, ``refused`` if swtpm does not take the state (wrong key, altered or cut file), ``start``,
        ``ended``, ``timeout``; ``VtpmUsageError`` if others may enter the folder, or state is there and
        should not.
        """
        private_folder(folder)
        _check_state(folder, state)
        (control, its_control), (data, its_data) = socket.socketpair(), socket.socketpair()
        control.settimeout(_ANSWER_SECONDS)
        try:
            with its_control, its_data, contextlib.ExitStack() as descriptors:
                secret = () if keys is None else (keys.file, keys.migration)
                pipes = [_pipe_with(key, descriptors) for key in secret]
                inherited = (its_control.fileno(), its_data.fileno(), *pipes)
                process = _spawn(_command(*inherited), inherited, folder)
        except BaseException:
            control.close()
            data.close()
            raise
        swtpm = cls(process, control, Channel(data), folder)
        try:
            swtpm.initialise()
        except BaseException:
            swtpm.shutdown()
            raise
        return swtpm

    @property
    def channel(self) -> Channel:
        """Return the data channel; raises ``VtpmUsageError`` after ``shutdown``."""
        if not self._is_initialised:
            raise VtpmUsageError("this swtpm is not running")
        return self._data

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def initialise(self) -> None:
        """Switch the TPM off and on: _TPM_Init (Part 1, 12.2); ``TPM2_Startup`` comes next."""
        with self._data.lock:
            self._command(_Control.INIT, bytes(4))
            self._is_initialised = True

    def hash_sequence(self, data: bytes) -> None:
        """Measure ``data`` at locality 4: _TPM_Hash_Start, _Data, _End (Part 3, 22.8 to 22.10).

        After Startup, SHA-256 PCR 17 is H(0^32 ‖ H(data)) and PCR 18 to 22 are zero. A second sequence
        replaces it.
        """
        with self.channel.lock:
            self._command(_Control.HASH_START)
            for start in range(0, len(data), _HASH_CHUNK):
                chunk = data[start : start + _HASH_CHUNK]
                self._command(_Control.HASH_DATA, Writer().u32(len(chunk)).raw(chunk).done())
            self._command(_Control.HASH_END)

    def shutdown(self) -> None:
        """Send ``TPM2_Shutdown``, end the process, close everything; harmless when repeated."""
        if self._is_initialised:
            self._is_initialised = False
            # Without it the TPM counts a failed authorisation for its dictionary attack lock-out.
            with contextlib.suppress(ProcessError):
                self._data.exchange(Writer().u16(_NO_SESSIONS).u32(12).u32(Command.SHUTDOWN).u16(0).done())
        self._data.close()
        if self._control.fileno() >= 0:
            with contextlib.suppress(ProcessError):
                self._command(_Control.SHUTDOWN)
            self._control.close()
        lifeline.end(self._process, _END_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def _command(self, command: _Control, body: bytes = b"") -> None:
        try:
            self._control.sendall(Writer().u32(command).raw(body).done())
            answer = self._receive(4)
        except TimeoutError:
            raise ProcessError(f"swtpm did not answer {command.name}", code="timeout") from None
        except OSError as error:
            raise ProcessError(
                f"swtpm ended at {command.name}: {error}; {self._log()}", code="ended"
            ) from None
        result = int.from_bytes(answer, "big")
        if result != 0:
            detail = f"swtpm refused {command.name} with {result:#x}; {self._log()}"
            raise ProcessError(detail, code="refused")

    def _receive(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._control.recv(count - len(parts))
            if not part:
                raise ConnectionResetError("control channel closed")
            parts += part
        return bytes(parts)

    def _log(self) -> str:
        try:
            lines = (self.folder / _LOG_FILE).read_text(errors="replace").split("\n")
        except OSError:
            lines = []
        said = [line.strip() for line in lines if line.strip()]
        return f"its log ends: {said[-1]!r}" if said else "it logged nothing"


def _command(control: int, data: int, *keys: int) -> list[str]:
    command = ["swtpm", "socket", "--tpm2", "--terminate", "--tpmstate", "dir=.,mode=0600"]
    command += ["--ctrl", f"type=unixio,clientfd={control}", "--fd", str(data)]
    command += ["--log", f"file={_LOG_FILE},level=1,truncate"]
    for option, key in zip(_KEYS, keys, strict=False):
        command += [option, f"fd={key},format=binary,mode=aes-256-cbc,remove=false"]
    return command


def _spawn(command: Sequence[str], inherited: Sequence[int], folder: Path) -> subprocess.Popen[bytes]:
    nowhere = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            command, pass_fds=inherited, cwd=folder, stdin=nowhere, stdout=nowhere, stderr=nowhere
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ProcessError(f"swtpm: cannot be started: {error}", code="start") from error


def _pipe_with(secret: bytes, descriptors: contextlib.ExitStack) -> int:
    read_end, write_end = os.pipe()
    descriptors.callback(os.close, read_end)
    with os.fdopen(write_end, "wb", buffering=0) as pipe:
        pipe.write(secret)
    return read_end


def _check_state(folder: Path, state: State) -> None:
    path = folder / _STATE_FILE
    there = path.exists()
    if state is State.NEW and there:
        raise VtpmUsageError(f"{path}: a TPM is there already; start it as existing", code="state-exists")
    if state is State.EXISTING and (not there or path.stat().st_size == 0):
        raise ProcessError(
            f"{path}: the state is lost; restore it from a backup, a new TPM is not put in its place",
            code="lost-state",
        )
