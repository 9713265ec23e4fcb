"""A measurement list beside a quote: replayed as it is read, and never held."""

from __future__ import annotations

from attest.eventlog.read import is_list
from attest.ima.proof import LIST_BANKS, ProvedList, ReplayedList, refuse_other_banks, replay_beside
from attest.ima.source import ListSource
from attest.quote import VerifiedPcrs, VerifiedQuote
from attest.quote_replayed import values_in_list
from attest.quote_run import Check, Run
from attest.result import Reason, Verdict
from vtpm.tpm2.constants import Alg


def list_in(eventlog: bytes | ListSource) -> ListSource | None:
    """Return a measurement list; None for another log."""
    if isinstance(eventlog, ListSource):
        return eventlog
    return ListSource(lambda: (eventlog,)) if is_list(eventlog) else None


def check_list(run: Run, verified: VerifiedQuote, source: ListSource, pcrs: VerifiedPcrs | None) -> None:
    """Steps 4 and 5 of a measurement list: read as it is replayed, and once more where values are missing.

    Raises EventLogError for a list that is not well-formed, ReplayError for one that is not proved.
    """
    algs = tuple(dict.fromkeys(alg for alg, _ in verified.select.pairs()))
    if pcrs is None:
        pcrs, answers = values_in_list(verified, source)
        refuse_other_banks(source, algs)
        if pcrs is None:
            run.have_no_values(verified, answers)
            return
        run.checked.append(Check.VALUES)
        run.values = pcrs.values
    quoted = {
        alg: {pcr: value for (bank, pcr), value in pcrs.values.items() if bank is alg}
        for alg in algs
        if alg in LIST_BANKS
    }
    replayed = replay_beside(source, quoted)
    refuse_other_banks(source, algs)
    for alg, values in quoted.items():
        if known := values.keys() & replayed.pcrs:
            _have_proved(run, alg, replayed, replayed.proved(alg), replayed.pcrs - known)
        run.unexplained += [
            f"{Check.EVENT_LOG}:{alg.hash_name}:{pcr}" for pcr in sorted(values.keys() - known)
        ]
    run.have_replayed(verified, replayed.pcrs)


def _have_proved(
    run: Run, alg: Alg, replayed: ReplayedList, proved: ProvedList, others: frozenset[int]
) -> None:
    if others and all(reason.code != "ima-other-pcr" for reason in run.reasons):
        what = f"entries for PCR {', '.join(map(str, sorted(others)))}, which is not quoted, prove nothing"
        run.reasons.append(Reason("ima-other-pcr", f"event log: {what}", Verdict.CONTRAINDICATED))
    beyond = replayed.entries - proved.entries
    for word, count in (("violation", proved.violations), ("beyond", beyond)):
        if count:
            run.unexplained.append(f"{Check.EVENT_LOG}-{word}:{alg.hash_name}:{count}")
