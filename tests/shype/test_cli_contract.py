"""The command line is a contract: help, examples that work, exit codes, one document, one line.

Verbs are found, not listed: a new one is held to all of this as soon as it is registered.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

import pytest

from attest.result import Verdict
from shype.exits import VERDICTS
from shype.main import GROUPS, main, parser_for
from tests.schemas import schemas, validator
from tests.shype.outcome import Outcome, run
from tests.simulators.desk import COMMANDS, Command, cleared, furnish

NO_VERB: Final = {"verify": "verify-result"}
"""Groups without verbs whose schema is not called by their name."""
OWN: Final = frozenset({"ear-key.pem", "ear-key.jwk", "nonce"})
"""Keys and numbers of one's own: garbage there is wrong usage, exit 2."""
ODD: Final = (
    "",
    "-1",
    "\udcff",
    "\x1b[2J\nsecond line",
    "a" * 100_000,
    "9" * 5000,
    "../../etc/passwd",
    "@",
    "%s",
)
Verb = tuple[str, ...]


def leaves(parser: argparse.ArgumentParser, words: Verb) -> Iterator[tuple[Verb, argparse.ArgumentParser]]:
    below = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not below:
        yield words, parser
    for each in below:
        for name, verb in each.choices.items():
            yield from leaves(verb, (*words, name))


VERBS: Final = dict(found for group in GROUPS for found in leaves(parser_for(group), (group,)))
COMMAND_OF: Final = {
    verb: command for verb in VERBS for command in COMMANDS if command.words[: len(verb)] == verb
}


def schema_of(verb: Verb) -> str:
    return NO_VERB.get(verb[0], verb[0]) if len(verb) == 1 else "-".join(verb)


def called(value: object) -> str:
    return " ".join(value.words[:2] if isinstance(value, Command) else value)  # type: ignore[arg-type]


def refused(outcome: Outcome, *exits: int) -> None:
    """Held for every refusal under ``--json``: one line, and one document that says the same."""
    assert outcome.exit in exits, outcome
    assert outcome.err.count("\n") == len(outcome.err.splitlines()) == 1
    assert outcome.err.rstrip("\n").isprintable()
    document = outcome.document
    if "error" in document:
        validator("error").validate(document)
        assert document["error"]["exit"] == outcome.exit
        assert outcome.err.rstrip("\n").endswith(document["error"]["detail"])


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("cli") / "desk")


