"""One QEMU machine with OVMF and a swtpm: started, watched by its console, ended with all that belongs to it.

Both children die with this process (``PR_SET_PDEATHSIG``), however it ends.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.lab.errors import LabError
from tests.lab.tool import die_with_parent, run, say
from tests.recordings.record_firmware_log import end

FIRMWARE: Final = Path("/usr/share/OVMF")
CODE: Final = FIRMWARE / "OVMF_CODE_4M.fd"
VARIABLES: Final = FIRMWARE / "OVMF_VARS_4M.fd"
MEMORY: Final = 2048
NETWORK: Final = "192.0.2.0/24"
"""A network of documentation (RFC 5737): nobody has it."""
GUEST_ADDRESS: Final = "192.0.2.15"
AGENT_PORT: Final = 4433
BANKS: Final = ("sha256",)
BOOT_SECONDS: Final = 300
START_SECONDS: Final = 120
"""For swtpm and for QEMU to be there; either takes less than a second where nobody else wants the disk."""
STARTS: Final = 3
SOCKET_BYTES: Final = 107
"""The longest path of a Unix socket (unix(7)), without its final zero."""

HARDWARE: Final = (
    *("-machine", "q35,accel=tcg", "-cpu", "qemu64", "-smp", "1", "-m", str(MEMORY), "-display", "none"),
    *("-no-reboot", "-nodefaults", "-monitor", "none", "-vga", "none"),
)
"""With one processor a boot takes half a minute, with two up to two (facts/xen-lab.md, 1)."""
DEVICES: Final = (
    *("-serial", "chardev:con", "-serial", "chardev:sh", "-device", "ahci,id=ahci"),
    *("-device", "ide-hd,drive=d0,bus=ahci.0", "-device", "ide-hd,drive=d1,bus=ahci.1"),
    *("-device", "ide-hd,drive=d2,bus=ahci.2"),
    *("-tpmdev", "emulator,id=t0,chardev=ct", "-device", "tpm-tis,tpmdev=t0"),
    *("-device", "e1000,netdev=n0,mac=52:54:00:12:34:56"),
)
"""What the firmware sees, and in part measures: boot disk, dom0's disk, the host's own disk, TPM, network."""
EMPTY_DISK: Final = 1 << 20


PORT_TAKEN: Final = "Could not set up host forwarding rule"
"""What QEMU says when somebody took the port between our look at it and QEMU's start."""


class PortTakenError(LabError):
    """QEMU could not have the port that was free a moment ago."""


@dataclass(frozen=True, slots=True)
class Board:
    """The firmware's code, and the arguments of QEMU for a machine that it runs on."""

    code: Path
    hardware: tuple[str, ...]


PLAIN_BOARD: Final = Board(CODE, HARDWARE)


@dataclass(slots=True)
class Tpm:
    """The state of a software TPM that outlives the machine: a host keeps its TPM over a reboot."""

    folder: Path

    @classmethod
    def manufacture(cls, folder: Path, banks: Sequence[str] = BANKS) -> Self:
        """Make a TPM with EK and platform certificates by swtpm's own local authority.

        The authority and its keys stay in ``folder``, so that two labs share none.
        """
        state = folder / "state"
        state.mkdir(parents=True)
        ca = folder / "ca"
        ca.mkdir(mode=0o700)
        (folder / "setup.conf").write_text(
            f"create_certs_tool=/usr/bin/swtpm_localca\n"
            f"create_certs_tool_config={folder}/localca.conf\n"
            f"create_certs_tool_options={folder}/localca.options\nactive_pcr_banks = {','.join(banks)}\n"
        )
        (folder / "localca.conf").write_text(
            f"statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\n"
            f"certserial = {ca}/certserial\n"
        )
        (folder / "localca.options").write_text(
            "--platform-manufacturer Lab\n--platform-version 1\n--platform-model QEMU\n"
        )
        made = ("--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--overwrite", "--ecc")
        config = ("--pcr-banks", ",".join(banks), "--config", folder / "setup.conf")
        run("swtpm_setup", "--tpm2", "--tpmstate", state, *made, *config)
        return cls(folder)

    def anchors(self) -> tuple[Path, ...]:
        """Return the certificates of the authority that certified the EK."""
        return tuple(path for path in sorted((self.folder / "ca").glob("*cert.pem")))


