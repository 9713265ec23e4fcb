"""No traceback on any input: every parser answers broken bytes with its package's error, and soon.

``SHYPE_FUZZ=50`` tries fifty times as much, each time something else.
"""

from __future__ import annotations

import importlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shype.main import main
from tests.discovery import PACKAGES, takers
from tests.mutants import HOSTILE, mutant
from tests.parsers.parser import Parser, folder, good, replaced
from tests.simulators.desk import COMMANDS, Command, cleared
from tests.spending import at_most

REGISTRIES: Final = sorted(Path(__file__).with_name("parsers").glob("of_*.py"))
OF: Final = [importlib.import_module(f"tests.parsers.{path.stem}") for path in REGISTRIES]
PARSERS: Final[tuple[Parser, ...]] = tuple(parser for each in OF for parser in each.PARSERS)
NOT_PARSERS: Final[dict[str, str]] = {name: why for each in OF for name, why in each.NOT_PARSERS.items()}
MORE: Final = int(os.environ.get("SHYPE_FUZZ", "0"))
SLOW: Final = 5.0
"""Seconds of processor time that no input may take; the slowest takes a tenth of that."""

FILES: Final = [(command, file) for command in COMMANDS for file in command.files]
DICE: Final = st.randoms(use_true_random=True)
"""Dice of which hypothesis chooses the seed: what is thrown costs nothing, and a failure names it."""

deterministic = settings(
    deadline=None,
    database=None,
    derandomize=not MORE,
    phases=(Phase.generate, Phase.shrink) if MORE else (Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def roots(package: str) -> tuple[type[Exception], ...]:
    """The two error roots of a package; shype raises those of all packages, since it calls them."""
    found = []
    for name in PACKAGES if package == "shype" else (package,):
        errors = importlib.import_module(f"{name}.errors")
        found += [getattr(errors, f"{name.capitalize()}{kind}Error") for kind in ("Input", "Usage")]
    return tuple(found)


def feed(parser: Parser, raw: bytes) -> None:
    """Give bytes to a parser; whatever it raises but its own errors fails the test."""
    own = roots(parser.name.partition(".")[0])
    allowed = (*own, OSError) if parser.files else own
    refusal: Exception | None = None
    with at_most(SLOW):
        try:
            parser.call(raw)
        except allowed as error:
            refusal = error
    if isinstance(refusal, own):
        code = refusal.code  # type: ignore[attr-defined]
        assert str(refusal).isprintable(), f"not one printable line: {refusal!r}"
        assert code
        assert isinstance(code, str)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.id)
def test_good_bytes_are_accepted(parser: Parser) -> None:
    """What is broken below was good before: otherwise only the first check would be tried."""
    for seed in parser.seeds():
        try:
            parser.call(seed)
        except roots(parser.name.partition(".")[0]) as error:
            pytest.fail(f"{parser.name} refuses its seed: {error}")


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.id)
def test_hostile_bytes(parser: Parser) -> None:
    for raw in HOSTILE.values():
        feed(parser, raw)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.id)
@settings(deterministic, max_examples=20 * (MORE or 1))
@given(dice=DICE)
def test_broken_bytes(parser: Parser, dice: Random) -> None:
    feed(parser, mutant(dice, dice.choice(parser.seeds())))


@contextmanager
def at_the_desk() -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(folder())
    try:
        yield folder()
    finally:
        os.chdir(before)


def told(command: Command) -> tuple[int, str, str]:
    """Run a command at the desk; what ``main`` raises fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with at_the_desk() as desk, redirect_stdout(out), redirect_stderr(err):
        code = main([*cleared(desk, command.words), "--json"])
    return code, out.getvalue(), err.getvalue()


def names(pair: tuple[Command, str]) -> str:
    return f"{' '.join(pair[0].words[:2])} {pair[1]}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words[:2]))
def test_commands_work_on_good_files(command: Command) -> None:
    code, out, err = told(command)
    assert (code, err) == (command.exit, ""), err
    json.loads(out)


@pytest.mark.parametrize("pair", FILES, ids=names)
@settings(deterministic, max_examples=8 * (MORE or 1))
@given(dice=DICE)
def test_broken_files_of_commands(pair: tuple[Command, str], dice: Random) -> None:
    command, file = pair
    with replaced(file, mutant(dice, good(file))):
        code, out, err = told(command)
    assert 0 <= code <= 4
    json.loads(out)
    assert err.count("\n") == len(err.splitlines()) <= 1
    assert (code in {2, 3}) <= bool(err), (code, out)


@pytest.mark.parametrize("pair", FILES, ids=names)
def test_hostile_files_of_commands(pair: tuple[Command, str]) -> None:
    command, file = pair
    for kind in ("nothing", "ones", "deep list", "UTF-16", "many lines"):
        with replaced(file, HOSTILE[kind]):
            code, out, err = told(command)
        assert (code in {2, 3}, err.count("\n")) == (True, 1), (kind, code, err)
        json.loads(out)


def test_everything_that_takes_bytes_or_a_path_is_registered() -> None:
    found = set(takers())
    fed = {parser.name for parser in PARSERS}
    unknown = {name for name in found - fed if not any(fnmatchcase(name, known) for known in NOT_PARSERS)}
    assert not unknown, f"put each into PARSERS or NOT_PARSERS of tests/parsers: {sorted(unknown)}"


def test_the_tables_are_not_stale() -> None:
    found = set(takers())
    for name in NOT_PARSERS:
        assert any(fnmatchcase(each, name) for each in found), f"{name} is nothing any more"
    for parser in PARSERS:
        module, _, qualified = parser.name.partition(":")
        value = importlib.import_module(module)
        for part in qualified.split("."):
            value = getattr(value, part)
