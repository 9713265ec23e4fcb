"""Two policies compared: against every pair of labels put to the engine of both."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acm import chwall, statefile, whatif
from acm.engine import Request, decide
from acm.errors import UpdateError
from acm.labels import UNLABELED
from acm.mending import mend
from acm.operations import Operation
from acm.policy import Policy
from acm.policydiff import BESIDE, COMPARED, compare
from acm.policyfile import load
from acm.update import judge, revocation
from tests.acm.hosts import case
from tests.conftest import REPOSITORY
from tests.schemas import validator

OLD = load((REPOSITORY / "configs/policies/datacenter.yaml").read_bytes())
NEW = load((REPOSITORY / "configs/updates/datacenter-1.1.yaml").read_bytes())
STATE = (REPOSITORY / "configs/updates/state.json").read_bytes()


def says(policy: Policy, op: str, subject: str, target: str) -> bool:
    """What a policy says of a pair, labels with their prefix."""
    if op == BESIDE:
        one, other = policy.domain(subject), policy.domain(target)
        return not chwall.mutual_conflict(policy.conflict_sets, (one, other)) and not any(
            True for _ in chwall.self_conflicts(policy.conflict_sets, one)
        )
    return decide(policy, Request(Operation(op), subject, target)).permitted


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 1 << 32))
def test_the_decisions_that_change_are_those_of_the_engines(one: int, other: int) -> None:
    """No renames here, so a label is the same in both by its name."""
    left, right = case(one), case(other)
    left.document.pop("renames", None)
    right.document.pop("renames", None)
    old, new = (load(json.dumps(each.document).encode()) for each in (left, right))
    directed = bool(old.levels or new.levels)
    domains = [f"vm:{each}" for each in [*old.domain_labels, UNLABELED.name] if _in(new.domain_labels, each)]
    resources = [f"res:{each}" for each in old.resource_labels if each in new.resource_labels]
    expected = set()
    for op in (*COMPARED, BESIDE):
        objects = domains
        if op in {Operation.READ, Operation.WRITE}:
            objects = domains + resources if directed else resources
        for subject, target in product(domains, objects):
            was, now = says(old, op, subject, target), says(new, op, subject, target)
            if was != now:
                expected.add((str(op), subject[3:], target.partition(":")[2], now))
    found = compare(old, new)
    assert {(str(each.op), each.subject, each.object, each.permitted) for each in found.decisions} == expected
    assert found.permitted + found.denied == len(expected)
    assert found.permitted == sum(1 for *_, now in expected if now)


def _in(labels: object, name: str) -> bool:
    return name == UNLABELED.name or name in labels  # type: ignore[operator]


def test_a_policy_does_not_differ_from_itself() -> None:
    found = compare(OLD, OLD)
    assert (found.sections, found.decisions, found.permitted, found.denied) == ((), (), 0, 0)
    assert not any((found.domains.added, found.domains.removed, found.domains.changed))
    assert [one.code for one in found.lineage] == ["lineage-missing"]


def test_the_worked_update_is_told_label_by_label() -> None:
    found = compare(OLD, NEW)
    assert found.lineage == ()
    assert [(one.name, one.before, one.gained, one.lost) for one in found.domains.changed] == [
        ("backup", "backup", (), ("ste backup-juice",)),
        ("limo-db", "juice-db", (), ()),
        ("limo-web", "juice-web", (), ()),
    ]
    assert (found.resources.added, found.resources.removed) == ((), ("admin-vlan",))
    assert ("conflict sets", ("strangers-apart: foreign-code, juice",), ()) in found.sections
    changed = {(str(one.op), one.subject, one.object, one.permitted) for one in found.decisions}
    assert ("share", "limo-db", "backup", False) in changed
    assert ("beside", "limo-web", "batch", False) in changed


def test_the_worked_update_is_mended_by_one_stop_and_four_other_actions() -> None:
    answer = whatif.ask(OLD, NEW, statefile.decode(STATE))
    assert not answer.holds
    document = whatif.document(answer)
    validator("policy-diff").validate(document)
    assert document["verdict"] == "deny"
    assert [each["code"] for each in document["violations"]] == [
        "label-deleted",
        "chwall-conflict",
        "disk-refused",
        "channel-refused",
        "grant-refused",
    ]
    assert [each["action"] for each in document["mend"]["actions"]] == [
        *("stop", "relabel", "close", "unmap", "detach")
    ]
    assert (document["mend"]["stops"], document["mend"]["others"], document["mend"]["optimal"]) == (
        1,
        4,
        True,
    )
    assert "--stop 'batch-17'" in whatif.text(answer)


def test_the_command_carries_out_what_was_wished_for_already_too() -> None:
    judged = judge(NEW, statefile.decode(STATE))
    wished = judge(NEW, judged.live, revocation(judged))
    (line,) = [one for one in whatif.update_lines(wished, mend(wished)) if "policy load" in one]
    assert "--stop 'batch-17'" in line
    assert line.endswith("--revoke")


def test_without_a_state_nothing_is_judged() -> None:
    answer = whatif.ask(OLD, NEW, None)
    document = whatif.document(answer)
    validator("policy-diff").validate(document)
    assert answer.holds
    assert (document["verdict"], document["violations"], document["mend"]) == (None, None, None)


@pytest.mark.parametrize("change", [(b'"1.0"', b'"1.1"'), (b'"datacenter"', b'"other"')])
def test_a_state_of_another_policy_is_wrong_usage(change: tuple[bytes, bytes]) -> None:
    with pytest.raises(UpdateError) as caught:
        whatif.ask(OLD, NEW, statefile.decode(STATE.replace(*change, 1)))
    assert caught.value.code == "state-policy"


def test_a_state_tells_its_policy_by_digest_where_it_has_one() -> None:
    def state(digest: str) -> bytes:
        return STATE.replace(b'"version": "1.0"', f'"version": "1.0", "digest": "{digest}"'.encode(), 1)

    assert not whatif.ask(OLD, NEW, statefile.decode(state(OLD.digest))).holds
    with pytest.raises(UpdateError):
        whatif.ask(OLD, NEW, statefile.decode(state(NEW.digest)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_every_answer_fits_the_schema_and_has_a_text(seed: int) -> None:
    """The old policy is only there to compare with; what breaks is judged against the new one."""
    one = case(seed)
    renamed = {**one.document, "name": "old", "version": "1.0"}
    del renamed["from"]
    renamed.pop("renames", None)
    answer = whatif.ask(load(json.dumps(renamed).encode()), one.new, one.live)
    document = whatif.document(answer)
    validator("policy-diff").validate(document)
    assert (document["verdict"] == "permit") == answer.holds
    assert whatif.text(answer)
