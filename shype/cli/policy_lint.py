"""``shype policy lint``: what is probably a mistake in a policy."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from shype.cli.policy_options import add_policy
from shype.cli.verb import Verbs, add_verb
from shype.report import Exit, Json, Report

if TYPE_CHECKING:
    from acm.lint import Finding

CODES: Final = (
    *("never-starts", "type-unused", "type-alone", "wall-type-free", "conflict-set-idle"),
    *("resource-unreachable", "label-duplicate", "rivals-share", "joins-rivals", "rivals-connected"),
    *("mls-flow", "trusted-idle", "level-unused", "unlabeled-joined"),
)

_LINT: Final = f"""\
Each finding has a code, the name it is about and a sentence. What is meant that way is
accepted with --accept CODE:NAME, or --accept CODE for all of a kind. Codes:
  {", ".join(CODES[:5])},
  {", ".join(CODES[5:10])},
  {", ".join(CODES[10:])}

Exit: 0 no finding, 1 findings, 2 wrong usage, 3 broken policy file.

Example:
  shype policy lint configs/policies/datacenter.yaml --accept joins-rivals:dns
"""


def register(verbs: Verbs) -> None:
    """Add the verb."""
    verb = add_verb(verbs, "lint", "find what is probably a mistake in a policy", _LINT, _lint)
    add_policy(verb)
    verb.add_argument(
        "--accept",
        action="append",
        default=[],
        type=_accepted,
        metavar="CODE[:NAME]",
        help="do not report this; may be given many times",
    )


def _lint(arguments: argparse.Namespace) -> Report:
    from acm.lint import lint
    from shype.policies import load

    accepted = set(arguments.accept)
    found: list[Finding] = []
    kept: list[Finding] = []
    for finding in lint(load(arguments.policy)):
        known = {(str(finding.code), None), (str(finding.code), finding.subject)} & accepted
        (kept if known else found).append(finding)
    document: Json = {"findings": _documents(found), "accepted": _documents(kept)}
    lines = [f"{finding.code} {finding.subject}\n    {finding.detail}" for finding in found]
    count = f"{len(found)} finding{'' if len(found) == 1 else 's'}"
    lines.append(f"{count}, {len(kept)} accepted" if kept else count)
    return Report(Exit.REFUSED if found else Exit.OK, document, "\n".join(lines))


def _documents(findings: list[Finding]) -> list[Json]:
    return [
        {"code": str(finding.code), "subject": finding.subject, "detail": finding.detail}
        for finding in findings
    ]


def _accepted(text: str) -> tuple[str, str | None]:
    code, colon, name = text.partition(":")
    if code not in CODES or (colon and not name):
        raise argparse.ArgumentTypeError(f"CODE or CODE:NAME; the codes are {', '.join(CODES)}")
    return code, name or None
