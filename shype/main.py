"""The ``shype`` command: finds the group, runs the verb, prints one report, maps errors to exit codes."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Final, NoReturn

from attest.errors import one_line
from shype.failure import Failure, WrongUsageError
from shype.report import Exit, Report

GROUPS: Final[dict[str, str]] = {
    "demo": "watch the whole idea work, and the attacks that must fail",
    "doctor": "see what this machine lacks to be attested",
    "policy": "decide by an ACM policy, load one",
    "image": "make a unified Xen image, see what one boots",
    "host": "make, boot and look after a host",
    "domain": "launch and run domains",
    "eventlog": "read and replay a boot event log",
    "pcrs": "predict PCR values from boot files, make reference values",
    "quote": "judge a TPM quote",
    "enroll": "enrol a host's attestation key",
    "attest": "write the evidence of a host for a nonce",
    "verify": "verify a remote platform from its evidence",
    "result": "check a signed attestation result; see how hosts stand",
    "meter": "show and export usage records",
    "audit": "audit usage records",
}
"""Group name -> one line of help; the module is ``shype.cli.<group>``, imported only when it is named."""

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells give it: 128 and the number of SIGINT."""

Handler = Callable[[argparse.Namespace], Report]

_NO_VALUE: Final = re.compile(r"(--[^=]+)=--|(-[A-Za-z])--")
"""An option whose value is ``--``: argparse takes that for the end of options and gives an empty list."""


class _UnsaidError(Exception):
    """Standard output takes no more: a full disk. No answer was given."""


class _Parser(argparse.ArgumentParser):
    """One clear line instead of the usage text; exit 2."""

    def error(self, message: str) -> NoReturn:
        raise WrongUsageError(f"{message} (see {self.prog} --help)")

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 - as argparse has it
        _say(self.format_help().rstrip("\n"))


def parser_for(group: str) -> argparse.ArgumentParser:
    """Return the argument parser of one group; its module registers verbs and sets ``handler``."""
    parser = _Parser(
        prog=f"shype {group}",
        description=f"{GROUPS[group][0].upper()}{GROUPS[group][1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print exactly one JSON document")
    importlib.import_module(f"shype.cli.{group}").register(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run ``shype ARGV`` and return the exit code; never raises on bad input."""
    try:
        if not argv or argv[0] in {"-h", "--help"}:
            _say(_overview())
            return Exit.OK if argv else Exit.USAGE
        return _answer(argv[0], argv[1:])
    except BrokenPipeError:
        pass  # who reads our output has gone: nobody is left to tell
    except _UnsaidError as error:
        print(f"shype: standard output: {error}", file=sys.stderr)
    # What was not written must not be tried again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.USAGE


def _answer(group: str, rest: Sequence[str]) -> Exit:
    try:
        return _run(group, rest)
    except BrokenPipeError:
        raise
    except Exception as error:
        failure = Failure.of(error)
        if failure is None:
            raise
        return _fail(group, failure, as_json=_wants_json([group, *rest]))


def _run(group: str, rest: Sequence[str]) -> Exit:
    if group not in GROUPS:
        raise WrongUsageError(f"no group {group!a}; one of: {', '.join(GROUPS)}")
    _refuse_no_value(rest)
    arguments = parser_for(group).parse_args(rest)
    report: Report = arguments.handler(arguments)
    if report.line:
        print(f"shype {group}: {one_line(report.line)}", file=sys.stderr)
    if report.pieces is not None:
        return _say_in_pieces(group, report.exit, report.pieces)
    _say(json.dumps(report.document, indent=2) if arguments.json else report.text)
    return report.exit


def _refuse_no_value(words: Sequence[str]) -> None:
    for word in takewhile(lambda word: word != "--", words):
        if found := _NO_VALUE.fullmatch(word):
            raise WrongUsageError(f"argument {found[1] or found[2]}: '--' is no value")


def _say_in_pieces(group: str, code: Exit, pieces: Iterator[str]) -> Exit:
    """Print as it comes. An error on the way leaves what was begun unfinished: no second document."""
    try:
        for piece in pieces:
            _say(piece, end="", flush=False)
    except (BrokenPipeError, _UnsaidError):
        raise
    except Exception as error:
        failure = Failure.of(error)
        if failure is None:
            raise
        return _fail(group, failure, as_json=False)
    _say("")
    return code


def _say(text: str, end: str = "\n", *, flush: bool = True) -> None:
    try:
        print(text, end=end, flush=flush)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _UnsaidError(error.strerror) from error


def _fail(group: str, failure: Failure, *, as_json: bool) -> Exit:
    where = f"shype {group}" if group in GROUPS else "shype"
    print(f"{where}: {failure.detail}", file=sys.stderr)
    if as_json:
        _say(json.dumps(failure.document(group), indent=2))
    return failure.exit


def _wants_json(words: Sequence[str]) -> bool:
    """Look for --json where the arguments could not be parsed, or were and led to an error."""
    return "--json" in takewhile(lambda word: word != "--", words)


def _overview() -> str:
    width = max(map(len, GROUPS))
    lines = [f"  {name:<{width}}  {line}" for name, line in GROUPS.items()]
    return "\n".join(["usage: shype GROUP … (shype GROUP --help has examples)", "", *lines])


def run() -> None:
    """Entry point of the installed command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    run()
