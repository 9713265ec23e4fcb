"""Commands in the documents are those that there are: groups, verbs, options, and whole lines of examples.

The pages of ``docs/policies`` promise more: ``test_policy_pages.py`` runs them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from shype.failure import WrongUsageError
from shype.main import parser_for
from tests.conftest import REPOSITORY
from tests.shype.test_cli_contract import VERBS, Verb

PAGES: Final = [
    *REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("configs/**/*.md")
]  # fmt: skip
_QUOTED: Final = re.compile(r"`(shype [^`]+)`")
_BLOCK: Final = re.compile(r"^```[^\n]*\n(.*?)^```|((?:^ {4}[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
_LINE: Final = re.compile(r"^(?: *\$)? *(?:[A-Z]+=\$\()?(shype [^\n#)]*[^\n#) ])", re.MULTILINE)
_OPTION: Final = re.compile(r"(?<!\S)\[?(--?[a-z][a-z-]*)")


def mentioned(text: str) -> Iterator[str]:
    """Every command that a sentence or a block names, also in part."""
    yield from (" ".join(found.split()) for found in _QUOTED.findall(text))
    yield from shown(text)


def shown(text: str) -> Iterator[str]:
    """The command lines of the blocks, as somebody would type them."""
    for fenced, indented in _BLOCK.findall(text):
        yield from _LINE.findall((fenced or indented).replace("\\\n", " "))


def verb_of(command: str) -> Verb | None:
    """The verb that a command is of; None where it names a whole group."""
    words = tuple(command.split()[1:])
    return next((words[:size] for size in (2, 1) if words[:size] in VERBS), None)


GROUPS_AND_VERBS: Final = {verb[:1] for verb in VERBS} | VERBS.keys() | {("GROUP",)}
MENTIONED: Final = sorted({(page, one) for page in PAGES for one in mentioned(page.read_text())})
SHOWN: Final = sorted({(page, one) for page in PAGES for one in shown(page.read_text()) if "…" not in one})


def called(value: Path | str) -> str:
    return value.name if isinstance(value, Path) else value


@pytest.mark.parametrize(("page", "command"), MENTIONED, ids=called)
def test_what_a_page_names_is_there(page: Path, command: str) -> None:
    verb = verb_of(command)
    if verb is None:
        assert tuple(command.split()[1:2]) in GROUPS_AND_VERBS, f"{page.name}: {command}"
        return
    known = {option for action in VERBS[verb]._actions for option in action.option_strings}
    assert set(_OPTION.findall(command)) <= known, f"{page.name}: {command}"


@pytest.mark.parametrize(("page", "command"), SHOWN, ids=called)
def test_a_line_of_an_example_is_understood(page: Path, command: str) -> None:
    words = shlex.split(re.sub(r"[\[\]]", "", command))
    try:
        parser_for(words[1]).parse_args(words[2:])
    except WrongUsageError as error:
        pytest.fail(f"{page.name}: {command}: {error}")


def test_there_are_lines_to_try() -> None:
    assert len(SHOWN) >= 20
    assert len(MENTIONED) >= 60
