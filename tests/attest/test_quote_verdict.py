"""The verdict over a quote and what is shown beside it; the recorded TPM extended PCR 0-10 once each."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attest.quote_verdict import QuoteVerdict, ShownQuote, judge_quote
from attest.result import Verdict
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

if TYPE_CHECKING:
    from collections.abc import Iterable

RECORDED = Path(__file__).resolve().parent.parent / "recordings" / "quotes"
CASES = {entry["name"]: entry for entry in json.loads((RECORDED / "cases.json").read_text())}
SIZES = {Alg.SHA1: 20, Alg.SHA256: 32}


def shown(name: str) -> ShownQuote:
    files = {kind: (RECORDED / CASES[name][kind]).read_bytes() for kind in ("ak", "message", "signature")}
    pcrs = CASES[name].get("pcrs")
    return ShownQuote(**files, pcrs=(RECORDED / pcrs).read_bytes() if pcrs else None)


def judge(quote: ShownQuote, name: str, required: PcrSelection | None = None) -> QuoteVerdict:
    return judge_quote(quote, nonce=bytes.fromhex(CASES[name]["nonce"]), required=required)


def codes(answer: QuoteVerdict) -> list[str]:
    return [reason.code for reason in answer.reasons]


def firmware_log(pcrs: Iterable[int], algs: tuple[Alg, ...] = (Alg.SHA1, Alg.SHA256)) -> bytes:
    """Return a crypto-agile log with the one event that the recorder extended into each PCR."""
    sizes = b"".join(struct.pack("<HH", alg, SIZES[alg]) for alg in algs)
    spec = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(algs)) + sizes + b"\0"
    events = [struct.pack("<II20sI", 0, 3, bytes(20), len(spec)) + spec]
    for pcr in pcrs:
        digests = {Alg.SHA1: bytes([pcr]) + b"\x11" * 19, Alg.SHA256: bytes([pcr]) + b"\x22" * 31}
        each = b"".join(struct.pack("<H", alg) + digests[alg] for alg in algs)
        events.append(struct.pack("<III", pcr, 0x0D, len(algs)) + each + struct.pack("<I", 4) + b"test")
    return b"".join(events)


class TestVerdict:
    def test_affirming_says_what_was_checked_and_what_was_not(self) -> None:
        answer = judge(shown("ecc-serialized"), "ecc-serialized", PcrSelection.of(Alg.SHA256, [0, 7]))
        assert answer.verdict is Verdict.AFFIRMING
        assert set(answer.checked) >= {"ak-attributes", "signature", "nonce", "required-pcrs", "pcr-values"}
        assert set(answer.not_checked) == {"qualified-signer", "event-log", "earlier-quote", "enrolment"}

    def test_pem_key_leaves_the_attributes_open(self) -> None:
        answer = judge(shown("ecc-pem"), "ecc-pem")
        assert answer.verdict is Verdict.AFFIRMING
        assert "ak-attributes" in answer.not_checked
        assert "ak-attributes" not in answer.checked

    def test_values_not_shown_are_not_checked(self) -> None:
        answer = judge(replace(shown("ecc-serialized"), pcrs=None), "ecc-serialized")
        assert answer.verdict is Verdict.AFFIRMING
        assert "pcr-values" in answer.not_checked

    @pytest.mark.parametrize("name", ["empty", "forged", "certify"])
    def test_not_authentic_shows_no_claim(self, name: str) -> None:
        answer = judge(shown(name), name)
        assert (answer.verdict, answer.quote, codes(answer)) == (Verdict.NONE, None, [CASES[name]["why"]])

    def test_altered_value_shows_no_claim(self) -> None:
        quote = shown("ecc-serialized")
        assert quote.pcrs is not None
        answer = judge(replace(quote, pcrs=quote.pcrs[:-1] + b"\1"), "ecc-serialized")
        assert (answer.verdict, answer.quote, codes(answer)) == (Verdict.NONE, None, ["pcr-file-malformed"])
        assert "pcr-values" not in {*answer.checked, *answer.not_checked}

    def test_28_required_pcr_missing(self) -> None:
        answer = judge(shown("ecc-serialized"), "ecc-serialized", PcrSelection.of(Alg.SHA256, [23]))
        assert (answer.verdict, codes(answer)) == (Verdict.NONE, ["pcr-missing"])

    def test_31_sha1_alone_is_against_policy_unless_asked_for(self) -> None:
        assert codes(judge(shown("sha1"), "sha1")) == ["pcr-bank-weak"]
        assert judge(shown("sha1"), "sha1").verdict is Verdict.CONTRAINDICATED
        asked = judge(shown("sha1"), "sha1", PcrSelection.of(Alg.SHA1, [0]))
        assert asked.verdict is Verdict.AFFIRMING
        other = judge(shown("sha1"), "sha1", PcrSelection.of(Alg.SHA256, [0]))
        assert (other.verdict, codes(other)) == (Verdict.NONE, ["pcr-missing"])

    @pytest.mark.parametrize("kind", ["rsa", "ecc"])
    def test_bare_signature_and_bare_key_are_judged_as_in_their_tss_forms(self, kind: str) -> None:
        name = f"{kind}-plain-values"
        quote = replace(shown(name), ak=shown(f"{kind}-pem").ak)
        answer = judge(quote, name)
        assert answer.verdict is Verdict.AFFIRMING
        assert "ak-attributes" in answer.not_checked
        flipped = bytearray(quote.signature)
        flipped[-1] ^= 1
        answer = judge(replace(quote, signature=bytes(flipped)), name)
        assert (answer.verdict, codes(answer)) == (Verdict.NONE, ["signature-invalid"])

    def test_nothing_shown_raises(self) -> None:
        for junk in (b"", b"\0" * 70000, b"-----BEGIN PUBLIC KEY-----\n", b"\x30\x80", b"[" * 5000):
            answer = judge_quote(ShownQuote(junk, junk, junk, junk, junk), nonce=b"n")
            assert answer.verdict is Verdict.NONE


class TestEventLog:
    def test_log_that_explains_all_quoted_pcrs(self) -> None:
        answer = judge(replace(shown("ecc-serialized"), eventlog=firmware_log(range(11))), "ecc-serialized")
        assert answer.verdict is Verdict.AFFIRMING
        assert "event-log" in answer.checked

    def test_log_stands_in_for_the_values(self) -> None:
        quote = replace(shown("ecc-serialized"), pcrs=None, eventlog=firmware_log(range(11)))
        answer = judge(quote, "ecc-serialized")
        assert answer.verdict is Verdict.AFFIRMING
        assert {"event-log", "pcr-values"} <= set(answer.checked)

    def test_pcr_of_the_kernel_is_left_open(self) -> None:
        answer = judge(replace(shown("ecc-serialized"), eventlog=firmware_log(range(10))), "ecc-serialized")
        assert answer.verdict is Verdict.AFFIRMING
        assert "event-log:sha256:10" in answer.not_checked

    def test_pcr_of_the_kernel_needs_the_values(self) -> None:
        quote = replace(shown("ecc-serialized"), pcrs=None, eventlog=firmware_log(range(10)))
        answer = judge(quote, "ecc-serialized")
        assert (answer.verdict, codes(answer)) == (Verdict.INCONCLUSIVE, ["event-log-needs-pcrs"])
        assert "event-log" not in answer.checked

    @pytest.mark.parametrize("pcrs", [[0, 1, 2, 3, 4, 5, 6, 7, 9, 10], [0, 0, *range(1, 11)], [10]])
    @pytest.mark.parametrize("values", [True, False])
    def test_43_replay_differs(self, pcrs: list[int], values: bool) -> None:  # noqa: FBT001 - a test parameter
        quote = replace(shown("ecc-serialized"), eventlog=firmware_log(pcrs))
        answer = judge(quote if values else replace(quote, pcrs=None), "ecc-serialized")
        assert (answer.verdict, codes(answer), answer.quote) == (Verdict.NONE, ["event-log-mismatch"], None)

    def test_43_flipped_digest(self) -> None:
        log = firmware_log(range(11))
        altered = log.replace(bytes([4]) + b"\x22" * 31, bytes([4]) + b"\x23" + b"\x22" * 30)
        assert log != altered
        answer = judge(replace(shown("ecc-serialized"), eventlog=altered), "ecc-serialized")
        assert codes(answer) == ["event-log-mismatch"]

    def test_52_log_without_the_quoted_bank(self) -> None:
        log = firmware_log(range(11), (Alg.SHA1,))
        answer = judge(replace(shown("ecc-serialized"), eventlog=log), "ecc-serialized")
        assert (answer.verdict, codes(answer)) == (Verdict.NONE, ["event-log-bank"])

    def test_log_cut_in_an_event(self) -> None:
        answer = judge(
            replace(shown("ecc-serialized"), eventlog=firmware_log(range(11))[:-1]), "ecc-serialized"
        )
        assert (answer.verdict, codes(answer)) == (Verdict.NONE, ["event-log-malformed"])

    def test_empty_log_of_a_firmware_explains_nothing(self) -> None:
        answer = judge(replace(shown("ecc-serialized"), eventlog=firmware_log([])), "ecc-serialized")
        assert (answer.verdict, codes(answer)) == (Verdict.NONE, ["event-log-mismatch"])
