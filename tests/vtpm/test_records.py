"""Label records and bindings: one encoding each, and strict reading."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtpm.binding import Binding
from vtpm.errors import RecordError, VtpmInputError, VtpmUsageError
from vtpm.record import LabelRecord, RecordedLevel, RecordedRange

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "000b" + "ab" * 32
BINDING = Binding("0" * 32, 3, "cd" * 32, NAME, "000c" + "ef" * 48, NAME, 7)


def fields_of(record: LabelRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(record.encode())
    return found


def test_a_record_is_canonical_json_and_is_read_back(make_record: Callable[..., LabelRecord]) -> None:
    record = make_record(label="gelb-rot.größe", ste_types=())
    raw = record.encode()
    assert b" " not in raw
    assert "größe".encode() in raw
    assert list(json.loads(raw)) == sorted(json.loads(raw))
    assert LabelRecord.decode(raw) == record
    assert record.pcr17() == hashlib.sha256(bytes(32) + hashlib.sha256(raw).digest()).digest()


def test_a_binding_is_canonical_json_and_is_read_back() -> None:
    assert Binding.decode(BINDING.encode()) == BINDING
    assert BINDING.digest() == hashlib.sha256(BINDING.encode()).digest()


def test_real_output_fits_the_schemas(repository: Path, make_record: Callable[..., LabelRecord]) -> None:
    schemas = repository / "configs" / "schema"
    for name, raw in (("label-record", make_record().encode()), ("binding", BINDING.encode())):
        schema = json.loads((schemas / f"{name}.schema.json").read_text())
        validator = jsonschema.Draft202012Validator(schema)
        validator.check_schema(schema)
        validator.validate(json.loads(raw))
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(json.loads(raw) | {"more": 1})


LOW: dict[str, Any] = {"level": "public", "categories": []}
HIGH: dict[str, Any] = {"level": "secret", "categories": ["army", "navy"]}
SPAN = RecordedRange(RecordedLevel("public"), RecordedLevel("secret", ("army", "navy")), trusted=True)


def test_a_range_is_written_and_read_back(repository: Path, make_record: Callable[..., LabelRecord]) -> None:
    record = make_record(mls=SPAN)
    assert fields_of(record)["mls"] == {"low": LOW, "high": HIGH, "trusted": True}
    assert LabelRecord.decode(record.encode()) == record
    schema = json.loads((repository / "configs" / "schema" / "label-record.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(fields_of(record))


@pytest.mark.parametrize(
    "other",
    [
        None,
        replace(SPAN, low=RecordedLevel("internal")),
        replace(SPAN, low=SPAN.high),
        replace(SPAN, low=SPAN.high, trusted=False),
        replace(SPAN, high=RecordedLevel("secret", ("army",))),
    ],
)
def test_whoever_changes_the_levels_changes_pcr_17(
    other: RecordedRange | None, make_record: Callable[..., LabelRecord]
) -> None:
    record = make_record(mls=SPAN)
    assert replace(record, mls=other).pcr17() != record.pcr17()


WRONG: list[dict[str, Any]] = [
    {"vid": "0" * 31},
    {"vid": "G" * 32},
    {"vid": "A" * 32},
    {"domain": "0" * 32},
    {"domain": "ABCDEFAB-0000-0000-0000-000000000000"},
    {"domain": 5},
    {"label": ""},
    {"label": "a\nb"},
    {"label": "\ud800"},
    {"label": "x" * 129},
    {"label": None},
    {"ste_types": ["b", "a"]},
    {"ste_types": ["a", "a"]},
    {"ste_types": [1]},
    {"ste_types": "ab"},
    {"ste_types": [f"{number:03}" for number in range(65)]},
    {"mls": "secret"},
    {"mls": {}},
    {"mls": {"low": LOW, "high": LOW}},
    {"mls": {"low": LOW, "high": LOW, "trusted": 1}},
    {"mls": {"low": LOW, "high": LOW, "trusted": False, "more": 1}},
    {"mls": {"low": LOW, "high": HIGH, "trusted": False}},
    {"mls": {"low": LOW, "high": None, "trusted": True}},
    {"mls": {"low": {"level": "", "categories": []}, "high": HIGH, "trusted": True}},
    {"mls": {"low": {"level": "public"}, "high": HIGH, "trusted": True}},
    {"mls": {"low": {"level": "public", "categories": ["b", "a"]}, "high": HIGH, "trusted": True}},
    {"policy_digest": "00"},
    {"policy_digest": "AA" * 32},
    {"generation": -1},
    {"generation": 1 << 53},
    {"generation": True},
    {"generation": 1.0},
    {"generation": "1"},
    {"more": 1},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_a_record_with_a_wrong_field_is_refused(
    make_record: Callable[..., LabelRecord], change: dict[str, Any]
) -> None:
    values = fields_of(make_record()) | change
    raw = json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(RecordError) as caught:
        LabelRecord.decode(raw)
    assert caught.value.code == "field"
    assert next(iter(change)) in str(caught.value)


def test_a_missing_field_is_named(make_record: Callable[..., LabelRecord]) -> None:
    values = fields_of(make_record())
    del values["label"]
    with pytest.raises(RecordError, match="field 'label' is missing"):
        LabelRecord.decode(json.dumps(values).encode())


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (lambda text: " " + text, "canonical"),
        (lambda text: text + "\n", "canonical"),
        (lambda text: text.replace(":1,", ":1.0,"), "field"),
        (lambda text: text.replace('"generation":1', '"generation":0,"generation":1'), "canonical"),
        (lambda text: text.replace("bank.red", "bank\\u002ered"), "canonical"),
        (lambda text: text.replace('"generation":1', '"generation":NaN'), "field"),
        (lambda text: text.replace('"generation":1', '"generation":' + "9" * 1500), "field"),
        (lambda text: text[:-1], "json"),
        (lambda _: "[" * 2000, "json"),
        (lambda _: "{}" + " " * 2047, "size"),
        (lambda _: "[]", "json"),
        (lambda _: "", "json"),
    ],
)
def test_another_form_of_the_same_record_is_refused(
    make_record: Callable[..., LabelRecord], form: Callable[[str], str], code: str
) -> None:
    raw = form(make_record().encode().decode()).encode()
    with pytest.raises(RecordError) as caught:
        LabelRecord.decode(raw)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(RecordError) as caught:
        LabelRecord.decode(b"{\xff}")
    assert caught.value.code == "json"


@pytest.mark.parametrize(
    "change",
    [
        {"vak_name": "000b" + "ab" * 31},
        {"vak_name": "0001" + "ab" * 32},
        {"vek_name": ""},
        {"ak_name": "zz"},
        {"record_digest": "cd"},
        {"reset_count": -1},
    ],
    ids=str,
)
def test_a_binding_with_a_wrong_field_is_refused(change: dict[str, Any]) -> None:
    values = json.loads(BINDING.encode()) | change
    with pytest.raises(RecordError):
        Binding.decode(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())
    with pytest.raises(VtpmUsageError):
        Binding(**values)


def test_building_a_wrong_record_is_wrong_usage(make_record: Callable[..., LabelRecord]) -> None:
    with pytest.raises(VtpmUsageError, match="field 'label'"):
        make_record(label="")
    with pytest.raises(VtpmUsageError, match="bytes are more than 2048"):
        make_record(ste_types=tuple(f"{number:02}" + "x" * 100 for number in range(60)))


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for decode in (LabelRecord.decode, Binding.decode):
        with pytest.raises(VtpmInputError):
            decode(raw)


@given(position=st.integers(0, len(BINDING.encode()) - 1), flip=st.integers(1, 255))
def test_an_altered_binding_is_refused_or_another_binding(position: int, flip: int) -> None:
    raw = bytearray(BINDING.encode())
    raw[position] ^= flip
    try:
        found = Binding.decode(bytes(raw))
    except VtpmInputError:
        return
    assert found != BINDING
    assert found.encode() == bytes(raw)
