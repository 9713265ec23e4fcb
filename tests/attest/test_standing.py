"""How a host stands: failures stay, good ones get old, silence is neither (facts/attest.md 3.2, 75, 76)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.errors import AttestUsageError
from attest.result import Verdict
from attest.standing import MAX_CODES, Standing, StandingError, Status
from tests.schemas import validator

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
LIFE = timedelta(minutes=5)
NEW = Standing("xen1.example")


def judged(before: Standing, verdict: Verdict, now: datetime = NOW, *codes: str) -> Standing:
    good = verdict is Verdict.AFFIRMING
    return before.asked(now).judged(verdict, codes or ("code",), good=good, now=now, lifetime=LIFE)


GOOD = judged(NEW, Verdict.AFFIRMING)


def test_a_host_that_was_never_asked_is_unknown() -> None:
    assert NEW.status(NOW) is Status.UNKNOWN


def test_row_75_a_good_verdict_expires_by_itself() -> None:
    """The verifier may be dead by then: nobody has to do anything for it."""
    assert GOOD.status(NOW) is Status.GOOD
    assert GOOD.status(NOW + LIFE - timedelta(seconds=1)) is Status.GOOD
    assert GOOD.status(NOW + LIFE) is Status.STALE
    assert GOOD.status(NOW - timedelta(seconds=1)) is Status.STALE, "a clock that was set back"


@pytest.mark.parametrize("verdict", [Verdict.CONTRAINDICATED, Verdict.NONE])
def test_row_76_a_failure_outlives_silence_and_good_answers(verdict: Verdict) -> None:
    failed = judged(GOOD, verdict, NOW, "domain-stopped")
    quiet = failed.asked(NOW + LIFE).asked(NOW + 2 * LIFE)
    again = judged(quiet, Verdict.AFFIRMING, NOW + 3 * LIFE)
    for each in (failed, quiet, again):
        assert each.status(NOW + 3 * LIFE) is Status.FAILED
        assert (each.failed_at, each.failures) == (NOW, ("domain-stopped",))


def test_a_second_failure_adds_its_reasons_once() -> None:
    failed = judged(judged(NEW, Verdict.NONE, NOW, "a", "b"), Verdict.NONE, NOW + LIFE, "b", "c")
    assert (failed.failed_at, failed.failures) == (NOW, ("a", "b", "c"))


def test_reasons_are_bounded() -> None:
    failed = judged(NEW, Verdict.NONE, NOW, *(f"code-{number}" for number in range(1000)))
    assert len(failed.failures) == MAX_CODES


def test_a_question_without_a_judgement_is_silence() -> None:
    quiet = GOOD.asked(NOW + timedelta(seconds=10)).asked(NOW + timedelta(seconds=20))
    assert quiet.status(NOW + timedelta(seconds=30)) is Status.SILENT
    assert quiet.asked_at == NOW + timedelta(seconds=10), "since the first one"


@pytest.mark.parametrize(
    ("verdict", "good", "status"),
    [
        (Verdict.AFFIRMING, True, Status.GOOD),
        (Verdict.WARNING, True, Status.GOOD),
        (Verdict.WARNING, False, Status.UNKNOWN),
        (Verdict.INCONCLUSIVE, False, Status.UNKNOWN),
        (Verdict.CONTRAINDICATED, False, Status.FAILED),
        (Verdict.NONE, False, Status.FAILED),
    ],
)
def test_what_a_verdict_means(verdict: Verdict, good: bool, status: Status) -> None:  # noqa: FBT001
    after = NEW.asked(NOW).judged(verdict, ("code",), good=good, now=NOW, lifetime=LIFE)
    assert after.status(NOW) is status


class TestClearing:
    FAILED = judged(GOOD, Verdict.NONE)

    def test_takes_the_failure_and_leaves_no_good_verdict(self) -> None:
        cleared = self.FAILED.cleared("planned update", NOW + LIFE)
        assert cleared.status(NOW + LIFE) is Status.UNKNOWN
        assert (cleared.cleared_at, cleared.cleared_why) == (NOW + LIFE, "planned update")
        assert judged(cleared, Verdict.AFFIRMING, NOW + LIFE).status(NOW + LIFE) is Status.GOOD
        assert judged(cleared, Verdict.NONE, NOW + LIFE).status(NOW + LIFE) is Status.FAILED

    @pytest.mark.parametrize("why", ["", "  ", "two\nlines", "x" * 401])
    def test_needs_a_reason(self, why: str) -> None:
        with pytest.raises(AttestUsageError, match="why"):
            self.FAILED.cleared(why, NOW)

    def test_needs_a_failure(self) -> None:
        with pytest.raises(AttestUsageError, match="no failure stands"):
            GOOD.cleared("why", NOW)


VERDICTS = st.lists(st.tuples(st.sampled_from(["ask", *Verdict]), st.integers(0, 900)), max_size=8)


@given(happenings=VERDICTS)
def test_whatever_happens_nothing_but_a_person_ends_a_failure(happenings: list[tuple[str, int]]) -> None:
    standing, now, failed = NEW, NOW, False
    for what, seconds in happenings:
        now += timedelta(seconds=seconds)
        if what == "ask":
            standing = standing.asked(now)
        else:
            standing = judged(standing, Verdict(what), now)
            failed |= what in {Verdict.NONE, Verdict.CONTRAINDICATED}
        assert Standing.decode(standing.encode()) == standing
        assert (standing.status(now) is Status.FAILED) is failed
        assert standing.status(now + timedelta(days=1)) is not Status.GOOD


class TestRecord:
    @pytest.mark.parametrize("standing", [NEW, GOOD, TestClearing.FAILED, NEW.asked(NOW)])
    def test_round_trip_by_its_schema(self, standing: Standing) -> None:
        import json

        assert Standing.decode(standing.encode()) == standing
        validator("standing").validate(json.loads(standing.encode()))

    def test_every_status_is_there(self) -> None:
        states = (NEW, GOOD, TestClearing.FAILED, GOOD.asked(NOW))
        assert {each.status(at) for each, at in product(states, (NOW, NOW + LIFE))} == set(Status)

    @pytest.mark.parametrize(
        "broken",
        [
            replace(TestClearing.FAILED, failures=()),
            replace(GOOD, failures=("code",)),
            replace(TestClearing.FAILED, good=True),
            replace(NEW, good=True),
            replace(GOOD, judged_at=None),
        ],
    )
    def test_contradictions(self, broken: Standing) -> None:
        with pytest.raises(StandingError):
            Standing.decode(broken.encode())

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b'"affirming"', b'"fine"'),
            (b'"good": true', b'"good": 1'),
            (b'"failures": []', b'"failures": "x"'),
            (b'"host": "xen1.example"', b'"host": "../xen1"'),
            (b"2026-11-27T12:00:00Z", b"yesterday"),
            (b"shype.standing/1", b"shype.standing/2"),
        ],
    )
    def test_broken_fields(self, old: bytes, new: bytes) -> None:
        raw = GOOD.encode()
        assert old in raw
        with pytest.raises(StandingError):
            Standing.decode(raw.replace(old, new))
