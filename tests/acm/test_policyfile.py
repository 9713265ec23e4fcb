"""Policy files: what is read, and that every flaw is named with code, line and column."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from acm import yamltree
from acm.chwall import ConflictSet
from acm.errors import AcmInputError, PolicyFileError
from acm.labels import Label
from acm.labeltables import MAX_LABELS
from acm.mls import Level, Range, point
from acm.policy import Component
from acm.policyfile import load
from acm.sections import MAX_TYPES
from tests.spending import at_most

BAD = sorted((Path(__file__).parent / "bad_policies").glob("*.yaml"))
EXPECTATION = re.compile(rb"# expect: ([a-z0-9-]+) (\d+):(\d+)\r?\n")

GOOD = """\
format: shype.policy/1
name: good
version: "1.10"
bootstrap: dom0
ste: {types: [a, b]}
chwall:
  types: [x, y]
  conflict_sets:
    rivals: [x, y]
domain_labels:
  dom0: {ste: [a, b]}
  web: {ste: [a], chwall: [x]}
resource_labels:
  disk: {ste: a}
"""

FULL = """\
format: shype.policy/1
name: full
version: "1.10"
from: {name: full, version: "1.9"}
renames: {domain_labels: {web: front}, resource_labels: {disk: hda}}
bootstrap: dom0
enforce: [mls, chwall, ste]
ste: {types: [a]}
chwall: {types: [x, y], history: true, conflict_sets: {rivals: [x, y]}}
mls: {levels: [low, high], categories: [c], trusted: [dom0]}
domain_labels:
  dom0: {ste: [a], mls: {low: low, high: {level: high, categories: [c]}}}
  web: {ste: [a], chwall: [x], mls: low}
resource_labels:
  disk: {ste: a, mls: {level: high, categories: [c]}}
