"""``shype policy section`` and ``check-section``: a customer's part of a policy, shown and checked alone."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shype.cli.policy_options import add_policy
from shype.cli.verb import Verbs, add_verb
from shype.report import Exit, Json, Report

if TYPE_CHECKING:
    from acm.sectionfile import CheckedSection

_SECTION: Final = """\
What concerns these domain labels: the header of the policy, the labels, their types with
all who hold them, their conflict sets and levels, and the resources that they reach. Each
part comes with the path that leads from it to the policy's Merkle root.

Example:
  shype policy section configs/policies/datacenter.yaml --label cola-web --label cola-db -o cola.json
"""
_CHECK: Final = """\
Holds a section against a Merkle root that you know from elsewhere: from the policy event
in PCR 12, or from whom you trust. With --label, all that concerns this label must be
there too; what is left out is named.

Exit: 0 it belongs to that policy, and is whole, 1 something is left out, 3 it does not.

Example:
  shype policy section configs/policies/datacenter.yaml --label cola-web -o cola.json
  shype policy check-section cola.json --label cola-web \\
    --root 9f4129c78e7363f0dd651a65cd58d7b4a2d7caed29b02710e4563ee575dbe2f5
"""
_ROOT: Final = re.compile(r"[0-9a-f]{64}")


def register(verbs: Verbs) -> None:
    """Add the verbs."""
    section = add_verb(
        verbs, "section", "write what concerns some labels, with its proof", _SECTION, _section
    )
    add_policy(section)
    section.add_argument(
        "--label", action="append", required=True, metavar="LABEL", help="a domain label; may be given again"
    )
    section.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="for the section")
    check = add_verb(verbs, "check-section", "check a section against a policy's root", _CHECK, _check)
    check.add_argument("section", type=Path, metavar="FILE", help="from shype policy section")
    check.add_argument("--root", type=_root, required=True, metavar="HEX", help="the policy's Merkle root")
    check.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="LABEL",
        help="must be shown whole; may be given again",
    )


def _section(arguments: argparse.Namespace) -> Report:
    from acm import parts, sectionfile
    from shype.files import write
    from shype.policies import load

    policy = load(arguments.policy)
    shown = parts.section(policy, arguments.label)
    write(arguments.output, sectionfile.encode(shown))
    document: dict[str, Json] = {
        "root": policy.root,
        "size": shown.size,
        "parts": len(shown.parts),
        "output": str(arguments.output),
    }
    text = f"{len(shown.parts)} of {shown.size} parts written to {arguments.output}\nroot {policy.root}"
    return Report(Exit.OK, document, text)


def _check(arguments: argparse.Namespace) -> Report:
    from acm import sectionfile
    from shype.files import read

    raw = read(arguments.section, sectionfile.MAX_SIZE)
    found = sectionfile.checked(arguments.root, sectionfile.decode(raw, str(arguments.section)))
    missing = [f"{label}: {what}" for label in arguments.label for what in found.missing(label)]
    document: dict[str, Json] = {
        "verdict": "deny" if missing else "permit",
        "reasons": [{"code": "section-incomplete", "detail": each} for each in missing],
        "parts": [{"part": kind, "name": name} for kind, name in found.parts],
    }
    lines = [f"not shown: {each}" for each in missing]
    return Report(Exit.REFUSED if missing else Exit.OK, document, "\n".join([*_text(found), *lines]))


def _text(found: CheckedSection) -> list[str]:
    lines = [f"{len(found.parts)} parts belong to the policy with this root"]
    for (kind, name), fields in found.parts.items():
        holders = [*fields.get("domains", ()), *fields.get("resources", ())]
        lines.append(f"  {kind} {name}" + (f": {', '.join(holders)}" if holders else ""))
    return lines


def _root(text: str) -> bytes:
    if not _ROOT.fullmatch(text):
        raise argparse.ArgumentTypeError("a root is 64 lower-case hex digits")
    return bytes.fromhex(text)
