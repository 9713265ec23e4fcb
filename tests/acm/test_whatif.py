"""What an update would do, told to a person and as a document: the same, and nothing that is not so."""

from __future__ import annotations

from dataclasses import replace
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


def test_each_thing_that_breaks_names_its_parties_and_what_is_bound() -> None:
    update = new(
        "dom0: {ste: [a, b]}, uno: {ste: [a]}, two: {ste: [b]}",
        resources="other: {ste: b}",
        more=FROM + "renames: {domain_labels: {uno: one}}\n",
    )
    lines, document = told(update)
    assert (
        "  label-deleted: disk uuid:disk (disk): unknown-label: policy 'p' 1.1 has no resource label 'disk'"
        in lines
    )
    assert (
        "  channel-refused: event channel 1:3 - 2:4: domain 1 first (one -> uno) - domain 2 second (two): "
        "ste-no-shared-type: 'uno' holds STE type 'a', 'two' holds STE type 'b': no STE type in common"
    ) in lines
    gone, channel = document["violations"]
    assert (gone["op"], gone["sharing"]) == (None, None)
    assert gone["parties"] == [
        {"kind": "disk", "id": "uuid:disk", "name": "uuid:disk", "label": "disk", "new_label": None}
    ]
    assert channel["op"] == "event-channel"
    assert channel["sharing"] == {"kind": "channel", "domain": 1, "port": 3, "remote": 2, "remote_port": 4}


def test_of_many_parties_the_first_are_named_and_the_others_counted() -> None:
    walled = (
        'format: shype.policy/1\nname: p\nversion: "1.1"\n' + FROM + "bootstrap: dom0\n"
        "chwall: {types: [x, y], conflict_sets: {w: [x, y]}}\n"
        "domain_labels: {dom0: {}, one: {chwall: [x]}, two: {chwall: [y]}}\nresource_labels: {disk: {}}\n"
    )
    guests = tuple(LiveDomain(domid, f"d{domid}", "two" if domid == 1 else "one") for domid in range(1, 9))
    for count, more in ((6, ""), (8, " and 2 more")):
        live = replace(LIVE, domains=(LIVE.domain0, *guests[:count]), channels=())
        (violation,) = whatif.ask(OLD, load(walled.encode()), live).update.violations  # type: ignore[union-attr]  # a state was given
        assert "domain 2 d2 (one: x)" in str(violation)
        assert f"{more}: chwall-conflict: " in str(violation)
        assert str(violation).count("domain ") == 6
