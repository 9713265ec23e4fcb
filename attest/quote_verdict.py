"""The verdict over one quote and what is shown beside it: what ``shype quote verify`` answers.

It judges a quote, not a platform. Steps in order; a step that finds the evidence false ends the run:

1. the key is the enrolled one, if a record is given: :mod:`attest.quote_enrolled`; then signature, structure,
   nonce, selection: :mod:`attest.quote`, rules 1 to 7;
2. every PCR that is asked for is in the quote;
3. the PCR values shown are those that were quoted;
4. the event log replays to the quoted values: each PCR that the log extends, and PCR 0 to 9 of a firmware log
   whether it extends them or not (PFP 1.06, 2.3.4: firmware and loader measure there, and log it);
5. what a log says of its events is so, and tells of no unsafe boot (:mod:`attest.eventlog.belief`);
   a measurement list has no entry for a PCR that is not quoted;
6. a bank stronger than SHA-1 is in the quote, unless SHA-1 was asked for by name;
7. the PCRs that are asked for prove something;
8. the TPM does not doubt its own clock (Part 2, 10.11.1: safe);
9. clock, counters and firmware go on from an earlier quote by the same key, and from what was remembered of
   the host, where either is given (:mod:`attest.quote_went_on`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from attest.ak import AkError, AkFailure, BareKey, decode_ak
from attest.enrolment import Enrolment
from attest.eventlog.belief import believe, told
from attest.eventlog.log import EventLog, EventLogError, LogFormat
from attest.eventlog.read import parse
from attest.eventlog.replay import DRTM_PCRS, ReplayError, VerifiedEvents, replay, verify_replay
from attest.ima.source import ListSource
from attest.pcrfile import PcrFileError, decode_pcr_file
from attest.quote import (
    QuoteError,
    QuoteFailure,
    VerifiedPcrs,
    VerifiedQuote,
    check_pcr_file,
    check_required,
    verify_quote,
)
from attest.quote_enrolled import check_place, enrolled_key
from attest.quote_history import QuoteHistory
from attest.quote_list import check_list, list_in
from attest.quote_replayed import values_by_replay
from attest.quote_run import Check, Run
from attest.quote_went_on import went_on
from attest.result import Reason, Verdict, worst
from vtpm.tpm2.constants import Alg

if TYPE_CHECKING:
    from vtpm.tpm2.pcrs import PcrSelection
    from vtpm.tpm2.public import Public

FIRMWARE_PCRS: Final = frozenset(range(10))
RESETTABLE: Final = frozenset({16, 23})
"""Debug and application registers: any program may reset them (PC Client TPM Profile, 4.6)."""
SECURE_BOOT: Final = "secure-boot"
"""In ``not_checked`` where a firmware log does not say what Secure Boot was."""
_FIRMWARE_FORMATS: Final = frozenset({LogFormat.TCG_SHA1, LogFormat.TCG_AGILE})
_TYPED_FORMATS: Final = _FIRMWARE_FORMATS | {LogFormat.CEL_JSON}
"""Logs with types and data that no replay proves; a CEL may hold the firmware's events, all or some."""


_OF_THE_QUOTE: Final = tuple(Check)[: tuple(Check).index(Check.REQUIRED)]
_FAILED_AT: Final = {
    AkFailure.MALFORMED: Check.AK_FORMAT,
    AkFailure.ATTRIBUTES: Check.AK_ATTRIBUTES,
    AkFailure.SCHEME: Check.AK_ATTRIBUTES,
    AkFailure.STRENGTH: Check.AK_ATTRIBUTES,
    QuoteFailure.SIGNATURE_MALFORMED: Check.SIGNATURE,
    QuoteFailure.SIGNATURE_ALGORITHM: Check.SIGNATURE,
    QuoteFailure.SIGNATURE_INVALID: Check.SIGNATURE,
    QuoteFailure.MALFORMED: Check.GENERATED,
    QuoteFailure.NOT_GENERATED: Check.GENERATED,
    QuoteFailure.WRONG_TYPE: Check.TYPE,
    QuoteFailure.SIGNER: Check.SIGNER,
    QuoteFailure.NOT_ENROLLED: Check.ENROLMENT,
    QuoteFailure.NONCE: Check.NONCE,
    QuoteFailure.EMPTY: Check.SELECTION,
}
_REPLAY_CODES: Final = {"bank": "event-log-bank", "digest-missing": "event-log-digest-missing"}


@dataclass(frozen=True, slots=True)
class ShownQuote:
    """The bytes of the files that come from the attester. Nothing in them is trusted."""

    ak: bytes
    message: bytes
    signature: bytes
    pcrs: bytes | None = None
    eventlog: bytes | ListSource | None = None
    """A measurement list that is not to be held is given as its source."""
    earlier: tuple[bytes, bytes] | None = None
    """Message and signature of an earlier quote by the same key, which the verifier kept."""


