"""Fixtures that every test package shares."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# No test judges a time: the machine may be busy. CI draws the same examples each time, others new ones.
settings.register_profile(
    "house",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("SHYPE_SAME_EXAMPLES")),
)
settings.load_profile("house")

REPOSITORY = Path(__file__).resolve().parent.parent
VECTORS = REPOSITORY.parent / "shared" / "vectors"


@dataclass(frozen=True, slots=True)
class Vector:
    """One file of the shared vectors with what its origin states about it (its README has the fields)."""

    path: Path
    kind: str
    verdict: str | None
    expect: dict[str, Any]
    entry: dict[str, Any]

    def read(self) -> bytes:
        return self.path.read_bytes()


def vectors(*kinds: str) -> list[Vector]:
    """All scored vectors of these kinds; empty where the vectors are not on this machine."""
    manifest = VECTORS / "manifest.jsonl"
    if not manifest.is_file():
        if os.environ.get("SHYPE_VECTORS") == "require":
            pytest.exit(f"SHYPE_VECTORS=require, but {manifest} is missing", returncode=1)
        return []
    entries = (json.loads(line) for line in manifest.read_text().splitlines())
    return [
        Vector(VECTORS / entry["path"], entry["kind"], entry.get("verdict"), entry.get("expect") or {}, entry)
        for entry in entries
        if entry["kind"] in kinds and entry.get("score")
    ]


def vector_params(*kinds: str) -> list[Any]:
    """``pytest.mark.parametrize`` values, one a vector; one skipped entry where there are none."""
    found = vectors(*kinds)
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip(reason="../shared/vectors is not here"))]
    return [pytest.param(vector, id=vector.entry["path"]) for vector in found]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder of mode 0700 with a short path, in memory where there is such a place: for a swtpm's state."""
    with memory_folder() as folder:
        yield Path(folder)


def memory_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a new folder in memory, or on a disk where nobody may write to ``/dev/shm``."""
    return tempfile.TemporaryDirectory(
        prefix="sh-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"
    )


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A private folder with a path short enough for a Unix socket (108 bytes)."""
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as folder:
        yield Path(folder)
