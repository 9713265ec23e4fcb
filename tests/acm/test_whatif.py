"""What an update would do, told to a person and as a document: the same, and nothing that is not so."""

from __future__ import annotations

from typing import Any

from acm import whatif
from acm.livestate import Channel, LiveDomain, LiveResource, LiveState, PolicyReference, ResourceKind
from acm.mending import IMPOSSIBLE
from acm.policy import Policy
from acm.policyfile import load
from tests.schemas import validator

OLD = load(b"""\
format: shype.policy/1
name: p
version: "1.0"
bootstrap: dom0
ste: {types: [a, b]}
domain_labels: {dom0: {ste: [a, b]}, one: {ste: [a]}, two: {ste: [a]}}
resource_labels: {disk: {ste: a}}
""")
LIVE = LiveState(
    policy=PolicyReference("p", "1.0"),
    domains=(
        LiveDomain(0, "Domain-0", "dom0"),
        LiveDomain(1, "first", "one"),
        LiveDomain(2, "second", "two"),
    ),
    resources=(LiveResource(ResourceKind.DISK, "uuid:disk", "disk"),),
    channels=(Channel(1, 3, 2, 4),),
)
FROM = 'from: {name: p, version: "1.0"}\n'


def new(
    domains: str, *, resources: str = "disk: {ste: a}", more: str = FROM, bootstrap: str = "dom0"
) -> Policy:
    text = f'format: shype.policy/1\nname: p\nversion: "1.1"\n{more}bootstrap: {bootstrap}\n'
    text += "ste: {types: [a, b]}\n"
    labels = f"domain_labels: {{{domains}}}\nresource_labels: {{{resources}}}\n"
    return load((text + labels).encode())


def told(policy: Policy) -> tuple[list[str], dict[str, Any]]:
    answer = whatif.ask(OLD, policy, LIVE)
    document = whatif.document(answer)
    validator("policy-diff").validate(document)
    return whatif.text(answer).splitlines(), document


SAME = "dom0: {ste: [a, b]}, one: {ste: [a]}, two: {ste: [a]}"


def test_an_update_that_is_fine_says_so_and_no_more() -> None:
    lines, document = told(new(SAME))
    assert lines[-1] == "breaks nothing that lives"
    assert (document["verdict"], document["violations"], document["mend"]) == ("permit", [], None)


def test_an_update_that_is_refused_for_its_lineage_alone_says_so() -> None:
    lines, document = told(new(SAME, more=""))
    assert lines[-1] == "breaks nothing that lives, and is refused for its lineage"
    assert (document["verdict"], document["violations"], document["mend"]) == ("deny", [], None)


def test_what_no_mend_can_mend_is_told_in_both() -> None:
    lines, document = told(new(SAME.replace("dom0", "root"), bootstrap="root"))
    assert lines[-1] == f"no mend: {IMPOSSIBLE}"
    assert document["mend"] == {"possible": False, "why": IMPOSSIBLE}


def test_the_command_names_what_the_mend_does_and_nothing_else() -> None:
    lines, _ = told(new("dom0: {ste: [a, b]}, one: {ste: [a]}, two: {ste: [b]}"))
    assert lines[-1] == "with it: shype policy load NEW --host HOSTDIR --revoke"
    lines, _ = told(new("dom0: {ste: [a, b]}, one: {ste: [a]}"))
    assert lines[-1] == "with it: shype policy load NEW --host HOSTDIR --stop 'second'"
    lines, _ = told(new(SAME, resources="other: {ste: b}"))
    assert lines[-1] == "with it: shype policy load NEW --host HOSTDIR --relabel 'uuid:disk=__INACCESSIBLE__'"


def test_a_renamed_label_is_told_with_its_old_name_and_an_unchanged_one_is_not() -> None:
    renamed = new(
        "dom0: {ste: [a, b]}, uno: {ste: [a]}, two: {ste: [a, b]}",
        more=FROM + "renames: {domain_labels: {uno: one}}\n",
    )
    lines, _ = told(renamed)
    assert "domain label   ~ uno (was one): renamed" in lines
    assert "domain label   ~ two: +ste b" in lines
    assert not [line for line in lines if "dom0" in line and "~" in line]
