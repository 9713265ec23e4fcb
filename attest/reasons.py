"""Every reason code a verification can give: its best verdict and one sentence for a person.

``docs/reasons.md`` is made from this table (``python -m attest.reasons``); a test keeps them equal. Codes are
stable: tests, profiles and users branch on them, so a code is never renamed or given another meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attest import refusals
from attest.result import Reason, Verdict

_NONE, _BAD, _OPEN, _WARN = Verdict.NONE, Verdict.CONTRAINDICATED, Verdict.INCONCLUSIVE, Verdict.WARNING


class Claim(StrEnum):
    """Trustworthiness claims of AR4SI (draft-ietf-rats-ar4si, section 2.3) that a reason counts against."""

    INSTANCE = "instance-identity"
    CONFIGURATION = "configuration"
    EXECUTABLES = "executables"
    HARDWARE = "hardware"


_ID, _CONF, _EXEC, _HARD = Claim.INSTANCE, Claim.CONFIGURATION, Claim.EXECUTABLES, Claim.HARDWARE


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the table: ``verdict`` is the best verdict that is left when this reason is given."""

    code: str
    node: str
    verdict: Verdict
    claim: Claim
    sentence: str


# fmt: off
_ROWS: Final = (
    Code("evidence-malformed", "host", _NONE, _ID,
         "The evidence does not have the form it must have."),
    Code("host-quiet", "host", _OPEN, _ID,
         "The host did not answer, or not to the end."),
    Code("host-refuses", "host", _OPEN, _ID,
         "The host's agent does not answer us."),
    Code("answer-malformed", "host", _NONE, _ID,
         "What came back over the network is no answer."),
    Code("registers-never-still", "host", _BAD, _CONF,
         "The host's registers changed during every quote, round after round."),
    Code("host-has-other-tpm", "host", _BAD, _ID,
         "ALARM: another TPM answers under the name of an enrolled host."),
    Code("tpm-has-other-host", "host", _BAD, _ID,
         "ALARM: the TPM of an enrolled host answers under another name."),
    Code("enrolment-refused", "host", _BAD, _ID,
         "The host could not be enrolled."),
    Code("failed-before", "standing", _BAD, _ID,
         "This host failed before, and nobody has cleared that (shype result clear)."),
    Code("host-name-mismatch", "platform", _NONE, _ID,
         "The evidence names another host than the enrolment record."),
    Code("ak-not-enrolled", "platform", _NONE, _ID,
         "The attestation key in the evidence was never enrolled."),
    Code("ak-attributes", "platform", _NONE, _ID,
         "The attestation key may sign things that no TPM made."),
    Code("enrolment-expired", "platform", _OPEN, _ID,
         "The enrolment of this host is older than the profile allows."),
    Code("reference-expired", "platform", _OPEN, _EXEC,
         "The signed reference values have expired."),
    Code("ek-untrusted", "platform", _NONE, _HARD,
         "The TPM's endorsement certificate does not lead to an anchor."),
    Code("software-tpm", "platform", _BAD, _HARD,
         "The TPM is a program, and the profile asks for hardware."),
    Code("quote-malformed", "platform, vtpm", _NONE, _ID,
         "The quote is not a well-formed TPMS_ATTEST."),
    Code("quote-not-generated", "platform, vtpm", _NONE, _ID,
         "The signed structure was not made inside a TPM."),
    Code("quote-wrong-type", "platform, vtpm", _NONE, _ID,
         "The signed structure is not a quote."),
    Code("signature-algorithm", "platform, vtpm", _NONE, _ID,
         "The signature's scheme or hash is not the key's, or weak."),
    Code("signature-invalid", "platform, vtpm", _NONE, _ID,
         "The signature is not by the key that the evidence names."),
    Code("nonce-mismatch", "platform, vtpm", _NONE, _ID,
         "The quote was made for another challenge: an old one, replayed."),
    Code("channel-mismatch", "platform", _NONE, _ID,
         "The host answered over another TLS connection than ours: somebody relays it."),
    Code("pcr-bank", "platform, vtpm", _NONE, _ID,
         "The quote does not cover exactly the one PCR bank that is asked for."),
    Code("pcr-missing", "platform, vtpm", _NONE, _ID,
         "The quote leaves out a PCR that the profile needs."),
    Code("pcr-selection-mismatch", "platform, vtpm", _NONE, _ID,
         "The PCR values shown are not for the quoted PCRs."),
    Code("pcr-digest-mismatch", "platform, vtpm", _NONE, _ID,
         "The PCR values shown are not those that were quoted."),
    Code("clock-back", "platform", _NONE, _ID,
         "The TPM's clock or its reset counters went back."),
    Code("clock-unsafe", "platform, vtpm", _OPEN, _ID,
         "The TPM says that its clock may have been set back."),
    Code("tpm-firmware-changed", "platform", _BAD, _HARD,
         "The TPM runs other firmware than when the host was enrolled."),
    Code("tpm-resumed", "platform", _BAD, _ID,
         "The TPM was resumed since this boot was first quoted: its registers may have been lost."),
    Code("firmware-log-malformed", "platform", _NONE, _ID,
         "The firmware event log cannot be read."),
    Code("firmware-log-mismatch", "platform", _NONE, _ID,
         "The firmware event log does not replay to the quoted PCRs."),
    Code("firmware-log-untrue", "platform", _NONE, _ID,
         "The firmware event log replays, but its events are not what it says they are."),
    Code("firmware-log-missing", "firmware", _OPEN, _EXEC,
         "There is no firmware event log, and the profile asks for one."),
    Code("runtime-log-malformed", "platform", _NONE, _ID,
         "The runtime event log cannot be read."),
    Code("runtime-log-mismatch", "platform", _NONE, _ID,
         "The runtime event log does not replay to the quoted PCR 12 and 13."),
    Code("ima-list-malformed", "platform", _NONE, _ID,
         "Dom0's measurement list cannot be read."),
    Code("ima-list-mismatch", "platform", _NONE, _ID,
         "No part of dom0's measurement list replays to the quoted PCR 10, or an entry was altered."),
    Code("reference-empty", "firmware, loader, xen, dom0", _OPEN, _EXEC,
         "The reference values say nothing about this."),
    Code("not-measured", "firmware, loader, xen, dom0", _OPEN, _EXEC,
         "What should be in this PCR was never measured."),
    Code("firmware-not-in-reference", "firmware", _BAD, _HARD,
         "The firmware or its settings are not the expected ones."),
    Code("firmware-unsafe", "firmware", _BAD, _HARD,
         "The firmware reports debug mode, unprotected DMA or a failed start."),
    Code("firmware-disorder", "firmware", _BAD, _HARD,
         "No sound boot has such separators, Secure Boot variables or hidden events in PCR 0 to 7."),
    Code("loader-not-in-reference", "loader", _BAD, _EXEC,
         "The boot loader or what it was told is not as expected."),
    Code("load-options-open", "loader", _WARN, _CONF,
         "Words of a boot entry may have reached the kernels, and some act before they are reported."),
    Code("hypervisor-not-in-reference", "xen", _BAD, _EXEC,
         "Another hypervisor file was booted."),
    Code("xen-command-line-not-in-reference", "xen", _BAD, _CONF,
         "The hypervisor was booted with another command line."),
    Code("boot-commands-not-in-reference", "loader", _BAD, _EXEC,
         "PCR 8 is not as expected: loader commands or a command line differ, and no log says which."),
    Code("boot-files-not-in-reference", "xen", _BAD, _EXEC,
         "PCR 9 is not as expected: hypervisor, dom0 kernel or ramdisk differ, and no log says which."),
    Code("dom0-not-in-reference", "dom0", _BAD, _EXEC,
         "Another dom0 kernel or ramdisk was booted."),
    Code("dom0-command-line-not-in-reference", "dom0", _BAD, _CONF,
         "The dom0 kernel was booted with another command line."),
    Code("dom0-command-line-not-reported", "dom0", _OPEN, _CONF,
         "The reference values have dom0's command line, and the hypervisor's report does not say it."),
    Code("ima-list-missing", "dom0", _OPEN, _EXEC,
         "Dom0's measurement list is asked for, and none is shown that a quote proves."),
    Code("ima-boot-aggregate", "dom0", _BAD, _EXEC,
         "Dom0's measurement list begins with the PCR 0-9 of another boot."),
    Code("ima-boot-aggregate-missing", "dom0", _BAD, _EXEC,
         "Dom0's measurement list does not begin with the PCR 0-9 of its boot."),
    Code("ima-boot-aggregate-open", "dom0", _OPEN, _EXEC,
         "Which boot dom0's measurement list is of cannot be told from the quoted PCRs."),
    Code("ima-not-allowed", "dom0", _BAD, _EXEC,
         "Dom0 ran or read a file that the reference values do not know."),
    Code("ima-digest-differs", "dom0", _BAD, _EXEC,
         "A file of dom0 has another content than the reference values have."),
    Code("ima-algorithm", "dom0", _BAD, _EXEC,
         "A file of dom0 was measured by a hash that is too weak."),
    Code("ima-violation", "dom0", _BAD, _EXEC,
         "A file of dom0 was written while it was measured: nobody knows what was run."),
    Code("ima-other-pcr", "dom0", _BAD, _EXEC,
         "Dom0's measurement list has an entry for another PCR, which proves nothing."),
    Code("hypervisor-report-missing", "xen", _OPEN, _CONF,
         "PCR 12 does not begin with the hypervisor's own report."),
    Code("hypervisor-report-repeated", "xen", _BAD, _CONF,
         "A second hypervisor report follows the first one."),
    Code("hypervisor-report-unlike-reference", "xen", _BAD, _CONF,
         "Xen runs with other settings than the reference has."),
    Code("flask-not-enforcing", "xen", _BAD, _CONF,
         "FLASK does not enforce its policy, and the reference values admit it."),
    Code("flask-policy-not-in-reference", "xen", _BAD, _CONF,
         "Xen reports another FLASK policy than the expected one."),
    Code("flask-policy-not-measured", "xen", _OPEN, _CONF,
         "Nothing says which FLASK policy Xen enforces: not reported, and in no register that counts."),
    Code("runtime-event-unexpected", "xen", _BAD, _CONF,
         "The runtime log holds an event where it must not stand."),
    Code("policy-missing", "acm-policy", _OPEN, _CONF,
         "The host measured no ACM policy."),
    Code("policy-mismatch", "acm-policy", _BAD, _CONF,
         "The host enforces another ACM policy than the expected one."),
    Code("history-not-measured", "acm-policy", _OPEN, _CONF,
         "The policy counts past runs, and the host did not measure their history with it."),
    Code("history-inconsistent", "acm-policy", _BAD, _CONF,
         "The histories of past runs that the host measured do not follow from each other."),
    Code("domain-unaccounted", "host", _BAD, _CONF,
         "A domain was found on the host that nobody launched under the policy: reboot the host."),
    Code("domain-missing", "domain", _OPEN, _ID,
         "The evidence does not show a domain that was asked for."),
    Code("domain-duplicate", "domain", _NONE, _ID,
         "Two domains in the evidence claim one identity."),
    Code("domain-not-in-reference", "domain", _BAD, _EXEC,
         "The reference values do not know this domain."),
    Code("launch-not-measured", "domain", _NONE, _ID,
         "The domain's launch is not in PCR 13."),
    Code("domain-stopped", "domain", _BAD, _CONF,
         "The domain in the evidence was stopped."),
    Code("domain-label-not-in-reference", "domain", _BAD, _CONF,
         "The domain was launched under another label."),
    Code("domain-image-not-in-reference", "domain", _BAD, _EXEC,
         "The domain's configuration, kernel, ramdisk or disks differ."),
    Code("domain-policy-unknown", "domain", _BAD, _CONF,
         "The domain was launched under a policy the host never measured."),
    Code("domain-policy-earlier", "domain", _WARN, _CONF,
         "The domain was launched under an earlier policy of this host."),
    Code("domain-label-not-in-policy", "domain", _BAD, _CONF,
         "The expected policy does not know the domain's label."),
    Code("label-changed", "vtpm", _BAD, _CONF,
         "The vTPM's label is not the label that was measured at launch."),
    Code("vtpm-changed", "vtpm", _BAD, _ID,
         "The vTPM or its key is not the one that was measured at launch."),
    Code("vtpm-unlabelled", "vtpm", _BAD, _CONF,
         "The vTPM carries no label: nobody wrote its PCR 17."),
    Code("vtpm-record-mismatch", "vtpm", _NONE, _ID,
         "PCR 17 of the vTPM does not hold the label record shown."),
    Code("record-unlike-policy", "vtpm", _BAD, _CONF,
         "The label record gives the label other types or levels than the policy does."),
    Code("binding-mismatch", "vtpm", _NONE, _ID,
         "Record, key, host and binding of the vTPM do not belong together."),
    Code("binding-stale", "vtpm", _BAD, _ID,
         "The vTPM was bound before the host's last reset."),
    Code("vak-attributes", "vtpm", _NONE, _ID,
         "The vTPM's key is not one that works only under this label."),
    Code("inclusion-invalid", "vtpm", _NONE, _ID,
         "The vTPM's quote is not under the host's signature."),
)
# fmt: on

CODES: Final = {row.code: row for row in _ROWS}
"""Code -> its row."""


def reason(code: str, detail: str) -> Reason:
    """Return the reason ``code`` (KeyError for a code that is not in the table) with one line of detail."""
    return Reason(code, " ".join(detail.split()), CODES[code].verdict)


def sentence(code: str) -> str:
    """Return the sentence for a person; the code itself where the table has none."""
    return CODES[code].sentence if code in CODES else code


def table() -> str:
    """Return ``docs/reasons.md``."""
    rows = [f"| `{row.code}` | {row.node} | {row.verdict} | {row.sentence} |" for row in _ROWS]
    head = [
        "# Reasons of `shype verify`",
        "",
        "Made by `python -m attest.reasons` from `attest/reasons.py`; a test keeps the two equal.",
        "The verdict is the best one that is left when the reason is given. `inconclusive` is EAR's `none`,",
        "exit code 4; `none` is not authentic, exit code 3; `contraindicated` and `warning` are exit code 1.",
        "A profile may move `warning` and `contraindicated` for a code (`verdicts:`), never the other two.",
        "",
        "| code | node | verdict | meaning |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows, *refusals.table(), ""])


if __name__ == "__main__":
    print(table(), end="")
