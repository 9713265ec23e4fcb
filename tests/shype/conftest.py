"""A host that was made once, and two runs of the demo, which several test files look at."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.schemas import validator
from tests.shype import processes
from tests.shype.outcome import Outcome, Shype, run

if TYPE_CHECKING:
    from vtpm.swtpm import Swtpm


GUEST = "cola-web"


@pytest.fixture
def shype_command() -> Shype:
    """Runs the command in this process."""
    return run


@pytest.fixture(scope="session")
def boot_files(repository: Path) -> Path:
    """Real boot files, as tools/boot-files makes them."""
    folder = Path(os.environ.get("SHYPE_BOOT") or repository / "build" / "boot")
    if not (folder / "xen.gz").is_file():
        pytest.skip(f"{folder} has no boot files: make boot-files")
    return folder


@pytest.fixture(scope="session")
def made_host(repository: Path) -> Iterator[Path]:
    """A host that was never booted; copy it."""
    from shype.host import creation

    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as folder:
        host = Path(folder) / "host"
        creation.create(host, (repository / "configs" / "hosts" / "embedded.yaml").read_bytes())
        yield host


@pytest.fixture
def machine(made_host: Path, short_tmp: Path) -> Path:
    """A host of one's own, switched off."""
    return Path(shutil.copytree(made_host, short_tmp / "host", symlinks=True))


@pytest.fixture
def swtpm(made_host: Path, short_tmp: Path) -> Iterator[Swtpm]:
    """The TPM of a machine that has just been powered on, with the EK certificate of its maker."""
    from vtpm.swtpm import State, Swtpm
    from vtpm.tpm import Tpm

    state = Path(shutil.copytree(made_host / "tpm" / "state", short_tmp / "state"))
    with Swtpm.start(state, state=State.EXISTING, keys=None) as started, Tpm(started.channel) as tpm:
        tpm.startup()
        yield started


class Operator:
    """Whoever administers hosts: runs the command in this process, with the packaged configs at hand."""

    def __init__(self, shype: Shype, configs: Path) -> None:
        self.shype = shype
        self.configs = configs
        self.policy = configs / "policies" / "datacenter.yaml"

    def config(self, guest: str) -> Path:
        return self.configs / "hosts" / f"{guest}.cfg"

    def load_policy(self, host: Path, policy: Path | None = None) -> Outcome:
        return self.shype("policy", "load", policy or self.policy, "--host", host, "--json")

    def domain(self, host: Path, *words: object) -> Outcome:
        return self.shype("domain", *words, "--host", host, "--json")

    def launch(self, host: Path, config: str | Path, *words: object) -> Outcome:
        file = self.config(config) if isinstance(config, str) else config
        return self.domain(host, "launch", file, *words)

    def status(self, host: Path) -> Any:
        outcome = self.shype("host", "status", host, "--json")
        assert outcome.exit == 0, outcome.err
        return outcome.document

    def checked(self, schema: str, outcome: Outcome) -> Any:
        """Return a document that is as its schema says."""
        validator(schema).validate(outcome.document)
        return outcome.document


@pytest.fixture
def operator(shype_command: Shype, repository: Path) -> Operator:
    return Operator(shype_command, repository / "configs")


@pytest.fixture
def booted(machine: Path, boot_files: Path) -> Iterator[processes.Booted]:
    """A host that is switched on, without a policy."""
    with processes.Booted.start(machine, boot_files) as host:
        yield host


@pytest.fixture
def serving(booted: processes.Booted, operator: Operator) -> processes.Booted:
    """A host with a policy and one guest, GUEST."""
    assert operator.load_policy(booted.folder).exit == 0
    launched = operator.launch(booted.folder, GUEST, "--tenant", "cola")
    assert launched.exit == 0, launched.err
    return booted


@pytest.fixture(scope="session")
def standing(made_host: Path, boot_files: Path, repository: Path) -> Iterator[processes.Booted]:
    """The same, one for all tests that leave a host as it was."""
    from shype.host.socket import call

    configs = repository / "configs"
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as folder:
        place = Path(shutil.copytree(made_host, Path(folder) / "host", symlinks=True))
        with processes.Booted.start(place, boot_files) as host:
            for verb, name, file in (
                ("load-policy", "policy", configs / "policies" / "datacenter.yaml"),
                ("launch", "config", configs / "hosts" / f"{GUEST}.cfg"),
            ):
                content = base64.b64encode(file.read_bytes()).decode()
                assert call(place, verb, {name: content}).exit == 0
            yield host


