"""Lints: each finds its mistake, says nothing of the policy without it, and has a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from acm.engine import Operation, Request, decide
from acm.history import History
from acm.lint import LintCode, lint
from acm.mls import Level, Range
from acm.policyfile import load
from tests.acm.policies import as_policy, grant, policies

if TYPE_CHECKING:
    from pathlib import Path

    from acm.policy import Policy

NEW = History("00" * 32, 0, frozenset())


def clean() -> dict[str, Any]:
    """A policy of two rivals, a third customer and three levels, of which nothing is to be said."""
    return {
        "format": "shype.policy/1",
        "name": "clean",
        "version": "1.0",
        "bootstrap": "dom0",
        "ste": {"types": ["a", "b", "c"]},
        "chwall": {"types": ["x", "y"], "conflict_sets": {"rivals": ["x", "y"]}},
        "mls": {"levels": ["low", "mid", "high"], "categories": ["k"], "trusted": ["dom0"]},
        "domain_labels": {
            "dom0": {
                "ste": ["a", "b", "c"],
                "mls": {"low": "low", "high": {"level": "high", "categories": ["k"]}},
            },
            "one": {"ste": ["a"], "chwall": ["x"], "mls": "mid"},
            "other": {"ste": ["b"], "chwall": ["y"], "mls": "mid"},
            "third": {"ste": ["c"], "mls": {"level": "high", "categories": ["k"]}},
        },
        "resource_labels": {"disk": {"ste": "a", "mls": "mid"}},
    }


def without_mls() -> dict[str, Any]:
    document = clean()
    del document["mls"]
    for labels in (document["domain_labels"], document["resource_labels"]):
        for label in labels.values():
            del label["mls"]
    return document


def findings(document: dict[str, Any]) -> list[tuple[str, str]]:
    found = lint(as_policy(document))
    assert all(finding.detail and "\n" not in finding.detail for finding in found)
    return [(str(finding.code), finding.subject) for finding in found]


@pytest.mark.parametrize("document", [clean(), without_mls()])
def test_a_clean_policy_has_no_findings(document: dict[str, Any]) -> None:
    assert findings(document) == []


def changed(path: str, value: object, document: dict[str, Any] | None = None) -> dict[str, Any]:
    document = document or clean()
    *way, last = path.split("/")
    node = document
    for step in way:
        node = node[step]
    node[last] = value
    return document


def spread(label: str, value: dict[str, Any], document: dict[str, Any] | None = None) -> dict[str, Any]:
    return changed(f"domain_labels/{label}", value, document)


def below(*guards: str) -> dict[str, Any]:
    """The clean policy with labels of three levels that share a type, and guards to come."""
    document = clean()
    document["mls"]["trusted"] += guards
    document["domain_labels"] |= {
        "bottom": {"ste": ["a"], "mls": "low"},
        "top": {"ste": ["a"], "mls": "high"},
    }
    return document


CASES = [
    (
        "a label with a type that Domain-0 lacks",
        changed("domain_labels/dom0/ste", ["a", "b"]),
        [("never-starts", "third"), ("type-alone", "c")],
    ),
    (
        "a label beyond Domain-0's levels",
        changed("domain_labels/dom0/mls/high", "high"),
        [("never-starts", "third")],
    ),
    (
        "a label that conflicts with Domain-0's own type",
        changed("domain_labels/dom0/chwall", ["x"]),
        [("never-starts", "other")],
    ),
    ("a type of nobody", changed("ste/types", ["a", "b", "c", "d"]), [("type-unused", "d")]),
    (
        "a wall type of nobody in no set",
        changed("chwall/types", ["x", "y", "z"]),
        [("type-unused", "z"), ("wall-type-free", "z")],
    ),
    (
        "a wall type in no set",
        spread(
            "third",
            {"ste": ["c"], "chwall": ["z"], "mls": {"level": "high", "categories": ["k"]}},
            changed("chwall/types", ["x", "y", "z"]),
        ),
        [("wall-type-free", "z")],
    ),
    (
        "a set of which one type is held",
        spread("other", {"ste": ["b"], "mls": "mid"}),
        [("type-unused", "y"), ("conflict-set-idle", "rivals")],
    ),
    (
        "a disk above everybody who holds its type",
        changed("resource_labels/vault", {"ste": "b", "mls": {"level": "mid", "categories": ["k"]}}),
        [],
    ),
    (
        "two labels that are one",
        spread("twin", {"ste": ["c"], "mls": {"level": "high", "categories": ["k"]}}),
        [("label-duplicate", "third")],
    ),
    ("rivals in one room", changed("domain_labels/other/ste", ["a", "b"]), [("rivals-share", "rivals")]),
    (
        "a service for both rivals",
        spread("dns", {"ste": ["a", "b"], "mls": "mid"}),
        [("joins-rivals", "dns")],
    ),
    (
        "a chain of services between rivals",
        spread("s2", {"ste": ["b", "c"], "mls": "mid"}, spread("s1", {"ste": ["a", "c"], "mls": "mid"})),
        [("rivals-connected", "rivals")],
    ),
    (
        "a service that only one rival can give to",
        spread("sink", {"ste": ["a", "b"], "mls": "high"}),
        [],
    ),
    (
        "a trusted label that needs no trust",
        changed("mls/trusted", ["dom0", "one"]),
        [("trusted-idle", "one")],
    ),
    (
        "a guard that brings information down",
        spread("guard", {"ste": ["a"], "mls": {"low": "low", "high": "mid"}}, below("guard")),
        [("mls-flow", "guard")],
    ),
    (
        "two guards that together bring it further down than one",
        spread(
            "g1",
            {"ste": ["a"], "mls": {"low": "low", "high": "mid"}},
            spread("g2", {"ste": ["a"], "mls": {"low": "mid", "high": "high"}}, below("g1", "g2")),
        ),
        [("mls-flow", "g2"), ("mls-flow", "g1"), ("mls-flow", "top")],
    ),
    (
        "a level and a category of nobody",
        changed("mls/categories", ["k", "m"], changed("mls/levels", ["low", "mid", "high", "top"])),
        [("level-unused", "top"), ("level-unused", "m")],
    ),
]


@pytest.mark.parametrize(
    ("document", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_each_mistake_is_found_and_nothing_else(
    document: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert findings(document) == expected


def test_a_label_that_meets_what_has_no_label_is_named_but_domain_0_is_not() -> None:
    document = without_mls()
    grant(document, {"dom0"})
    assert findings(document) == []
    grant_more = without_mls()
    grant(grant_more, {"dom0", "one"})
    assert findings(grant_more) == [("unlabeled-joined", "one")]


def test_a_resource_that_nobody_reaches() -> None:
    document = changed("domain_labels/dom0/ste", ["a", "b", "c"])
    document["ste"]["types"].append("d")
    document["resource_labels"]["lost"] = {"ste": "d", "mls": "mid"}
    assert ("resource-unreachable", "lost") in findings(document)
    apart = clean()
    apart["mls"]["trusted"] = []
    apart["domain_labels"]["dom0"]["mls"] = "low"
    apart["resource_labels"]["disk"]["mls"] = {"level": "low", "categories": ["k"]}
    codes = findings(apart)
    assert ("resource-unreachable", "disk") not in codes, "who is below may write it"


def test_a_resource_that_is_only_read_or_only_written_is_reached() -> None:
    document = clean()
    document["resource_labels"] = {
        "low": {"ste": "a", "mls": "low"},
        "high": {"ste": "a", "mls": {"level": "high", "categories": ["k"]}},
    }
    assert not [code for code, _ in findings(document) if code == "resource-unreachable"]


def test_who_only_gives_to_rivals_joins_none() -> None:
    """News from below reach both, and nothing of either comes back."""
    document = clean()
    document["domain_labels"]["news"] = {"ste": ["a", "b"], "mls": "low"}
    assert not [code for code, _ in findings(document) if code == "joins-rivals"]


def test_an_idle_conflict_set_is_found_although_labels_hold_other_types() -> None:
    document = without_mls()
    document["chwall"]["types"] += ["p", "q"]
    document["chwall"]["conflict_sets"]["idle"] = ["p", "q"]
    document["domain_labels"]["third"]["chwall"] = ["p"]
    found = [each for each in lint(as_policy(document)) if each.code == "conflict-set-idle"]
    assert [each.subject for each in found] == ["idle"]
    assert "labels hold 'p': it keeps nobody apart" in found[0].detail


def test_a_label_that_spans_levels_without_being_trusted_breaks_mls() -> None:
    """No policy file can say this; the lint does not take the loader's word for it."""
    policy = load(json.dumps(spread("guard", {"ste": ["a", "b"], "mls": "mid"})).encode())
    assert "mls-flow" not in {str(finding.code) for finding in lint(policy)}
    low, high = Level(0, "low"), Level(2, "high", frozenset({"k"}))
    labels = dict(policy.domain_labels)
    labels["guard"] = replace(labels["guard"], ste=frozenset("abc"), mls=Range(low, high))
    found = {
        finding.subject: finding.detail
        for finding in lint(replace(policy, domain_labels=labels))
        if finding.code is LintCode.MLS_FLOW
    }
    assert found["third"].endswith("though no trusted label takes part: third -> guard -> one")


