"""Simple Type Enforcement on labels made by hand, such as no policy file can hold."""

from __future__ import annotations

import pytest

from acm.labels import Label
from acm.ste import decide_authorization, decide_sharing


def label(name: str, *ste: str) -> Label:
    return Label(name, ste=frozenset(ste))


def test_nobody_may_run_a_label_without_types() -> None:
    """Every set is a superset of nothing; that must not authorize."""
    assert not decide_authorization(label("dom0", "a"), label("guest")).permitted
    assert not decide_authorization(label("dom0"), label("guest")).permitted


def test_nothing_is_shared_without_types() -> None:
    assert not decide_sharing(label("one"), label("other")).permitted


@pytest.mark.parametrize(("guest", "permitted"), [("a", True), ("ab", True), ("c", False), ("abc", False)])
def test_authorization_needs_every_type(guest: str, *, permitted: bool) -> None:
    assert decide_authorization(label("dom0", "a", "b"), label("guest", *guest)).permitted is permitted


def test_a_refusal_says_what_is_held_and_what_is_missing() -> None:
    (reason,) = decide_sharing(label("one"), label("other", "a", "b")).reasons
    assert reason.detail == "'one' holds no STE type, 'other' holds STE types 'a', 'b': no STE type in common"
    (reason,) = decide_authorization(label("dom0", "a"), label("guest", "a", "c")).reasons
    assert reason.detail == "Domain-0 'dom0' may not run 'guest': it lacks STE type 'c'"
    (reason,) = decide_authorization(label("dom0", "a"), label("guest")).reasons
    assert reason.detail == "Domain-0 'dom0' may not run 'guest': it has no STE type in common with it"
