"""``shype policy section`` and ``check-section``: a customer sees its part, and nobody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.schemas import validator

if TYPE_CHECKING:
    from tests.shype.outcome import Outcome, Shype


@pytest.fixture
def policy(repository: Path) -> Path:
    return repository / "configs" / "policies" / "datacenter.yaml"


@pytest.fixture
def root(policy: Path, shype_command: Shype) -> str:
    return str(shype_command("policy", "show", policy, "--json").document["root"])


@pytest.fixture
def section(policy: Path, tmp_path: Path, shype_command: Shype) -> Path:
    out = tmp_path / "cola.json"
    words = ("--label", "cola-web", "--label", "cola-db", "-o", out, "--json")
    written = shype_command("policy", "section", policy, *words)
    assert written.exit == 0, written.err
    validator("policy-section").validate(written.document)
    assert "bank" not in out.read_text()
    return out


def check(shype_command: Shype, section: Path, root: str, *labels: str) -> Outcome:
    words = [word for label in labels for word in ("--label", label)]
    return shype_command("policy", "check-section", section, "--root", root, *words, "--json")


def test_a_section_is_checked_alone(section: Path, root: str, shype_command: Shype) -> None:
    outcome = check(shype_command, section, root, "cola-web", "cola-db")
    validator("policy-check-section").validate(outcome.document)
    assert (outcome.exit, outcome.document["verdict"], outcome.document["reasons"]) == (0, "permit", [])


def test_what_is_left_out_is_named(section: Path, root: str, shype_command: Shype) -> None:
    outcome = check(shype_command, section, root, "bank-web")
    validator("policy-check-section").validate(outcome.document)
    assert outcome.exit == 1
    assert outcome.document["reasons"] == [
        {"code": "section-incomplete", "detail": "bank-web: domain 'bank-web'"}
    ]


def test_an_altered_section_and_another_root_are_no_proof(
    section: Path, root: str, shype_command: Shype
) -> None:
    assert check(shype_command, section, "00" * 32).exit == 3
    document = json.loads(section.read_text())
    document["parts"][0]["body"] = document["parts"][0]["body"].replace("datacenter", "datacentre")
    section.write_text(json.dumps(document))
    outcome = check(shype_command, section, root)
    assert outcome.exit == 3
    assert outcome.line


def test_a_root_has_its_form(section: Path, shype_command: Shype) -> None:
    outcome = shype_command("policy", "check-section", section, "--root", "abc")
    assert outcome.exit == 2
    assert "64 lower-case hex digits" in outcome.line
