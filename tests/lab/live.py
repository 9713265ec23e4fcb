"""A host of the lab that is up: what is done in its dom0, and how a verifier outside judges it."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.lab import bootdisk
from tests.lab.errors import LabError
from tests.lab.machine import PLAIN_BOARD, VARIABLES, Board, Machine, Tpm
from tests.lab.parts import CONFIGS, SHYPE, Parts
from tests.lab.shell import Answer, Shell
from tests.lab.tool import say
from tests.lab.variants import PCRS, Reference

NAME: Final = "lab"
HOST: Final = "/run/shype/host"
POLICY: Final = CONFIGS / "policies" / "datacenter.yaml"
PROFILE: Final = CONFIGS / "lab" / "appraisal.yaml"
CONNECT_SECONDS: Final = 120
VERIFY_SECONDS: Final = 180
END_SECONDS: Final = 60
ALTERED_FROM: Final = 4096
"""Bytes: the handshake passes, so that it is the answer which is altered."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What ``shype verify`` answered: exit code, verdict, reasons by node, and all of it as text."""

    exit: int
    verdict: str
    reasons: Mapping[str, frozenset[str]]
    details: str

    @property
    def codes(self) -> frozenset[str]:
        """All reason codes."""
        return frozenset[str]().union(*self.reasons.values())


@dataclass(slots=True)
class Timings:
    """Seconds from power-on until dom0 answers and until the agent does, and how long each guest took."""

    dom0: float = 0.0
    agent: float = 0.0
    guests: dict[str, float] = field(default_factory=dict)


class LiveHost:
    """A host that is up, with a verifier's desk of its own."""

    def __init__(self, machine: Machine, shell: Shell, desk: Path, parts: Parts, tpm: Tpm) -> None:
        self.machine = machine
        self.shell = shell
        self.timings = Timings()
        self._desk = desk
        self._parts = parts
        anchors = desk / "anchors"
        anchors.mkdir(parents=True, exist_ok=True)
        for certificate in tpm.anchors():
            shutil.copy(certificate, anchors / certificate.name)

    def registers(self) -> dict[int, str]:
        """Return the host TPM's SHA-256 registers as ``tpm2_pcrread`` reads them in dom0."""
        said = self.shell.check("tpm2_pcrread -T device:/dev/tpmrm0 sha256")
        return {int(n): value.lower() for n, value in re.findall(r"(\d+)\s*: 0x([0-9A-F]{64})", said)}

    def shype(self, *words: str) -> Answer:
        """Run our command in dom0."""
        return self.shell.run("shype " + " ".join(words))

    def document(self, *words: str) -> Any:
        """Run a command of ours that must succeed in dom0; return its JSON document."""
        return json.loads(self.shell.check("shype " + " ".join((*words, "--json")) + " 2>/dev/null"))

    def launch(self, config: str) -> Answer:
        """Launch a guest by its config of ``configs/lab``; the time that it took is kept."""
        began = time.monotonic()
        answer = self.shype("domain", "launch", f"/etc/shype/lab/{config}", "--host", HOST)
        if answer.code == 0:
            self.timings.guests[config] = time.monotonic() - began
        return answer

    def evidence(self, nonce: bytes) -> bytes:
        """Return evidence as a file, by the operator's own command in dom0."""
        self.shell.check(f"shype attest --host {HOST} --nonce {nonce.hex()} -o /tmp/evidence.json")
        return base64.b64decode(self.shell.check("base64 /tmp/evidence.json"))

    def verify(
        self,
        reference: Reference,
        *extra: str | Path,
        profile: str | Path = PROFILE,
        policy: Path = POLICY,
        port: int | None = None,
        tenant: bool = False,
    ) -> Judgement:
        """Judge the host from outside over HTTPS, enrolling it at first sight.

        Each time by a desk that remembers no earlier failure, since one would stand. ``tenant`` asks as the
        one of the guest g1.
        """
        enrolled = self._desk / "anchors" / "enrolled" / f"{NAME}.json"
        words: list[str | Path] = [
            *("verify", f"https://127.0.0.1:{port or self.machine.port}", "--host", NAME),
            *(
                "--client",
                self._parts.tenant if tenant else self._parts.client,
                "--policy",
                policy,
                "--anchors",
                self._desk / "anchors",
            ),
            *("--state", tempfile.mkdtemp(dir=self._desk, prefix="standing-")),
            *(() if enrolled.is_file() else ("--enroll",)),
        ]
        return self.judge(words, reference, profile, extra)

    def verify_file(
        self, evidence: Path, nonce: bytes, reference: Reference, *extra: str | Path
    ) -> Judgement:
        """Judge evidence that lies in a file."""
        words: list[str | Path] = ["verify", evidence, "--nonce", nonce.hex(), "--policy", POLICY]
        return self.judge([*words, "--anchors", self._desk / "anchors"], reference, PROFILE, extra)

    @staticmethod
    def judge(
        words: Sequence[str | Path], reference: Reference, profile: str | Path, extra: Sequence[str | Path]
    ) -> Judgement:
        """Run ``shype verify`` and read its answer."""
        done = subprocess.run(
            [SHYPE, *words, "--reference", reference.path, "--profile", profile, *extra, "--json"],
            capture_output=True,
            text=True,
            timeout=VERIFY_SECONDS,
            check=False,
        )
        try:
            document = json.loads(done.stdout)
        except ValueError:
            raise LabError("verify", f"no JSON document, exit code {done.returncode}", done.stderr) from None
        reasons: dict[str, frozenset[str]] = {}
        _collect(document["tree"], reasons)
        return Judgement(done.returncode, document.get("verdict", "none"), reasons, done.stdout + done.stderr)


