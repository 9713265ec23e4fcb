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