@given(policies())
@settings(max_examples=30, deadline=None)
def test_never_starts_is_what_the_engine_denies_on_domain_0(policy: Policy) -> None:
    found = {finding.subject for finding in lint(policy) if finding.code is LintCode.NEVER_STARTS}
    denied = {
        name
        for name in policy.domain_labels
        if name != policy.bootstrap
        and not decide(
            policy, Request(Operation.START, name, policy.bootstrap, history=NEW, anchor=NEW.anchor)
        ).permitted
    }
    assert found == denied


@given(policies())
@settings(max_examples=30, deadline=None)
def test_in_a_loaded_policy_nothing_comes_down_but_through_trusted_labels(policy: Policy) -> None:
    for finding in lint(policy):
        if finding.code is LintCode.MLS_FLOW:
            assert "though no trusted label" not in finding.detail
            assert policy.trusted - {policy.bootstrap}


def test_the_services_of_the_data_centre_are_named(repository: Path) -> None:
    policy = load((repository / "configs/policies/datacenter.yaml").read_bytes())
    assert [(str(finding.code), finding.subject) for finding in lint(policy)] == [
        ("joins-rivals", "dns"),
        ("joins-rivals", "backup"),
    ]


def test_every_code_is_found_by_some_test() -> None:
    seen = {code for _, _, found in CASES for code, _ in found}
    assert {str(code) for code in LintCode} - seen == {"resource-unreachable", "unlabeled-joined"}
