"""The agent's log: one line a request, ``TIME PEER CLIENT WHAT OUTCOME MILLISECONDS`` (``-`` for unknown).

No word in it comes from the network but the peer's address: clients are called as on the allow list, and what
was asked is one of a few words. No nonce, credential, secret or evidence is ever in it. Strangers cannot fill
it: of connections refused before a client is known so many a minute have a line, the others are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TextIO

STRANGERS: Final = 20
"""Lines a minute."""
_MINUTE: Final = 60.0


@dataclass(slots=True)
class Journal:
    """Writes to ``out``; ``clock`` gives seconds since 1970."""

    out: TextIO
    clock: Callable[[], float] = time.time
    _minute: float = field(default=0.0, init=False)
    _lines: int = field(default=0, init=False)
    _untold: int = field(default=0, init=False)

    def request(self, peer: str, client: str, what: str, outcome: str, milliseconds: int) -> None:
        """Log one request of a client that is on the list."""
        self._write(f"{peer} {client} {what} {outcome} {milliseconds}ms")

    def stranger(self, peer: str, why: str) -> None:
        """Log, or count, a connection that ended before a client was known."""
        now = self.clock()
        if not 0 <= now - self._minute < _MINUTE:
            self.tell_untold()
            self._minute, self._lines = now, 0
        if self._lines == STRANGERS:
            self._untold += 1
            return
        self._lines += 1
        self._write(f"{peer} - connect {why}")

    def defect(self, error: BaseException) -> None:
        """Log what should not happen: an error of ours, by its kind alone."""
        self._write(f"- - defect {type(error).__name__}")

    def tell_untold(self) -> None:
        """Say how many were only counted."""
        if self._untold:
            self._write(f"- - connect {self._untold} more were refused and have no line")
        self._untold = 0

    def _write(self, line: str) -> None:
        now = datetime.fromtimestamp(self.clock(), UTC)
        print(f"{now:%Y-%m-%dT%H:%M:%SZ} {line}", file=self.out, flush=True)