@dataclass(frozen=True)
class Rented:
    """A host with two domains of tenant cola, and one of somebody else whose label is its tenant."""

    booted: processes.Booted
    launched: dict[str, Any]
    """What ``shype domain launch`` said, by the domain's name."""

    @property
    def folder(self) -> Path:
        return self.booted.folder

    def words(self, name: str) -> set[str]:
        """All by which a domain could be known; its kernel and ramdisk are everybody's."""
        said = self.launched[name]
        disks = {"cola-web": "01", "cola-db": "02", "bank-web": "04"}
        return {
            *(name, said["label"], said["uuid"], said["vid"], said["config_digest"]),
            f"5b0e7c54-6f0c-4f0e-9c39-7a1f8f2c1a{disks[name]}",
        }


@pytest.fixture(scope="session")
def rented(made_host: Path, boot_files: Path, repository: Path) -> Iterator[Rented]:
    """For all tests that leave it as it was."""
    operator = Operator(run, repository / "configs")
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as folder:
        place = Path(shutil.copytree(made_host, Path(folder) / "host", symlinks=True))
        with processes.Booted.start(place, boot_files) as host:
            assert operator.load_policy(place).exit == 0
            launched = {}
            for name, words in (
                ("cola-web", ("--tenant", "cola")),
                ("bank-web", ()),
                ("cola-db", ("--tenant", "cola")),
            ):
                outcome = operator.launch(place, name, *words)
                assert outcome.exit == 0, outcome.err
                launched[name] = outcome.document
            yield Rented(host, launched)


@dataclass(frozen=True)
class Judging:
    """A process that judged, as it was seen through /proc."""

    words: tuple[str, ...]
    network: str
    environment: bytes
    place: Path
    files: frozenset[str]
    host_is_gone: bool


@dataclass
class DemoRun:
    """A run of ``shype demo --json`` in a process of its own, watched while it lasts."""

    temporary: Path
    kept: Path | None
    outcome: Outcome | None = None
    judged: dict[int, Judging] = field(default_factory=dict)

    @property
    def done(self) -> Outcome:
        assert self.outcome is not None
        return self.outcome

    def carry_out(self, boot: Path) -> None:
        command = [sys.executable, "-m", "shype.main", "demo", "--json", "--boot", str(boot)]
        command += ["--keep", str(self.kept)] if self.kept else []
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            over = threading.Event()
            watcher = threading.Thread(target=self._watch, args=(process.pid, over))
            watcher.start()
            try:
                out, err = process.communicate(timeout=240)
            finally:
                over.set()
                watcher.join()
                process.kill()
        self.outcome = Outcome(process.returncode, out, err)

    def _watch(self, demo: int, over: threading.Event) -> None:
        while not over.wait(0.02):
            for pid in processes.children(demo):
                seen = None if pid in self.judged else _judging(pid)
                if seen is not None:
                    self.judged[pid] = seen


def _judging(pid: int) -> Judging | None:
    """What a judging process looks like; None for other processes, and before it is a Python."""
    words = tuple(processes.arguments(pid))
    if words[:1] != (sys.executable,) or not {"verify", "audit"} & set(words):
        return None
    network, place = processes.link(pid, "ns/net"), Path(processes.link(pid, "cwd"))
    environment = processes.read(pid, "environ")
    try:
        files = frozenset(os.listdir(place))  # noqa: PTH208 - names, not paths
    except OSError:
        return None
    if not network or tuple(processes.arguments(pid)) != words:
        return None
    return Judging(words, network, environment, place, files, not (place.parent / "host").exists())


@dataclass(frozen=True)
class DemoRuns:
    """Two runs side by side: one that cleans up, one that keeps its folder."""

    plain: DemoRun
    keeping: DemoRun


@pytest.fixture(scope="session")
def demo_runs(boot_files: Path) -> Iterator[DemoRuns]:
    with tempfile.TemporaryDirectory(prefix="sd-", dir="/tmp") as folder:
        first, second = Path(folder, "a"), Path(folder, "b")
        first.mkdir()
        second.mkdir()
        runs = (DemoRun(first, None), DemoRun(second, second / "kept"))
        threads = [threading.Thread(target=run.carry_out, args=(boot_files,)) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield DemoRuns(*runs)
