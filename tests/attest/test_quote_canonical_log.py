"""A firmware's events in a Canonical Event Log: another form is no way around the rules on types and data."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from attest.eventlog.read import parse
from attest.quote_verdict import QuoteVerdict, ShownQuote, judge_quote
from attest.result import Verdict
from tests.attest.eventlog.boots import CONFIGURED, DB_USED, OFF, OTHERS, UNUSED, separator, variable
from tests.attest.eventlog.build import (
    COMPACT_HASH,
    EFI_ACTION,
    IPL,
    NO_ACTION,
    SHA256,
    Record,
    agile,
    digest,
)
from tests.attest.ima.build import Made, ng
from tests.simulators.host import Tpm
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

NONCE = b"\1" * 32
GOOD = (*CONFIGURED, separator(7), DB_USED, *OTHERS, Record(4, 0x80000003, b"a device path", b"shim"))
UNTRUE = (Verdict.NONE, ["event-log-untrue"])


def record(number: int, pcr: int, digest: bytes, kind: str, **content: str) -> dict[str, object]:
    digests = [{"hashAlg": "sha256", "digest": digest.hex()}]
    return {"recnum": number, "pcr": pcr, "digests": digests, "content_type": kind, "content": content}


def judged(tpm: Tpm, records: list[dict[str, object]], pcrs: range) -> QuoteVerdict:
    selection = PcrSelection.of(Alg.SHA256, pcrs)
    message, signature = tpm.quote(NONCE, selection)
    values, log = b"".join(tpm.pcr_read(selection)), json.dumps(records).encode()
    return judge_quote(ShownQuote(tpm.ak_public(), message, signature, values, log), nonce=NONCE)


def told(*records: Record) -> tuple[Verdict, list[str]]:
    """Boot what these records say, and judge a quote beside the same events in JSON."""
    tpm, written = Tpm("host"), []
    for number, event in enumerate(parse(agile(*records)).events[1:]):
        value = event.digest(SHA256) or b""
        if event.extends:
            tpm.extend(event.pcr, value)
        data = event.untrusted_data.hex()
        content = {"event_type": event.untrusted_type, "event_data": data}
        written.append(record(number, event.pcr, value, "pcclient_std", **content))
    answer = judged(tpm, written, range(8))
    return answer.verdict, [reason.code for reason in answer.reasons]


def test_a_good_boot_is_affirmed() -> None:
    assert told(*GOOD) == (Verdict.AFFIRMING, [])


@pytest.mark.parametrize("place", range(5))
def test_row_45_bytes_edited_and_digest_kept(place: int) -> None:
    edited = replace(CONFIGURED[place], measured=OFF.data)
    assert told(*CONFIGURED[:place], edited, *GOOD[place + 1 :]) == UNTRUE


@pytest.mark.parametrize("kind", [UNUSED, IPL, COMPACT_HASH])
def test_row_46_real_event_retyped_and_a_forged_one_behind_it(kind: int) -> None:
    assert told(Record(7, kind, b"", measured=OFF.data), *GOOD) == UNTRUE


def test_row_48_variable_behind_the_separator() -> None:
    late = (*CONFIGURED, separator(7), variable("dbx", b"late"), *OTHERS)
    assert told(*late) == (Verdict.CONTRAINDICATED, ["firmware-disorder"])


def test_row_49_an_event_that_claims_an_extend() -> None:
    claim = Record(7, NO_ACTION, b"x", digests=((SHA256, digest(SHA256, b"x")),))
    assert told(claim, *GOOD) == UNTRUE


def test_row_57_debug_mode() -> None:
    debug = Record(1, EFI_ACTION, b"UEFI Debug Mode")
    assert told(debug, *GOOD) == (Verdict.CONTRAINDICATED, ["firmware-unsafe"])


@pytest.mark.parametrize(("shown", "codes"), [("/usr/bin/cat", []), ("/usr/bin/nc", UNTRUE[1])])
def test_row_64_entry_of_a_list(shown: str, codes: list[str]) -> None:
    tpm, run = Tpm("host"), ng("/usr/bin/cat")
    tpm.extend(10, run.extended("sha256"))
    said: Made = ng(shown)
    content = {"template_name": "ima-ng", "template_data": said.data().hex()}
    entry = record(0, 10, run.extended("sha256"), "ima_template", **content)
    answer = judged(tpm, [entry], range(10, 11))
    assert [reason.code for reason in answer.reasons] == codes


def test_what_systemd_measures_is_no_firmware() -> None:
    tpm, text = Tpm("host"), b"enter-initrd"
    tpm.extend(11, digest(SHA256, text))
    entry = record(0, 11, digest(SHA256, text), "systemd", string=text.decode(), eventType="phase")
    answer = judged(tpm, [entry], range(12))
    assert (answer.verdict, answer.reasons) == (Verdict.AFFIRMING, ())
    assert "secure-boot" not in answer.not_checked