@pytest.fixture
def desk(furnished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(furnished)
    cleared(furnished, ())
    return furnished


def test_every_verdict_has_an_exit_code() -> None:
    """The table of the contract."""
    assert {each: VERDICTS[each] for each in Verdict} == {
        Verdict.AFFIRMING: 0,
        Verdict.WARNING: 1,
        Verdict.CONTRAINDICATED: 1,
        Verdict.INCONCLUSIVE: 4,
        Verdict.NONE: 3,
    }
    assert VERDICTS.keys() == set(Verdict)


@pytest.mark.parametrize("verb", VERBS, ids=called)
class TestEveryVerb:
    def test_help_has_an_example_and_says_json(self, verb: Verb) -> None:
        out = io.StringIO()
        with pytest.raises(SystemExit) as ended, redirect_stdout(out):
            main([*verb, "--help"])
        assert ended.value.code == 0
        assert "Example" in out.getvalue()
        assert f"\n  shype {' '.join(verb)}" in out.getvalue()
        assert "--json" in out.getvalue()
        assert all(len(line) <= 110 for line in (VERBS[verb].epilog or "").splitlines())

    def test_example_is_understood(self, verb: Verb) -> None:
        for words in examples(verb):
            parser_for(words[0]).parse_args(words[1:])

    def test_output_has_a_schema(self, verb: Verb) -> None:
        assert schema_of(verb) in schemas(), f"configs/schema/{schema_of(verb)}.schema.json is missing"

    def test_unknown_option(self, verb: Verb) -> None:
        refused(run(*verb, "--json", "--no-such-option"), 2)

    def test_offline_verbs_are_tried(self, verb: Verb) -> None:
        """What asks no host has a command on the desk (tests/simulators/desk.py)."""
        options = {option for action in VERBS[verb]._actions for option in action.option_strings}
        online = verb[0] in {"host", "demo"} or ("--host" in options and "--images" not in options)
        assert online or verb in COMMAND_OF


def examples(verb: Verb) -> list[list[str]]:
    """The shype commands of a verb's example, without what only a shell does with them."""
    epilog = VERBS[verb].epilog or ""
    text = epilog[epilog.index("Example") :].partition("\n")[2].replace("\\\n", " ")
    lines = [shlex.split(line.partition(" > ")[0]) for line in text.splitlines()]
    return [[word for word in words[1:] if word != "&"] for words in lines if words[:1] == ["shype"]]


class TestGroups:
    def test_overview_names_every_group(self) -> None:
        overview = run("--help")
        assert (overview.exit, overview.err) == (0, "")
        assert all(f"  {group} " in overview.out for group in GROUPS)
        assert run().exit == 2

    @pytest.mark.parametrize(
        "words", [("nonsense",), ("nonsense", "--json"), ("",), ("\udcff",), ("--json",)]
    )
    def test_unknown_group(self, words: tuple[str, ...]) -> None:
        outcome = run(*words)
        assert (outcome.exit, outcome.err.count("\n")) == (2, 1)
        assert "audit" in outcome.err

    @pytest.mark.parametrize("group", GROUPS)
    def test_no_verb_and_an_unknown_verb(self, group: str) -> None:
        if (group,) not in VERBS:
            refused(run(group, "--json"), 2)
            refused(run(group, "nonsense", "--json"), 2)
            refused(run(group, "--json", "\udcff"), 2)


@pytest.mark.parametrize("command", COMMANDS, ids=called)
class TestOffline:
    def test_json_fits_the_schema_before_and_after_the_verb(self, command: Command, desk: Path) -> None:
        first = run(*cleared(desk, command.words), "--json")
        assert (first.exit, first.err) == (command.exit, "")
        verb = next(
            verb for verb, one in COMMAND_OF.items() if one is command or verb == command.words[: len(verb)]
        )
        validator(schema_of(verb)).validate(first.document)
        group, *rest = cleared(desk, command.words)
        assert run(group, "--json", *rest).document.keys() == first.document.keys()

    def test_text_is_for_people(self, command: Command, desk: Path) -> None:
        outcome = run(*cleared(desk, command.words))
        assert (outcome.exit, outcome.err) == (command.exit, "")
        assert outcome.out.strip()
        assert all(line.isprintable() for line in outcome.out.splitlines())

    def test_a_missing_file(self, command: Command, desk: Path) -> None:
        for at, word in enumerate(command.words):
            if not word.startswith("made-") and (desk / word.removeprefix("@")).exists():
                words = [
                    *command.words[:at],
                    word[: word.startswith("@")] + "nowhere",
                    *command.words[at + 1 :],
                ]
                outcome = run(*cleared(desk, words), "--json")
                refused(outcome, 2)
                assert "nowhere" in outcome.err

    def test_a_folder_in_place_of_a_file(self, command: Command, desk: Path) -> None:
        for file in command.files:
            kept = desk / "kept"
            (desk / file).rename(kept)
            (desk / file).mkdir()
            try:
                refused(run(*cleared(desk, command.words), "--json"), 2)
            finally:
                (desk / file).rmdir()
                kept.rename(desk / file)

    @pytest.mark.parametrize("garbage", [b"\xff" * 4096, bytes(range(256)) * 8])
    def test_garbage_in_every_file(self, command: Command, garbage: bytes, desk: Path) -> None:
        for file in command.files:
            kept = (desk / file).read_bytes()
            (desk / file).write_bytes(garbage)
            try:
                outcome = run(*cleared(desk, command.words), "--json")
            finally:
                (desk / file).write_bytes(kept)
            refused(outcome, 2 if file in OWN else 3)
            if "verdict" in outcome.document:
                assert outcome.document["verdict"] == "none"

    def test_odd_values_of_every_argument(self, command: Command, desk: Path) -> None:
        """Whatever stands in place of an argument's value: an exit code, and at most one line."""
        for at in range(2, len(command.words)):
            for odd in () if command.words[at].startswith(("-", "made-")) else ODD:
                words = [*command.words[:at], odd, *command.words[at + 1 :]]
                outcome = run(*cleared(desk, words), "--json")
                assert 0 <= outcome.exit <= 4, (words, outcome)
                assert outcome.err.count("\n") <= 1
                assert isinstance(outcome.document, dict)

    def test_output_that_cannot_be_written(self, command: Command, desk: Path) -> None:
        for at, word in enumerate(command.words):
            if word.startswith("made-") and word != "made-registrar":
                words = [*command.words[:at], "nowhere/file", *command.words[at + 1 :]]
                outcome = run(*cleared(desk, words), "--json")
                refused(outcome, 2)
                assert "nowhere/file" in outcome.err


class TestWithoutAHost:
    """Verbs that ask a host, where none runs."""

    ASKING: Final = (
        ("host", "status", "."),
        ("host", "poweroff", "."),
        ("host", "endorsement", ".", "-o", "made-endorsement"),
        ("host", "state", ".", "-o", "made-state"),
        ("domain", "launch", "cola-web.cfg", "--host", "."),
        ("domain", "stop", "web", "--host", "."),
        ("domain", "connect", "web", "db", "--host", "."),
        ("domain", "run", "60", "--host", "."),
        ("policy", "load", "policy.yaml", "--host", "."),
        ("attest", "--host", ".", "--nonce", "00" * 16, "-o", "made-evidence"),
        ("meter", "sign", "--host", "."),
    )

    @pytest.mark.parametrize("words", ASKING, ids=called)
    def test_nobody_answers(self, words: tuple[str, ...], desk: Path) -> None:
        outcome = run(*words, "--json")
        refused(outcome, 2)
        assert outcome.document["error"]["code"] == "host-unreachable"
        assert "shype host boot" in outcome.err
        assert not list(desk.glob("made-*"))

    @pytest.mark.parametrize("words", ASKING, ids=called)
    def test_no_such_folder(self, words: tuple[str, ...], desk: Path) -> None:
        assert not (desk / "nowhere").exists()
        refused(run(*("nowhere" if word == "." else word for word in words), "--json"), 2)

    def test_files_are_read_first(self, desk: Path) -> None:
        for words in (("domain", "launch"), ("policy", "load")):
            outcome = run(*words, "nowhere", "--host", ".", "--json")
            refused(outcome, 2)
            assert outcome.document["error"]["code"] == "ENOENT"
        (desk / "made-garbage").write_bytes(b"\xff" * 100)
        outcome = run("host", "activate", ".", "--challenge", "made-garbage", "-o", "made-response", "--json")
        refused(outcome, 3)
        (desk / "audit.log").write_bytes(b"\xff" * 100 + b"\n")
        refused(run("host", "audit-log", ".", "--json"), 3)
        (desk / "audit.log").unlink()
        refused(run("host", "audit-log", ".", "--json"), 2)

    def test_a_host_that_cannot_be_made_or_booted(self, desk: Path) -> None:
        refused(run("host", "init", "made-host", "--description", "nowhere", "--json"), 2)
        refused(run("host", "init", "made-host", "--description", "cola-web.cfg", "--json"), 3)
        refused(run("host", "init", "anchors", "--json"), 2)
        refused(run("host", "boot", "anchors", "--boot", "boot", "--json"), 2)
        assert not (desk / "made-host").exists()


def test_output_that_nobody_reads_is_no_error(desk: Path) -> None:
    """``shype … | head``: the reader has gone, and nothing is said about it."""
    import subprocess
    import sys

    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "shype.main", "policy", "show", "policy.yaml"],
        stdout=writing, stderr=subprocess.PIPE, cwd=desk, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.stderr == b""


@pytest.mark.parametrize("group", sorted(set(GROUPS) - {"demo"}))
def test_two_dashes_are_no_value_of_an_option(group: str) -> None:
    """argparse takes them for the end of the options and hands over an empty list."""
    for option in ("--host=--", "--output=--", "-o--"):
        outcome = run(group, "verb", option, "--json")
        refused(outcome, 2)
        assert "'--' is no value" in outcome.err
