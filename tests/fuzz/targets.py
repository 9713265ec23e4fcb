"""What is fuzzed: each target takes any bytes, and may raise nothing but its package's input error.

Seeds are our own recordings (configs/recordings, tests/recordings) and what the simulators make.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from attest.certificate import decode_certificates
from attest.endorsement import verify_endorsement
from attest.errors import AttestInputError
from attest.eventlog.cel import CONTENT_TYPE, encode_cel, parse_cel
from attest.eventlog.cel_json import parse_cel_json
from attest.eventlog.data import binding
from attest.eventlog.log import HASHES, EventLog
from attest.eventlog.notes import notes
from attest.eventlog.read import parse
from attest.eventlog.replay import replay, verify_replay
from attest.eventlog.rules import appraise_firmware
from attest.evidence import Evidence
from attest.ima.appraise import appraise_list, list_entries
from attest.ima.policy import RuntimePolicy
from attest.quote_verdict import ShownQuote, judge_quote
from attest.verifier.claims import Expectation
from attest.verifier.verify import verify
from tests.attest.eventlog.build import Log, Record, agile, locality, sha1_log, variable
from tests.attest.ima.build import ALL, ascii_of, binary_of
from tests.simulators.host import NOW, SWTPM, Ca, Host
from vtpm.errors import VtpmInputError
from vtpm.tpm2.attestation import Attest
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.credential import read_credential_file
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.public import Public
from vtpm.tpm2.signature import Signature

REPOSITORY: Final = Path(__file__).resolve().parents[2]
QUOTES: Final = REPOSITORY / "tests" / "recordings" / "quotes"
REFUSALS: Final = (AttestInputError, VtpmInputError)

_NONCE: Final = "5f3a9c17e1f00d5f3a9c17e1f00dcafe5f3a9c17e1f00d5f3a9c17e1f00dcafe"
"""Of all quotes in tests/recordings/quotes."""
_PIECE: Final = 1000
_STRUCTURES: Final[tuple[Callable[[bytes], object], ...]] = (
    Attest.decode,
    Public.decode,
    Public.decode_sized,
    Signature.decode,
    PcrSelection.decode,
    read_credential_file,
)


@dataclass(frozen=True, slots=True)
class Target:
    """A function that eats any bytes, and good bytes to begin with."""

    eat: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


def _use_log(log: EventLog) -> None:
    """Do all that is done with a log that was accepted."""
    notes(log, [binding(event) for event in log.events])
    for alg in (bank for bank in log.banks if bank in HASHES):
        values = replay(log, alg, registers=log.format.registers)
        proved = verify_replay(log, values, alg, registers=log.format.registers)
        if not log.format.is_ima:
            appraise_firmware(log, proved)


def _eat_log(raw: bytes) -> None:
    _use_log(parse(raw))


def _eat_list(raw: bytes) -> None:
    """Read a list whole and in pieces, and appraise it by the PCR that it gives itself."""
    pieces = [raw[at : at + _PIECE] for at in range(0, len(raw), _PIECE)]
    entries = list(list_entries(pieces))
    log = parse(raw)
    assert [entry.data for entry in entries] == [event.untrusted_data for event in log.events]
    for entry in entries:
        entry.values()
    _use_log(log)
    pcr = entries[-1].pcr
    policy = RuntimePolicy(frozenset(), pcr=pcr)
    appraise_list(pieces, {pcr: replay(log, Alg.SHA256)[pcr]}, Alg.SHA256, policy)


def _eat_cel(raw: bytes) -> None:
    log = parse_cel_json(raw)
    _use_log(log)
    if all(event.untrusted_type == CONTENT_TYPE for event in log.events):
        assert parse_cel(encode_cel(log.events)).events == log.events


def _eat_structure(raw: bytes) -> None:
    """Read one TPM structure, which the first byte chooses; what was read is written as it was."""
    value = _STRUCTURES[raw[0] % len(_STRUCTURES)](raw[1:]) if raw else None
    if isinstance(value, Public):
        value.name()
        value.key()
    if isinstance(value, PcrSelection | Signature):
        assert value.encode() == raw[1:]


def _eat_quote(raw: bytes) -> None:
    """Judge a quote of which one part, which the first byte chooses, is any bytes."""
    names = ("ak", "message", "signature", "pcrs", "eventlog")
    parts = {**_shown(), names[raw[0] % len(names)]: raw[1:]} if raw else _shown()
    judge_quote(ShownQuote(**parts), nonce=bytes.fromhex(_NONCE))


@cache
def _shown() -> dict[str, bytes]:
    files = {"ak": "ecc.pub", "message": "ecc-serialized.msg", "signature": "ecc-serialized.sig"}
    return {name: (QUOTES / file).read_bytes() for name, file in files.items()}


def _eat_certificate(raw: bytes) -> None:
    for certificate in decode_certificates(raw):
        verify_endorsement(certificate.der, _expected().anchors, now=NOW)


def _eat_evidence(raw: bytes) -> None:
    """Decode evidence and judge it."""
    Evidence.decode(raw)
    verify(raw, _expected())


@cache
def _host() -> Host:
    return Host.serving()


@cache
def _expected() -> Expectation:
    return _host().expectation()


def _logs() -> list[bytes]:
    recorded = [path.read_bytes() for path in sorted((REPOSITORY / "configs" / "recordings").glob("*.bin"))]
    made = agile(locality(3), Record(7, 0x80000001, variable("SecureBoot", b"\1")), tail=b"\xff" * 8)
    guest = Log((Record(1, 4, bytes(4)),), (0x0C,), head=Record(1, 3)).encode()
    return [*recorded, made, guest, sha1_log(Record(4, 13, b"grub_cmd: boot")), _host().runtime_log()]


def _lists() -> list[bytes]:
    each = [form(made) for made in ALL for form in (ascii_of, binary_of)]
    return [*each, ascii_of(*ALL), binary_of(*ALL), binary_of(*ALL[:4], order="big")]


def _cels() -> list[bytes]:
    digests = [{"hashAlg": "sha256", "digest": "00" * 32}]
    contents: tuple[tuple[int, str, object], ...] = (
        (4, "pcclient_std", {"event_type": "EV_IPL", "event_data": "00"}),
        (10, "ima_template", {"template_name": "n-ng", "template_data": "020000006100"}),
        (11, "systemd", {"string": "ready"}),
        (0, "cel", {"type": "firmware_end"}),
    )
    records = [
        {"recnum": number, "pcr": pcr, "digests": digests, "content_type": kind, "content": content}
        for number, (pcr, kind, content) in enumerate(contents)
    ]
    sequence = b"".join(
        b"\x1e" + json.dumps({k: v for k, v in each.items() if k != "recnum"}).encode() for each in records
    )
    return [_host().runtime_log(), json.dumps(records).encode(), sequence]


def _structures() -> list[bytes]:
    files = {
        "ecc-serialized.msg": 0,
        "certify.msg": 0,
        "ecc.pub": 2,
        "rsa.pub": 2,
        "ecc-serialized.sig": 3,
        "pss-serialized.sig": 3,
    }
    found = [bytes([kind]) + (QUOTES / name).read_bytes() for name, kind in files.items()]
    bare = Public.decode_sized((QUOTES / "ecc.pub").read_bytes()).encode()
    return [*found, b"\1" + bare, b"\4" + PcrSelection.of(Alg.SHA256, [0, 7]).encode()]


def _quotes() -> list[bytes]:
    parts = ("ak", "message", "signature")
    return [bytes([place]) + _shown()[name] for place, name in enumerate(parts)]


def _leaf() -> bytes:
    return Ca().endorse(SWTPM)


TARGETS: Final[dict[str, Target]] = {
    "log": Target(_eat_log, _logs),
    "ima": Target(_eat_list, _lists),
    "cel": Target(_eat_cel, _cels),
    "tpm": Target(_eat_structure, _structures),
    "quote": Target(_eat_quote, _quotes),
    "certificate": Target(_eat_certificate, lambda: [_leaf(), ssl.DER_cert_to_PEM_cert(_leaf()).encode()]),
    "evidence": Target(_eat_evidence, lambda: [_host().evidence().encode()]),
}


def eat(name: str, raw: bytes) -> None:
    """Give bytes to a target; whatever it raises but an input error of ours is a finding."""
    refusal: AttestInputError | VtpmInputError | None = None
    try:
        TARGETS[name].eat(raw)
    except REFUSALS as error:
        refusal = error
    if refusal is not None:
        assert str(refusal).isprintable(), f"not one printable line: {refusal!r}"
        assert refusal.code
