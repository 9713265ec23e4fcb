"""A quote made now by the swtpm and tpm2-tools that are installed."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from attest.quote_verdict import QuoteVerdict, ShownQuote, judge_quote
from attest.result import Verdict
from tests.recordings.record_quotes import AK, NONCE, Recorder, record, swtpm

if TYPE_CHECKING:
    from pathlib import Path

MISSING = [name for name in ("swtpm", "tpm2_quote") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.host,
    pytest.mark.tools,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


def judge(folder: Path, case: dict[str, str]) -> QuoteVerdict:
    shown = {name: (folder / case[name]).read_bytes() for name in ("ak", "message", "signature")}
    pcrs = (folder / case["pcrs"]).read_bytes() if "pcrs" in case else None
    return judge_quote(ShownQuote(**shown, pcrs=pcrs), nonce=bytes.fromhex(case["nonce"]))


def test_every_key_and_file_form(tmp_path: Path) -> None:
    """The recorder makes the cases of ``tests/recordings/quotes`` anew, attacks included."""
    record(tmp_path)
    for case in json.loads((tmp_path / "cases.json").read_text()):
        answer = judge(tmp_path, case)
        assert [reason.code for reason in answer.reasons] == ([case["why"]] if case["why"] else []), case[
            "name"
        ]


def test_36_clock_after_a_power_cut_is_inconclusive(tmp_path: Path) -> None:
    """The TPM lost its power without TPM2_Shutdown, so it says that its clock may have been higher."""
    state = tmp_path / "state"
    state.mkdir()
    with swtpm(state) as tcti:
        Recorder(tmp_path, tcti).run("tpm2_pcrextend", f"0:sha256={'00' * 32}")
    with swtpm(state) as tcti:
        recorder = Recorder(tmp_path, tcti)
        create = ("tpm2_createprimary", "-C", "e", "-G", "ecc:ecdsa-sha256:null", "-a", AK)
        recorder.run(*create, "-c", "ak.ctx")
        recorder.run("tpm2_readpublic", "-c", "ak.ctx", "-f", "tss", "-o", "ak.pub")
        recorder.flush()
        files = recorder.quote("ak", "quote")
    answer = judge(tmp_path, {"ak": "ak.pub", "nonce": NONCE, **files})
    assert (answer.verdict, [reason.code for reason in answer.reasons]) == (
        Verdict.INCONCLUSIVE,
        ["clock-unsafe"],
    )
    assert answer.quote is not None
    assert "clock-safe" not in answer.checked
