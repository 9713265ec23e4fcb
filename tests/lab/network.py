"""Steps that need a mirror: what fails once may be a hiccup, what fails again is said."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from tests.lab.errors import LabError
from tests.lab.tool import say

TRIES: Final = 3
PAUSE: Final = 5.0
"""Seconds before the second try; before the third one it is twice that."""

Result = TypeVar("Result")


def persistent(
    what: str,
    step: Callable[[], Result],
    *,
    between: Callable[[], object] | None = None,
    pause: float = PAUSE,
) -> Result:
    """Do ``step``, up to three times; ``between`` repairs what it can before it is done again.

    Raises the last LabError of the step. A repair that fails is told, and the step is tried all the same.
    """
    for number in range(1, TRIES):
        try:
            return step()
        except LabError as error:
            say(f"{what} failed, try {number} of {TRIES}: {error}")
        time.sleep(pause * number)
        if between is not None:
            try:
                between()
            except LabError as error:
                say(f"before {what} is tried again: {error}")
    return step()
