"""``shype demo``: the main job and its attacks, told as they happen."""

from __future__ import annotations

import argparse
from pathlib import Path

from shype.report import Exit, Json, Report

EPILOG = """\
Boots an embedded host from real boot files into a software TPM, loads a policy, launches
guests, verifies the host from outside, audits its bill, and then tries to cheat.
DIR keeps what each party held: verifier, auditor, and each attack's.

Exit: 0 only if every line of the final table came out as expected, 1 otherwise.

Example:
  tools/boot-files build/boot
  shype demo --boot build/boot
"""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the group, which has no verbs."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--boot",
        type=Path,
        default=Path("build/boot"),
        metavar="DIR",
        help="boot files (default: build/boot)",
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="new folder that is kept")
    parser.set_defaults(handler=_demo)


def _demo(arguments: argparse.Namespace) -> Report:
    from shype.demo import stories
    from shype.demo.attacker import keep_machine
    from shype.demo.main_job import Scene, main_job
    from shype.demo.narrator import Narrator, terminal
    from shype.demo.workplace import workplace

    with workplace(arguments.keep) as work:
        narrator = Narrator(terminal(quiet=arguments.json), work)
        scene = Scene(work, arguments.boot.resolve(), narrator)
        main_job(scene, lambda: keep_machine(scene))
        stories.tell(scene)
    lines = scene.lines
    good = all(line.good for line in lines)
    narrator.table(
        "What was proved, and what was caught", [(line.what, line.outcome, line.good) for line in lines]
    )
    document: dict[str, Json] = {
        "ok": good,
        "lines": [{"what": each.what, "outcome": each.outcome, "ok": each.good} for each in lines],
        "kept": None if arguments.keep is None else str(arguments.keep),
    }
    count = sum(line.good for line in lines)
    return Report(Exit.OK if good else Exit.REFUSED, document, f"\n{count} of {len(lines)} lines as expected")
