"""Every code that a person may meet has its sentence, and no sentence is for a code that is gone."""

from __future__ import annotations

import ast
import re
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

JUDGES = ("quote_verdict", "quote_list", "quote_run", "quote_went_on")
ENUMS = (AkFailure, EkFailure, EndorsementFailure, EnrolmentFailure, SessionFailure, QuoteFailure)


def test_table_and_codes_are_the_same() -> None:
    codes = {str(failure) for failure in chain(*ENUMS)}
    codes |= {PcrFileError.code, QuoteHistoryError.code, *quote_verdict._REPLAY_CODES.values()}
    codes |= {word for module in JUDGES for word in words(module)}
    assert {row.code for row in REFUSALS} == codes


def words(module: str) -> set[str]:
    """Every word in the source that looks like a code, and names no check."""
    tree = ast.parse((REPOSITORY / "attest" / f"{module}.py").read_text())
    found = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    shaped = {word for word in found if isinstance(word, str) and re.fullmatch(r"[a-z]+(-[a-z]+)+", word)}
    return shaped - set(quote_verdict.Check) - {quote_verdict.SECURE_BOOT, *quote_verdict._REPLAY_CODES}


def test_each_code_stands_once_and_says_something() -> None:
    codes = [row.code for row in REFUSALS]
    assert len(set(codes)) == len(codes)
    assert all(row.sentence.endswith(".") and row.exit in {1, 3, 4} for row in REFUSALS)