@dataclass(frozen=True, slots=True)
class QuoteVerdict:
    """The answer. ``quote`` is None unless all evidence was authentic.

    ``checked`` and ``not_checked`` hold words of ``Check``; a check that failed is in neither but in the
    reasons. ``event-log:BANK:PCR`` in ``not_checked`` is a quoted PCR that the log says nothing about, and
    ``event-log-beyond:BANK:COUNT`` entries of a measurement list that are newer than the quote,
    ``event-log-violation:BANK:COUNT`` those that say nothing of the file that they name,
    ``secure-boot`` there means that the log leaves open what Secure Boot was, ``resettable:BANK:PCR`` that
    the value proves nothing.
    """

    verdict: Verdict
    reasons: tuple[Reason, ...]
    checked: tuple[str, ...]
    not_checked: tuple[str, ...]
    quote: VerifiedQuote | None

    @property
    def refusal(self) -> Reason | None:
        """Why the evidence is not authentic; None where it is."""
        return next((reason for reason in self.reasons if reason.verdict is Verdict.NONE), None)


def judge_quote(
    shown: ShownQuote,
    *,
    nonce: bytes,
    required: PcrSelection | None = None,
    enrolment: Enrolment | None = None,
    history: QuoteHistory | None = None,
) -> QuoteVerdict:
    """Judge a quote against a challenge, the PCRs that it must cover, and what is known of its host.

    Never raises for what is shown; AttestUsageError for a nonce that no quote can carry.
    """
    run = Run()
    key: Public | BareKey | None = None
    try:
        key = decode_ak(shown.ak)
        if enrolment is not None:
            key = enrolled_key(key, enrolment)
        verified = verify_quote(key, shown.message, shown.signature, extra_data=nonce)
        if enrolment is not None:
            check_place(verified, enrolment)
    except (AkError, QuoteError) as error:
        failed = _FAILED_AT[error.failure]
        reached = Check.AK_ATTRIBUTES if failed is Check.ENROLMENT else failed
        run.checked += _proved(key, None, before=reached)
        run.fail(failed, error.code, str(error), Verdict.NONE)
        return _end(run, None)
    run.checked += _proved(key, verified, before=Check.REQUIRED)
    if enrolment is not None:
        run.checked += [check for check in (Check.SIGNER, Check.ENROLMENT) if check not in run.checked]
    if _check_beside(run, verified, shown, required):
        _check_bank(run, verified, required)
        _check_registers(run, verified, required)
        _check_clock(run, verified)
        since = went_on(key, verified, earlier=shown.earlier, history=history, enrolment=enrolment)
        if since is not None:
            (run.failed if since else run.checked).append(Check.EARLIER)
            run.reasons += since
    return _end(run, verified)


def _end(run: Run, quote: VerifiedQuote | None) -> QuoteVerdict:
    left = [check for check in Check if check not in run.checked and check not in run.failed]
    verdict = worst([reason.verdict for reason in run.reasons])
    return QuoteVerdict(
        verdict=verdict,
        reasons=tuple(run.reasons),
        checked=tuple(run.checked),
        not_checked=(*left, *run.unexplained),
        quote=None if verdict is Verdict.NONE else quote,
    )


def _proved(key: Public | BareKey | None, verified: VerifiedQuote | None, *, before: Check) -> list[Check]:
    """Return the checks of ``verify_quote`` that were made before one, less those that prove nothing here."""
    made = _OF_THE_QUOTE[: tuple(Check).index(before)]
    unproved = set()
    if isinstance(key, BareKey):
        unproved.add(Check.AK_ATTRIBUTES)
    if verified is None or verified.hierarchy is None:
        unproved.add(Check.SIGNER)
    return [check for check in made if check not in unproved]


def _check_beside(
    run: Run, verified: VerifiedQuote, shown: ShownQuote, required: PcrSelection | None
) -> bool:
    """Do steps 2 to 4: what is asked for, and shown beside the quote. False if something is not authentic."""
    at = Check.REQUIRED
    try:
        if required is not None:
            check_required(verified, required)
            run.checked.append(Check.REQUIRED)
        at, pcrs = Check.VALUES, None
        if shown.pcrs is not None:
            pcrs = check_pcr_file(verified, decode_pcr_file(shown.pcrs, verified.select))
            run.values = pcrs.values
            run.checked.append(Check.VALUES)
        at = Check.EVENT_LOG
        if shown.eventlog is not None:
            if (source := list_in(shown.eventlog)) is not None:
                check_list(run, verified, source, pcrs)
            elif isinstance(shown.eventlog, bytes):
                _check_log(run, verified, parse(shown.eventlog), pcrs)
    except (QuoteError, PcrFileError) as error:
        run.fail(at, error.code, str(error), Verdict.NONE)
    except EventLogError as error:
        run.fail(at, "event-log-malformed", str(error), Verdict.NONE)
    except ReplayError as error:
        run.fail(at, _REPLAY_CODES.get(error.code, "event-log-mismatch"), str(error), Verdict.NONE)
    return all(reason.verdict is not Verdict.NONE for reason in run.reasons)


