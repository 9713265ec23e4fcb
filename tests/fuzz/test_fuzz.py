"""Fuzz targets: seeds are accepted, what was found stays mended, and a short run finds nothing new."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tests.fuzz.__main__ import NAMES, fuzz
from tests.fuzz.targets import TARGETS, eat
from tests.spending import at_most

SECONDS = int(os.environ.get("SHYPE_FUZZ_SECONDS", "0")) or max(2, 20 // len(NAMES))
"""For each target: 20 s in all, or as many for each as the environment says. CI gives each 20 s (.ci/run)."""
KEPT = sorted(path for path in (Path(__file__).parent / "found").glob("*.bin"))
SLOW = 1.0


def test_the_list_of_names_is_that_of_the_targets() -> None:
    assert tuple(TARGETS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_good(name: str) -> None:
    for seed in TARGETS[name].seeds():
        TARGETS[name].eat(seed)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_what_was_found_stays_mended(path: Path) -> None:
    raw = path.read_bytes()
    with at_most(SLOW):
        eat(path.name.partition("-")[0], raw)


@pytest.mark.heavy
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_a_short_run(name: str, tmp_path: Path) -> None:
    passed, words = fuzz(name, SECONDS, tmp_path)
    assert passed, words


@pytest.mark.heavy
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_a_defect_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A harness that cannot fail proves nothing."""
    hook = tmp_path / "sitecustomize.py"
    hook.write_text(
        "import struct\n"
        "def broken(self, raw, at=0):\n    raise RuntimeError('broken on purpose')\n"
        "import attest.eventlog.tcg as tcg\n"
        "tcg.parse_records = broken\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    passed, words = fuzz("log", 5, tmp_path)
    assert not passed
    assert "broken" in words or "TypeError" in words
