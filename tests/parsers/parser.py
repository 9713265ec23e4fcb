"""What a parser is to the tests: its name, how bytes are given to it, and good bytes to begin with."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.simulators import desk


@dataclass(frozen=True, slots=True)
class Parser:
    """``name`` is ``module:qualified.name``, ``seeds`` returns good input, ``call`` gives it bytes.

    ``argument`` says which of several arguments from outside is fed; ``files`` that OSError may be raised.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    call: Callable[[bytes], object]
    argument: str = ""
    files: bool = False

    @property
    def id(self) -> str:
        """What a test is called by."""
        return f"{self.name}-{self.argument}" if self.argument else self.name


@cache
def folder() -> Path:
    """A desk (tests/simulators/desk.py) that lives as long as the process."""
    made = Path(tempfile.mkdtemp(prefix="sh-", dir="/tmp"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return desk.furnish(made / "desk")


@cache
def good(name: str) -> bytes:
    """The bytes of a file on the desk."""
    return (folder() / name).read_bytes()


@contextmanager
def replaced(name: str, raw: bytes) -> Iterator[Path]:
    """The desk with other bytes in one of its files."""
    kept = good(name)
    path = folder() / name
    path.write_bytes(raw)
    try:
        yield folder()
    finally:
        path.write_bytes(kept)


@contextmanager
def copied(name: str, raw: bytes) -> Iterator[Path]:
    """A copy of the folder of one of the desk's files, with other bytes in it; for what writes there."""
    with replaced(name, raw), tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as room:
        source = folder() / Path(name).parent
        yield Path(shutil.copytree(source, Path(room) / source.name))


def chunks(raw: bytes, size: int = 32) -> list[bytes]:
    """Cut bytes into digests, the last one perhaps too short."""
    return [raw[at : at + size] for at in range(0, len(raw), size)]
