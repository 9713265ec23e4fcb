"""Decisions and their reasons, case by case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acm.decision import Code, Decision, Verdict
from acm.engine import Operation, Request, decide
from acm.errors import AcmUsageError, LabelError, RequestError
from acm.operations import RULES
from acm.policy import Kind
from acm.policyfile import load

if TYPE_CHECKING:
    from acm.policy import Policy

HEAD = 'format: shype.policy/1\nname: p\nversion: "1.0"\nbootstrap: dom0\n'

BOTH = f"""{HEAD}
ste: {{types: [a, b, c]}}
chwall:
  types: [x, y, z, other]
  conflict_sets: {{first: [x, y], second: [y, z]}}
domain_labels:
  dom0: {{ste: [a, b, c]}}
  dom0-wall: {{ste: [a, b, c], chwall: [x]}}
  small: {{ste: [a]}}
  ax: {{ste: [a], chwall: [x]}}
  by: {{ste: [b], chwall: [y]}}
  cz: {{ste: [c], chwall: [z]}}
  axz: {{ste: [a], chwall: [x, z]}}
  free: {{ste: [a], chwall: [other]}}
  same: {{ste: [b]}}
resource_labels:
  disk: {{ste: a}}
  same: {{ste: a}}
"""

CHWALL_ONLY = f"""{HEAD}
chwall:
  types: [x, y]
  conflict_sets: {{first: [x, y]}}
