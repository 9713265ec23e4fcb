"""Dom0: its kernel and ramdisk (PCR 9), their command lines (PCR 8, 12), and its user land (PCR 10).

User land is judged by the kernel's measurement list, if the profile demands PCR 10 or the reference values
have its files. Facts are the entries that the quoted PCR 10 proves; ``attest.ima.appraise`` has the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attest.attester import IMA_PCR
from attest.ima.appraise import AppraisedList
from attest.reasons import reason
from attest.result import Reason
from attest.verifier.claims import Appraised

_LISTED: Final = 3
_AGGREGATE: Final = frozenset({"ima-boot-aggregate", "ima-boot-aggregate-missing"})


def files(subject: Appraised) -> list[Reason]:
    """Check that kernel and ramdisk of dom0 are those of the reference values."""
    return subject.boot.reasons("dom0-not-in-reference")


def command_line(subject: Appraised) -> list[Reason]:
    """Check that the loader gave dom0's kernel and ramdisk the command lines of the reference values."""
    return subject.boot.reasons("dom0-command-line-not-in-reference")


def command_line_reported(subject: Appraised) -> list[Reason]:
    """Check that dom0's kernel runs with the command line of the reference values, as it reports itself.

    No register has it where the firmware starts a unified image: the words of a boot entry take dom0's line
    away, or add to it, with PCR 0-9 and Xen's own command line as expected.
    """
    told, wanted = subject.claims.runtime.report, subject.expected.reference.hypervisor.dom0_commandline
    if told is None or wanted is None or command_line(subject):
        return []  # reported as hypervisor-report-missing, or by the loader's measurements
    if told.dom0_commandline is None:
        what = "the report of PCR 12 does not say dom0's command line"
        return [reason("dom0-command-line-not-reported", what)]
    if told.dom0_commandline != wanted:
        what = f"dom0's kernel reports the command line {told.dom0_commandline!a}"
        return [reason("dom0-command-line-not-in-reference", what)]
    return []


def list_shown(subject: Appraised) -> list[Reason]:
    """Check that there is a measurement list to judge, where one is asked for."""
    claims, expected = subject.claims, subject.expected
    if not expected.asks_for_list or claims.ima is not None:
        return []
    if IMA_PCR not in claims.pcrs:
        return [reason("ima-list-missing", f"PCR {IMA_PCR} is not quoted, so that no list would be proved")]
    if not any(claims.pcrs[IMA_PCR]):
        what = f"PCR {IMA_PCR} was never extended: IMA has no policy in dom0, or is off"
        return [reason("not-measured", what)]
    return [reason("ima-list-missing", f"the evidence shows no list for PCR {IMA_PCR}")]


def list_tied(subject: Appraised) -> list[Reason]:
    """Check that the list begins with a ``boot_aggregate`` of the quoted PCR 0-9: it is of this boot."""
    ima = subject.claims.ima
    if ima is None:
        return []
    if not ima.is_tied and not ima.counts.keys() & _AGGREGATE:
        what = "its boot_aggregate is of a bank or of PCRs that are not quoted"
        return [reason("ima-boot-aggregate-open", what)]
    return _reasons(ima, lambda code: code in _AGGREGATE)


def files_known(subject: Appraised) -> list[Reason]:
    """Check that there are reference values to hold the list against."""
    if subject.claims.ima is not None and subject.expected.reference.ima is None:
        return [reason("reference-empty", "no files of dom0's user land")]
    return []


def user_land(subject: Appraised) -> list[Reason]:
    """Check that every file that dom0 measured up to the quote is one of the reference values."""
    ima = subject.claims.ima
    if ima is None or subject.expected.reference.ima is None:
        return []  # reported as ima-list-missing, not-measured or reference-empty, if it was asked for
    return _reasons(ima, lambda code: code not in _AGGREGATE)


def notes(subject: Appraised) -> list[str]:
    """Say how much of the list was judged, or that none was asked for."""
    ima = subject.claims.ima
    if ima is None:
        return [] if subject.expected.asks_for_list else ["user land not evaluated: nobody asked for PCR 10"]
    beyond = f", {ima.beyond} behind the quote not used" if ima.beyond else ""
    return [f"measurement list: {ima.entries} entries proved{beyond}"]


def _reasons(ima: AppraisedList, counts: Callable[[str], bool]) -> list[Reason]:
    """Return one reason for each code of the findings, with the first few of them."""
    return [_reason(ima, code) for code in ima.counts if counts(code)]


def _reason(ima: AppraisedList, code: str) -> Reason:
    own = [f"entry {one.index}: {one.detail}" for one in ima.findings if one.code == code][:_LISTED]
    more = ima.counts[code] - len(own)
    rest = [f"{more} {'more' if own else 'entries'}"] if more else []
    return reason(code, "; ".join(own + rest))
