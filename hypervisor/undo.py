"""Steps that are taken back in reverse order when a later one fails."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Undo:
    """A stack of ways back. Running it takes every step, also when one of them fails."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], object]]] = []

    def push(self, name: str, step: Callable[[], object]) -> None:
        """Add the way back from what has just been done."""
        self._steps.append((name, step))

    def run(self) -> tuple[tuple[str, Exception], ...]:
        """Go all the way back; returns which steps failed, and how."""
        failed = []
        while self._steps:
            name, step = self._steps.pop()
            try:
                step()
            except Exception as error:  # noqa: BLE001 - whatever fails, the steps below must still be taken back
                failed.append((name, error))
        return tuple(failed)

    @contextmanager
    def on_failure(self) -> Iterator[None]:
        """Go all the way back if the block raises; notes on the error tell of steps that failed."""
        try:
            yield
        except BaseException as error:
            for name, failure in self.run():
                error.add_note(f"could not take back: {name}: {failure}")
            raise
