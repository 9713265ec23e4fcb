"""Platform: that a quote is by the enrolled TPM, for this nonce, and explained by the logs.

Every reason with verdict ``none`` here ends the appraisal: claims of a platform that is not authentic are not
read. The key that verifies the signature is the one in the evidence, after it was found enrolled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from attest.ak import AkError, check_ak
from attest.attester import IMA_PCR
from attest.endorsement import Endorsement, EndorsementError, verify_endorsement
from attest.eventlog.belief import Belief, believe, told
from attest.eventlog.cel import parse_cel
from attest.eventlog.log import EventLog, EventLogError
from attest.eventlog.replay import (
    EXIT_BOOT_SERVICES_PCR,
    ReplayError,
    VerifiedEvents,
    verify_replay,
    with_exit_boot_services,
)
from attest.eventlog.tcg import parse_tcg
from attest.evidence import Evidence
from attest.ima.appraise import AppraisedList, appraise_list
from attest.ima.policy import RuntimePolicy
from attest.quote import endorsed_signers
from attest.reasons import reason
from attest.result import Reason
from attest.runtime_events import DomainFound, RuntimeEventError, decode_event
from attest.verifier import quotes
from attest.verifier.claims import (
    Expectation,
    HostQuote,
    RuntimeFacts,
    VerifiedClaims,
    candidate_roots,
    signed_root,
)
from attest.verifier.quotes import Demand, Shown
from vtpm.tpm2.constants import Alg

FIRMWARE_PCRS: Final = frozenset(range(10))
RUNTIME_PCRS: Final = (12, 13)
EXIT_ONLY: Final = (EXIT_BOOT_SERVICES_PCR,)


def read(evidence: Evidence, expected: Expectation) -> HostQuote | Reason:
    """Decode the host's quote and say what it must be; a reason where it does not have its form."""
    host = evidence.host
    roots = candidate_roots(evidence)
    qualifying = frozenset(map(expected.qualifying, roots))
    elsewhere = frozenset[bytes]().union(*map(expected.elsewhere, roots))
    pcrs = expected.profile.pcrs
    shown = Shown(host.ak, host.quote, host.signature, host.pcrs)
    ek_name = b"" if expected.enrolment is None else expected.enrolment.ek_name
    claim = quotes.read(
        shown,
        lambda key: Demand(endorsed_signers(key, ek_name), qualifying, pcrs, expected.bank, elsewhere),
    )
    return claim if isinstance(claim, Reason) else HostQuote(evidence, claim, expected, _endorsed(expected))


def _endorsed(expected: Expectation) -> Endorsement | str:
    if expected.enrolment is None:
        return "there is no enrolment record with a certificate to judge"
    try:
        return verify_endorsement(expected.enrolment.ek_certificate, expected.anchors, now=expected.now)
    except EndorsementError as error:
        return str(error)


def host_name(quote: HostQuote) -> list[Reason]:
    """Check that the record is the one of the host that the evidence names."""
    enrolment = quote.expected.enrolment
    if enrolment is not None and enrolment.host != quote.evidence.host.name:
        detail = f"the evidence is of {quote.evidence.host.name!a}, the record of {enrolment.host!a}"
        return [reason("host-name-mismatch", detail)]
    return []


def ak_enrolled(quote: HostQuote) -> list[Reason]:
    """Check that the attestation key in the evidence is the one that was enrolled, byte for byte."""
    enrolment = quote.expected.enrolment
    name = quote.claim.key.name()
    if enrolment is None or enrolment.ak_name != name:
        whom = quote.evidence.host.name
        return [reason("ak-not-enrolled", f"{whom!a} has no enrolled key with the Name {name.hex()}")]
    return []


def ak_attributes(quote: HostQuote) -> list[Reason]:
    """Check that the key signs only what its own TPM made (Part 2, 8.3; Part 1, 25.1.5)."""
    try:
        check_ak(quote.claim.key)
    except AkError as error:
        return [reason("ak-attributes", str(error))]
    return []


def endorsement(quote: HostQuote) -> list[Reason]:
    """Check that the TPM's endorsement certificate leads to an anchor, and is one for hardware."""
    found, profile = quote.endorsement, quote.expected.profile
    if isinstance(found, str):
        return [reason("ek-untrusted", found)]
    if found.is_software and not profile.admit_software_tpm:
        detail = f"its certificate names no maker of hardware; profile {profile.name} admits no other"
        return [reason("software-tpm", detail)]
    return []


def enrolment_age(quote: HostQuote) -> list[Reason]:
    """Check that the host was enrolled in the past, and not too long ago."""
    enrolment, now = quote.expected.enrolment, quote.expected.now
    if enrolment is None:
        return []
    most = timedelta(days=quote.expected.profile.max_enrolment_days)
    if not enrolment.time <= now <= enrolment.time + most:
        detail = f"enrolled {enrolment.time:%Y-%m-%d}, the profile asks for {most.days} days at most"
        return [reason("enrolment-expired", detail)]
    return []


def reference_age(quote: HostQuote) -> list[Reason]:
    """Check that the reference values are still good: what has expired says nothing (RFC 9334, 10)."""
    expires = quote.expected.reference_expires
    if expires is not None and quote.expected.now >= expires:
        return [
            reason("reference-expired", f"they were good until {expires:%Y-%m-%d %H:%M:%SZ}: get a newer set")
        ]
    return []


