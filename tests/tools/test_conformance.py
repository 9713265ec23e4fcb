"""The score on the shared vectors does not fall below what docs/conformance.md says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conftest import vectors
from tools.conformance.__main__ import PAGE
from tools.conformance.judges import JUDGES, NO_JUDGE, judge
from tools.conformance.page import Score, page, read_scores, scores
from tools.conformance.vector import VECTORS, Outcome, Result, Vector, scored

HERE = pytest.mark.skipif(not (VECTORS / "manifest.jsonl").is_file(), reason="../shared/vectors is not here")


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    vectors()  # ends the run where SHYPE_VECTORS=require and they are missing
    return [judge(vector) for vector in scored()]


@HERE
@pytest.mark.heavy
def test_no_kind_fell(outcomes: list[Outcome]) -> None:
    found, stated = scores(outcomes), read_scores(PAGE.read_text())
    fallen = {kind: (stated[kind], found.get(kind)) for kind in stated if found[kind].below(stated[kind])}
    assert not fallen
    assert stated.keys() == found.keys()


@HERE
@pytest.mark.heavy
def test_every_log_list_and_quote_is_as_its_origin_states(outcomes: list[Outcome]) -> None:
    ours = ("eventlog/", "ima/", "quote/", "credact/", "crypto/", "tlog/", "xen/")
    differ = [
        (outcome.vector.name, outcome.why)
        for outcome in outcomes
        if outcome.result is Result.DIFFERS and outcome.vector.kind.startswith(ours)
    ]
    assert not differ


@HERE
@pytest.mark.heavy
def test_every_difference_stands_in_the_page_with_its_reason(outcomes: list[Outcome]) -> None:
    written = page(outcomes)
    for outcome in outcomes:
        assert outcome.result is Result.AS_STATED or outcome.why
        assert outcome.result is not Result.DIFFERS or outcome.vector.name in written
    assert read_scores(written) == scores(outcomes)


@HERE
def test_every_kind_has_a_judge_or_a_reason() -> None:
    assert {vector.kind for vector in scored()} == JUDGES.keys() | NO_JUDGE.keys()
    assert not JUDGES.keys() & NO_JUDGE.keys()


def outcome(result: Result, strength: str = "A") -> Outcome:
    vector = Vector(PAGE, "kind/a", "accept", strength, {}, {"path": "x"})
    return Outcome(vector, result, "why")


def test_what_is_a_fall() -> None:
    good = scores([outcome(Result.AS_STATED), outcome(Result.AS_STATED, "B")])["kind/a"]
    assert good == Score(2, 2, 2, 1, 1)
    assert not good.below(good)
    for worse in (
        [outcome(Result.DIFFERS), outcome(Result.AS_STATED, "B")],
        [outcome(Result.OUT_OF_SCOPE), outcome(Result.AS_STATED, "B")],
        [outcome(Result.AS_STATED)],
        [outcome(Result.AS_STATED), outcome(Result.AS_STATED, "B"), outcome(Result.DIFFERS, "C")],
    ):
        assert scores(worse)["kind/a"].below(good)
    assert not replace(good, files=3, judged=3, as_stated=3).below(good)
