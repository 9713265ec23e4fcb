"""Appraisal profiles: what they demand, and where a mistake in one is."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.appraisal import AppraisalError, AppraisalProfile, Hardware
from attest.reasons import reason
from attest.result import Verdict

TEXT = """\
schema: shype.appraisal/1
name: test
hardware: required
firmware_log: optional
clock: safe
warnings: refused
bank: sha256
pcrs: 0-9,12,13
vtpm_pcrs: "17"
max_enrolment: 365 days
result: 300 seconds
verdicts: {}
"""


def profile(old: str = "", new: str = "") -> AppraisalProfile:
    assert old in TEXT
    return AppraisalProfile.decode(TEXT.replace(old, new).encode() if old else TEXT.encode())


def packaged(repository: Path) -> list[Path]:
    return sorted((repository / "configs" / "appraisal").glob("*.yaml"))


def test_default_refuses_a_software_tpm_and_embedded_admits_it(repository: Path) -> None:
    found = {path.stem: AppraisalProfile.decode(path.read_bytes()) for path in packaged(repository)}
    assert {name: one.name for name, one in found.items()} == {name: name for name in found}
    assert not found["default"].admit_software_tpm
    assert found["embedded"].admit_software_tpm
    assert found["default"].pcrs == {*range(10), 12, 13}


def test_packaged_profiles_fit_the_schema(repository: Path) -> None:
    schema = json.loads((repository / "configs/schema/appraisal.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in packaged(repository):
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)


def test_every_field_means_something() -> None:
    assert profile().hardware is Hardware.REQUIRED
    assert profile("firmware_log: optional", "firmware_log: required").require_firmware_log
    assert not profile("clock: safe", "clock: any").require_safe_clock
    assert profile("warnings: refused", "warnings: admitted").admit_warning
    assert profile("0-9,12,13", "12-13,4").pcrs == {4, 12, 13}
    assert profile('"17"', "0-7,17").vtpm_pcrs == {*range(8), 17}
    assert (profile().max_enrolment_days, profile().result_seconds) == (365, 300)


def test_a_profile_moves_only_what_is_against_policy() -> None:
    strict = profile("verdicts: {}", "verdicts: {domain-policy-earlier: contraindicated}")
    assert strict.weigh(reason("domain-policy-earlier", "x")).verdict is Verdict.CONTRAINDICATED
    assert strict.weigh(reason("policy-mismatch", "x")).verdict is Verdict.CONTRAINDICATED
    for code in ("nonce-mismatch", "domain-missing", "no-such-code"):
        with pytest.raises(AppraisalError, match="no reason that a profile may move"):
            profile("verdicts: {}", f"verdicts: {{{code}: warning}}")
    with pytest.raises(AppraisalError, match="one of warning, contraindicated"):
        profile("verdicts: {}", "verdicts: {policy-mismatch: affirming}")


@pytest.mark.parametrize("pcrs", ["0-9,12,13,16", "0-9,12,13,23", "0-9,12,13,17", "0-23"])
def test_row_42_registers_that_prove_nothing_cannot_be_demanded(pcrs: str) -> None:
    with pytest.raises(AppraisalError, match="proves nothing"):
        profile("0-9,12,13", pcrs)


WRONG = {
    "unknown field": ("name: test", "name: test\nmore: x", 3, 1),
    "field twice": ("name: test", "name: test\nname: test", 3, 1),
    "schema": ("appraisal/1", "appraisal/2", 1, 9),
    "name": ("name: test", "name: ../x", 2, 7),
    "hardware": ("required", "maybe", 3, 11),
    "bank": ("sha256", "sha1", 7, 7),
    "no runtime registers": ("0-9,12,13", "0-9", 8, 7),
    "registers": ("0-9,12,13", "0-9;12", 8, 7),
    "no label register": ('"17"', '"16"', 9, 12),
    "days": ("365 days", "a year", 10, 16),
    "too many days": ("365 days", "99999 days", 10, 16),
    "no seconds": ("300 seconds", "0 seconds", 11, 9),
    "anchor": ("name: test", "name: &a test", 2, 7),
    "verdicts as a list": ("verdicts: {}", "verdicts: []", 12, 11),
    "a number": ("name: test", "name: 12", 2, 7),
}


@pytest.mark.parametrize(("old", "new", "line", "column"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_has_a_place(old: str, new: str, line: int, column: int) -> None:
    with pytest.raises(AppraisalError) as caught:
        profile(old, new)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert f":{line}:{column}:" in str(caught.value)


@pytest.mark.parametrize("line", TEXT.splitlines())
def test_every_field_is_needed(line: str) -> None:
    with pytest.raises(AppraisalError, match="missing"):
        profile(line + "\n", "")


@settings(max_examples=200)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_answered(raw: bytes) -> None:
    with pytest.raises(AppraisalError):
        AppraisalProfile.decode(raw)


@settings(max_examples=200)
@given(st.integers(0, len(TEXT) - 1), st.characters(codec="utf-8"))
def test_any_change_is_answered(place: int, character: str) -> None:
    with contextlib.suppress(AppraisalError):
        AppraisalProfile.decode((TEXT[:place] + character + TEXT[place + 1 :]).encode())


def test_a_big_file_is_refused() -> None:
    with pytest.raises(AppraisalError, match="larger"):
        AppraisalProfile.decode(TEXT.encode() + b"#" * 70_000)
