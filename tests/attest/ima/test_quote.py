"""A measurement list beside a quote of PCR 10: what ``shype quote verify --eventlog`` makes of it."""

from __future__ import annotations

import pytest

from attest.quote_verdict import QuoteVerdict, ShownQuote, judge_quote
from attest.result import Verdict
from tests.attest.eventlog.build import ACTION, NO_ACTION, SHA256, Log, Record
from tests.attest.ima.build import AGGREGATE, Made, ascii_of, binary_of, ng, violation
from tests.simulators.host import Tpm
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

NONCE = b"\1" * 32
GOOD = (AGGREGATE, ng("/usr/bin/cat"), violation("/var/log/syslog"), ng("/usr/bin/dd"))


def judged(raw: bytes, *measured: Made, shown: bool = True, pcrs: tuple[int, ...] = (0, 10)) -> QuoteVerdict:
    tpm = Tpm("host")
    for made in measured:
        tpm.extend(made.pcr, made.extended("sha256"))
    selection = PcrSelection.of(Alg.SHA256, pcrs)
    message, signature = tpm.quote(NONCE, selection)
    values = b"".join(tpm.pcr_read(selection)) if shown else None
    return judge_quote(ShownQuote(tpm.ak_public(), message, signature, values, raw), nonce=NONCE)


@pytest.mark.parametrize("form", [ascii_of, binary_of])
class TestList:
    def test_that_the_quote_proves(self, form: object) -> None:
        assert callable(form)
        verdict = judged(form(*GOOD), *GOOD)
        assert verdict.verdict is Verdict.AFFIRMING
        assert "event-log" in verdict.checked

    def test_that_grew_after_the_quote(self, form: object) -> None:
        assert callable(form)
        verdict = judged(form(*GOOD, ng("/usr/bin/sh")), *GOOD)
        assert verdict.verdict is Verdict.AFFIRMING
        assert "event-log-beyond:sha256:1" in verdict.not_checked

    def test_case_66_entry_for_a_pcr_that_is_not_quoted(self, form: object) -> None:
        assert callable(form)
        hidden = ng("/tmp/rootkit", pcr=11)
        for made in ((*GOOD[:2], hidden, *GOOD[2:]), (*GOOD, hidden)):
            verdict = judged(form(*made), *made)
            assert verdict.verdict is Verdict.CONTRAINDICATED
            assert [reason.code for reason in verdict.reasons] == ["ima-other-pcr"]
            assert judged(form(*made), *made, pcrs=(10, 11)).verdict is Verdict.AFFIRMING

    def test_it_says_nothing_about_other_registers_whatever_they_hold(self, form: object) -> None:
        """A register at its start value is not explained by a list that never speaks of it."""
        assert callable(form)
        assert "event-log:sha256:0" in judged(form(*GOOD), *GOOD).not_checked
        verdict = judged(form(*GOOD), *GOOD, pcrs=(0, 11))
        assert verdict.verdict is Verdict.INCONCLUSIVE
        assert [reason.code for reason in verdict.reasons] == ["event-log-not-covered"]

    def test_without_the_values_of_the_quote(self, form: object) -> None:
        assert callable(form)
        assert judged(form(*GOOD), *GOOD, shown=False, pcrs=(10,)).verdict is Verdict.AFFIRMING

    def test_that_grew_after_the_quote_and_no_values_are_shown(self, form: object) -> None:
        assert callable(form)
        newer = (ng("/usr/bin/sh"), ng("/usr/bin/vi"))
        for pcrs in ((10,), (0, 10)):
            verdict = judged(form(*GOOD, *newer), *GOOD, shown=False, pcrs=pcrs)
            assert verdict.verdict is Verdict.AFFIRMING
            assert "event-log-beyond:sha256:2" in verdict.not_checked
        for made in (GOOD[:-1], (*GOOD[::-1], *newer)):
            refused = judged(form(*made), *GOOD, shown=False, pcrs=(10,))
            assert [reason.code for reason in refused.reasons] == ["event-log-mismatch"]

    def test_entries_that_say_nothing_of_their_files_are_counted(self, form: object) -> None:
        assert callable(form)
        assert "event-log-violation:sha256:1" in judged(form(*GOOD), *GOOD).not_checked
        none = judged(form(*GOOD, violation("/tmp/new")), *GOOD[:2])
        assert not [word for word in none.not_checked if word.startswith("event-log-violation")]

    def test_case_64_truncated_reordered_or_altered(self, form: object) -> None:
        assert callable(form)
        altered = ng("/usr/bin/cat", stated=b"\1" * 20)
        for made in (GOOD[:-1], (GOOD[0], *GOOD[:0:-1]), (GOOD[0], altered, *GOOD[2:])):
            verdict = judged(form(*made), *GOOD)
            assert verdict.verdict is Verdict.NONE
            assert {reason.code for reason in verdict.reasons} == {"event-log-mismatch"}

    def test_that_is_not_well_formed(self, form: object) -> None:
        assert callable(form)
        broken = form(*GOOD) + b"\n\n"
        verdict = judged(broken + broken, *GOOD)
        assert {reason.code for reason in verdict.reasons} == {"event-log-malformed"}


def test_a_log_of_a_confidential_guest_says_nothing_about_pcrs() -> None:
    raw = Log((Record(1, ACTION, b"a"),), (SHA256,), head=Record(1, NO_ACTION)).encode()
    for shown in (True, False):
        assert judged(raw, *GOOD, shown=shown).verdict is Verdict.NONE
