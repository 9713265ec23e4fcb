"""What lists of measured files and other kinds of event logs read from outside."""

from __future__ import annotations

import json
from typing import Final

from attest.eventlog import ccel, cel_json, tcg, variable
from attest.ima import template
from attest.ima.appraise import list_entries
from attest.ima.ascii_list import ascii_entries
from attest.ima.binary_list import binary_entries, layout
from attest.ima.entry import entry_of
from attest.ima.log import parse_ima, recognise
from attest.ima.signature import FileSignature, is_malformed
from tests.attest.ima.build import ALL, ascii_of, binary_of, digest
from tests.conftest import vectors
from tests.parsers.of_eventlog import read_whole
from tests.parsers.parser import Parser, chunks, good
from tests.simulators.host import Host

_SIGNATURE: Final = b"\x03\x02\x04key1\x00\x04abcd"
_NAME: Final = "Boot0000".encode("utf-16-le")
_VARIABLE: Final = bytes(16) + (8).to_bytes(8, "little") + (4).to_bytes(8, "little") + _NAME + b"data"


def _ccels() -> list[bytes]:
    found = [vector.read() for vector in vectors("eventlog/ccel") if vector.path.stat().st_size < 1 << 17]
    return found[:4] or [good("ovmf.bin")]


def _cels() -> list[bytes]:
    """Our runtime log, one of the forms of systemd, and what others recorded."""
    digest = {"hashAlg": "sha256", "digest": "ab" * 32}
    content = {"string": "enter-initrd", "bootId": "0" * 32, "timestamp": 1, "eventType": "phase"}
    record = {"pcr": 11, "digests": [digest], "content_type": "systemd", "content": content}
    found = [vector.read() for vector in vectors("eventlog/cel") if vector.path.stat().st_size < 1 << 16]
    return [Host.serving().runtime_log(), b"\x1e" + json.dumps(record).encode() + b"\n", *found]


def _lists() -> list[bytes]:
    return [ascii_of(*ALL), binary_of(*ALL), binary_of(*ALL, order="big")]


PARSERS: Final = (
    Parser("attest.eventlog.ccel:parse_ccel", _ccels, ccel.parse_ccel),
    Parser("attest.eventlog.cel_json:is_cel_json", _cels, cel_json.is_cel_json),
    Parser(
        "attest.eventlog.cel_json:parse_cel_json",
        _cels,
        lambda raw: read_whole(raw, cel_json.parse_cel_json),
    ),
    Parser("attest.eventlog.ccel:is_ccel", _ccels, ccel.is_ccel),
    Parser("attest.eventlog.variable:decode_variable", lambda: [_VARIABLE], variable.decode_variable),
    Parser(
        "attest.eventlog.tcg:parse_records",
        lambda: [good("ovmf.bin")],
        lambda raw: tcg.parse_records(raw, register=0),
    ),
    Parser("attest.ima.log:parse_ima", _lists, lambda raw: read_whole(raw, parse_ima)),
    Parser("attest.ima.log:recognise", _lists, recognise),
    Parser("attest.ima.appraise:list_entries", _lists, lambda raw: list(list_entries(chunks(raw, 100)))),
    Parser(
        "attest.ima.ascii_list:ascii_entries",
        lambda: [ascii_of(*ALL)],
        lambda raw: list(ascii_entries(chunks(raw, 100))),
    ),
    Parser(
        "attest.ima.binary_list:binary_entries",
        lambda: [binary_of(*ALL), binary_of(*ALL, order="big")],
        lambda raw: list(binary_entries(chunks(raw, 100))),
    ),
    Parser("attest.ima.binary_list:layout", lambda: [binary_of(*ALL)], layout),
    Parser(
        "attest.ima.entry:entry_of",
        lambda: [ALL[0].data()],
        lambda raw: entry_of(10, bytes(32), "ima-ng", raw),
    ),
    Parser("attest.ima.signature:FileSignature.decode", lambda: [_SIGNATURE], FileSignature.decode),
    Parser("attest.ima.signature:is_malformed", lambda: [_SIGNATURE], is_malformed),
    Parser("attest.ima.template:split", lambda: [ALL[0].data()], lambda raw: template.split("ima-ng", raw)),
    Parser("attest.ima.template:check", lambda: [digest(b"x")], lambda raw: template.check("d-ng", raw)),
    Parser("attest.ima.template:digest_text", lambda: [digest(b"x")], template.digest_text),
)

NOT_PARSERS: Final = {
    "attest.eventlog.log:Hash.update": "the shape of hashlib's objects",
    "attest.ima.appraise:appraise_list": "attest.ima.appraise:list_entries reads the list",
    "attest.ima.boot_aggregate:*": "calculates with PCR values",
    "attest.ima.extend:*": "calculates with digests",
    "attest.ima.file_key:*": "a signature that FileSignature.decode has read",
    "attest.ima.policy:RuntimePolicy.excludes": "matches a path of any bytes",
}
