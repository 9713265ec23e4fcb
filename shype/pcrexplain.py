"""What ``shype pcrs explain`` says of two sides: sentences for a person, a document for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from attest.predict.explain import Change, Difference, Explanation, explain
from attest.predict.wording import MEANINGS
from shype.registers import Side
from shype.report import Exit, Json, Report

_BECAUSE: Final = 3
"""Reasons in the summary; all of them stand at their PCR."""


def report(a: Side, b: Side) -> Report:
    """Compare; exit 0 where all common registers are equal, 1 where one differs."""
    found = explain(a.registers, b.registers)
    document: dict[str, Json] = {
        "a": {"name": a.name, "origin": a.origin.value},
        "b": {"name": b.name, "origin": b.origin.value},
        "bank": found.bank,
        "equal": list(found.equal),
        "differences": [_difference(each) for each in found.differences],
        "not_compared": [{"pcr": pcr, "only": "a"} for pcr in found.only_a]
        + [{"pcr": pcr, "only": "b"} for pcr in found.only_b],
        "summary": summary(found),
    }
    return Report(Exit.REFUSED if found.differences else Exit.OK, document, "\n".join(_lines(found)))


def summary(found: Explanation) -> str:
    """Return one sentence: which PCRs change, and why."""
    if not found.differences:
        return f"nothing changes: PCR {_numbers(found.equal)} equal"
    details = list(dict.fromkeys(change.detail for each in found.differences for change in each.changes))
    more = f"; and {len(details) - _BECAUSE} more" if len(details) > _BECAUSE else ""
    pcrs = _numbers([each.pcr for each in found.differences])
    return f"this update changes PCR {pcrs} because {'; '.join(details[:_BECAUSE])}{more}"


def _difference(each: Difference) -> Json:
    return {
        "pcr": each.pcr,
        "a": each.a.hex(),
        "b": each.b.hex(),
        "changes": [_change(change) for change in each.changes],
    }


def _change(change: Change) -> Json:
    return {
        "kind": change.kind.value,
        "component": change.component,
        "a": change.a,
        "b": change.b,
        "detail": change.detail,
    }


def _lines(found: Explanation) -> Iterator[str]:
    yield summary(found)
    for each in found.differences:
        yield f"PCR {each.pcr}{_meaning(each.pcr)}:"
        for change in each.changes:
            component = f" [{change.component}]" if change.component else ""
            yield f"  {change.detail}{component}"
    if found.differences and found.equal:
        yield f"equal: PCR {_numbers(found.equal)} ({found.bank})"
    for name, pcrs in (("A", found.only_a), ("B", found.only_b)):
        if pcrs:
            yield f"not compared: PCR {_numbers(pcrs)}, only {name} has it"


def _meaning(pcr: int) -> str:
    return f" ({MEANINGS[pcr]})" if pcr in MEANINGS else ""


def _numbers(pcrs: Sequence[int]) -> str:
    """Write numbers in order, runs of three and more as ``0-7``."""
    runs: list[list[int]] = []
    for pcr in pcrs:
        if runs and pcr == runs[-1][-1] + 1:
            runs[-1].append(pcr)
        else:
            runs.append([pcr])
    parts = [
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run))  # noqa: PLR2004 - a run to shorten
        for run in runs
    ]
    *before, last = ", ".join(parts).split(", ")
    return f"{', '.join(before)} and {last}" if before else last
