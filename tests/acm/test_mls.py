"""Multi-level security: dominance, ranges, directions, and what a refusal says."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acm.decision import Decision
from acm.engine import Operation, Request, decide
from acm.labels import Label
from acm.mls import Level, Range, decide_authorization, decide_flows, point
from acm.policyfile import load

POLICY = load(b"""\
format: shype.policy/1
name: p
version: "1.0"
bootstrap: dom0
mls:
  levels: [public, secret, top]
  categories: [crypto, nato]
  trusted: [dom0, guard]
domain_labels:
  dom0: {mls: {low: public, high: {level: top, categories: [crypto, nato]}}}
  guard: {mls: {low: public, high: secret}}
  web: {mls: public}
  office: {mls: secret}
  keys: {mls: {level: secret, categories: [crypto]}}
  allies: {mls: {level: secret, categories: [nato]}}
  war-room: {mls: {level: top, categories: [crypto, nato]}}
resource_labels:
  public-disk: {mls: public}
  secret-disk: {mls: {level: secret}}
  keys-disk: {mls: {level: secret, categories: [crypto]}}
""")

levels = st.builds(Level, st.integers(0, 3), st.just("l"), st.frozensets(st.sampled_from("abc")))


def ask(op: str, subject: str, target: str) -> Decision:
    return decide(POLICY, Request(Operation(op), subject, target))


def codes(decision: Decision) -> list[str]:
    return [str(reason.code) for reason in decision.reasons]


@given(levels, levels, levels)
def test_dominance_is_a_partial_order(one: Level, two: Level, three: Level) -> None:
    assert one.dominates(one)
    if one.dominates(two) and two.dominates(one):
        assert one == two
    if one.dominates(two) and two.dominates(three):
        assert one.dominates(three)


@given(st.lists(levels, min_size=2, max_size=6))
def test_along_any_chain_of_ordinary_labels_information_only_rises(chain: list[Level]) -> None:
    labels = [Label(str(at), mls=point(level)) for at, level in enumerate(chain)]
    steps = itertools.pairwise(labels)
    if all(decide_flows(one, two, reads=False, writes=True).permitted for one, two in steps):
        assert chain[-1].dominates(chain[0])


def test_read_down_and_write_up() -> None:
    assert codes(ask("read", "office", "vm:web")) == ["mls-read-down"]
    assert codes(ask("write", "web", "vm:office")) == ["mls-write-up"]
    assert codes(ask("read", "web", "vm:office")) == ["mls-read-up"]
    assert codes(ask("write", "office", "vm:web")) == ["mls-write-down"]


def test_sharing_needs_one_and_the_same_level() -> None:
    assert codes(ask("share", "office", "office")) == ["mls-read-down", "mls-write-up"]
    assert codes(ask("share", "office", "web")) == ["mls-write-down"]
    assert codes(ask("share", "web", "office")) == ["mls-read-up"]
    assert codes(ask("share", "keys", "allies")) == ["mls-read-up", "mls-write-down"]


def test_a_refusal_names_the_level_and_the_category_that_fail() -> None:
    (reason,) = ask("read", "web", "vm:keys").reasons
    assert "level 'public' is below 'secret'" in reason.detail
    assert "public lacks category 'crypto'" in reason.detail
    (reason,) = ask("write", "war-room", "vm:office").reasons
    assert "level 'secret' is below 'top'" in reason.detail
    assert "secret lacks categories 'crypto', 'nato'" in reason.detail


def test_a_refusal_names_no_category_that_both_sides_have() -> None:
    (reason,) = ask("write", "war-room", "vm:keys").reasons
    assert "secret {crypto} lacks category 'nato'" in reason.detail


def test_a_trusted_label_stands_between_the_levels_that_it_spans() -> None:
    for label in ("web", "office"):
        assert ask("share", "guard", label).permitted
        assert ask("share", label, "guard").permitted
    assert codes(ask("read", "guard", "vm:keys")) == ["mls-read-up"]
    assert ask("write", "guard", "vm:keys").permitted
    assert "'guard' (public to secret)" in ask("read", "guard", "vm:web").reasons[0].detail


def test_disks_have_directions() -> None:
    assert ask("resource-read", "office", "public-disk").permitted
    assert codes(ask("resource-write", "office", "public-disk")) == ["mls-write-down"]
    assert codes(ask("resource-read", "office", "keys-disk")) == ["mls-read-up"]
    assert ask("write", "office", "keys-disk").permitted
    assert ask("resource-write", "keys", "keys-disk").permitted


def test_a_host_runs_what_lies_within_the_range_of_its_domain_0() -> None:
    assert codes(ask("start", "war-room", "dom0")) == ["mls-authorized"]
    assert codes(ask("authorize", "dom0", "guard")) == ["mls-authorized"]
    assert codes(ask("start", "office", "office")) == ["mls-authorized"]
    above = ask("start", "keys", "guard")
    assert codes(above) == ["mls-not-authorized"]
    assert "secret lacks category 'crypto'" in above.reasons[0].detail
    below = ask("authorize", "office", "web")
    assert codes(below) == ["mls-not-authorized"]
    assert "level 'public' is below 'secret'" in below.reasons[0].detail
    assert codes(ask("authorize", "guard", "dom0")) == ["mls-not-authorized"]


@pytest.mark.parametrize("other", [Label("b"), Label("b", mls=point(Level(0, "public")))])
def test_a_label_without_a_level_gets_nothing(other: Label) -> None:
    """No policy file can hold such a label; if one comes another way, no rule speaks for it."""
    bare = Label("a")
    for one, two in ((bare, other), (other, bare)):
        decision = decide_flows(one, two, reads=True, writes=False)
        assert codes(decision) == ["mls-no-level"]
        assert "'a'" in decision.reasons[0].detail
        assert codes(decide_authorization(one, two)) == ["mls-no-level"]
        assert ("'b'" in decision.reasons[0].detail) is (other.mls is None)


def test_levels_and_ranges_are_written_for_people() -> None:
    high = Level(1, "secret", frozenset({"nato", "crypto"}))
    assert str(Range(Level(0, "public"), high)) == "public to secret {crypto, nato}"
    assert str(point(high)) == "secret {crypto, nato}"
