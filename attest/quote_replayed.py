"""The PCR values of a quote, found by replay of a log where nobody shows the values themselves."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from attest.eventlog.log import EventLog
from attest.eventlog.replay import ReplayError, replay_list
from attest.quote import QuoteError, VerifiedPcrs, VerifiedQuote, check_pcrs
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import digest_of


def values_by_replay(
    verified: VerifiedQuote, log: EventLog, banks: Mapping[Alg, Mapping[int, bytes]]
) -> VerifiedPcrs | None:
    """Return the values that hash to the quoted digest, and None if the log gives none.

    ``banks`` holds the values after the whole log. A measurement list grows, so that the values after any of
    its entries may be the quoted ones. Raises ReplayError where an event lacks the digest of a quoted bank.
    """
    if log.format.is_ima:
        return _of_list(verified, log)
    values = {}
    for alg, pcr in verified.select.pairs():
        if pcr not in banks[alg]:
            what = f"event log: an event of PCR {pcr} has no {alg.hash_name} digest"
            raise ReplayError(what, pcrs=(pcr,), code="digest-missing")
        values[alg, pcr] = banks[alg][pcr]
    try:
        return check_pcrs(verified, values)
    except QuoteError:
        return None


def _of_list(verified: VerifiedQuote, log: EventLog) -> VerifiedPcrs | None:
    pairs = verified.select.pairs()
    for values in replay_list(log, {alg for alg, _ in pairs}):
        digest = digest_of(verified.hash_alg, [values[pair] for pair in pairs])
        if hmac.compare_digest(digest, verified.info.digest):
            return check_pcrs(verified, {pair: values[pair] for pair in pairs})
    return None
