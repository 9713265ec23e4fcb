"""``shype quote verify`` on files that tpm2-tools wrote: exit codes, documents, messages."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from attest.eventlog.log import MAX_LOG_SIZE
from shype.cli import quote as group
from shype.main import parser_for
from shype.report import Exit
from tests.attest.ima.build import AGGREGATE, Made, ascii_of, ng, violation
from tests.schemas import validator
from tests.shype.outcome import Outcome, run
from tests.simulators.host import Tpm
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

REPOSITORY = Path(__file__).resolve().parent.parent.parent
RECORDED = REPOSITORY / "tests" / "recordings" / "quotes"
CASES = {entry["name"]: entry for entry in json.loads((RECORDED / "cases.json").read_text())}


@pytest.fixture
def verify() -> Any:
    """Run the verb on a recorded case; keywords replace its options, None leaves one out."""

    def judge(name: str, *more: str, **options: object) -> Outcome:
        case = CASES[name]
        files = {key: RECORDED / case[key] for key in ("ak", "message", "signature", "pcrs") if key in case}
        chosen = {**files, "nonce": case["nonce"], **options}
        arguments = [
            part for key, value in chosen.items() if value is not None for part in (f"--{key}", str(value))
        ]
        outcome = run("quote", "verify", *arguments, *more)
        if outcome.exit != Exit.USAGE and "--json" in more:
            validator("quote-verify").validate(outcome.document)
        return outcome

    return judge


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case["why"]])
def test_genuine_quotes_are_affirming(verify: Any, name: str) -> None:
    outcome = verify(name, "--json")
    assert (outcome.exit, outcome.err) == (0, "")
    assert outcome.document["verdict"] == "affirming"


def test_document_tells_what_was_quoted(verify: Any) -> None:
    document = verify("banks", "--require-pcrs", "sha256:1-2,23+sha1:16+sha512:0", "--json").document
    assert document["quote"]["pcr_select"] == {"sha1": [0, 16], "sha256": [1, 2, 23], "sha512": [0]}
    assert (document["quote"]["reset_count"], document["quote"]["restart_count"]) == (1, 0)
    assert document["quote"]["firmware_version"] == 0x2019102300163636
    assert "required-pcrs" in document["checked"]
    assert "enrolment" in document["not_checked"]


@pytest.mark.parametrize(
    ("name", "exit_code", "verdict"),
    [("sha1", 1, "contraindicated"), ("empty", 3, "none"), ("forged", 3, "none"), ("certify", 3, "none")],
)
def test_attacks_have_their_exit_code_and_still_one_document(
    verify: Any, name: str, exit_code: int, verdict: str
) -> None:
    outcome = verify(name, "--json")
    assert outcome.exit == exit_code
    assert outcome.document["verdict"] == verdict
    assert outcome.codes == [CASES[name]["why"]]
    assert (outcome.document["quote"] is None) == (exit_code == 3)


def test_not_authentic_says_so_in_one_line_on_standard_error(verify: Any) -> None:
    for more in ((), ("--json",)):
        outcome = verify("ecc-serialized", *more, nonce="00" * 32)
        assert outcome.exit == 3
        assert outcome.err.startswith("shype quote: nonce-mismatch: ")
        assert outcome.err.count("\n") == 1


def test_person_reads_the_verdict_first(verify: Any) -> None:
    text = verify("primary-serialized").out
    assert text.startswith("affirming\n")
    assert "sha256:0,1,2,3,4,5,6,7,8,9,10" in text


def test_bare_signature_with_bare_key(verify: Any) -> None:
    outcome = verify("ecc-plain-values", "--json", ak=RECORDED / "ecc.pem")
    assert (outcome.exit, outcome.document["verdict"]) == (0, "affirming")
    outcome = verify("rsa-plain-values", "--json", ak=RECORDED / "ecc.pem")
    assert (outcome.exit, outcome.document["verdict"]) == (3, "none")


def quoted_list(folder: Path, measured: Sequence[Made], newer: Sequence[Made] = ()) -> dict[str, Path]:
    """Files of a quote over PCR 10 after these entries, and of a list that has newer ones as well."""
    tpm = Tpm("host")
    for made in measured:
        tpm.extend(made.pcr, made.extended("sha256"))
    message, signature = tpm.quote(b"\1" * 32, PcrSelection.of(Alg.SHA256, [10]))
    files = {"ak": tpm.ak_public(), "message": message, "signature": signature}
    files["eventlog"] = ascii_of(*measured, *newer)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return {name: folder / name for name in files}


def test_measurement_list_that_grew_has_a_document_that_fits_its_schema(verify: Any, tmp_path: Path) -> None:
    measured = (AGGREGATE, violation("/var/log/syslog"), ng("/usr/bin/cat"))
    files = quoted_list(tmp_path, measured, (ng("/usr/bin/dd"), ng("/usr/bin/vi")))
    outcome = verify("ecc-serialized", "--json", **files, nonce="01" * 32, pcrs=None)
    assert outcome.exit == 0
    assert {"event-log-beyond:sha256:2", "event-log-violation:sha256:1"} <= {*outcome.document["not_checked"]}


def test_measurement_list_may_be_longer_than_a_firmware_log(verify: Any, tmp_path: Path) -> None:
    long = [ng(f"/{number:04d}{'x' * 4000}") for number in range(2200)]
    files = quoted_list(tmp_path, (AGGREGATE, *long))
    assert files["eventlog"].stat().st_size > MAX_LOG_SIZE
    outcome = verify("ecc-serialized", "--json", **files, nonce="01" * 32, pcrs=None)
    assert (outcome.exit, outcome.codes) == (0, [])
    assert "event-log" in outcome.document["checked"]


def test_event_log_that_is_none(verify: Any) -> None:
    outcome = verify("ecc-serialized", "--json", eventlog=RECORDED / "ecc.pub")
    assert (outcome.exit, outcome.codes) == (3, ["event-log-malformed"])


@pytest.mark.parametrize("size", [70_000, 9 << 20])
def test_huge_files_are_refused(verify: Any, tmp_path: Path, size: int) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(size)
    for option in ("ak", "message", "signature", "pcrs", "eventlog"):
        assert verify("ecc-serialized", "--json", **{option: huge}).exit == 3


@pytest.mark.parametrize("nonce", ["", "zz", "5f3", "0x5f", "00" * 65, " 5f"])
def test_nonce_that_is_no_nonce_is_wrong_usage(verify: Any, nonce: str) -> None:
    outcome = verify("ecc-serialized", nonce=nonce)
    assert (outcome.exit, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    "required",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:24",
        "sha256:0,",
        "sha2:1",
        "sha256:3-1",
        "sha256:0+sha256:1",
        "sha256:٣",
    ],
)
def test_selection_that_is_none_is_wrong_usage(verify: Any, required: str) -> None:
    outcome = verify("ecc-serialized", "--require-pcrs", required)
    assert (outcome.exit, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("option", ["ak", "message", "signature", "pcrs", "eventlog"])
def test_missing_file_is_wrong_usage(verify: Any, tmp_path: Path, option: str) -> None:
    for path in (tmp_path / "absent", tmp_path):
        outcome = verify("ecc-serialized", **{option: path})
        assert (outcome.exit, outcome.out) == (2, "")
        assert str(path) in outcome.err


@pytest.mark.parametrize("option", ["ak", "message", "signature", "nonce"])
def test_missing_option_is_wrong_usage(verify: Any, option: str) -> None:
    assert verify("ecc-serialized", **{option: None}).exit == 2


def test_example_in_the_help_is_one_that_works(verify: Any) -> None:
    lines = group._VERIFY.partition("Example:\n")[2].replace("\\\n", " ").splitlines()
    words = shlex.split(next(line for line in lines if line.strip().startswith("shype quote verify")))
    arguments = parser_for("quote").parse_args(words[2:])
    assert arguments.nonce.hex() == "5f3a9c17"
    assert verify("ecc-serialized", "--require-pcrs", "sha256:0,7").exit == 0


def earlier(name: str) -> tuple[str, ...]:
    files = {kind: str(RECORDED / CASES[name][kind]) for kind in ("message", "signature")}
    return "--earlier-message", files["message"], "--earlier-signature", files["signature"]


def test_earlier_quote_by_the_same_key(verify: Any) -> None:
    good = verify("banks", *earlier("ecc-serialized"), "--json")
    assert (good.exit, "earlier-quote" in good.document["checked"]) == (0, True)
    back = verify("ecc-serialized", *earlier("banks"), "--json")
    assert (back.exit, back.codes) == (3, ["clock-back"])
    other = verify("ecc-serialized", *earlier("rsa-serialized"), "--json")
    assert (other.exit, other.codes) == (3, ["earlier-quote-invalid"])
    assert verify("banks", *earlier("ecc-serialized")[:2]).exit == 2
