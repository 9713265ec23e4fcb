"""The ``shype`` command: finds the group, runs the verb, prints one report, maps errors to exit codes."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from shype.exits import exit_for
from shype.report import Exit, Report

GROUPS: Final[dict[str, str]] = {
    "demo": "watch the whole idea work, and the attacks that must fail",
    "policy": "decide by an ACM policy, load one",
    "host": "make, boot and look after a host",
    "domain": "launch and run domains",
    "eventlog": "read and replay a boot event log",
    "pcrs": "predict PCR values from boot files, make reference values",
    "quote": "judge a TPM quote",
    "enroll": "enrol a host's attestation key",
    "attest": "write the evidence of a host for a nonce",
    "verify": "verify a remote platform from its evidence",
    "result": "check a signed attestation result",
    "meter": "show and export usage records",
    "audit": "audit usage records",
}
"""Group name -> one line of help; the module is ``shype.cli.<group>``, imported only when it is named."""

Handler = Callable[[argparse.Namespace], Report]


class _WrongUsageError(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    """One clear line instead of the usage text; exit 2."""

    def error(self, message: str) -> NoReturn:
        raise _WrongUsageError(f"{self.prog}: {message} (see {self.prog} --help)")


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
    if not argv or argv[0] in {"-h", "--help"}:
        print(_overview())
        return Exit.OK if argv else Exit.USAGE
    group, *rest = argv
    if group not in GROUPS:
        return _fail(f"shype: no group {group!r}; one of: {', '.join(GROUPS)}", Exit.USAGE)
    try:
        return _run(group, rest)
    except BrokenPipeError:
        # Who reads our output has gone: nobody is left to tell, and the flush at exit must not try.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.USAGE
    except Exception as error:
        failure = _failure(group, error)
        if failure is None:
            raise
        return _fail(*failure)


def _run(group: str, rest: Sequence[str]) -> Exit:
    arguments = parser_for(group).parse_args(rest)
    report: Report = arguments.handler(arguments)
    print(json.dumps(report.document, indent=2) if arguments.json else report.text, flush=True)
    return report.exit


def _failure(group: str, error: Exception) -> tuple[str, Exit] | None:
    if isinstance(error, _WrongUsageError):
        return str(error), Exit.USAGE
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"shype {group}: {where}{error.strerror or error}", Exit.USAGE
    code = exit_for(error)
    return None if code is None else (f"shype {group}: {error}", code)


def _fail(line: str, code: Exit) -> Exit:
    print(" ".join(line.split()), file=sys.stderr)
    return code


def _overview() -> str:
    width = max(map(len, GROUPS))
    lines = [f"  {name:<{width}}  {line}" for name, line in GROUPS.items()]
    return "\n".join(["usage: shype GROUP … (shype GROUP --help has examples)", "", *lines])


def run() -> None:
    """Entry point of the installed command."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