def clock(quote: HostQuote) -> list[Reason]:
    """Check that counters and clock went on since an earlier quote, and are safe (Part 1, 36.3)."""
    earlier = quote.expected.earlier
    back = "" if earlier is None else quote.told.contradicts(earlier.told)
    if back:
        return [reason("clock-back", back)]
    if quote.expected.profile.require_safe_clock and not quote.told.clock.safe:
        return [reason("clock-unsafe", "clockInfo.safe is NO: the TPM lost power and its clock may repeat")]
    return []


def tpm_firmware(quote: HostQuote) -> list[Reason]:
    """Check that the TPM runs the firmware that it was enrolled with (Part 2, 10.12.8)."""
    earlier = quote.expected.earlier
    changed = "" if earlier is None else earlier.firmware_changed(quote.expected.enrolment, quote.told)
    return [reason("tpm-firmware-changed", f"{changed}: enrol it again if that is right")] if changed else []


def not_resumed(quote: HostQuote) -> list[Reason]:
    """Check that the TPM was not resumed since the host's first quote of this reset (CVE-2018-6622)."""
    earlier = quote.expected.earlier
    resumed = "" if earlier is None else earlier.resumed(quote.told)
    return [reason("tpm-resumed", f"{resumed}: reboot it from cold")] if resumed else []


def authenticate(quote: HostQuote) -> VerifiedClaims | Reason:
    """Replay the logs against the PCRs of a quote that passed all checks; a reason where that fails.

    From here on the events are facts: their digests and order by the quote, their bytes by the digests.
    """
    try:
        return _authenticate(quote)
    except _RefusedError as refused:
        return refused.reason


class _RefusedError(Exception):
    """A log that is not authentic."""

    def __init__(self, code: str, error: Exception) -> None:
        super().__init__(code)
        self.reason = reason(code, str(error))


@contextmanager
def _reading(malformed: str, mismatch: str) -> Iterator[None]:
    """Turn what reading and replaying a log raise into a refusal with one of two codes."""
    try:
        yield
    except ReplayError as error:
        raise _RefusedError(mismatch, error) from None
    except (EventLogError, RuntimeEventError) as error:
        raise _RefusedError(malformed, error) from None


def _authenticate(quote: HostQuote) -> VerifiedClaims | Reason:
    pcrs = quote.claim.values()
    host, bank = quote.evidence.host, quote.expected.bank
    with _reading("firmware-log-malformed", "firmware-log-mismatch"):
        log = host.firmware_log
        firmware, belief = (None, None) if log is None else _replay_firmware(log.log, pcrs, bank)
    if belief is not None and belief.untrue:
        return reason("firmware-log-untrue", told(belief.untrue))
    with _reading("runtime-log-malformed", "runtime-log-mismatch"):
        runtime = _replay_runtime(host.runtime_log, pcrs, bank)
        opened = [DomainFound.decode(raw) for raw in host.found]
    with _reading("ima-list-malformed", "ima-list-mismatch"):
        ima = _appraise_list(host.ima_log, pcrs, quote.expected)
    shown = {one.commitment(): one for one in opened}
    return VerifiedClaims(
        pcrs=MappingProxyType(pcrs),
        firmware=firmware,
        runtime=runtime,
        root=signed_root(quote),
        ak_name=quote.claim.key.name(),
        told=quote.told,
        software=isinstance(quote.endorsement, str) or quote.endorsement.is_software,
        bent=() if isinstance(quote.endorsement, str) else quote.endorsement.bent,
        found=tuple(shown.get(commitment) for commitment in runtime.found),
        ima=ima,
        belief=belief,
    )


def _appraise_list(raw: bytes | None, pcrs: dict[int, bytes], expected: Expectation) -> AppraisedList | None:
    """Prove dom0's measurement list up to the entry that gives the quoted PCR 10, and judge what is proved.

    An empty list proves nothing, and stands for a PCR that nothing was ever measured into.
    """
    if not expected.asks_for_list or raw is None or IMA_PCR not in pcrs:
        return None
    if not raw and not any(pcrs[IMA_PCR]):
        return None
    files = expected.reference.ima
    policy = RuntimePolicy(frozenset()) if files is None else files.policy()
    return appraise_list((raw,), pcrs, expected.bank, policy)


def _replay_firmware(raw: bytes, pcrs: dict[int, bytes], bank: Alg) -> tuple[VerifiedEvents, Belief]:
    """Replay a firmware log; the events of leaving boot services may have come after it was read (PFP)."""
    log = parse_tcg(raw)
    quoted = {pcr: value for pcr, value in pcrs.items() if pcr in FIRMWARE_PCRS}
    try:
        proved = verify_replay(log, quoted, bank)
    except ReplayError as error:
        if error.pcrs != EXIT_ONLY:
            raise
        log = with_exit_boot_services(log)
        proved = verify_replay(log, quoted, bank)
    return proved, believe(log, proved)


def _replay_runtime(raw: bytes, pcrs: dict[int, bytes], bank: Alg) -> RuntimeFacts:
    log: EventLog = parse_cel(raw)
    stray = {event.pcr for event in log.events} - set(RUNTIME_PCRS)
    if stray:
        raise EventLogError(f"events of PCR {min(stray)} do not belong into the runtime log", code="pcr")
    events = verify_replay(log, {pcr: pcrs[pcr] for pcr in RUNTIME_PCRS}, bank)
    pcr12, pcr13 = (
        tuple(decode_event(one.measured or b"") for one in events.of(pcr)) for pcr in RUNTIME_PCRS
    )
    return RuntimeFacts(pcr12, pcr13)
