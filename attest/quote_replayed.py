"""The PCR values of a quote, found by replay of a log where nobody shows the values themselves.

A measurement list grows, so that the values after any of its entries may be the quoted ones.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from attest.eventlog.log import HASHES
from attest.eventlog.replay import ReplayError
from attest.ima.entry import BANK_OF_SIZE
from attest.ima.extend import extended
from attest.ima.proof import LIST_BANKS, start_value
from attest.ima.source import ListSource
from attest.quote import QuoteError, VerifiedPcrs, VerifiedQuote, check_pcrs
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import digest_of


def values_by_replay(
    verified: VerifiedQuote, banks: Mapping[Alg, Mapping[int, bytes]]
) -> VerifiedPcrs | None:
    """Return the values that hash to the quoted digest, and None if the log gives none.

    ``banks`` holds the values after the whole log. Raises ReplayError where an event lacks the digest of a
    quoted bank.
    """
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


def values_in_list(verified: VerifiedQuote, source: ListSource) -> tuple[VerifiedPcrs | None, frozenset[int]]:
    """Return the first values of a measurement list that hash to the quoted digest, and its PCRs.

    The list is read to its end. Banks of which a list says nothing give no values. Raises EventLogError.
    """
    pairs = verified.select.pairs()
    algs = {alg for alg, _ in pairs}
    is_sought = algs <= set(LIST_BANKS)
    values = {pair: start_value(*pair) for pair in pairs} if is_sought else {}
    found: VerifiedPcrs | None = None
    pcrs: set[int] = set()
    for entry in source.entries():
        is_new = not pcrs
        pcrs.add(entry.pcr)
        if found is not None or not is_sought:
            continue
        listed = BANK_OF_SIZE[len(entry.digest)]
        for alg in algs:
            if (alg, entry.pcr) in values:
                is_new = True
                measured = extended(listed, entry.digest, entry.data, alg)
                values[alg, entry.pcr] = HASHES[alg](values[alg, entry.pcr] + measured).digest()
        if is_new and hmac.compare_digest(
            digest_of(verified.hash_alg, [values[pair] for pair in pairs]), verified.info.digest
        ):
            found = check_pcrs(verified, dict(values))
    return found, frozenset(pcrs)
