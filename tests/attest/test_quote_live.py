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


def primary(folder: Path, tcti: str) -> Recorder:
    """A TPM's primary attestation key, which is the same after every start."""
    recorder = Recorder(folder, tcti)
    create = ("tpm2_createprimary", "-C", "e", "-G", "ecc:ecdsa-sha256:null", "-a", AK)
    recorder.run(*create, "-c", "ak.ctx")
    recorder.run("tpm2_readpublic", "-c", "ak.ctx", "-f", "tss", "-o", "ak.pub")
    recorder.flush()
    return recorder


def judge_after(folder: Path, earlier: dict[str, str], later: dict[str, str]) -> QuoteVerdict:
    shown = {name: (folder / later[name]).read_bytes() for name in ("message", "signature", "pcrs")}
    before = ((folder / earlier["message"]).read_bytes(), (folder / earlier["signature"]).read_bytes())
    quote = ShownQuote((folder / "ak.pub").read_bytes(), **shown, earlier=before)
    return judge_quote(quote, nonce=bytes.fromhex(NONCE))


def codes(answer: QuoteVerdict) -> list[str]:
    return [reason.code for reason in answer.reasons]


class TestEarlierQuote:
    """Rows 36 and 88, as a TPM counts: TPM Reset, TPM Restart and plain time (Part 1, 10.2.3)."""

    @pytest.fixture
    def state(self, tmp_path: Path) -> Path:
        made = tmp_path / "state"
        made.mkdir()
        return made

    def test_36_time_goes_one_way(self, tmp_path: Path, state: Path) -> None:
        with swtpm(state) as tcti:
            recorder = primary(tmp_path, tcti)
            first, second = recorder.quote("ak", "first"), recorder.quote("ak", "second")
        good = judge_after(tmp_path, first, second)
        assert (good.verdict, "earlier-quote" in good.checked) == (Verdict.AFFIRMING, True)
        back = judge_after(tmp_path, second, first)
        assert (back.verdict, codes(back), back.quote) == (Verdict.NONE, ["clock-back"], None)
        assert "earlier-quote" not in {*back.checked, *back.not_checked}

    def test_36_reset_count_goes_one_way(self, tmp_path: Path, state: Path) -> None:
        with swtpm(state) as tcti:
            recorder = primary(tmp_path, tcti)
            before = recorder.quote("ak", "before")
            recorder.run("tpm2_shutdown", "--clear")
        with swtpm(state) as tcti:
            after = primary(tmp_path, tcti).quote("ak", "after")
        assert judge_after(tmp_path, before, after).verdict is Verdict.AFFIRMING
        assert codes(judge_after(tmp_path, after, before)) == ["clock-back"]

    def test_88_restarted_from_a_saved_state(self, tmp_path: Path, state: Path) -> None:
        """TPM2_Shutdown(STATE), then TPM2_Startup(CLEAR): PCRs are lost, and resetCount stays."""
        with swtpm(state) as tcti:
            recorder = primary(tmp_path, tcti)
            before = recorder.quote("ak", "before")
            recorder.run("tpm2_shutdown")
        with swtpm(state) as tcti:
            after = primary(tmp_path, tcti).quote("ak", "after")
        answer = judge_after(tmp_path, before, after)
        assert (answer.verdict, codes(answer)) == (Verdict.CONTRAINDICATED, ["tpm-resumed"])

    def test_earlier_quote_of_another_key_or_none(self, tmp_path: Path, state: Path) -> None:
        with swtpm(state) as tcti:
            recorder = primary(tmp_path, tcti)
            first, second = recorder.quote("ak", "first"), recorder.quote("ak", "second")
        signature = tmp_path / first["signature"]
        raw = signature.read_bytes()
        signature.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        answer = judge_after(tmp_path, first, second)
        assert (answer.verdict, codes(answer)) == (Verdict.NONE, ["earlier-quote-invalid"])
        (tmp_path / first["message"]).write_bytes(b"")
        assert codes(judge_after(tmp_path, first, second)) == ["earlier-quote-invalid"]


@pytest.mark.parametrize(
    ("algorithm", "scheme", "quoting"),
    [
        ("ecc384", "ecdsa-sha384", ("-g", "sha384")),
        ("ecc256", "ecdsa-sha256", ()),
        ("rsa3072", "rsassa-sha256", ()),
        ("rsa2048", "rsapss-sha256", ("--scheme", "rsapss")),
        ("rsa2048", "rsassa-sha384", ("-g", "sha384")),
    ],
)
def test_every_scheme_of_a_primary_key(
    tmp_path: Path, algorithm: str, scheme: str, quoting: tuple[str, ...]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with swtpm(state) as tcti:
        recorder = Recorder(tmp_path, tcti)
        create = ("tpm2_createprimary", "-C", "e", "-G", f"{algorithm}:{scheme}:null", "-a", AK)
        recorder.run(*create, "-c", "ak.ctx")
        recorder.run("tpm2_readpublic", "-c", "ak.ctx", "-f", "tss", "-o", "ak.pub")
        recorder.flush()
        files = recorder.quote("ak", "quote", *quoting)
    case = {"ak": "ak.pub", "nonce": NONCE, **files}
    answer = judge(tmp_path, case)
    assert (answer.verdict, codes(answer)) == (Verdict.AFFIRMING, [])
    assert "qualified-signer" in answer.checked
    for file in ("message", "signature"):
        whole = (tmp_path / files[file]).read_bytes()
        (tmp_path / files[file]).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert judge(tmp_path, case).verdict is Verdict.NONE
        (tmp_path / files[file]).write_bytes(whole)
