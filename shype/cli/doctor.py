"""``shype doctor``: what this machine lacks to be attested."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from attest.doctor import Finding, State, examine
from attest.errors import one_line
from shype.report import Exit, Json, Report

EPILOG: Final = """\
Looks at the TPM and its banks, its EK certificate, the firmware's measurements and log,
the boot entry, GRUB's tpm module or the unified image, Xen and its XSM, IMA and its policy.
Reads only: nothing is changed, installed or sent. Run it as root in dom0; --root DIR looks
at the files of another machine, where the TPM itself cannot be asked.

What it says is a help for the operator. It proves nothing: for that there is shype verify.

Exit: 0 nothing lacks, 1 something does (each with the mend), 2 wrong usage.

Example:
  shype doctor --json
"""
MARKS: Final = {State.OK: "✓", State.LACKS: "✗", State.SKIPPED: "-"}


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the group, which has no verbs."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="another root (default: /)"
    )
    parser.set_defaults(handler=_doctor)


def _doctor(arguments: argparse.Namespace) -> Report:
    from shype.machine import look

    findings = examine(look(arguments.root))
    lacking = sum(each.state is State.LACKS for each in findings)
    document: dict[str, Json] = {
        "root": str(arguments.root),
        "lacks": lacking,
        "findings": [
            {"code": each.code, "state": each.state.value, "detail": each.detail, "mend": each.mend}
            for each in findings
        ],
    }
    lines = [line for each in findings for line in _lines(each)]
    lines.append("nothing lacks" if not lacking else f"{lacking} to mend")
    return Report(Exit.REFUSED if lacking else Exit.OK, document, "\n".join(lines))


def _lines(finding: Finding) -> list[str]:
    lines = [f"{MARKS[finding.state]} {one_line(finding.detail)} [{finding.code}]"]
    if finding.mend:
        lines.append(f"    mend: {finding.mend}")
    return lines
