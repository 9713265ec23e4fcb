"""One scored vector, and what can come of judging it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NoReturn

ROOT: Final = Path(__file__).resolve().parents[2]
VECTORS: Final = ROOT.parent / "shared" / "vectors"


class Result(StrEnum):
    """How a vector was judged."""

    AS_STATED = "as stated"
    DIFFERS = "differs"
    OUT_OF_SCOPE = "not in scope"


class DiffersError(Exception):
    """What we say is not what the origin states."""


class OutOfScopeError(Exception):
    """Nothing in this repository judges this."""


@dataclass(frozen=True, slots=True)
class Vector:
    """A file with what its origin states about it; the README beside the manifest has the fields."""

    path: Path
    kind: str
    verdict: str
    strength: str
    expect: dict[str, Any]
    entry: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """The path as the manifest has it."""
        return str(self.entry["path"])

    @property
    def is_good(self) -> bool:
        """Whether the origin accepts the file, or reads it."""
        return self.verdict in {"accept", "parse-ok"}

    def read(self) -> bytes:
        """Return the bytes."""
        return self.path.read_bytes()

    def beside(self, name: str) -> bytes:
        """Return the bytes of a file in the same folder."""
        return self.path.with_name(name).read_bytes()

    def of_origin(self, path: str) -> bytes:
        """Return the bytes of another file of the same origin."""
        origin = VECTORS / self.path.relative_to(VECTORS).parts[0]
        return (origin / path).read_bytes()


Judge = Callable[[Vector], None]
"""Returns where the outcome is the stated one; raises DiffersError or OutOfScopeError."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one vector, with one line of reason unless it is as stated."""

    vector: Vector
    result: Result
    why: str = ""


def scored(root: Path = VECTORS) -> Iterator[Vector]:
    """Yield the vectors that count, in the order of the manifest."""
    for line in (root / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry.get("score"):
            yield Vector(
                root / entry["path"],
                entry["kind"],
                entry.get("verdict") or "",
                entry.get("strength") or "",
                entry.get("expect") or {},
                entry,
            )


def differs(why: str) -> NoReturn:
    """Say that the outcome is not the stated one."""
    raise DiffersError(why)


def expect(holds: bool, why: str) -> None:  # noqa: FBT001  # it reads like an assertion
    """Say that the outcome is not the stated one unless ``holds``."""
    if not holds:
        differs(why)


def refused(action: Callable[[], object], error: type[Exception]) -> bool:
    """Tell whether an action ends with an error of ours."""
    try:
        action()
    except error:
        return True
    return False