class Machine:
    """A machine that runs. Use it in a ``with`` block; its end is power-off by pulling the plug.

    ``folder`` keeps console and logs, ``disks`` are never written to, ``variables`` is a template of those of
    the firmware on ``board``. ``own`` is a disk that keeps what the host writes, else that one is empty.
    ``port`` is where the agent's port is forwarded to, on the loopback address only.
    """

    def __init__(
        self,
        folder: Path,
        disks: Sequence[Path],
        tpm: Tpm,
        variables: Path = VARIABLES,
        *,
        own: Path | None = None,
        board: Board = PLAIN_BOARD,
    ) -> None:
        self.folder = folder
        self.console = folder / "console.log"
        self.started = 0.0
        self.port = 0
        self._disks = tuple(disks)
        self._tpm = tpm
        self._variables = variables
        self._own = own
        self._board = board
        self._swtpm: subprocess.Popen[bytes] | None = None
        self._qemu: subprocess.Popen[bytes] | None = None
        self._ends = contextlib.ExitStack()
        self._sockets = Path()

    def __enter__(self) -> Self:
        for number in range(1, STARTS + 1):
            try:
                self._start()
            except BaseException as error:
                self._ends.close()
                if not (isinstance(error, PortTakenError) and number < STARTS):
                    raise
                say(f"port {self.port} was taken by somebody else meanwhile: once more")
            else:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._swtpm = self._qemu = None
        self.console.unlink(missing_ok=True)
        self._sockets = Path(self._ends.enter_context(short_folder()))
        control = self._sockets / "tpm"
        self._swtpm = self._child(
            *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._tpm.folder / 'state'}"),
            *("--ctrl", f"type=unixio,path={control}", "--terminate"),
            log="swtpm.log",
        )
        self._wait(control.exists, START_SECONDS, "swtpm")
        shutil.copy(self._variables, self.folder / "vars.fd")
        self.port = free_port()
        self.started = time.monotonic()
        self._qemu = self._child("qemu-system-x86_64", *self._arguments(control), log="qemu.log")
        self._wait(self.shell_socket.exists, START_SECONDS, "qemu-system-x86_64")

    def _arguments(self, control: Path) -> list[str]:
        flash = "if=pflash,format=raw"
        forward = f"hostfwd=tcp:127.0.0.1:{self.port}-{GUEST_ADDRESS}:{AGENT_PORT}"
        console = f"path={self.console_socket},server=on,wait=off,logfile={self.console}"
        words = [
            *self._board.hardware,
            *("-chardev", f"socket,id=con,{console}", "-chardev", f"socket,id=ct,path={control}"),
            *("-chardev", f"socket,id=sh,path={self.shell_socket},server=on,wait=off"),
            *("-drive", f"{flash},readonly=on,file={self._board.code}"),
            *("-drive", f"{flash},file={self.folder}/vars.fd"),
            *("-netdev", f"user,id=n0,net={NETWORK},restrict=on,{forward}"),
        ]
        for number, disk in enumerate(self._disks):
            words += ["-drive", f"file={disk},format=raw,if=none,id=d{number},snapshot=on"]
        own = self._own
        if own is None:
            own = self.folder / "empty.img"
            with own.open("wb") as file:
                file.truncate(EMPTY_DISK)
        words += ["-drive", f"file={own},format=raw,if=none,id=d2"]
        return [*words, *DEVICES]

    @property
    def console_socket(self) -> Path:
        """The socket of the console: Xen's and, by hvc0, dom0's."""
        return self._sockets / "console"

    @property
    def shell_socket(self) -> Path:
        """The socket of the second serial line: the lab's door into dom0."""
        return self._sockets / "shell"

    def said(self) -> str:
        """Return what the console has said."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def wait_for(self, text: str, seconds: float = BOOT_SECONDS) -> float:
        """Wait until the console says ``text``; return the seconds since power-on."""

        def heard() -> bool:
            said = self.said()
            if "=== LAB FAIL" in said and "=== LAB FAIL" not in text:
                raise LabError("dom0", said.rpartition("=== LAB FAIL")[2].splitlines()[0].strip(), said)
            return text in said

        self._wait(heard, seconds, f"machine (waiting for {text!r})")
        return time.monotonic() - self.started

    def wait_for_end(self, seconds: float = BOOT_SECONDS) -> float:
        """Wait until the machine powers off by itself."""
        assert self._qemu is not None
        deadline = time.monotonic() + seconds
        while self._qemu.poll() is None:
            if time.monotonic() > deadline:
                raise LabError("machine", f"is still on after {seconds:.0f} s", self.said())
            time.sleep(0.2)
        return time.monotonic() - self.started

    def _wait(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            for child, name in ((self._qemu, "qemu"), (self._swtpm, "swtpm")):
                if child is not None and child.poll() is not None:
                    log = (self.folder / f"{name}.log").read_text(errors="replace")
                    if done():
                        return
                    kind = PortTakenError if PORT_TAKEN in log else LabError
                    raise kind(what, f"{name} ended with {child.returncode}: {log[-300:]}", self.said())
            if time.monotonic() > deadline:
                raise LabError(what, f"not within {seconds:.0f} s", self.said())
            time.sleep(0.1)

    def _child(self, *words: str, log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("wb") as out:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )
        self._ends.callback(end, child)
        return child


def short_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for Unix sockets: their paths are short, and TMPDIR may be long."""
    longest = len("/lab-12345678/console")
    fits = len(tempfile.gettempdir().encode()) + longest <= SOCKET_BYTES
    return tempfile.TemporaryDirectory(prefix="lab-", dir=None if fits else "/tmp")


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
