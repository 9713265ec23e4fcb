"""The history behind a Chinese Wall that counts past runs: measured with the policy, and only growing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from acm.history import History, begin
from attest.result import Result, Verdict
from attest.runtime_events import HistoryInForce, PolicyLoaded
from attest.verifier import past_runs, steps
from tests.simulators.host import POLICY, Host, codes, policy_of

COUNTING = POLICY.replace(b"chwall:\n", b"chwall:\n  history: true\n")
FIRST = begin(bytes(32))
GROWN = FIRST.with_run(frozenset({"cola"}))
OTHER = FIRST.with_run(frozenset({"juice"}))
TWICE = GROWN.with_run(frozenset({"bank"}))
ANEW = begin(b"\1" * 32)
ANEW_GROWN = ANEW.with_run(frozenset({"cola"}))


def counting_host() -> Host:
    assert COUNTING != POLICY
    return Host.booted(expected_policy=COUNTING)


def forgotten(host: Host, raw: bytes = COUNTING) -> None:
    """A policy is loaded, and the history behind it is not measured."""
    policy = policy_of(raw)
    host.measure(12, PolicyLoaded(policy.name, policy.version, policy.digest, policy.root).encode())


def notes(result: Result) -> tuple[str, ...]:
    [node] = [node for node in result.root.children if node.name == "acm-policy"]
    return node.notes


def test_a_history_that_was_measured_and_grew_is_good_and_noted() -> None:
    host = counting_host()
    host.load_policy(COUNTING)
    host.measure_history(GROWN)
    host.measure_history(GROWN)
    host.measure_history(TWICE)
    result = host.verify()
    assert (result.verdict, codes(result)) == (Verdict.AFFIRMING, [])
    assert notes(result)[1:] == (f"history of past runs {FIRST.name[:16]}… number 2 SHA-256 {TWICE.digest}",)


def test_a_history_begun_anew_is_good_and_said_to_be_so() -> None:
    host = counting_host()
    host.load_policy(COUNTING)
    host.measure_history(GROWN)
    host.measure_history(ANEW)
    result = host.verify()
    assert result.verdict is Verdict.AFFIRMING
    assert f"history {ANEW.name[:16]}… was begun anew: past runs before it are forgotten" in notes(result)


def test_a_host_without_history_that_began_one_later_is_good() -> None:
    """Between the two it refused every start, so there was nothing to be measured."""
    host = counting_host()
    forgotten(host)
    host.measure_history(ANEW)
    assert host.verify().verdict is Verdict.AFFIRMING


def test_no_history_behind_a_policy_that_counts_is_not_good() -> None:
    host = counting_host()
    forgotten(host)
    result = host.verify()
    assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["history-not-measured"])


def test_the_history_of_an_earlier_policy_is_not_that_of_the_last_one() -> None:
    host = counting_host()
    host.load_policy(COUNTING)
    forgotten(host, POLICY)
    forgotten(host)
    assert codes(host.verify()) == ["history-not-measured"]


def test_a_policy_that_counts_nothing_needs_none() -> None:
    host = Host.booted()
    host.load_policy(POLICY)
    assert host.verify().verdict is Verdict.AFFIRMING


@pytest.mark.parametrize(
    "histories",
    [(GROWN, FIRST), (GROWN, OTHER), (GROWN, ANEW_GROWN), (ANEW, TWICE)],
    ids=["put back", "another of the same age", "another one, not at its beginning", "an older one again"],
)
def test_histories_that_do_not_follow_from_each_other(histories: tuple[History, ...]) -> None:
    host = counting_host()
    host.load_policy(COUNTING)
    for history in histories:
        host.measure_history(history)
    result = host.verify()
    assert (result.verdict, codes(result)) == (Verdict.CONTRAINDICATED, ["history-inconsistent"])


def test_the_digest_must_change_with_the_number() -> None:
    host = counting_host()
    host.load_policy(COUNTING)
    host.measure(12, HistoryInForce(FIRST.name, 1, FIRST.digest).encode())
    assert codes(host.verify()) == ["history-inconsistent"]


@pytest.mark.parametrize("check", [past_runs.measured, past_runs.consistent])
def test_each_check_is_needed(check: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    host = counting_host()
    forgotten(host)
    if check is past_runs.consistent:
        host.measure_history(GROWN)
        host.measure_history(FIRST)
    assert host.verify().verdict is not Verdict.AFFIRMING
    monkeypatch.setattr(steps, "ACM_POLICY", tuple(one for one in steps.ACM_POLICY if one is not check))
    assert host.verify().verdict is Verdict.AFFIRMING
