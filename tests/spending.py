"""What a test may spend: processor time of its own thread, of which a busy machine takes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail if what is inside computes for longer; waiting is free."""
    begun = time.thread_time()
    yield
    spent = time.thread_time() - begun
    assert spent < seconds, f"{spent:.1f} s of processor time, {seconds} s at most"