def _collect(node: Mapping[str, Any], found: dict[str, frozenset[str]]) -> None:
    codes = frozenset(one["code"] for one in node.get("reasons", ()))
    found[node.get("name", "")] = found.get(node.get("name", ""), frozenset()) | codes
    for child in node.get("children", ()):
        _collect(child, found)


@contextlib.contextmanager
def booted(
    folder: Path,
    boot: Path,
    parts: Parts,
    tpm: Tpm,
    desk: Path,
    *,
    variables: Path = VARIABLES,
    own: Path | None = None,
    board: Board = PLAIN_BOARD,
) -> Iterator[LiveHost]:
    """Boot a host from a boot folder and wait until its dom0 answers; at the end dom0 powers off.

    ``own`` is a disk that keeps the host's folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image = bootdisk.make(boot, folder / "boot.img")
    disks = (image, parts.userland.disk)
    with Machine(folder / "machine", disks, tpm, variables, own=own, board=board) as machine:
        machine.wait_for("=== LAB READY")
        with Shell(machine.shell_socket, machine.said) as shell:
            host = LiveHost(machine, shell, desk, parts, tpm)
            host.timings.dom0 = time.monotonic() - machine.started
            say(f"{folder.name}: dom0 answers {host.timings.dom0:.1f} s after power-on")
            try:
                yield host
            finally:
                # Pulling the plug would set the TPM's clock back, and the next boot would not be believed.
                shell.tell("poweroff -f")
                machine.wait_for_end(END_SECONDS)


def wait_for_agent(host: LiveHost) -> float:
    """Wait until the agent takes connections; return the seconds since power-on."""
    host.machine.wait_for("=== LAB HOST", CONNECT_SECONDS)
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        listening = host.shell.run("ss -Htln 2>/dev/null || netstat -tln")
        if ":4433" in listening.output:
            break
        if time.monotonic() > deadline:
            started = host.shell.run("cat /run/start.log").output
            raise LabError("agent", f"does not listen within {CONNECT_SECONDS} s", started)
        time.sleep(0.5)
    host.timings.agent = time.monotonic() - host.machine.started
    say(f"the agent listens {host.timings.agent:.1f} s after power-on")
    return host.timings.agent


def table(predicted: Mapping[int, str], read: Mapping[int, str]) -> str:
    """Return predicted and read registers side by side."""
    rows = [
        f"PCR {pcr}  {predicted[pcr]}  {read[pcr]}  {'equal' if predicted[pcr] == read[pcr] else 'DIFFERS'}"
        for pcr in PCRS
    ]
    return "\n".join(rows)


@contextlib.contextmanager
def altering(port: int) -> Iterator[int]:
    """Pass connections on to ``port`` and flip one bit of what the host answers; yields the port to use."""
    server = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, *, flip: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if flip and passed + len(data) > ALTERED_FROM:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                passed += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    open_ends = contextlib.ExitStack()
    pumps: list[threading.Thread] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = server.accept()
                far = socket.create_connection(("127.0.0.1", port))
                for end in (near, far):
                    open_ends.enter_context(end)
                for args, flip in (((near, far), False), ((far, near), True)):
                    pumps.append(threading.Thread(target=pump, args=args, kwargs={"flip": flip}))
                    pumps[-1].start()

    acceptor = threading.Thread(target=serve)
    acceptor.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        acceptor.join()
        for pumping in pumps:
            pumping.join(END_SECONDS)
        open_ends.close()
