"""The admission state: one transaction a start, whoever refuses and in whatever order they decide."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from acm import history
from acm.admission import Admission, after_run
from acm.engine import Operation
from acm.errors import LabelError, RequestError
from acm.policyfile import load

TEXT = """\
format: shype.policy/1
name: p
version: "1.0"
bootstrap: dom0
enforce: [chwall, ste, mls]
chwall:
  types: [cola, juice, tea, admin]
  history: true
  conflict_sets: {drinks: [cola, juice], hot: [juice, tea]}
ste: {types: [a, b]}
mls: {levels: [low, high], trusted: [dom0]}
domain_labels:
  dom0: {ste: [a], chwall: [admin], mls: {low: low, high: high}}
  dom0-low: {ste: [a, b], mls: low}
  cola: {ste: [a], chwall: [cola], mls: low}
  juice: {ste: [a], chwall: [juice], mls: low}
  tea: {ste: [a], chwall: [tea], mls: high}
  stranger: {ste: [b], chwall: [tea], mls: low}
  plain: {ste: [a], mls: high}
"""
LABELS = ["cola", "juice", "tea", "stranger", "plain"]
BEGUN = history.begin(bytes(32))
ORDERS = [", ".join(order) for order in permutations(["chwall", "ste", "mls"])]


def admission(domain0: str = "dom0", order: str = "chwall, ste, mls") -> Admission:
    policy = load(TEXT.replace("[chwall, ste, mls]", f"[{order}]").encode())
    return Admission(policy, domain0, (), BEGUN, BEGUN.anchor)


def test_a_start_is_in_the_running_set_and_in_the_history() -> None:
    before = admission()
    decision, after = before.admit(Operation.START, "cola")
    assert decision.permitted
    assert after.running == ("cola",)
    assert after.history is not None
    assert after.history.types == {"cola", "admin"}
    assert after.history.sequence == BEGUN.sequence + 1
    assert after.anchor == after.history.anchor
    assert before == admission()


def test_a_policy_that_counts_no_past_runs_adds_none_to_a_history_that_is_shown() -> None:
    plain = load(TEXT.replace("  history: true\n", "").encode())
    decision, after = Admission(plain, "dom0", (), BEGUN, BEGUN.anchor).admit(Operation.START, "cola")
    assert decision.permitted
    assert (after.running, after.history, after.anchor) == (("cola",), BEGUN, BEGUN.anchor)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("label", "domain0"), [("stranger", "dom0"), ("tea", "dom0-low")])
def test_a_later_refusal_leaves_nothing_of_an_earlier_permit(order: str, label: str, domain0: str) -> None:
    """The Chinese Wall permits, STE (stranger) or MLS (tea) refuses: a run that was not is not counted."""
    before = admission(domain0, order)
    decision, after = before.admit(Operation.START, label)
    assert not decision.permitted
    assert after == before
    later, _ = after.admit(Operation.START, "juice")
    assert later.permitted, "'tea' never ran, so 'juice' is free to start"


@pytest.mark.parametrize("order", ORDERS)
def test_the_first_component_that_denies_gives_the_reason(order: str) -> None:
    _, state = admission("dom0-low", order).admit(Operation.START, "juice")
    decision, _ = state.admit(Operation.START, "tea")
    first = next(name for name in order.split(", ") if name in {"chwall", "mls"})
    assert {reason.code.partition("-")[0] for reason in decision.reasons} == {first}


def test_what_has_stopped_still_excludes_and_a_second_run_changes_no_history() -> None:
    _, one = admission().admit(Operation.START, "cola")
    _, two = one.admit(Operation.START, "cola")
    assert two.running == ("cola", "cola")
    assert two.history is one.history
    stopped = two.leave("cola").leave("vm:cola")
    assert stopped.running == ()
    decision, _ = stopped.admit(Operation.START, "juice")
    assert [reason.code for reason in decision.reasons] == ["chwall-history"]


def test_without_history_what_has_stopped_excludes_nobody() -> None:
    policy = load(TEXT.replace("  history: true\n", "").encode())
    _, state = Admission(policy, "dom0").admit(Operation.START, "cola")
    assert state.history is None
    assert not state.admit(Operation.START, "juice")[0].permitted
    assert state.leave("cola").admit(Operation.START, "juice")[0].permitted


def test_wrong_use() -> None:
    state = admission()
    for code, wrong in (
        ("not-an-admission", lambda: state.admit(Operation.SHARE, "cola")),
        ("not-running", lambda: state.leave("cola")),
    ):
        with pytest.raises(RequestError) as caught:
            wrong()
        assert caught.value.code == code
    with pytest.raises(LabelError):
        state.admit(Operation.START, "nobody")
    with pytest.raises(LabelError):
        after_run(state.policy, BEGUN, "nobody", "dom0")


class Host(RuleBasedStateMachine):
    """Random starts and stops, also with put-back histories, against counters kept beside."""

    @initialize(order=st.sampled_from(ORDERS), domain0=st.sampled_from(["dom0", "dom0-low"]))
    def begin(self, order: str, domain0: str) -> None:
        self.state = admission(domain0, order)
        self.running: Counter[str] = Counter()
        self.past: set[str] = set()
        self.older = [BEGUN]

    @rule(label=st.sampled_from(LABELS), op=st.sampled_from(["start", "resume", "migrate-in"]))
    def start(self, label: str, op: str) -> None:
        before = self.state
        decision, self.state = before.admit(Operation(op), label)
        assert decision.permitted is self.expected(label)
        if not decision.permitted:
            assert self.state is before
            return
        self.running[label] += 1
        held = self.state.policy.domain(label).chwall
        self.past |= held | self.state.policy.domain(self.state.domain0).chwall
        assert self.state.history is not None
        self.older.append(self.state.history)

    @rule(label=st.sampled_from(LABELS), age=st.integers(0, 20))
    def start_by_an_old_history(self, label: str, age: int) -> None:
        shown = self.older[age % len(self.older)]
        if shown.anchor == self.state.anchor:
            return
        rolled_back = Admission(
            self.state.policy, self.state.domain0, self.state.running, shown, self.state.anchor
        )
        decision, after = rolled_back.admit(Operation.START, label)
        assert not decision.permitted
        assert after is rolled_back

    @rule(label=st.sampled_from(LABELS))
    def stop(self, label: str) -> None:
        if self.running[label]:
            self.state = self.state.leave(label)
            self.running[label] -= 1

    @invariant()
    def nothing_is_lost_or_added(self) -> None:
        assert Counter(self.state.running) == +self.running
        assert self.state.history is not None
        assert self.state.history.types == self.past
        assert self.state.anchor == self.state.history.anchor

    def expected(self, label: str) -> bool:
        rivals = {"cola": {"juice"}, "juice": {"cola", "tea"}, "tea": {"juice"}, "stranger": {"juice"}}
        low_only = self.state.domain0 == "dom0-low"
        refused = {"tea", "plain"} if low_only else {"stranger"}
        return label not in refused and not rivals.get(label, set()) & self.past


Host.TestCase.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
TestHost = Host.TestCase
