"""``shype eventlog``: one JSON document, one line of error, the exit codes of the contract."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from attest.eventlog.cel import encode_cel, new_event
from attest.eventlog.read import parse
from shype.cli.eventlog import describe
from shype.main import main
from tests.attest.eventlog.build import (
    ACTION,
    BOOT,
    IPL,
    NO_ACTION,
    SEPARATION,
    SEPARATOR,
    SHA1,
    SHA256,
    Log,
    Record,
    agile,
    digest,
    extended,
    locality,
    sha1_log,
    variable,
)
from tests.attest.ima.build import AGGREGATE, ALL, ascii_of, binary_of, ng, replayed, violation
from tests.conftest import REPOSITORY, Vector, vector_params
from tests.spending import at_most

RECORDING = REPOSITORY / "configs/recordings/ovmf-2022.11-q35.bin"


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    whole = json.loads((REPOSITORY / "configs/schema/eventlog.schema.json").read_text())
    Draft202012Validator.check_schema(whole)
    return Draft202012Validator(whole)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: Draft202012Validator) -> Any:
    def call(raw: bytes) -> Any:
        path = tmp_path / "log"
        path.write_bytes(raw)
        assert main(["eventlog", str(path), "--json"]) == 0
        out = capsys.readouterr()
        assert out.err == ""
        document = json.loads(out.out)
        schema.validate(document)
        return document

    return call


@pytest.mark.parametrize("vector", vector_params("eventlog/sha1", "eventlog/agile", "eventlog/ccel"))
def test_every_real_log_has_a_document_that_the_schema_holds(vector: Vector, run: Any) -> None:
    document = run(vector.read())
    if vector.verdict == "mixed":
        return
    for bank, pcrs in vector.expect.get("pcrs", {}).items():
        assert pcrs.items() <= document["pcrs"][bank].items()
    rtmrs = vector.expect.get("rtmrs", {})
    assert not rtmrs or document["pcrs"]["sha384"] == rtmrs


@pytest.mark.parametrize("vector", vector_params("ima/ascii", "ima/binary"))
def test_every_real_measurement_list_has_one_too(vector: Vector, run: Any) -> None:
    if vector.verdict != "reject":
        document = run(vector.read())
        assert document["format"] == f"ima-{vector.kind.removeprefix('ima/')}"
        assert document["pcrs"]["sha256"].keys() == {"10"}


class TestDocument:
    def test_a_sha1_log(self, run: Any) -> None:
        document = run(sha1_log(Record(0, SEPARATOR, SEPARATION)))
        (event,) = document["events"]
        assert document["format"] == "tcg-sha1"
        assert document["pcrs"].keys() == {"sha1"}
        assert document["pcrs"]["sha1"]["0"] == extended(SHA1, bytes(20), SEPARATION).hex()
        assert event == {
            "index": 0,
            "offset": 0,
            "pcr": 0,
            "type": "EV_SEPARATOR",
            "digests": {"sha1": digest(SHA1, SEPARATION).hex()},
            "data_matches_digest": True,
            "rule": "whole-data",
            "data": "00000000",
        }

    def test_an_agile_log(self, run: Any) -> None:
        boot = Record(1, BOOT, variable("Boot0000", b"x"), measured=b"x")
        document = run(agile(locality(3), Record(0, ACTION, b"a", measured=b"b"), boot, tail=b"\xff" * 5))
        matches = [event["data_matches_digest"] for event in document["events"]]
        assert document["format"] == "tcg-agile"
        assert matches == [None, None, False, True]
        assert document["events"][3]["rule"] == "variable-value"
        assert document["startup_locality"] == 3
        assert document["pcrs"]["sha256"]["0"] == extended(SHA256, bytes(31) + b"\3", b"b").hex()
        assert document["pcrs"]["sha256"]["17"] == "ff" * 32
        assert {"padding", "startup-locality", "data-mismatch"} <= {
            note["code"] for note in document["notes"]
        }

    def test_the_runtime_log(self, run: Any) -> None:
        document = run(encode_cel([new_event(0, 12, b"{}"), new_event(1, 13, b"[]")]))
        assert document["format"] == "cel-json"
        assert [event["type"] for event in document["events"]] == ["shype", "shype"]
        assert document["pcrs"]["sha256"]["13"] == extended(SHA256, bytes(32), b"[]").hex()
        assert all(event["data_matches_digest"] for event in document["events"])

    @pytest.mark.parametrize("form", [ascii_of, binary_of])
    def test_a_measurement_list(self, run: Any, form: Any) -> None:
        made = (AGGREGATE, violation("/a"), ng("/b", stated=b"\1" * 20))
        document = run(form(*made))
        assert document["registers"] == "pcr"
        assert [event["data_matches_digest"] for event in document["events"]] == [True, None, False]
        assert document["events"][0]["digests"] == {"sha1": AGGREGATE.digest().hex()}
        assert document["events"][0]["type"] == "ima-ng"
        assert document["pcrs"]["sha256"] == {"10": replayed(*made).hex()}
        assert {"ima-violation", "data-mismatch"} == {note["code"] for note in document["notes"]}

    def test_every_template_of_a_measurement_list(self, run: Any) -> None:
        document = run(binary_of(*ALL) + b"\n")
        assert {event["type"] for event in document["events"]} >= {"ima", "ima-modsig", "d-ng|n-ng|iuid"}
        assert "stray-bytes" in {note["code"] for note in document["notes"]}

    def test_a_log_of_a_confidential_guest(self, run: Any) -> None:
        raw = Log((Record(2, ACTION, b"a"),), (SHA256,), head=Record(1, NO_ACTION)).encode()
        document = run(raw)
        assert (document["format"], document["registers"]) == ("ccel", "rtmr")
        assert document["events"][1]["pcr"] == 1
        assert document["pcrs"]["sha256"].keys() == {"0", "1", "2", "3"}
        assert document["pcrs"]["sha256"]["1"] == extended(SHA256, bytes(32), b"a").hex()

    def test_a_canonical_log_of_another(self, run: Any) -> None:
        records = [
            {"pcr": pcr, "recnum": recnum, "digests": [], "content_type": kind, "content": content}
            for recnum, (pcr, kind, content) in enumerate(
                [
                    (4, "pcclient_std", {"event_type": "EV_ACTION", "event_data": ""}),
                    (11, "systemd", {"string": "ready"}),
                    (10, "ima_tlv", "00"),
                    (0, "cel", {"type": "firmware_end"}),
                ]
            )
        ]
        document = run(json.dumps(records).encode())
        assert [event["type"] for event in document["events"]] == ["EV_ACTION", "systemd", "ima_tlv", "cel"]

    def test_missing_exit_boot_services(self, run: Any) -> None:
        document = run(agile(Record(5, 0x80000007, b"Calling")))
        assert document["pcrs_with_exit_boot_services"].keys() == {"sha1", "sha256"}
        assert document["pcrs_with_exit_boot_services"]["sha256"].keys() == {"5"}
        assert run(agile(Record(5, ACTION, b"a")))["pcrs_with_exit_boot_services"] is None

    def test_a_bank_with_a_gap_and_a_bank_that_is_not_computed(self, run: Any) -> None:
        gap = Record(4, ACTION, b"a", digests=((SHA256, digest(SHA256, b"a")),))
        assert "4" not in run(agile(gap))["pcrs"]["sha1"]
        sm3 = Record(4, ACTION, b"a", digests=((0x12, bytes(32)),))
        assert run(agile(sm3, banks=(0x12,)))["pcrs"] == {}

    def test_json_may_stand_before_the_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["eventlog", "--json", str(RECORDING)]) == 0
        assert json.loads(capsys.readouterr().out)["format"] == "tcg-agile"


class TestText:
    def test_it_says_that_nothing_is_verified(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["eventlog", str(RECORDING)]) == 0
        out = capsys.readouterr().out
        assert "not verified" in out.splitlines()[0]
        assert "EV_SEPARATOR" in out
        assert "sha256 PCR  7 " in out

    def test_a_measurement_list_and_a_confidential_guest(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        path = tmp_path / "log"
        path.write_bytes(binary_of(AGGREGATE, ng("/usr/bin/\x1b[2J"), ng("/usr/bin/cat")))
        assert main(["eventlog", str(path)]) == 0
        out = capsys.readouterr().out
        assert "boot_aggregate" in out
        assert "\x1b" not in out
        mrtd = Record(0, NO_ACTION, b"x")
        path.write_bytes(Log((mrtd,), (SHA256,), head=Record(1, NO_ACTION)).encode())
        assert main(["eventlog", str(path)]) == 0
        assert "RTMR -" in capsys.readouterr().out

    def test_control_characters_never_reach_the_terminal(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        path = tmp_path / "log"
        path.write_bytes(
            sha1_log(Record(8, IPL, b"\x1b]0;owned\x07\x1b[2J"), Record(8, IPL, "é".encode("latin-1")))
        )
        assert main(["eventlog", str(path)]) == 0
        assert all(character == "\n" or character.isprintable() for character in capsys.readouterr().out)


class TestErrors:
    def failed(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
        code = main(["eventlog", *arguments])
        out = capsys.readouterr()
        (line,) = out.err.splitlines()
        shown = json.loads(out.out)["error"]
        assert (shown["exit"], line) == (code, f"shype eventlog: {shown['detail']}")
        return code, line

    @pytest.mark.parametrize("where", ["missing", "."])
    def test_no_such_file_and_a_folder(
        self, where: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        code, line = self.failed(capsys, str(tmp_path / where), "--json")
        assert code == 2
        assert str(tmp_path) in line

    def test_wrong_usage(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.failed(capsys, "--json")[0] == 2

    @pytest.mark.parametrize("raw", [b"", b"text", bytes(100), b"[1]", agile(Record(0, NO_ACTION))[:-1]])
    def test_a_malformed_log(self, raw: bytes, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(raw)
        code, line = self.failed(capsys, str(path), "--json")
        assert code == 3
        assert line.startswith("shype eventlog: event log")

    def test_more_events_than_any_firmware_writes_take_no_time(self) -> None:
        raw = agile(*[Record(1, IPL, b"grub_cmd: x" * 8, measured=b"y")] * 4_000)
        with at_most(2):
            assert len(describe(parse(raw))["events"]) == 4_001


def test_the_example_of_the_help_text_works() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "shype.main", "eventlog", "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=30,
    ).stdout
    (example,) = [line.split() for line in text.splitlines() if line.startswith("  shype eventlog")]
    command = [sys.executable, "-m", "shype.main", *example[1:]]
    assert (
        subprocess.run(command, check=False, capture_output=True, cwd=REPOSITORY, timeout=30).returncode == 0
    )


def test_no_module_of_the_verifier_touches_a_machine() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import attest.eventlog.read, attest.eventlog.notes, attest.eventlog.rules\n"
        "import attest.ima.appraise, attest.runtime_events, attest.runtime_journal\n"
        "new = set(sys.modules) - before\n"
        "print(*sorted({'socket', 'subprocess', 'tempfile', 'fcntl', 'ctypes'} & new))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert out.stdout.strip() == ""
