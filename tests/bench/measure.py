"""Two sides of one piece of work, timed in turns in one run, so that a busy machine slows both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

NS = 1e9


class Clock(StrEnum):
    """What is counted: processor time of this process is steadier, and blind to other processes and disks."""

    WALL = "wall"
    PROCESSOR = "processor"

    def now(self) -> int:
        """Return the time in nanoseconds."""
        return time.perf_counter_ns() if self is Clock.WALL else time.process_time_ns()


class Unavailable(Exception):  # noqa: N818 - no error: a row is left out, and the message says why
    """The other side cannot be had here."""


class Size(StrEnum):
    """How much work is prepared."""

    FULL = "full"
    SMALL = "small"
    """Tiny: tries the code, measures nothing."""


@dataclass(frozen=True, slots=True)
class Side:
    """One way to do the work; ``after`` clears up what it returned, untimed.

    A side that lives in another process can time itself: then ``run`` returns seconds by ``Clock``.
    A run that does the work ``count`` times counts as one: its time is divided.
    """

    what: str
    run: Callable[[], Any]
    after: Callable[[Any], object] | None = None
    times_itself: bool = False
    count: int = 1

    def seconds(self, clock: Clock) -> float:
        """Run once and return how long the work took."""
        gc.collect()
        gc.disable()
        try:
            begun = clock.now()
            result = self.run()
            ended = clock.now()
        finally:
            gc.enable()
        if self.after is not None:
            self.after(result)
        if self.times_itself:
            return float(result[clock]) / self.count
        return (ended - begun) / NS / self.count


@dataclass(frozen=True, slots=True)
class Pair:
    """Ours and the other side's, ready to run; ``facts`` are figures that are no times of the two."""

    ours: Side
    other: Side
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """A row of the table; ``aim`` is how many times faster we are to be (1/2: at most twice as slow).

    ``prepare`` takes a folder of its own and the size.
    """

    name: str
    what: str
    prepare: Callable[[Path, Size], AbstractContextManager[Pair]]
    aim: float | None
    runs: int
    clock: Clock = Clock.WALL


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured: seconds of each run of both sides, in the order of the runs."""

    work: Work
    pair: Pair
    ours: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """How many times faster we were, run by run."""
        return [other / ours for ours, other in zip(self.ours, self.other, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of that."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """Between which ratios the middle half of the runs lay."""
        if len(self.ratios) == 1:
            return self.ratios[0], self.ratios[0]
        low, _, high = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return low, high

    def document(self) -> dict[str, Any]:
        """Return the row for the JSON file."""
        return {
            "name": self.work.name,
            "what": self.work.what,
            "ours": _side(self.pair.ours, self.ours),
            "other": _side(self.pair.other, self.other),
            "runs": len(self.ours),
            "clock": str(self.work.clock),
            "ratio": self.ratio,
            "spread": list(self.spread),
            "aim": self.work.aim,
            "met": None if self.work.aim is None else self.ratio >= self.work.aim,
            "facts": dict(self.pair.facts),
        }


def _side(side: Side, seconds: tuple[float, ...]) -> dict[str, Any]:
    return {
        "what": side.what,
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
    }


def measure(work: Work, folder: Path, size: Size) -> Row:
    """Warm both sides up, then run them in turns; who goes first changes from run to run."""
    with work.prepare(folder, size) as pair:
        for side in (pair.ours, pair.other):
            side.seconds(work.clock)
        turns = list(_turns(pair, 2 if size is Size.SMALL else work.runs, work.clock))
    return Row(work, pair, tuple(ours for ours, _ in turns), tuple(other for _, other in turns))


def _turns(pair: Pair, runs: int, clock: Clock) -> Iterator[tuple[float, float]]:
    for run in range(runs):
        if run % 2:
            other = pair.other.seconds(clock)
            yield pair.ours.seconds(clock), other
        else:
            ours = pair.ours.seconds(clock)
            yield ours, pair.other.seconds(clock)
