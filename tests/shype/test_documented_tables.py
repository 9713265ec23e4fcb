"""Tables of the documents that list what the code has: neither knows a row that the other does not."""

from __future__ import annotations

import re

from attest.result import Verdict
from attest.runtime_events import _TYPES
from metering.audit import CHECKS
from metering.verdict import Code, Unproved
from shype.agent.conversation import STATUS
from tests.conftest import REPOSITORY


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table whose first column is called ``heading``."""
    text = (REPOSITORY / "docs" / page).read_text()
    table = re.search(rf"^\| `?{heading}`? \|.*\n\|[- |:]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table, f"{page}: no table of '{heading}'"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_events_of_the_runtime_log() -> None:
    told = {words(kind)[0]: re.sub(r"\([^)]*\)", "", fields) for kind, fields in rows("eventlog.md", "type")}
    assert {kind: words(fields) for kind, fields in told.items()} == {
        kind: list(event.CHECKS) for kind, event in _TYPES.items()
    }


def test_refusals_of_an_agent() -> None:
    told = {}
    for codes, statuses, _ in rows("agent.md", "code"):
        told.update(zip(words(codes), map(int, statuses.split(", ")), strict=True))
    assert told == STATUS


def test_findings_of_an_audit() -> None:
    told = rows("metering.md", "code")
    exits = {Verdict.AFFIRMING: "0", Verdict.CONTRAINDICATED: "1", Verdict.NONE: "3"}
    assert {code: exit_code for code, exit_code, *_ in told} == {each: exits[each.verdict] for each in Code}
    checks = {name for *_, names in told for name in re.split(r", (?:and )?", names)}
    assert checks - {"reading itself"} == {check.name for check in CHECKS}


def test_words_for_what_an_audit_does_not_prove() -> None:
    text = (REPOSITORY / "docs" / "metering.md").read_text()
    paragraph = re.search(r"^`not_proved` is never empty\..*$", text, re.MULTILINE)
    assert paragraph
    assert {word.value for word in Unproved} <= set(words(paragraph[0]))
