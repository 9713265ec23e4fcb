"""Numbers and truth values in files whose other values are strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acm import fields, yamltree
from acm.errors import PolicyFileError


def node(text: str) -> yamltree.Node:
    return fields.fields(yamltree.read(f"key: {text}".encode(), "f"), {"key"})["key"]


def code(text: str, read: str) -> str:
    limits = (0, 100) if read == "integer" else ()
    with pytest.raises(PolicyFileError) as caught:
        getattr(fields, read)(node(text), *limits)
    assert (caught.value.line, caught.value.column) == (1, 6)
    return caught.value.code


@given(st.integers(0, 10**18 - 1))
def test_a_number_is_read_plain_and_in_quotes(value: int) -> None:
    assert fields.integer(node(str(value)), 0, 10**18) == value
    assert fields.integer(node(f'"{value}"'), 0, 10**18) == value


@pytest.mark.parametrize(
    "text",
    [
        "0x10",
        "017",
        "1_0",
        "+1",
        "-1",
        "1.0",
        "1e3",
        "1:30",
        "many",
        '""',
        "~",
        "true",
        '"07"',
        "9" * 19,
        "\u0661",
    ],
)
def test_other_ways_to_write_a_number_are_refused(text: str) -> None:
    assert code(text, "integer") == "bad-value"


@pytest.mark.parametrize(
    ("text", "expected"), [("101", "out-of-range"), ("[1]", "wrong-type"), ("{}", "wrong-type")]
)
def test_a_number_has_limits_and_is_no_collection(text: str, expected: str) -> None:
    assert code(text, "integer") == expected


def test_a_truth_value_is_written_in_one_way() -> None:
    assert fields.boolean(node("true")) is True
    assert fields.boolean(node("false")) is False


@pytest.mark.parametrize("text", ["yes", "on", "True", "TRUE", "y", "1", '"true"', "~", "[true]", "truth"])
def test_other_ways_to_write_a_truth_value_are_refused(text: str) -> None:
    assert code(text, "boolean") == "wrong-type"


@pytest.mark.parametrize("read", ["text", "name", "items"])
@pytest.mark.parametrize("text", ["true", "1", "1.5", "2020-01-01", "~", "no"])
def test_a_number_or_truth_value_is_never_a_string(text: str, read: str) -> None:
    assert code(text, read) == "not-a-string"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u0430dmin", "'\\u0430dmin' is no name"),
        ("e\u0301clair", "'e\\u0301clair' is no name"),
        ('"a\u00a0b"', "'a\\xa0b' is no name"),
    ],
    ids=["a letter of another script", "an accent of its own", "a blank that does not break"],
)
def test_a_letter_that_looks_like_another_is_shown_for_what_it_is(text: str, shown: str) -> None:
    with pytest.raises(PolicyFileError) as caught:
        fields.name(node(text))
    assert shown in str(caught.value)


def test_a_key_that_looks_like_a_known_one_is_shown_for_what_it_is() -> None:
    with pytest.raises(PolicyFileError) as caught:
        fields.fields(yamltree.read("k\u0435y: x".encode(), "f"), {"key"})
    assert r"key 'k\u0435y' is none of: key" in str(caught.value)
