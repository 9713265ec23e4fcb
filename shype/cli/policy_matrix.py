"""``shype policy matrix``: the decisions of one operation for all pairs of labels."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from shype.cli.policy_options import add_policy
from shype.cli.verb import Verbs, add_verb
from shype.report import Exit, Json, Report

if TYPE_CHECKING:
    from acm.matrix import Matrix

OPERATIONS: Final = (
    *("share", "read", "write", "start", "authorize", "event-channel", "grant-map-read", "grant-map-write"),
    *("grant-copy-from", "grant-copy-to", "grant-transfer", "argo", "resource-read", "resource-write"),
    *("vlan-attach", "resume", "migrate-in"),
)

_MATRIX: Final = """\
A row is who asks, a column what it asks for; each cell is the verdict of shype policy
decide for the pair. start, resume and migrate-in are asked of a host whose Domain-0 has
the column's label and where nothing else runs or has run. __INACCESSIBLE__ has no column:
it is denied to everybody. In the JSON a row is one digit a column, 1 for permit.

Exit: 0 answered, 2 wrong usage, 3 broken policy file.

Example:
  shype policy matrix configs/policies/datacenter.yaml --op read
"""

_WIDEST: Final = 60
"""Columns that are drawn; a wider matrix is told row by row."""


def register(verbs: Verbs) -> None:
    """Add the verb."""
    verb = add_verb(verbs, "matrix", "show the decisions for all pairs of labels", _MATRIX, _matrix)
    add_policy(verb)
    verb.add_argument(
        "--op", default="share", choices=OPERATIONS, help="what the rows ask for; without it: share"
    )


def _matrix(arguments: argparse.Namespace) -> Report:
    from acm.matrix import matrix
    from acm.operations import Operation
    from shype.policies import load

    policy = load(arguments.policy)
    found = matrix(policy, Operation(arguments.op))
    document: Json = {
        "op": str(found.op),
        "subjects": found.subjects,
        "objects": found.objects,
        "rows": [found.digits(row) for row in range(len(found.subjects))],
        "permitted": found.permitted,
        "pairs": len(found.subjects) * len(found.objects),
    }
    head = f"{found.op} in policy {policy.name} {policy.version}"
    return Report(Exit.OK, document, f"{head}\n{_picture(found)}")


def _picture(found: Matrix) -> str:
    """Draw ``+`` for permit and ``.`` for deny; columns are numbered, and named in the rows or below."""
    count = f"{found.permitted} of {len(found.subjects) * len(found.objects)} permitted"
    width = max(map(len, found.subjects))
    if len(found.objects) > _WIDEST:
        rows = (
            f"{name:<{width}}  {found.rows[row].bit_count():>6} of {len(found.objects)}"
            for row, name in enumerate(found.subjects)
        )
        return "\n".join([*rows, f"{count}; too wide to be drawn, --json has it all"])
    same = found.objects[: len(found.subjects)] == found.subjects
    numbers = [f"{column + 1:>3}" for column in range(len(found.objects))]
    lines = [f"{'':<{width + 4}}{''.join(numbers)}"]
    for row, name in enumerate(found.subjects):
        cells = "".join("  +" if cell == "1" else "  ." for cell in found.digits(row))
        lines.append(f"{row + 1 if same else '':>3} {name:<{width}}{cells}")
    rest = range(len(found.subjects) if same else 0, len(found.objects))
    lines += [f"{column + 1:>3} {found.objects[column]}" for column in rest]
    return "\n".join([*lines, f"+ permit  . deny  {count}"])
