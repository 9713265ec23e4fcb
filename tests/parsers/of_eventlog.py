"""What logs of confidential guests, logs of others in JSON, and measurement lists are read by."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from typing import Final

from attest.eventlog import ccel, cel_json
from attest.eventlog.log import EventLog
from attest.eventlog.replay import replay, verify_replay
from attest.eventlog.tcg import parse_records
from attest.ima import (
    appraise,
    ascii_list,
    binary_list,
    digest_list,
    entry,
    file_key,
    log,
    proof,
    ramdisk,
    signature,
    template,
)
from attest.ima.policy import RuntimePolicy
from attest.ima.source import ListSource
from shype.listreport import ReadList, list_document
from tests.attest.eventlog.build import Log, Record, agile
from tests.attest.ima.build import AGGREGATE, ALL, ascii_of, binary_of, digest, replayed
from tests.attest.ima.test_appraise import KEY, signed
from tests.parsers.parser import Parser, good
from tests.simulators.host import Host
from vtpm.tpm2.constants import Alg

_GUEST: Final = Log((Record(1, 4, bytes(4)), Record(3, 5, b"a")), (0x0C,), head=Record(1, 3)).encode()
_LISTS: Final = (ascii_of(*ALL), binary_of(*ALL))
_POLICY: Final = RuntimePolicy(frozenset())
_KEYS: Final = file_key.by_key_id(KEY.public_key())
_SIGNATURE: Final = signed(AGGREGATE)
_QUOTED: Final = {Alg.SHA256: {10: replayed(*ALL)}}


def _use(read: EventLog) -> None:
    """Replay what was accepted, and hold it against its own values."""
    alg = read.banks[0]
    registers = read.format.registers
    verify_replay(read, replay(read, alg, registers=registers), alg, registers=registers)


def _cels() -> list[bytes]:
    record = b'{"pcr":11,"digests":[{"hashAlg":"sha256","digest":"%b"}]' % (b"00" * 32)
    systemd = record + b',"content_type":"systemd","content":{"string":"ready"}'
    return [Host.serving().runtime_log(), b"[" + systemd + b',"recnum":0}]', b"\x1e" + systemd + b"}"]


def _in_two(read: Callable[[list[bytes]], Iterable[object]]) -> Callable[[bytes], object]:
    return lambda raw: list(read([raw[: len(raw) // 2], raw[len(raw) // 2 :]]))


def _proved(read: proof.ReplayedList) -> None:
    if 10 in read.pcrs:
        read.proved(Alg.SHA256)


def _last_offset(raw: bytes) -> None:
    """The last entry that can be read begins where it is said to."""
    count = sum(1 for _ in binary_list.binary_entries((raw,)))
    at = binary_list.entry_offset((raw,), count - 1)
    assert sum(1 for _ in binary_list.binary_entries((raw[:at],))) == count - 1 or count == 1


def _streamed(raw: bytes) -> None:
    """Print what was accepted."""
    source = ListSource(lambda: (raw[: len(raw) // 2], raw[len(raw) // 2 :]))
    count = sum(1 for _ in source.entries())
    assert json.loads("".join(list_document(ReadList.of(source))))["events"][-1]["index"] == count - 1


def _verify_file(raw: bytes) -> None:
    shown = b"sha256:" + digest(b"pcrs")[8:].hex().encode()
    file_key.verify_file(signature.FileSignature.decode(raw), shown, _KEYS)


PARSERS: Final = (
    Parser("attest.eventlog.ccel:parse_ccel", lambda: [_GUEST], lambda raw: _use(ccel.parse_ccel(raw))),
    Parser("attest.eventlog.cel_json:parse_cel_json", _cels, lambda raw: _use(cel_json.parse_cel_json(raw))),
    Parser(
        "attest.eventlog.tcg:parse_records",
        lambda: [agile(Record(4, 5, b"a"))],
        lambda raw: parse_records(raw, register=0),
    ),
    Parser("attest.ima.log:parse_ima", lambda: _LISTS, lambda raw: _use(log.parse_ima(raw))),
    Parser("attest.ima.source:ListSource.entries", lambda: _LISTS, _streamed),
    Parser(
        "attest.ima.proof:replay_beside",
        lambda: _LISTS,
        lambda raw: _proved(proof.replay_beside(ListSource(lambda: (raw,)), _QUOTED)),
    ),
    Parser("attest.ima.binary_list:entry_offset", lambda: _LISTS[1:], _last_offset),
    Parser("attest.ima.ascii_list:ascii_entries", lambda: _LISTS[:1], _in_two(ascii_list.ascii_entries)),
    Parser("attest.ima.binary_list:binary_entries", lambda: _LISTS[1:], _in_two(binary_list.binary_entries)),
    Parser("attest.ima.appraise:list_entries", lambda: _LISTS, _in_two(appraise.list_entries)),
    Parser(
        "attest.ima.appraise:appraise_list",
        lambda: _LISTS,
        lambda raw: appraise.appraise_list([raw], {10: replayed(*ALL)}, Alg.SHA256, _POLICY),
    ),
    Parser(
        "attest.ima.entry:entry_of",
        lambda: [AGGREGATE.data()],
        lambda raw: entry.entry_of(10, bytes(20), "ima-ng", raw).values(),
    ),
    Parser(
        "attest.ima.template:split",
        lambda: [AGGREGATE.data()],
        lambda raw: template.split("ima-ng", raw),
    ),
    Parser("attest.ima.template:check", lambda: [digest(b"x")], lambda raw: template.check("d-ng", raw)),
    Parser("attest.ima.template:digest_text", lambda: [digest(b"x")], template.digest_text),
    Parser(
        "attest.ima.signature:FileSignature.decode",
        lambda: [_SIGNATURE],
        signature.FileSignature.decode,
    ),
    Parser("attest.ima.digest_list:listed", lambda: [good("sha256sums")], digest_list.listed),
    Parser(
        "attest.ima.ramdisk:programs",
        lambda: [good("dom0.img"), gzip.compress(good("dom0.img"))],
        ramdisk.programs,
    ),
    Parser("attest.ima.file_key:verify_file", lambda: [_SIGNATURE], _verify_file),
)

NOT_PARSERS: Final = {
    "attest.eventlog.read:is_list": "tells formats apart, of any bytes",
    "attest.ima.ascii_list:line_offset": "counts line feeds",
    "attest.quote_list:list_in": "tells formats apart, of any bytes",
    "attest.eventlog.variable:encode_variable": "writes a variable, reads nothing",
    "attest.eventlog.ccel:is_ccel": "tells formats apart, of any bytes",
    "attest.eventlog.cel_json:is_cel_json": "tells formats apart, of any bytes",
    "attest.eventlog.log:Hash.*": "what a hash function has",
    "attest.eventlog.variable:decode_variable": "answers None for what is no variable",
    "attest.ima.binary_list:layout": "tells formats apart, of any bytes",
    "attest.ima.boot_aggregate:*": "hashes PCR values",
    "attest.ima.extend:*": "hashes bytes of any kind",
    "attest.ima.log:recognise": "tells formats apart, of any bytes",
    "attest.ima.policy:*": "compares a path",
    "attest.ima.programs:*": "tells what a file is, of any bytes",
    "attest.ima.signature:is_malformed": "answers for any bytes",
}
