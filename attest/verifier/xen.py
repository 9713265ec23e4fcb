"""Xen's own word: what the hypervisor says that it runs with, as the first event of PCR 12.

Firmware registers do not say it: a boot entry's options reach Xen with PCR 0-7 untouched (facts/xen-lab.md,
11). So the report has to be there, has to come first, and has to come once.
"""

from __future__ import annotations

from typing import Final

from attest.reasons import reason
from attest.reference import Component
from attest.result import Reason
from attest.runtime_events import DomainCommitment, HypervisorReport
from attest.verifier.claims import Appraised

FLASK: Final = "flask"
ENFORCING: Final = "enforcing"


def reported_first(subject: Appraised) -> list[Reason]:
    """Check that PCR 12 begins with the report."""
    if subject.claims.runtime.report is None:
        return [reason("hypervisor-report-missing", "the first event of PCR 12 is no hypervisor report")]
    return []


def reported_once(subject: Appraised) -> list[Reason]:
    """Check that no other report follows: whoever writes a second one wants it to be believed."""
    later = [event for event in subject.claims.runtime.pcr12[1:] if isinstance(event, HypervisorReport)]
    if later and subject.claims.runtime.report is not None:  # else reported as hypervisor-report-missing
        return [reason("hypervisor-report-repeated", f"{len(later)} more in PCR 12")]
    return []


def events_in_place(subject: Appraised) -> list[Reason]:
    """Check that PCR 12 holds reports, histories and policies, PCR 13 domains, and nothing else."""
    runtime = subject.claims.runtime
    stray = [event.TYPE for event in runtime.pcr12 if isinstance(event, DomainCommitment)]
    stray += [event.TYPE for event in runtime.pcr13 if not isinstance(event, DomainCommitment)]
    if stray:
        return [
            reason("runtime-event-unexpected", f"{len(stray)} events in the wrong PCR, first {stray[0]!r}")
        ]
    return []


def compared(subject: Appraised) -> list[Reason]:
    """Check that there is something to compare: reference values, and registers that hold something."""
    return subject.boot.gaps(Component.XEN)


def hypervisor(subject: Appraised) -> list[Reason]:
    """Check that the hypervisor's file, and the build that it reports, are those of the reference values."""
    found = subject.boot.reasons("hypervisor-not-in-reference", "boot-files-not-in-reference")
    told, wanted = subject.claims.runtime.report, subject.expected.reference.hypervisor
    if found or told is None:
        return found
    different = [
        name for name in ("version", "build_id") if getattr(wanted, name) not in {None, getattr(told, name)}
    ]
    if different:
        return [reason("hypervisor-not-in-reference", f"it reports another {' and '.join(different)}")]
    return []


def command_line(subject: Appraised) -> list[Reason]:
    """Check that the loader gave Xen the command line of the reference values."""
    return subject.boot.reasons("xen-command-line-not-in-reference")


def settings(subject: Appraised) -> list[Reason]:
    """Check that Xen reports the command line, XSM module and mode of the reference values."""
    told, wanted = subject.claims.runtime.report, subject.expected.reference.hypervisor
    if told is None:
        return []  # reported as hypervisor-report-missing
    names = ("commandline", "xsm_module", "xsm_mode")
    different = [name for name in names if getattr(told, name) != getattr(wanted, name)]
    if different:
        detail = "; ".join(f"{name} is {getattr(told, name)!a}" for name in different)
        return [reason("hypervisor-report-unlike-reference", detail)]
    return []


def flask_enforcing(subject: Appraised) -> list[Reason]:
    """Check that FLASK enforces, whatever the reference values say: a permissive one keeps nobody apart."""
    told, wanted = subject.claims.runtime.report, subject.expected.reference.hypervisor
    if told is None or told.xsm_module.lower() != FLASK or told.xsm_mode == ENFORCING:
        return []
    if told.xsm_mode != wanted.xsm_mode:
        return []  # reported as hypervisor-report-unlike-reference
    what = f"the reference values admit FLASK in the mode {told.xsm_mode!a}"
    return [reason("flask-not-enforcing", what)]


def flask_policy(subject: Appraised) -> list[Reason]:
    """Check that the FLASK policy is the one of the reference values: as reported, else by its file.

    Xen 4.17 has no call that returns the policy or its digest. So a report without one is no answer, and what
    counts is that the file was measured: by a register that is compared.
    """
    told, wanted = subject.claims.runtime.report, subject.expected.reference.hypervisor.flask_policy
    if told is None or wanted is None:
        return []
    if told.flask_policy is not None:
        if told.flask_policy == wanted.sha256:
            return []
        what = f"it reports {told.flask_policy}; expected {wanted.sha256}"
        return [reason("flask-policy-not-in-reference", what)]
    if wanted.pcr not in subject.expected.profile.pcrs:
        covered = "by no register" if wanted.pcr is None else f"by PCR {wanted.pcr}, which nobody asked for"
        what = f"the hypervisor does not report its policy, and its file is covered {covered}"
        return [reason("flask-policy-not-measured", what)]
    return []  # another file is another value of that register: reported as such
