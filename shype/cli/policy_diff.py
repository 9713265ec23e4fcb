"""``shype policy diff``: what a new policy changes, and what it would break on a host."""

from __future__ import annotations

import argparse
from pathlib import Path

from shype.cli.verb import Verbs, add_verb
from shype.report import Exit, Report

_DIFF = """\
Without --state: labels, types, conflict sets and levels that differ, and the decisions
that change. With --state (from shype host state) also whatever of the running domains,
their channels, grants, Argo rings, disks and VLANs the new policy would not permit, and
what mends it: the fewest domains to stop, then the fewest revocations and relabels. The
answer says whether that is proved to be the fewest.

Exit: 0 nothing breaks, 1 something that lives breaks or NEW is no successor of OLD,
2 wrong usage, 3 a broken file. Without --state 0, 2 or 3.

Example:
  shype policy diff configs/policies/datacenter.yaml configs/updates/datacenter-1.1.yaml \\
    --state configs/updates/state.json
"""


def register(verbs: Verbs) -> None:
    """Add the verb."""
    diff = add_verb(verbs, "diff", "compare two policies; say what an update breaks on a host", _DIFF, _diff)
    diff.add_argument("old", type=Path, metavar="OLD", help="the policy in force")
    diff.add_argument("new", type=Path, metavar="NEW", help="the policy that is to follow")
    diff.add_argument("--state", type=Path, metavar="STATE", help="what lives on the host (shype.state/1)")


def _diff(arguments: argparse.Namespace) -> Report:
    from acm import statefile, whatif
    from shype.files import read
    from shype.policies import load

    old, new = load(arguments.old), load(arguments.new)
    live = None
    if arguments.state is not None:
        live = statefile.decode(read(arguments.state, statefile.MAX_SIZE), source=str(arguments.state))
    answer = whatif.ask(old, new, live)
    exit_code = Exit.OK if answer.holds else Exit.REFUSED
    return Report(exit_code, whatif.document(answer), whatif.text(answer))
