"""One shape for every verb: help with an example, ``--json`` before and after it, no abbreviations."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

from shype.report import Report

Handler = Callable[[argparse.Namespace], Report]
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - has no public name


def verbs_of(parser: argparse.ArgumentParser) -> Verbs:
    """Return where the verbs of a group are added."""
    return parser.add_subparsers(title="verbs", metavar="VERB", required=True)


def add_verb(verbs: Verbs, name: str, line: str, epilog: str, handler: Handler) -> argparse.ArgumentParser:
    """Add a verb; ``line`` says in one line what it does, ``epilog`` has the details and an example."""
    verb = verbs.add_parser(
        name,
        help=line,
        description=f"{line[0].upper()}{line[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print exactly one JSON document"
    )
    verb.set_defaults(handler=handler)
    return verb