domain_labels: {{dom0: {{}}, one: {{chwall: [x]}}, two: {{chwall: [y]}}}}
resource_labels: {{disk: {{}}}}
"""

NULL = (
    f"{HEAD}\nenforce: nothing\ndomain_labels: {{dom0: {{}}, one: {{}}}}\nresource_labels: {{disk: {{}}}}\n"
)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load(BOTH.encode())


def ask(policy: Policy, op: str, subject: str, target: str | None, *running: str) -> Decision:
    return decide(policy, Request(Operation(op), subject, target, running))


def codes(decision: Decision) -> list[str]:
    return [str(reason.code) for reason in decision.reasons]


@pytest.mark.parametrize("op", ["share", "read", "write"])
def test_a_shared_type_permits_and_is_named(policy: Policy, op: str) -> None:
    decision = ask(policy, op, "dom0", "by")
    assert decision.verdict is Verdict.PERMIT
    assert codes(decision) == ["ste-shared-type"]
    assert "'b'" in decision.reasons[0].detail


@pytest.mark.parametrize("op", ["share", "read", "write"])
def test_no_shared_type_denies_and_names_both_sides(policy: Policy, op: str) -> None:
    decision = ask(policy, op, "ax", "by")
    assert decision.verdict is Verdict.DENY
    assert codes(decision) == ["ste-no-shared-type"]
    assert all(word in decision.reasons[0].detail for word in ("'ax'", "'by'", "'a'", "'b'"))


def test_a_disk_is_for_those_who_hold_its_type(policy: Policy) -> None:
    assert ask(policy, "read", "small", "disk").permitted
    assert ask(policy, "write", "small", "res:disk").permitted
    assert not ask(policy, "read", "by", "disk").permitted


def test_a_start_names_the_conflict_set_both_types_and_the_running_label(policy: Policy) -> None:
    decision = ask(policy, "start", "by", "dom0", "ax", "free")
    assert codes(decision) == ["chwall-conflict"]
    assert all(word in decision.reasons[0].detail for word in ("'first'", "'x'", "'y'", "'ax'", "'by'"))


def test_every_conflict_is_named(policy: Policy) -> None:
    decision = ask(policy, "start", "by", "dom0", "ax", "cz")
    assert [reason.detail.split("'")[1] for reason in decision.reasons] == ["first", "second"]


def test_the_secondary_is_not_asked_where_the_primary_denies(policy: Policy) -> None:
    assert codes(ask(policy, "start", "by", "small", "ax")) == ["chwall-conflict"]


def test_a_start_needs_both_components(policy: Policy) -> None:
    permitted = ask(policy, "start", "ax", "dom0", "cz", "ax", "free")
    assert permitted.permitted
    assert codes(permitted) == ["chwall-clear", "ste-authorized"]
    refused = ask(policy, "start", "by", "small")
    assert codes(refused) == ["ste-not-authorized"]
    assert "'b'" in refused.reasons[0].detail


def test_the_same_label_may_run_many_times(policy: Policy) -> None:
    assert ask(policy, "start", "axz", "dom0", "axz", "axz").permitted


def test_domain_0_runs_too_and_excludes(policy: Policy) -> None:
    decision = ask(policy, "start", "by", "dom0-wall")
    assert codes(decision) == ["chwall-conflict"]
    assert "'dom0-wall'" in decision.reasons[0].detail
    assert ask(policy, "start", "cz", "dom0-wall").permitted


def test_authorization_is_a_superset_and_has_a_direction(policy: Policy) -> None:
    assert codes(ask(policy, "authorize", "dom0", "small")) == ["ste-authorized"]
    assert codes(ask(policy, "authorize", "small", "dom0")) == ["ste-not-authorized"]


def test_the_wall_has_no_say_in_sharing(policy: Policy) -> None:
    assert ask(policy, "share", "dom0-wall", "by").permitted


@pytest.mark.parametrize("op", list(Operation))
def test_unlabeled_is_confined_to_itself(policy: Policy, op: Operation) -> None:
    labelled = "vm:dom0" if Kind.DOMAIN in RULES[op].objects else "res:disk"
    assert codes(ask(policy, op, "__UNLABELED__", labelled)) == ["unlabeled-confined"]
    assert codes(ask(policy, op, "dom0", "__UNLABELED__")) == ["unlabeled-confined"]
    assert ask(policy, op, "__UNLABELED__", "__UNLABELED__").permitted


@pytest.mark.parametrize("text", [BOTH, CHWALL_ONLY, NULL])
def test_confinement_holds_whatever_the_policy_enforces(text: str) -> None:
    any_policy = load(text.encode())
    assert not ask(any_policy, "share", "dom0", "__UNLABELED__").permitted
    assert not ask(any_policy, "read", "__UNLABELED__", "disk").permitted
    assert not ask(any_policy, "start", "__UNLABELED__", "dom0").permitted
    assert ask(any_policy, "read", "__UNLABELED__", "res:__UNLABELED__").permitted
    for subject in ("dom0", "__UNLABELED__"):
        assert codes(ask(any_policy, "read", subject, "__INACCESSIBLE__")) == ["resource-inaccessible"]
        assert codes(ask(any_policy, "write", subject, "res:__INACCESSIBLE__")) == ["resource-inaccessible"]


def test_chinese_wall_alone_permits_what_it_does_not_mediate() -> None:
    alone = load(CHWALL_ONLY.encode())
    assert codes(ask(alone, "share", "one", "two")) == ["not-mediated"]
    assert codes(ask(alone, "read", "one", "disk")) == ["not-mediated"]
    assert codes(ask(alone, "authorize", "dom0", "two")) == ["not-mediated"]
    assert codes(ask(alone, "start", "one", "dom0")) == ["chwall-clear"]
    assert codes(ask(alone, "start", "one", "dom0", "two")) == ["chwall-conflict"]


@pytest.mark.parametrize("op", list(Operation))
def test_a_null_policy_permits_and_says_why(op: Operation) -> None:
    target = "vm:dom0" if Kind.DOMAIN in RULES[op].objects else "res:disk"
    decision = ask(load(NULL.encode()), op, "one", target)
    assert codes(decision) == ["not-mediated"]
    assert decision.permitted


def test_one_name_for_a_domain_and_a_resource(policy: Policy) -> None:
    with pytest.raises(LabelError, match="vm:same") as caught:
        ask(policy, "read", "small", "same")
    assert caught.value.code == "ambiguous-label"
    assert ask(policy, "read", "small", "res:same").permitted
    assert not ask(policy, "read", "small", "vm:same").permitted


def test_a_bare_name_is_clear_where_only_a_domain_can_stand(policy: Policy) -> None:
    assert ask(policy, "share", "same", "same").permitted
    assert ask(policy, "start", "same", "dom0", "same").permitted
    assert ask(policy, "share", "vm:same", "vm:dom0").permitted


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (("share", "nobody", "dom0"), "unknown-label"),
        (("share", "dom0", "nobody"), "unknown-label"),
        (("share", "", "dom0"), "unknown-label"),
        (("share", "vm:", "dom0"), "unknown-label"),
        (("share", "vm:vm:dom0", "dom0"), "unknown-label"),
        (("share", "xx:dom0", "dom0"), "unknown-label"),
        (("share", "DOM0", "dom0"), "unknown-label"),
        (("share", "dom0 ", "dom0"), "unknown-label"),
        (("share", "__NULL_LABEL__", "dom0"), "unknown-label"),
        (("read", "dom0", "vm:disk"), "unknown-label"),
        (("read", "dom0", "vm:__INACCESSIBLE__"), "unknown-label"),
        (("share", "dom0", "disk"), "wrong-kind"),
        (("share", "dom0", "res:disk"), "wrong-kind"),
        (("share", "disk", "dom0"), "wrong-kind"),
        (("share", "res:same", "dom0"), "wrong-kind"),
        (("start", "dom0", "res:same"), "wrong-kind"),
        (("share", "dom0", "res:__UNLABELED__"), "wrong-kind"),
        (("share", "dom0", "__INACCESSIBLE__"), "wrong-kind"),
        (("read", "__INACCESSIBLE__", "disk"), "wrong-kind"),
        (("start", "ax", "dom0", "disk"), "wrong-kind"),
        (("start", "ax", "dom0", "nobody"), "unknown-label"),
        (("start", "free", "dom0", "ax", "free", "by"), "running-conflict"),
        (("share", "dom0", "dom0", "by", "cz"), "running-conflict"),
        (("start", "ax", None), "object-missing"),
        (("vlan-attach", "dom0", "small"), "wrong-kind"),
        (("resource-read", "dom0", "vm:same"), "wrong-kind"),
        (("resource-write", "dom0", "nothing"), "unknown-label"),
        (("argo", "dom0", "disk"), "wrong-kind"),
        (("resume", "ax", "dom0", "by", "cz"), "running-conflict"),
    ],
)
def test_a_wrong_question_has_no_answer(policy: Policy, request_: tuple[str, ...], code: str) -> None:
    with pytest.raises(AcmUsageError) as caught:
        ask(policy, *request_)
    assert caught.value.code == code
    assert isinstance(caught.value, LabelError | RequestError)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (("share", "dom0", "disk"), "'disk' is a resource label; a domain label must stand here"),
        (("vlan-attach", "dom0", "small"), "'small' is a domain label; a resource label must stand here"),
    ],
)
def test_a_label_of_the_wrong_kind_is_told_what_it_is(
    policy: Policy, request_: tuple[str, ...], said: str
) -> None:
    with pytest.raises(LabelError) as caught:
        ask(policy, *request_)
    assert said in str(caught.value)


def test_a_decision_without_a_reason_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="reason"):
        Decision(Verdict.PERMIT, ())


def test_reason_codes_are_stable() -> None:
    assert {str(code) for code in Code} == {
        "unlabeled-confined",
        "resource-inaccessible",
        "chwall-conflict",
        "chwall-self-conflict",
        "chwall-history",
        "chwall-clear",
        "history-missing",
        "history-stale",
        "history-mismatch",
        "history-full",
        "ste-shared-type",
        "ste-no-shared-type",
        "ste-authorized",
        "ste-not-authorized",
        "mls-read-down",
        "mls-read-up",
        "mls-write-up",
        "mls-write-down",
        "mls-authorized",
        "mls-not-authorized",
        "mls-no-level",
        "not-mediated",
        "unknown-operation",
        "policy-mismatch",
        "resource-unknown",
    }
