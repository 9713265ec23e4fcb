"""Every code that a person may meet has its sentence, and no sentence is for a code that is gone."""

from __future__ import annotations

from itertools import chain

from attest import quote_verdict
from attest.ak import AkFailure
from attest.ek import EkFailure
from attest.endorsement import EndorsementFailure
from attest.enrolment import EnrolmentFailure
from attest.pcrfile import PcrFileError
from attest.quote import QuoteFailure
from attest.quote_history import QuoteHistoryError
from attest.refusals import REFUSALS
from attest.session_state import SessionFailure
from tests.conftest import REPOSITORY

ENUMS = (AkFailure, EkFailure, EndorsementFailure, EnrolmentFailure, SessionFailure, QuoteFailure)


def test_table_and_codes_are_the_same() -> None:
    codes = {str(failure) for failure in chain(*ENUMS)}
    source = (REPOSITORY / "attest" / "quote_verdict.py").read_text()
    beside = {row.code for row in REFUSALS} - codes
    assert codes <= {row.code for row in REFUSALS}
    others = {PcrFileError.code, QuoteHistoryError.code, *quote_verdict._REPLAY_CODES.values()}
    assert all(code in others or f'"{code}"' in source for code in beside)


def test_each_code_stands_once_and_says_something() -> None:
    codes = [row.code for row in REFUSALS]
    assert len(set(codes)) == len(codes)
    assert all(row.sentence.endswith(".") and row.exit in {1, 3, 4} for row in REFUSALS)
