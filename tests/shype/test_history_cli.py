"""``shype host history`` and ``begin-history``: what has run is measured, and forgotten only aloud."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attest.eventlog.cel import parse_cel
from attest.evidence import Evidence
from attest.runtime_events import HistoryInForce, PolicyLoaded, decode_event
from shype.host.past_runs import HISTORY
from shype.host.socket import call
from tests.shype.processes import Booted

if TYPE_CHECKING:
    from tests.shype.conftest import Operator
    from tests.shype.outcome import Outcome

pytestmark = pytest.mark.host


@pytest.fixture
def counting(operator: Operator, tmp_path: Path) -> Path:
    """The policy of the data centre, with past runs that count."""
    text = operator.policy.read_text().replace("chwall:\n", "chwall:\n  history: true\n")
    (tmp_path / "counting.yaml").write_text(text)
    return tmp_path / "counting.yaml"


def history(operator: Operator, folder: Path, code: int = 0) -> Any:
    outcome = operator.shype("host", "history", folder, "--json")
    assert outcome.exit == code, outcome.err
    return operator.checked("host-history", outcome)


def begin(operator: Operator, folder: Path, why: str = "disk lost, ticket 4711") -> Outcome:
    return operator.shype("host", "begin-history", folder, "--why", why, "--json")


def measured(folder: Path) -> list[HistoryInForce | PolicyLoaded]:
    """Histories and policies in PCR 12, as evidence shows them."""
    document = call(folder, "attest", {"nonce": base64.b64encode(bytes(32)).decode()}).document
    assert isinstance(document, dict)
    evidence = Evidence.decode(base64.b64decode(str(document["evidence"])))
    events = parse_cel(evidence.host.runtime_log).events
    found = [decode_event(event.untrusted_data) for event in events if event.pcr == 12]
    return [each for each in found if isinstance(each, HistoryInForce | PolicyLoaded)]


def test_what_has_run_is_shown_and_measured_with_the_policy_and_before_the_run(
    booted: Booted, operator: Operator, counting: Path
) -> None:
    folder = booted.folder
    assert operator.load_policy(folder, counting).exit == 0
    first = history(operator, folder)
    assert (first["verdict"], first["counts"], first["history"]["types"]) == ("permit", True, [])
    assert operator.launch(folder, "cola-web").exit == 0
    assert operator.domain(folder, "stop", "cola-web").exit == 0
    grown = history(operator, folder)["history"]
    assert "cola" in " ".join(grown["types"]).lower()
    assert (grown["name"], grown["sequence"]) == (first["history"]["name"], 1)
    assert [type(each) for each in measured(folder)] == [HistoryInForce, PolicyLoaded, HistoryInForce]
    begun, _, last = measured(folder)
    assert begun == HistoryInForce(*(first["history"][key] for key in ("name", "sequence", "digest")))
    assert last == HistoryInForce(*(grown[key] for key in ("name", "sequence", "digest")))


def test_begun_anew_is_measured_recorded_and_lets_the_other_side_in(
    booted: Booted, operator: Operator, counting: Path
) -> None:
    folder = booted.folder
    assert operator.load_policy(folder, counting).exit == 0
    assert operator.launch(folder, "cola-web").exit == 0
    assert operator.domain(folder, "stop", "cola-web").exit == 0
    refused = operator.launch(folder, "juice-web")
    assert (refused.exit, refused.document["reasons"][0]["code"]) == (1, "chwall-history")
    before = history(operator, folder)["history"]
    outcome = begin(operator, folder)
    assert outcome.exit == 0, outcome.err
    begun = operator.checked("host-begin-history", outcome)["history"]
    assert begun["name"] != before["name"]
    assert (begun["sequence"], begun["types"]) == (0, [])
    assert measured(folder)[-1] == HistoryInForce(begun["name"], 0, begun["digest"])
    records = operator.shype("host", "audit-log", folder, "--json").document["records"]
    [record] = [each for each in records if each["action"] == "history.begin"]
    assert (record["who"], record["why"]) == ("operator", [["asked", "disk lost, ticket 4711"]])
    assert operator.launch(folder, "juice-web").exit == 0


def test_a_history_that_was_put_back_is_told_and_mended_by_beginning_anew(
    machine: Path, boot_files: Path, operator: Operator, counting: Path
) -> None:
    with Booted.start(machine, boot_files):
        assert operator.load_policy(machine, counting).exit == 0
        backup = (machine / HISTORY).read_bytes()
        assert operator.launch(machine, "cola-web").exit == 0
        assert operator.shype("host", "poweroff", machine).exit == 0
    (machine / HISTORY).write_bytes(backup)
    with Booted.start(machine, boot_files):
        assert operator.load_policy(machine, counting).exit == 0
        told = history(operator, machine, 1)
        assert (told["verdict"], [each["code"] for each in told["reasons"]]) == ("deny", ["history-stale"])
        assert [type(each) for each in measured(machine)] == [PolicyLoaded], (
            "nothing counts, nothing is measured"
        )
        assert operator.launch(machine, "bank-web").document["reasons"][0]["code"] == "history-stale"
        assert begin(operator, machine).exit == 0
        assert history(operator, machine)["reasons"] == []
        assert operator.launch(machine, "bank-web").exit == 0


def test_a_policy_that_counts_nothing_measures_no_history(serving: Booted, operator: Operator) -> None:
    told = history(operator, serving.folder)
    assert (told["verdict"], told["counts"]) == ("permit", False)
    assert [type(each) for each in measured(serving.folder)] == [PolicyLoaded]


@pytest.mark.parametrize("why", ["", "x" * 201, "two\nlines"])
def test_a_reason_must_be_given(why: str, standing: Booted, operator: Operator) -> None:
    before = history(operator, standing.folder)
    outcome = begin(operator, standing.folder, why)
    assert outcome.exit == 2
    assert "why: 1 to 200" in outcome.line
    assert history(operator, standing.folder) == before


def test_before_a_policy_is_loaded_there_is_nothing_to_show(booted: Booted, operator: Operator) -> None:
    for outcome in (operator.shype("host", "history", booted.folder), begin(operator, booted.folder)):
        assert outcome.exit == 2
        assert "no policy is loaded" in outcome.line
