"""The wheel has all that it needs: installed alone, beside its dependencies, it decides and verifies."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.discovery import PACKAGES
from tests.simulators.desk import COMMANDS, furnish

pytestmark = pytest.mark.heavy
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="the dev extra builds wheels")
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(REPOSITORY))
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-compile", "--target", str(target), str(wheel))
    return target


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def shype(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs the installed command at a desk, far from the source tree."""
    desk = furnish(tmp_path_factory.mktemp("far") / "desk")
    environment = {"PATH": os.defpath, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(installed / "bin" / "shype"), *words]
        return subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, check=False)

    return run


def test_what_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(about))
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, about.partition("/")[0]}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    configs = {
        str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "configs").rglob("*") if path.is_file()
    }
    assert {f"shype/{name}" for name in configs} <= names
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(line.split(">")[0] for line in needed) == [
        *("cryptography<51,", "h11<1,", "pyjwt<3,", "pyyaml<7,")
    ]


def test_it_runs_from_there(shype: Run, installed: Path) -> None:
    done = shype("verify", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "shype verify evidence.json" in done.stdout
    decided = shype(
        *("policy", "decide", str(installed / "shype/configs/policies/datacenter.yaml")),
        *("--op", "share", "--subject", "cola-web", "--object", "bank-web", "--json"),
    )
    assert (decided.returncode, json.loads(decided.stdout)["verdict"]) == (1, "deny")


def test_packaged_profiles_are_found(shype: Run) -> None:
    predicted = shype("pcrs", "predict", "embedded", "--root", "boot", "--json")
    assert (predicted.returncode, predicted.stderr) == (0, "")
    assert sorted(json.loads(predicted.stdout)["pcrs"]["sha256"]) == [str(pcr) for pcr in range(10)]
    unknown = shype("pcrs", "predict", "nowhere", "--root", "boot")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "packaged profiles: embedded" in unknown.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words[:2]))
def test_every_offline_command(command: object, shype: Run) -> None:
    done = shype(*command.words, "--json")  # type: ignore[attr-defined]
    assert (done.returncode, done.stderr) == (command.exit, "")  # type: ignore[attr-defined]
    json.loads(done.stdout)
