"""Judges of event logs."""

from __future__ import annotations

import json
import struct
from typing import Final

from attest.errors import AttestInputError
from attest.eventlog.data import binding
from attest.eventlog.log import EventLog, LogFormat, Registers
from attest.eventlog.notes import lacks_exit_boot_services
from attest.eventlog.read import parse
from attest.eventlog.replay import ReplayError, replay, verify_replay, with_exit_boot_services
from attest.eventlog.rules import appraise_firmware
from attest.eventlog.variable import decode_variable
from tools.conformance.vector import OutOfScopeError, Vector, expect, refused
from vtpm.tpm2.constants import Alg

_BANKS: Final = (Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512)
_MISCOUNTED: Final = {"event-uefi-sha1-log.bin": 17}
"""The manifest says 6; the origin's own YAML lists 17 records."""
_SIGNATURE_LIST: Final = "TestEFIVariableDataWrite1.bin"
"""It holds the value of a variable only: an EFI_SIGNATURE_LIST."""
_SPEC_ID: Final = b"Spec ID Event0"
_SEPARATOR: Final = struct.pack("<II20sI", 0, 4, bytes(20), 4) + bytes(4)


def log(vector: Vector) -> None:
    """Judge a log of a TPM: PCRs, number of events, and that no checkable digest misses its data."""
    read = parse(vector.read())
    if vector.verdict == "mixed":
        _mixed(vector, read)
        return
    for alg in _BANKS:
        quoted = _stated(vector, "pcrs", alg)
        if quoted:
            verify_replay(read, quoted, alg)
    count = _MISCOUNTED.get(vector.path.name, vector.expect.get("events"))
    expect(count is None or len(read.events) == count, f"{len(read.events)} events, not {count}")
    expect(all(binding(event).matches is not False for event in read.events), "a digest misses its data")
    _secure_boot(vector, read)


def _secure_boot(vector: Vector, read: EventLog) -> None:
    stated = vector.expect.get("secureboot", {}).get("enabled")
    if stated is not None:
        alg = Alg.SHA256 if Alg.SHA256 in read.banks else Alg.SHA1
        state = appraise_firmware(read, verify_replay(read, replay(read, alg), alg))
        expect(state.secure_boot is stated, f"Secure Boot {state.secure_boot}, not {stated}")


def _mixed(vector: Vector, read: EventLog) -> None:
    quoted = _stated(vector, "pcrs", Alg.SHA1)
    if not lacks_exit_boot_services(read) or not quoted:
        _secure_boot(vector, read)
        return
    expect(refused(lambda: verify_replay(read, quoted, Alg.SHA1), ReplayError), "the gap is not named")
    verify_replay(with_exit_boot_services(read), quoted, Alg.SHA1)


def malformed(vector: Vector) -> None:
    """Judge what must be refused; a legal TPM 1.2 record must be refused as a log, or its data named."""
    try:
        read = parse(vector.read())
    except AttestInputError:
        expect(vector.verdict == "parse-error", "refused")
        return
    wrong = [event.index for event in read.events if binding(event).matches is False]
    legal = vector.verdict == "mixed" or "whole_file" in vector.expect
    expect(legal and bool(wrong), "accepted")


def fragment(vector: Vector) -> None:
    """Judge whole records as logs, Spec ID events in a record, and UEFI variables; no other data alone."""
    data, layout = vector.read(), vector.expect.get("layout", "")
    if data.startswith(_SPEC_ID):
        _spec_id(vector, data)
    elif layout.startswith("event data"):
        if "VARIABLE" not in vector.name.upper() or vector.path.name == _SIGNATURE_LIST:
            expect(refused(lambda: parse(data), AttestInputError), "accepted as a log")
            raise OutOfScopeError("event data without a record are no log: refused cleanly")
        expect(decode_variable(data) is not None, "not read as a variable")
    else:
        log(vector)


def _spec_id(vector: Vector, data: bytes) -> None:
    old = not data.startswith(_SPEC_ID + b"3")
    record = struct.pack("<II20sI", 0, 3, bytes(20), len(data)) + data
    read = parse(record + (_SEPARATOR if old else b""))
    banks = vector.expect.get("algs")
    found = [f"0x{alg:04X}" for alg in read.banks]
    expect(
        banks is None or [each.upper() for each in banks] == [each.upper() for each in found], "other banks"
    )


def ccel(vector: Vector) -> None:
    """Judge a log of a confidential guest: RTMRs, and the events that its origin lists."""
    read = parse(vector.read())
    expect(read.format is LogFormat.CCEL, "not recognised")
    quoted = {int(each): bytes.fromhex(value) for each, value in vector.expect.get("rtmrs", {}).items()}
    if quoted:
        verify_replay(read, quoted, Alg.SHA384, registers=Registers.RTMR)
    expect(all(binding(event).matches is not False for event in read.events), "a digest misses its data")
    listed = vector.path.with_name(f"{vector.path.name}_out.json")
    if listed.is_file():
        stated = json.loads(listed.read_text())["uefi_event_logs"]
        same = [
            (event.pcr + 1) & 0xFFFFFFFF == each["index"]
            and [digest.hex() for _, digest in event.digests] == [one["digest"] for one in each["digests"]]
            for event, each in zip(read.events[1:], stated, strict=False)
        ]
        expect(len(same) == len(stated) == len(read.events) - 1 and all(same), "other events")


def negative_registers(vector: Vector) -> None:
    """Judge RTMRs of which one nibble is wrong: the replay must fail and name the register."""
    folder = vector.path.parent / "deps/eventlog/test_data"
    for case in json.loads(vector.read()):
        path = folder / case["log"]
        if not path.is_file():
            continue
        read, number = parse(path.read_bytes()), int(case["wrong"].removeprefix("rtmr"))
        values = dict(replay(read, Alg.SHA384, registers=Registers.RTMR))
        values[number] = bytes.fromhex(case[case["wrong"]])
        try:
            verify_replay(read, values, Alg.SHA384, registers=Registers.RTMR)
        except ReplayError as error:
            expect(error.pcrs == (number,), "another register is named")
        else:
            expect(False, "accepted")  # noqa: FBT003  # it reads like an assertion


def no_log(vector: Vector) -> None:
    """Judge what holds no log itself: it must be refused."""
    expect(refused(lambda: parse(vector.read()), AttestInputError), "accepted as a log")
    if vector.is_good:
        raise OutOfScopeError("a table or memory image that leads to a log: the kernel walks it, not we")


def _stated(vector: Vector, name: str, alg: Alg) -> dict[int, bytes]:
    values = vector.expect.get(name, {}).get(alg.hash_name, {})
    return {int(number): bytes.fromhex(value) for number, value in values.items()}