"""


def refusal(data: bytes) -> PolicyFileError:
    with pytest.raises(PolicyFileError) as caught:
        load(data, source="file.yaml")
    return caught.value


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
@pytest.mark.parametrize("parser", ["C", "Python"])
def test_bad_policy_is_refused_at_its_flaw(path: Path, parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if parser == "Python":
        monkeypatch.setattr(yamltree, "_LOADER", yaml.SafeLoader)
    data = path.read_bytes()
    declared = EXPECTATION.match(data)
    assert declared, "each bad policy begins with its expectation"
    error = refusal(data)
    assert (error.code, error.line, error.column) == (
        declared[1].decode(),
        int(declared[2]),
        int(declared[3]),
    )
    assert str(error).startswith(f"file.yaml:{error.line}:{error.column}: ")
    assert str(error).isprintable()
    assert len(str(error)) < 400


def test_there_are_many_flaws_and_one_good_policy_behind_them() -> None:
    assert len(BAD) >= 130
    assert len({EXPECTATION.match(path.read_bytes())[1] for path in BAD}) >= 45  # type: ignore[index]  # checked above
    load(GOOD.encode())
    load(FULL.encode())


def test_a_policy_is_read_as_it_is_written() -> None:
    policy = load(GOOD.encode())
    assert (policy.name, policy.version, policy.bootstrap) == ("good", "1.10", "dom0")
    assert policy.components == (Component.CHWALL, Component.STE)
    assert policy.ste_types == {"a", "b"}
    assert policy.chwall_types == {"x", "y"}
    assert policy.conflict_sets == (ConflictSet("rivals", frozenset({"x", "y"})),)
    assert policy.domain_labels["web"] == Label("web", frozenset({"a"}), frozenset({"x"}))
    assert policy.resource_labels["disk"] == Label("disk", frozenset({"a"}))


def test_every_section_is_read_as_it_is_written() -> None:
    policy = load(FULL.encode())
    assert policy.components == (Component.MLS, Component.CHWALL, Component.STE)
    assert policy.history
    assert (policy.levels, policy.categories, policy.trusted) == (("low", "high"), {"c"}, {"dom0"})
    low, high = Level(0, "low"), Level(1, "high", frozenset({"c"}))
    assert policy.domain_labels["dom0"].mls == Range(low, high)
    assert policy.domain_labels["web"].mls == point(low)
    assert policy.resource_labels["disk"] == Label("disk", frozenset({"a"}), mls=point(high))


def test_components_decide_in_shypes_order_where_the_policy_says_none() -> None:
    policy = load(FULL.replace("enforce: [mls, chwall, ste]\n", "").encode())
    assert policy.components == (Component.CHWALL, Component.STE, Component.MLS)


def test_the_root_of_a_policy_without_the_newer_sections_is_what_it_was() -> None:
    """A root that somebody has kept stays good: what a policy does not use leaves no trace in its parts."""
    assert load(GOOD.encode()).root == "2d4e8499c46b1f71f6f6a5593a0dae959c0f72899e5925987f20ad42b63d956b"


@pytest.mark.parametrize(
    "level", ["high", '"high"', "{level: high}", "{level: high, categories: []}", "{low: high, high: high}"]
)
def test_one_level_may_be_written_in_several_ways(level: str) -> None:
    policy = load(FULL.replace("mls: low}", f"mls: {level}}}").encode())
    assert policy.domain_labels["web"].mls == point(Level(1, "high"))


def test_a_policy_cannot_be_changed() -> None:
    policy = load(GOOD.encode())
    with pytest.raises(AttributeError):
        policy.name = "other"  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        policy.domain_labels["web"] = Label("web")  # type: ignore[index]  # that is the point


def test_the_digest_is_over_the_exact_bytes_and_the_root_over_the_meaning() -> None:
    one, other = GOOD.encode(), GOOD.encode() + b"# a comment\n"
    assert load(one).digest == hashlib.sha256(one).hexdigest()
    assert load(other).digest == hashlib.sha256(other).hexdigest()
    assert load(one).root == load(other).root
    assert load(GOOD.replace("[x, y]\ndomain", "[y, x]\ndomain").encode()).root == load(one).root
    assert load(GOOD.replace("1.10", "1.11").encode()).root != load(one).root


def test_lines_may_end_as_on_windows() -> None:
    assert load(GOOD.replace("\n", "\r\n").encode()).root == load(GOOD.encode()).root


def test_system_management_is_the_default_bootstrap_label() -> None:
    text = GOOD.replace("bootstrap: dom0\n", "").replace("dom0:", "SystemManagement:")
    assert load(text.encode()).bootstrap == "SystemManagement"


def test_names_that_look_like_something_else_are_fine_in_quotes() -> None:
    text = GOOD.replace("[a, b]", '[a, b, "no", "1.0", "~x"]'.replace(', "~x"', ""))
    assert load(text.encode()).ste_types == {"a", "b", "no", "1.0"}


def test_names_of_old_xen_policies_are_fine() -> None:
    text = GOOD.replace("disk:", "res_LogicalDiskPartition1 (hda1):")
    assert "res_LogicalDiskPartition1 (hda1)" in load(text.encode()).resource_labels


@pytest.mark.parametrize("section", ["ste", "chwall"])
def test_each_component_can_stand_alone(section: str) -> None:
    head = f'format: shype.policy/1\nname: p\nversion: "1.0"\nbootstrap: d\n{section}: {{types: [a]}}\n'
    policy = load(f"{head}domain_labels: {{d: {{{section}: [a]}}}}".encode())
    assert policy.components == (Component(section),)


def test_a_null_policy_says_that_it_enforces_nothing() -> None:
    text = 'format: shype.policy/1\nname: p\nversion: "1.0"\nenforce: nothing\nbootstrap: d\n'
    policy = load(f"{text}domain_labels: {{d: {{}}}}\nresource_labels: {{disk: {{}}}}".encode())
    assert policy.components == ()
    assert policy.resource_labels["disk"] == Label("disk")


@pytest.mark.parametrize("enforce", ["[]", "everything", "[ste]", "''", "[nothing]"])
def test_a_policy_without_a_section_enforces_nothing_by_that_word_alone(enforce: str) -> None:
    text = f'format: shype.policy/1\nname: p\nversion: "1.0"\nbootstrap: d\nenforce: {enforce}\n'
    with pytest.raises(PolicyFileError) as caught:
        load(f"{text}domain_labels: {{d: {{}}}}".encode())
    assert caught.value.code == "enforce"


def test_a_salt_is_not_shown_with_its_policy() -> None:
    text = 'format: shype.policy/1\nname: p\nversion: "1.0"\nenforce: nothing\nbootstrap: d\n'
    policy = load(f'{text}domain_labels: {{d: {{}}}}\nsalt: "{"5a" * 32}"\n'.encode())
    assert policy.salt == b"Z" * 32
    assert "ZZ" not in repr(policy)


def test_one_byte_too_many_is_too_big() -> None:
    room = yamltree.MAX_SIZE - len(GOOD)
    load(GOOD.encode() + b"#" * room)
    assert refusal(GOOD.encode() + b"#" * (room + 1)).code == "too-big"


def labels(count: int) -> str:
    return "".join(f"  d{number}: {{ste: [a]}}\n" for number in range(count))


def test_limits_of_labels_types_and_sets() -> None:
    at_limit = GOOD.replace("  dom0: {ste: [a, b]}\n", "  dom0: {ste: [a, b]}\n" + labels(MAX_LABELS - 2))
    load(at_limit.encode())
    assert refusal(at_limit.replace("  web:", "  d: {ste: [a]}\n  web:").encode()).code == "too-many"
    types = ", ".join(f"t{number}" for number in range(MAX_TYPES + 1))
    assert refusal(GOOD.replace("[a, b]", f"[{types}]", 1).encode()).code == "too-many"
    sets = "".join(f"    s{number}: [x, y]\n" for number in range(1025))
    assert refusal(GOOD.replace("    rivals: [x, y]\n", sets).encode()).code == "too-many"


def test_a_policy_of_ten_thousand_labels_is_read() -> None:
    policy = load(
        GOOD.replace("  dom0: {ste: [a, b]}\n", "  dom0: {ste: [a, b]}\n" + labels(10_000)).encode()
    )
    assert len(policy.domain_labels) > 10_000


def test_a_policy_made_to_be_slow_is_read_in_bounded_time() -> None:
    types = [f"{number:x}" + "t" for number in range(1500)]
    sets = "".join(f"    s{number}: [{types[0]}, {types[number + 1]}]\n" for number in range(1024))
    every = ", ".join(types[1:])
    rows = "".join(f"  d{number}: {{ste: [a], chwall: [{every}]}}\n" for number in range(150))
    many = "".join(f"  e{number}: {{ste: [a], chwall: [{types[0]}]}}\n" for number in range(8000))
    text = GOOD.replace("[x, y]\n  conflict", f"[{', '.join(types)}]\n  conflict")
    text = text.replace("    rivals: [x, y]\n", sets).replace("chwall: [x]", f"chwall: [{types[0]}]")
    text = text.replace("  dom0:", rows + many + "  dom0:")
    assert 0.3 * yamltree.MAX_SIZE < len(text) < yamltree.MAX_SIZE
    with at_most(20):
        load(text.encode())


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{a: "])
def test_bottomless_nesting_is_refused_early(opening: str) -> None:
    data = (opening * (yamltree.MAX_SIZE // len(opening))).encode()
    with at_most(2):
        assert refusal(data).code in {"too-deep", "syntax", "wrong-type"}


def raises_only_its_own_error(data: bytes) -> None:
    message = ""
    try:
        load(data)
    except AcmInputError as error:
        message = str(error)
    assert not message or message.isprintable()


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b"? ")
@example(b"!<\x00>")
@example(b"{" * 1000)
@example(b"!%0a x")
@settings(deadline=None)
def test_any_bytes_are_a_policy_or_refused(data: bytes) -> None:
    raises_only_its_own_error(data)


@given(
    st.integers(0, len(FULL)),
    st.integers(0, 6),
    st.text(alphabet="\t\n\r -:,[]{}#&*!|>'\"%@`~?.0a_\u2028\ufeff\U0001f600", max_size=5),
)
@settings(max_examples=250, deadline=None)
def test_a_damaged_policy_is_a_policy_or_refused_and_both_parsers_agree(at: int, cut: int, put: str) -> None:
    data = (FULL[:at] + put + FULL[at + cut :]).encode()
    raises_only_its_own_error(data)
    c, python = (_outcome(data, parser) for parser in (yaml.CSafeLoader, yaml.SafeLoader))
    if c != python:
        assert {c, python} & {"refused"}, "two parsers must never read two policies"
        pytest.fail(f"only one parser reads {data!r}: C {c}, Python {python}")


def _outcome(data: bytes, parser: object) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yamltree, "_LOADER", parser)
        try:
            return load(data).root
        except PolicyFileError:
            return "refused"
