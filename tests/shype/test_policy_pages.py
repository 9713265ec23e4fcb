"""The worked policies keep what their pages promise: every command on a page is run and compared."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

import pytest
import yaml

from acm import history
from acm.policyfile import load
from shype.main import main
from tests.conftest import REPOSITORY
from tests.schemas import validator

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted((REPOSITORY / "docs" / "policies").glob("*.md"))
LINE = re.compile(r"^(shype policy decide .*?) +# (permit|deny)((?: [a-z-]+)+)$", re.MULTILINE)


def promises() -> list[tuple[str, str, str, str]]:
    return [(page.stem, *found) for page in PAGES for found in LINE.findall(page.read_text())]


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("histories")
    new = history.begin(bytes(range(32)))
    words = {}
    for name, shown in (("new", new), ("used", new.with_run(frozenset({"bank-a"})))):
        (folder / f"{name}.json").write_bytes(shown.encode())
        words[f"{name}.json"] = str(folder / f"{name}.json")
        words[f"${name.upper()}"] = f"{shown.sequence}:{shown.digest}"
    return words


@pytest.mark.parametrize(("page", "command", "verdict", "codes"), promises())
def test_a_page_says_what_the_policy_does(  # noqa: PLR0917 - pytest passes by name
    page: str,
    command: str,
    verdict: str,
    codes: str,
    histories: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert f"configs/policies/{page}.yaml" in command
    words = [histories.get(word, word) for word in shlex.split(command)]
    assert main([*words[1:], "--json"]) == {"permit": 0, "deny": 1}[verdict]
    document = json.loads(capsys.readouterr().out)
    validator("policy-decide").validate(document)
    assert document["verdict"] == verdict
    assert [reason["code"] for reason in document["reasons"]] == codes.split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_is_a_promise(page: Path) -> None:
    text = page.read_text()
    commands = re.findall("^shype .*$", text, re.MULTILINE)
    assert len(commands) == len(LINE.findall(text)) >= 10
    assert {verdict for _, verdict, _ in LINE.findall(text)} == {"permit", "deny"}


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "configs/policies").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_policy_that_is_shipped_is_good_and_has_a_schema(path: Path) -> None:
    data = path.read_bytes()
    assert load(data).name == path.stem
    validator("policy").validate(yaml.safe_load(data))
    assert path.stem == "datacenter" or (REPOSITORY / f"docs/policies/{path.stem}.md") in PAGES
