"""``python -m tests.bench``: measure every row, print the table, write build/bench.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.measure import Row, Size, Unavailable, measure
from tests.bench.works import WORKS

SCHEMA = "shype.bench/1"
BUILD = Path(__file__).resolve().parents[2] / "build"
ABOVE = 10


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for; a figure that misses its aim is shown and fails nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = [work.name for work in WORKS]
    parser.add_argument("names", nargs="*", metavar="ROW", help=f"these rows only: {', '.join(names)}")
    parser.add_argument("-o", "--output", type=Path, default=BUILD / "bench.json", metavar="FILE")
    parser.add_argument("--small", action="store_true", help="tiny sizes and two runs: tries the code")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(names):
        parser.error(f"no row {', '.join(sorted(unknown))}")
    given.output.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    print(HEADING, flush=True)
    for work in WORKS:
        if not given.names or work.name in given.names:
            # On the disk of the repository, as tmpfs makes every fsync free.
            with tempfile.TemporaryDirectory(prefix="bench-", dir=given.output.parent) as folder:
                try:
                    rows.append(measure(work, Path(folder), Size.SMALL if given.small else Size.FULL))
                except Unavailable as reason:
                    skipped[work.name] = str(reason)
                    print(f"{work.what:<52}skipped: {reason}", flush=True)
                    continue
            print(line(rows[-1]), flush=True)
    document = {"schema": SCHEMA, **about(), "rows": [row.document() for row in rows], "skipped": skipped}
    given.output.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\nwritten: {given.output}")
    return 0


HEADING = f"{'work':<52}{'ours':>11}{'other':>11}{'ratio':>9}{'middle half':>17}{'aim':>7}  met"


def line(row: Row) -> str:
    """Return a row of the table; the ratio says how many times faster we were."""
    shown = row.document()
    low, high = row.spread
    aim = "-" if row.work.aim is None else _ratio(row.work.aim)
    met = {None: "-", True: "yes", False: "no"}[shown["met"]]
    times = f"{_time(shown['ours']['median_s']):>11}{_time(shown['other']['median_s']):>11}"
    half = f"{_ratio(low)} - {_ratio(high)}"
    facts = "".join(f"\n    {name}: {value:,.0f}" for name, value in row.pair.facts.items())
    return f"{row.work.what:<52}{times}{_ratio(row.ratio):>9}{half:>17}{aim:>7}  {met}{facts}"


def _ratio(value: float) -> str:
    return f"{value:.0f}" if value >= ABOVE else f"{value:.2f}"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def about() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": {
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "load": os.getloadavg()[0],
        },
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
