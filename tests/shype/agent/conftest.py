"""A real agent before a real host, a relying party that asks it, and servers that stand in between."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from shype import tls_key
from tests.shype.processes import Booted

if TYPE_CHECKING:
    from tests.shype.outcome import Outcome, Shype

GUEST = "cola-web"
CLIENT = "auditor"
LOG_SECONDS = 60.0
"""How long a line is waited for; a busy machine takes its time."""


@dataclass
class Agent:
    """``shype host serve`` in a process of its own; its log goes to a file."""

    process: subprocess.Popen[str]
    greeting: str
    log_file: Path

    @classmethod
    def start(cls, host: Path, allow: Path, room: Path, *more: str) -> Self:
        log_file = room / f"agent-{len(list(room.iterdir()))}.log"
        command = [sys.executable, "-m", "shype.main", "host", "serve", str(host), "--listen", "127.0.0.1:0"]
        with log_file.open("a") as log:
            process = subprocess.Popen(
                [*command, "--allow", str(allow), *more], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert process.stdout is not None
        started = cls(process, process.stdout.readline(), log_file)
        if not started.greeting:
            started.end()
            raise AssertionError(f"the agent does not start: {log_file.read_text()}")
        return started

    @property
    def url(self) -> str:
        return self.greeting.split()[5].rstrip(",")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def key(self) -> bytes:
        return bytes.fromhex(self.greeting.split()[-1])

    @property
    def log(self) -> list[str]:
        return self.log_file.read_text().splitlines()

    def logged(self, word: str) -> list[str]:
        """The lines with a word; the agent writes them after it has answered, so they are waited for."""
        end = time.monotonic() + LOG_SECONDS
        while not (found := [line for line in self.log if word in line.split()]) and time.monotonic() < end:
            time.sleep(0.02)
        return found

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.communicate(timeout=20)
        finally:
            self.process.kill()
        return self.process.returncode


@dataclass
class Party:
    """A relying party: a folder with what it trusts, and its key."""

    folder: Path
    shype: Shype
    policy: Path

    @classmethod
    def furnish(cls, folder: Path, shype: Shype, configs: Path, maker: Path, reference: Path) -> Self:
        (folder / "anchors").mkdir(parents=True)
        for pem in maker.glob("*.pem"):
            shutil.copy(pem, folder / "anchors")
        shutil.copy(reference, folder / "reference.json")
        party = cls(folder, shype, configs / "policies" / "datacenter.yaml")
        party.make_key(CLIENT)
        return party

    def make_key(self, name: str) -> None:
        made = self.shype(
            *(
                "enroll",
                "client-key",
                "--name",
                name,
                "-o",
                self.key(name),
                "--certificate",
                self.listed(name),
            )
        )
        assert made.exit == 0, made.err

    def key(self, name: str = CLIENT) -> Path:
        return self.folder / f"{name}.pem"

    def listed(self, name: str = CLIENT) -> Path:
        return self.folder / f"{name}.crt"

    def arguments(
        self, url: str, *more: object, profile: str = "embedded", client: str = CLIENT
    ) -> list[object]:
        return [
            *("verify", url, "--host", "embedded", "--client", self.key(client), "--policy", self.policy),
            *("--reference", self.folder / "reference.json", "--anchors", self.folder / "anchors"),
            *("--profile", profile, "--json", *more),
        ]

    def verify(self, url: str, *more: object, profile: str = "embedded", client: str = CLIENT) -> Outcome:
        return self.shype(*self.arguments(url, *more, profile=profile, client=client))

    @property
    def record(self) -> Path:
        return self.folder / "anchors" / "enrolled" / "embedded.json"

    def status(self) -> str:
        shown = self.shype("result", "standing", self.folder / "anchors", "--json")
        return str(shown.document["standings"][0]["status"])


def codes(outcome: Outcome) -> list[str]:
    return list(dict.fromkeys(one["code"] for one in outcome.document["reasons"]))


@pytest.fixture(scope="session")
def reference(boot_files: Path, repository: Path) -> Iterator[Path]:
    """Reference values for the standing host, predicted from its boot files."""
    from shype.main import main

    hosts = repository / "configs" / "hosts"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "reference.json"
        words: list[object] = ["pcrs", "reference", "embedded", "--root", boot_files, "--images", boot_files]
        words += ["--host", hosts / "embedded.yaml", "--domain", hosts / f"{GUEST}.cfg", "-o", made]
        assert main([str(word) for word in words]) == 0
        yield made


@pytest.fixture
def party(tmp_path: Path, shype_command: Shype, repository: Path, standing: Booted, reference: Path) -> Party:
    maker = standing.folder / "certificates"
    return Party.furnish(tmp_path / "party", shype_command, repository / "configs", maker, reference)


Serve = Callable[..., Agent]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts agents, and ends them."""
    agents: list[Agent] = []

    def start(host: Path, allow: Path, *more: str) -> Agent:
        agents.append(Agent.start(host, allow, tmp_path, *more))
        return agents[-1]

    yield start
    for agent in agents:
        agent.end()
        assert not [line for line in agent.log if " defect " in line]


@pytest.fixture
def agent(serve: Serve, standing: Booted, party: Party) -> Agent:
    """An agent of the standing host that answers the party."""
    return serve(standing.folder, party.listed())


@contextmanager
def key_file(
    usage: Any, name: str = "server", born: datetime | None = None
) -> Iterator[tuple[Path, tls_key.TlsKey]]:
    """A key of one's own, in a file; its certificate is good for 30 days."""
    made = tls_key.make(name, usage, born or datetime.now(UTC), 30)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        path.touch(mode=0o600)
        path.write_bytes(made.secret)
        yield path, made
