"""The bench runs: every row, with tiny sizes. No time is judged here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.bench.__main__ import line, main
from tests.bench.measure import Pair, Row, Side, Size, Work, measure
from tests.bench.works import WORKS

SIDE = {"what": str, "median_s": float, "min_s": float, "max_s": float}
ROW = {
    "name": str,
    "what": str,
    "ours": dict,
    "other": dict,
    "runs": int,
    "clock": str,
    "ratio": float,
    "spread": list,
    "aim": (float, type(None)),
    "met": (bool, type(None)),
    "facts": dict,
}
OF_KEYLIME = {"eventlog-keylime", "ima", "quote-keylime"}
"""May be left out where Keylime is not installed."""


@pytest.mark.host
@pytest.mark.tools
def test_every_row_runs_and_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "build" / "bench.json"
    assert main(["--small", "-o", str(output)]) == 0
    document = json.loads(output.read_text())
    assert document.keys() == {"schema", "date", "machine", "rows", "skipped"}
    assert document["schema"] == "shype.bench/1"
    measured = [row["name"] for row in document["rows"]]
    assert measured == [work.name for work in WORKS if work.name not in document["skipped"]]
    assert set(document["skipped"]) <= OF_KEYLIME, document["skipped"]
    assert all(reason.startswith("Keylime ") for reason in document["skipped"].values())
    for row in document["rows"]:
        _has(row, ROW)
        _has(row["ours"], SIDE)
        _has(row["other"], SIDE)
        assert row["ours"]["min_s"] <= row["ours"]["median_s"] <= row["ours"]["max_s"]
    said = capsys.readouterr().out
    assert all(work.what in said for work in WORKS)
    assert sorted(path.name for path in output.parent.iterdir()) == ["bench.json"], "folders are left"


def _has(found: dict[str, object], wanted: dict[str, object]) -> None:
    assert found.keys() == wanted.keys()
    for name, kind in wanted.items():
        assert isinstance(found[name], kind), name  # type: ignore[arg-type]  # a class, or a tuple of them


def test_unknown_rows_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nothing"])
    assert ended.value.code == 2
    assert "no row nothing" in capsys.readouterr().err


def test_turns_alternate_and_only_the_work_is_timed() -> None:
    order: list[str] = []
    cleared: list[str] = []
    pair = Pair(
        Side("ours", lambda: order.append("ours") or "a", cleared.append),
        Side("other", lambda: order.append("other")),
    )

    class Prepared:
        def __enter__(self) -> Pair:
            return pair

        def __exit__(self, *_: object) -> None:
            order.append("end")

    row = measure(Work("x", "x", lambda *_: Prepared(), None, 4), Path(), Size.FULL)  # type: ignore[arg-type, return-value]  # a stand-in
    warm_up, turns = ["ours", "other"], ["ours", "other", "other", "ours"]
    assert order == [*warm_up, *turns, *turns, "end"]
    assert cleared == ["a"] * 5
    assert len(row.ours) == len(row.other) == 4


def test_the_ratio_is_the_median_of_runs_and_an_aim_is_met_or_not() -> None:
    pair = Pair(Side("ours", lambda: None), Side("other", lambda: None), {"bytes": 12_345.0})
    row = Row(Work("x", "x", None, 5.0, 3), pair, (1.0, 2.0, 1.0), (4.0, 20.0, 5.0))  # type: ignore[arg-type]  # not prepared
    assert row.ratio == 5.0
    assert row.spread == (4.5, 7.5)
    assert row.document()["met"] is True
    assert re.search(r"1 s +5 s +5\.00 +4\.50 - 7\.50 +5\.00  yes\n +bytes: 12,345$", line(row))
    missed = Row(Work("x", "x", None, 6.0, 3), pair, row.ours, row.other)  # type: ignore[arg-type]  # not prepared
    assert missed.document()["met"] is False
