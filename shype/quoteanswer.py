"""A quote that answers a kept nonce: judged by the host's record, session and what its TPM said before."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from attest.quote_history import Told
from attest.quote_verdict import QuoteVerdict, ShownQuote, judge_quote
from shype.enrolments import existing_store, record_of
from shype.quotehistory import remembered

if TYPE_CHECKING:
    from vtpm.tpm2.pcrs import PcrSelection


def judge_answer(folder: Path, host: str, shown: ShownQuote, required: PcrSelection | None) -> QuoteVerdict:
    """Judge a quote with the nonce of the session with ``host``, which is used up before anything else.

    Raises SessionError and EnrolmentError, ShypeUsageError for a folder that is missing.
    """
    now = datetime.now(UTC)
    record, enrolment = record_of(folder, host)
    # this order of locks is that of ``shype verify``
    with (
        remembered(record, enrolment) as (history, remember),
        existing_store(folder) as store,
        store.session(host) as session,
    ):
        nonce = session.receive(host, now=now, ak_name=enrolment.ak_name)
        answer = judge_quote(shown, nonce=nonce, required=required, enrolment=enrolment, history=history)
        session.judged(answer.verdict, now=now)
        if answer.quote is not None:
            remember(Told(answer.quote.clock, answer.quote.firmware_version))
    return answer
