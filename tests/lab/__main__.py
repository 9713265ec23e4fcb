"""``python -m tests.lab``: run the lab, its smoke run, or a shell in dom0."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

from tests.lab import console, parts, variants
from tests.lab.errors import LabError
from tests.lab.live import booted, wait_for_agent
from tests.lab.machine import Tpm
from tests.lab.tool import say

FOLDER: Final = Path(__file__).resolve().parent
FAILED: Final = 1
INTERRUPTED: Final = 130


def main() -> int:
    """Command line: run, smoke, build, shell."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, what in (("run", "all boots and stories"), ("smoke", "three boots"), ("build", "the parts")):
        verbs.add_parser(name, help=what)
    shell = verbs.add_parser("shell", help="a command, or a prompt, in dom0")
    shell.add_argument("--variant", default="flask", choices=[each.name for each in variants.VARIANTS])
    shell.add_argument("command", nargs="?", default="", help="for dom0's sh; without it a prompt")
    given = parser.parse_args()
    # A lab that is told to end takes its machines with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if given.verb == "build":
            parts.build()
            return 0
        if given.verb == "shell":
            return run_shell(given.variant, given.command)
        return tell("smoke" if given.verb == "smoke" else "lab")
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def tell(marker: str) -> int:
    """Build, then tell the stories of a marker; a smoke run without FLASK boots the host that needs none."""
    if not parts.build().hypervisor.flask and marker == "smoke":
        marker = "without_flask"
    # The boot disks of runs that went well are not kept: they are large, and /tmp may be small.
    kept = ("-o", "tmp_path_retention_policy=failed")
    code = pytest.main([str(FOLDER), "-m", marker, "-q", "-s", "-p", "no:cacheprovider", *kept])
    return int(code)


def run_shell(name: str, command: str) -> int:
    """Boot a variant and run a command in its dom0, or give a prompt on its console."""
    built = parts.build()
    variant = next(each for each in variants.VARIANTS if each.name == name)
    if variant.flask and not built.hypervisor.flask:
        say("without FLASK, since the source of Xen could not be had")
        variant = variants.PLAIN
    with tempfile.TemporaryDirectory(prefix="lab-shell-") as folder:
        work = Path(folder)
        boot = variants.boot_folder(variant, built, work / "boot")
        with booted(work / "machine", boot, built, Tpm.manufacture(work / "tpm"), work / "desk") as host:
            if not command:
                say("dom0's console; leave with Ctrl-]")
                console.talk(host.machine.console_socket)
                return 0
            wait_for_agent(host)
            answer = host.shell.run(command)
            sys.stdout.write(answer.output)
            return answer.code


if __name__ == "__main__":
    sys.exit(main())
