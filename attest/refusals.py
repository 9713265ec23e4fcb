"""Every code by which ``shype quote verify``, ``shype enroll`` and a session refuse: a sentence for a person.

``docs/reasons.md`` shows them after the reasons of ``shype verify``; a test keeps the table complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row: the code, the commands that give it, their exit code, and what it means."""

    code: str
    commands: str
    exit: int
    sentence: str


# fmt: off
REFUSALS: Final = (
    Refusal("ak-malformed", "quote, enroll", 3, "The attestation key is no public area and no PEM key."),
    Refusal("ak-attributes", "quote (3), enroll", 1, "It may sign what no TPM made, or does not show."),
    Refusal("ak-scheme", "quote (3), enroll", 1, "The key does not fix a scheme for signatures."),
    Refusal("ak-strength", "quote (3), enroll", 1, "Key, hash or exponent is too weak or unusual."),
    Refusal("ak-not-enrolled", "quote", 3, "The key is not the one in the enrolment record."),
    Refusal("signature-malformed", "quote", 3, "It is neither a TPMT_SIGNATURE nor bare."),
    Refusal("signature-algorithm", "quote", 3, "The signature's scheme or hash is not the key's, or weak."),
    Refusal("signature-invalid", "quote", 3, "The key did not sign these bytes."),
    Refusal("quote-malformed", "quote", 3, "The signed bytes are not a well-formed TPMS_ATTEST."),
    Refusal("quote-not-generated", "quote", 3, "The signed structure was not made inside a TPM."),
    Refusal("quote-wrong-type", "quote", 3, "The signed structure is not a quote."),
    Refusal("quote-signer", "quote", 3, "The signer is not this key, or stands where it was not enrolled."),
    Refusal("nonce-mismatch", "quote", 3, "The quote answers another challenge."),
    Refusal("pcr-selection-empty", "quote", 3, "The quote selects no PCR."),
    Refusal("pcr-missing", "quote", 3, "A required PCR is not in the quote."),
    Refusal("pcr-bank", "quote", 3, "The quote covers a bank that was not asked for."),
    Refusal("pcr-bank-weak", "quote", 1, "Only SHA-1 is quoted, and nobody asked for it by name."),
    Refusal("pcr-file-malformed", "quote", 3, "The PCR file is not what tpm2-tools write for this quote."),
    Refusal("pcr-selection-mismatch", "quote", 3, "The PCR values are for other PCRs than the quote."),
    Refusal("pcr-digest-mismatch", "quote", 3, "The PCR values are not those that were quoted."),
    Refusal("event-log-malformed", "quote", 3, "The event log cannot be read."),
    Refusal("event-log-bank", "quote", 3, "The event log has no digests of the quoted bank."),
    Refusal("event-log-digest-missing", "quote", 3, "An event lacks the digest of the quoted bank."),
    Refusal("event-log-mismatch", "quote", 3, "The event log does not replay to the quoted values."),
    Refusal("event-log-untrue", "quote", 3, "What the firmware log says of its events is not so."),
    Refusal("ima-other-pcr", "quote", 1, "The measurement list has entries for a PCR that is not quoted."),
    Refusal("firmware-unsafe", "quote", 1, "The firmware booted in a mode that protects nothing."),
    Refusal("firmware-disorder", "quote", 1, "The firmware's events, or their order, are not the PFP's."),
    Refusal("pcr-no-dynamic-launch", "quote", 1, "A required PCR of a dynamic launch was never written."),
    Refusal("event-log-not-covered", "quote", 4, "The event log says nothing about any quoted PCR."),
    Refusal("event-log-needs-pcrs", "quote", 4, "The log does not explain all: give the values (--pcrs)."),
    Refusal("clock-unsafe", "quote", 4, "The TPM says that its clock may have been set back."),
    Refusal("clock-back", "quote", 3, "Clock or counters went back behind the earlier quote."),
    Refusal("earlier-quote-invalid", "quote", 3, "The earlier quote is not by this key, or broken."),
    Refusal("tpm-firmware-changed", "quote", 1, "The TPM runs other firmware than in the earlier quote."),
    Refusal("tpm-resumed", "quote", 1, "The TPM was resumed or restarted since the earlier quote."),
    Refusal("quote-history-malformed", "verify", 3, "HOST.clock cannot be read."),
    Refusal("ek-malformed", "enroll", 3, "The endorsement key is no public area."),
    Refusal("ek-template", "enroll", 1, "The endorsement key has no template of the TCG."),
    Refusal("ek-strength", "enroll", 1, "The endorsement key is too weak or unusual."),
    Refusal("ek-certificate-malformed", "enroll", 3, "A certificate cannot be read."),
    Refusal("ek-certificate-no-path", "enroll", 1, "No chain of certificates leads to a trusted root."),
    Refusal("ek-certificate-signature", "enroll", 1, "The CA that a certificate names did not sign it."),
    Refusal("ek-certificate-time", "enroll", 1, "A certificate of the chain is not valid now."),
    Refusal("ek-certificate-issuer-not-ca", "enroll", 1, "A certificate was issued by who is no CA."),
    Refusal("ek-certificate-path-length", "enroll", 1, "The chain is longer than a CA, or we, allow."),
    Refusal("ek-certificate-usage", "enroll", 1, "A certificate is for another use."),
    Refusal("ek-certificate-critical-extension", "enroll", 1, "An extension is not understood."),
    Refusal("ek-certificate-strength", "enroll", 1, "A key or a signature in the chain is too weak."),
    Refusal("ek-certificate-other-key", "enroll", 1, "The certificate is for another key than the EK shown."),
    Refusal("enrolment-malformed", "enroll, quote", 3, "An enrolment record cannot be read."),
    Refusal("host-has-other-tpm", "enroll", 1, "ALARM: the host is enrolled with another TPM."),
    Refusal("tpm-has-other-host", "enroll", 1, "ALARM: the TPM is enrolled for another host."),
    Refusal("host-not-enrolled", "enroll, quote (3)", 1, "The host has no enrolment record here."),
    Refusal("challenge-expired", "enroll", 1, "The challenge was answered too late."),
    Refusal("challenge-response", "enroll", 1, "The answer is not the secret of the challenge."),
    Refusal("challenge-unknown", "enroll", 1, "No challenge is open."),
    Refusal("session-unknown", "enroll (1), verify, quote", 3, "Nothing was asked of this host."),
    Refusal("session-malformed", "enroll, verify, quote", 3, "The kept session cannot be read."),
    Refusal("session-order", "enroll", 1, "This may not happen now: finish what is open first."),
    Refusal("session-failed", "enroll (1), verify, quote", 3, "The session failed before: begin anew."),
    Refusal("session-expired", "enroll (1), verify, quote", 3, "The session is over: begin anew."),
    Refusal("session-other-host", "verify, quote", 3, "The nonce was sent to another host."),
    Refusal("session-other-key", "verify, quote", 3, "Its key was enrolled after the nonce was sent."),
    Refusal("evidence-before-enrolment", "verify, quote", 3, "Evidence came before the host proved its TPM."),
    Refusal("evidence-without-nonce", "verify, quote", 3, "Evidence came that nobody asked for."),
    Refusal("evidence-twice", "verify, quote", 3, "The nonce was answered before."),
    Refusal("nonce-expired", "verify, quote", 3, "The answer came after its nonce had expired."),
    Refusal("nonce-other", "verify", 3, "Another nonce was answered than was sent."),
)
# fmt: on


def table() -> list[str]:
    """Return the lines of the table in ``docs/reasons.md``."""
    rows = [f"| `{row.code}` | {row.commands} | {row.exit} | {row.sentence} |" for row in REFUSALS]
    return [
        "",
        "# Refusals of `shype quote verify`, `shype enroll` and sessions",
        "",
        "A number after a command is its exit code where it differs.",
        "",
        "| code | given by | exit | meaning |",
        "| --- | --- | --- | --- |",
        *rows,
    ]
