"""A command that was run in this process, and how it ended."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from shype.main import main


@dataclass(frozen=True)
class Outcome:
    """A command that ended."""

    exit: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """What was said on standard error, which is one line."""
        assert self.err.count("\n") == 1, self.err
        return self.err

    @property
    def codes(self) -> list[str]:
        """The codes of its reasons; of an audit, those of its violations."""
        document = self.document
        return [each["code"] for each in document.get("violations", document.get("reasons"))]


Shype = Callable[..., Outcome]


def run(*words: object) -> Outcome:
    """Run ``shype WORDS``."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    return Outcome(code, out.getvalue(), err.getvalue())
