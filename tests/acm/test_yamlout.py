"""What is written is read back as the same tree."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from acm import yamltree
from acm.yamlout import MAX_LINE, write
from acm.yamltree import Bare, Items, Mark, Node, Table, Text

AT = Mark(1, 1, "out")

Plain = str | list["Plain"] | dict[str, "Plain"]

words = st.text(max_size=20) | st.sampled_from(
    [
        "no",
        "Null",
        "1.0",
        "0x1F",
        "",
        " a",
        "a ",
        "a: b",
        "a #b",
        "- a",
        "a - b",
        "hda (1)",
        "~",
        "=",
        "<<",
        "y",
        "2001-01-01",
    ]
)
values = st.recursive(
    words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


def tree(value: Plain) -> Node:
    if isinstance(value, str):
        return Text(AT, value)
    if isinstance(value, list):
        return Items(AT, tuple(map(tree, value)))
    return Table(AT, tuple((Text(AT, key), tree(inner)) for key, inner in value.items()))


def plain(node: Node) -> Plain:
    if isinstance(node, Table):
        return {key.value: plain(value) for key, value in node.entries}
    return [plain(value) for value in node.values] if isinstance(node, Items) else node.value


@given(st.dictionaries(words, values, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_tree_comes_back_in_both_parsers(document: dict[str, Plain]) -> None:
    written = write(tree(document))  # type: ignore[arg-type]  # a dict is a Table
    for parser in (yaml.CSafeLoader, yaml.SafeLoader):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yamltree, "_LOADER", parser)
            assert plain(yamltree.read(written, "out")) == document
    assert yaml.safe_load(written) == document, "every other reader of YAML reads the same"


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_a_comment_never_becomes_content(comment: str) -> None:
    written = write(Table(AT, ((Text(AT, "a"), Text(AT, "b")),)), [comment, "second"])
    assert plain(yamltree.read(written, "out")) == {"a": "b"}
    assert written.count(b"\n") == 4


def test_it_looks_as_a_person_writes() -> None:
    document = {
        "name": "one",
        "version": "1.0",
        "ste": {"types": ["a", "b c"]},
        "labels": {"dom0": {"ste": ["a"]}, "none": {}, "both": {"ste": ["a"], "chwall": ["x"]}},
        "resources": {"disk (1)": {"ste": "a"}},
    }
    assert write(tree(document)).decode() == (  # type: ignore[arg-type]  # a dict is a Table
        'name: one\nversion: "1.0"\nste:\n  types: [a, b c]\nlabels:\n  dom0:\n    ste: [a]\n  none: {}\n'
        "  both:\n    ste: [a]\n    chwall: [x]\nresources:\n  disk (1): {ste: a}\n"
    )


def test_a_long_list_is_broken_and_a_plain_number_stays_one() -> None:
    document = {"types": [f"type-{number}" for number in range(30)]}
    written = write(tree(document)).decode()  # type: ignore[arg-type]  # a dict is a Table
    assert written.startswith("types:\n  - type-0\n  - type-1\n")
    assert max(map(len, written.splitlines())) <= MAX_LINE
    bare = Table(AT, ((Text(AT, "history"), Bare(AT, "true", "bool")),))
    assert write(bare) == b"history: true\n"
