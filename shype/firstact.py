"""The first act of a measured Domain-0: Xen's own report goes into PCR 12, before anything else can.

Run from the measured ramdisk, after ``xenfs`` and the TPM's driver are there and before any program that the
boot did not measure: ``python3 -S -m shype.firstact [LOG [TPM]]``. It asks the hypervisor for version, build
id, command line and the mode of FLASK, and dom0's kernel for its own command line, extends the report, and
leaves the runtime log that the host object goes on with. Nothing but our own modules and Python's is imported
(a test lists them).

Refused: a PCR that is not at its start value, since then something was measured before the first act.
Exit: 0 done, 1 refused, 3 Xen or TPM failed; one line on standard error says why.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attest.errors import AttestInputError, AttestUsageError
from attest.runtime_events import HypervisorReport
from attest.runtime_log import RUNTIME_PCRS, RuntimeLog
from hypervisor.errors import XenError
from hypervisor.xen import binding
from vtpm.errors import VtpmInputError
from vtpm.rawdevice import RawDevice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypervisor.xen.report import XenReport

LOG: Final = Path("/run/shype/runtime.log")
DEVICE: Final = Path("/dev/tpm0")
KERNEL: Final = Path("/proc/cmdline")
MAX_LINE: Final = 2048
"""Bytes, the final newline included: COMMAND_LINE_SIZE (Linux, arch/x86/include/asm/setup.h)."""
PCR: Final = 12
_USAGE: Final = f"usage: python3 -m shype.firstact [LOG [TPM]] (default: {LOG} {DEVICE})"


class NotFirstError(AttestUsageError):
    """Something was measured into the runtime registers before the first act."""

    code = "not-first"


class CommandLineError(AttestInputError):
    """The kernel's command line is not one that can be reported."""

    code = "command-line"


def dom0_commandline(source: Path = KERNEL) -> str:
    """Return what dom0's kernel runs with, without the newline that the kernel writes behind it.

    Raises CommandLineError for more than the kernel can have, and for characters that are not printable:
    there is no report then, and so no good host.
    """
    with source.open("rb") as file:
        raw = file.read(MAX_LINE + 1)
    try:
        line = raw.decode()
    except UnicodeDecodeError:
        line = "\0"
    if len(raw) > MAX_LINE or not line.endswith("\n") or not (line[:-1].isprintable() or line == "\n"):
        raise CommandLineError(f"{source}: not one line of at most {MAX_LINE} bytes, all printable")
    return line[:-1]


def hypervisor_report(xen: XenReport, dom0: str | None) -> HypervisorReport:
    """Return the event; raises AttestUsageError for a report that does not fit one.

    ``dom0`` is the command line of dom0's kernel. ``flask_policy`` stays empty: Xen gives nobody the policy
    that it has loaded. The boot measured it.
    """
    return HypervisorReport(
        version=xen.version,
        build_id=xen.build_id,
        commandline=xen.commandline,
        xsm_module=xen.xsm_module,
        xsm_mode=xen.xsm_mode,
        flask_policy=None,
        dom0_commandline=dom0,
    )


def first_act(xen: XenReport, dom0: str, tpm: RawDevice, log: Path) -> HypervisorReport:
    """Measure the report and begin the log at ``log``; return the event.

    Raises NotFirstError while anything stands in the registers of the runtime log; then nothing was done.
    """
    event = hypervisor_report(xen, dom0)
    for pcr in RUNTIME_PCRS:
        if any(tpm.read(pcr)):
            raise NotFirstError(f"PCR {pcr} is not zero: something was measured before the first act; reboot")
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with RuntimeLog(log, tpm.extend, tpm.read) as runtime:
        runtime.append(PCR, event.encode())
    return event


def main(arguments: Sequence[str]) -> int:
    """Run the first act; return the exit code."""
    paths = [Path(each) for each in arguments]
    if len(paths) > 2 or any(each.startswith("-") for each in arguments):  # noqa: PLR2004 - LOG TPM
        print(_USAGE, file=sys.stderr)
        return 2
    log, device = [*paths, *(LOG, DEVICE)[len(paths) :]]
    try:
        xen = binding.Xc(binding.load(binding.place())).report()
        with RawDevice.open(device) as tpm:
            event = first_act(xen, dom0_commandline(), tpm, log)
    except AttestUsageError as error:
        print(f"first act: refused: {error}", file=sys.stderr)
        return 1
    except (XenError, VtpmInputError, AttestInputError) as error:
        print(f"first act: {error}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"first act: {error.filename}: {error.strerror}", file=sys.stderr)
        return 3
    print(f"first act: Xen {event.version}, {event.xsm_module} {event.xsm_mode}, measured into PCR {PCR}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