def _check_log(run: Run, verified: VerifiedQuote, log: EventLog, pcrs: VerifiedPcrs | None) -> None:
    """Step 4. Without values, the replayed values of all quoted PCRs must hash to the quoted digest."""
    pairs = verified.select.pairs()
    banks = {alg: replay(log, alg) for alg, _ in pairs}
    answers = {event.pcr for event in log.events if event.extends}
    if log.format in _FIRMWARE_FORMATS:
        answers |= FIRMWARE_PCRS
    if pcrs is None:
        pcrs = values_by_replay(verified, banks)
        if pcrs is None:
            run.have_no_values(verified, answers)
            return
        run.checked.append(Check.VALUES)
        run.values = pcrs.values
    for alg, replayed in banks.items():
        quoted = {pcr: value for (bank, pcr), value in pcrs.values.items() if bank is alg}
        known = {pcr: value for pcr, value in quoted.items() if pcr in answers or replayed.get(pcr) == value}
        if known:
            _check_belief(run, log, verify_replay(log, known, alg))
        run.unexplained += [
            f"{Check.EVENT_LOG}:{alg.hash_name}:{pcr}" for pcr in sorted(quoted.keys() - known)
        ]
    if Check.EVENT_LOG not in run.failed:
        run.have_replayed(verified, answers)


def _check_belief(run: Run, log: EventLog, proved: VerifiedEvents) -> None:
    """Step 5: types and data of the events, which no replay proves."""
    if log.format not in _TYPED_FORMATS:
        return
    belief = believe(log, proved)
    if belief.untrue:
        run.fail(Check.EVENT_LOG, "event-log-untrue", f"event log: {told(belief.untrue)}", Verdict.NONE)
    for code, found in (("firmware-unsafe", belief.unsafe), ("firmware-disorder", belief.disorder)):
        if found:
            run.reasons.append(Reason(code, f"event log: {told(found)}", Verdict.CONTRAINDICATED))
    if belief.unclear and SECURE_BOOT not in run.unexplained:
        run.unexplained.append(SECURE_BOOT)


def _check_bank(run: Run, verified: VerifiedQuote, required: PcrSelection | None) -> None:
    """Step 5: SHA-1 values can be met by chosen collisions; whoever wants them has to name them."""
    quoted = {alg for alg, _ in verified.select.pairs()}
    asked = {alg for alg, _ in required.pairs()} if required else set()
    if quoted == {Alg.SHA1} and Alg.SHA1 not in asked:
        what = "only the SHA-1 bank is quoted; quote sha256, or ask for it: --require-pcrs sha1:…"
        run.reasons.append(Reason("pcr-bank-weak", what, Verdict.CONTRAINDICATED))


def _check_registers(run: Run, verified: VerifiedQuote, required: PcrSelection | None) -> None:
    """Step 7: what nobody has written meets no demand; what any program resets is named (PFP 1.06, 2.3.4).

    A PCR that any program resets may be asked for: a verifier can bind its own data to a quote by PCR 16.
    """
    quoted = verified.select.pairs()
    run.unexplained += [f"resettable:{alg.hash_name}:{pcr}" for alg, pcr in quoted if pcr in RESETTABLE]
    asked = required.pairs() if required else ()
    unused = [pcr for alg, pcr in asked if pcr in DRTM_PCRS and not _is_written(run.values.get((alg, pcr)))]
    if unused:
        what = f"PCR {', '.join(map(str, unused))} is FF…FF, as it starts: there was no dynamic launch"
        run.reasons.append(Reason("pcr-no-dynamic-launch", what, Verdict.CONTRAINDICATED))


def _is_written(value: bytes | None) -> bool:
    """Tell whether a register of the dynamic launch holds more than its start value, or is not shown."""
    return value is None or value != b"\xff" * len(value)


def _check_clock(run: Run, verified: VerifiedQuote) -> None:
    if verified.clock.safe:
        run.checked.append(Check.CLOCK)
    else:
        what = "the TPM says that its clock may have been higher before (safe = NO)"
        run.fail(Check.CLOCK, "clock-unsafe", what, Verdict.INCONCLUSIVE)
