"""Evidence of one host and its domains: the JSON document ``shype.evidence/1`` (RFC 9334, section 8.1).

Not trusted: everything in it comes from the attester. Decoding checks the form only; that a field is true is
for ``attest.verifier`` to find out, which is the one place that reads claims out of it.

::

    {"schema": "shype.evidence/1",
     "host": {"name", "ak", "quote", "signature", "pcrs": [[alg, index, hex]],
              "firmware_log": {"origin", "log"} | null, "runtime_log", "ima_log"?, "found"?},
     "domains": [{"vid", "launch", "record", "binding", "vak", "quote", "signature", "pcrs",
                  "index", "proof"}],
     "tree_size": n}

Bytes are base64 (RFC 4648, section 4, padded): ``ak`` and ``vak`` TPMT_PUBLIC, ``quote`` TPMS_ATTEST,
``signature`` TPMT_SIGNATURE, ``runtime_log`` CEL-JSON, ``launch`` the opened DomainLaunch, ``record`` and
``binding`` canonical JSON, ``proof`` sibling hashes (RFC 6962), the leaf's own sibling first; ``ima_log``
the binary measurement list of dom0, ``found`` opened DomainFound events.

``ima_log`` and ``found`` may be left away: then the attester shows no list, and opens no such event. That is
all that evidence without them says, so evidence of before they came is still read; whoever asks for a list
finds it missing. There is one way to leave them away: ``null`` and the empty list of events are refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final, NoReturn

from acm import merkle
from attest import canonical_json
from attest.canonical_json import Json
from attest.errors import AttestInputError

SCHEMA: Final = "shype.evidence/1"
MAX_LOG: Final = 16 * 1024 * 1024
"""Bytes of the firmware's or the runtime log."""
MAX_IMA: Final = 24 * 1024 * 1024
"""Bytes of a measurement list: some 190,000 entries."""
MAX_BYTES: Final = 48 * 1024 * 1024
MAX_FOUND: Final = 4096
MAX_DOMAINS: Final = 4096
MAX_PCRS: Final = 128
MAX_STRUCTURE: Final = 8192
"""Bytes of one TPM structure or JSON record; a TPM2B never holds more than 65,535, a quote a few hundred."""
MAX_HOST_NAME: Final = 253
_LAST_PCR: Final = 23
_HOST_NAME: Final = re.compile(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_VID: Final = re.compile(r"[0-9a-f]{32}")
_ALG: Final = re.compile(r"[a-z0-9_]{1,16}")
_HEX: Final = re.compile(r"[0-9a-f]{2,128}")  # of even length, which a pattern tells eight times as slowly


class EvidenceError(AttestInputError):
    """Evidence that does not have its form; the message names the field."""

    code = "evidence-malformed"


@dataclass(frozen=True, slots=True)
class PcrValue:
    """One PCR value as the attester shows it: bank (``sha256``), index 0-23, digest."""

    alg: str
    index: int
    value: bytes


@dataclass(frozen=True, slots=True)
class FirmwareLog:
    """A firmware event log and where the attester says it comes from (``origin`` is never used as a fact)."""

    origin: str
    log: bytes


@dataclass(frozen=True, slots=True)
class HostEvidence:
    """What the host TPM signed, and the logs that explain it."""

    name: str
    ak: bytes
    quote: bytes
    signature: bytes
    pcrs: tuple[PcrValue, ...]
    firmware_log: FirmwareLog | None
    runtime_log: bytes
    ima_log: bytes | None = None
    found: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class DomainEvidence:
    """What one vTPM signed, its opened launch event and its place under the host's signature."""

    vid: str
    launch: bytes
    record: bytes
    binding: bytes
    vak: bytes
    quote: bytes
    signature: bytes
    pcrs: tuple[PcrValue, ...]
    index: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence as received; ``raw`` are the received bytes, which nothing re-encodes."""

    host: HostEvidence
    domains: tuple[DomainEvidence, ...]
    tree_size: int
    raw: bytes = b""

    def encode(self) -> bytes:
        """Return the JSON document (sorted keys, no blanks, UTF-8)."""
        document: dict[str, Json] = {
            "schema": SCHEMA,
            "host": _host_document(self.host),
            "domains": [_domain_document(domain) for domain in self.domains],
            "tree_size": self.tree_size,
        }
        return canonical_json.encode(document)

    @classmethod
    def decode(cls, raw: bytes) -> Evidence:
        """Read a document strictly: known fields only, each once, every size bounded.

        Raises EvidenceError.
        """
        top = _Fields.of(_parse(raw), "", ("schema", "host", "domains", "tree_size"))
        if top.text("schema", _ANY) != SCHEMA:
            _refuse("schema", f"is not {SCHEMA!r}: no other version is known")
        size = top.number("tree_size", MAX_DOMAINS)
        domains = tuple(
            _domain(value, f"domains[{i}]") for i, value in enumerate(top.items("domains", MAX_DOMAINS))
        )
        if not domains and size:
            _refuse("tree_size", "counts domains, but none is shown: nothing ties the quote to a nonce")
        return cls(_host(top.value("host")), domains, size, bytes(raw))


_ANY: Final = re.compile(r"[\x20-\x7e]{0,256}")


def _host(value: object) -> HostEvidence:
    names = ("name", "ak", "quote", "signature", "pcrs", "firmware_log", "runtime_log")
    fields = _Fields.of(value, "host", names, ("ima_log", "found"))
    return HostEvidence(
        name=fields.text("name", _HOST_NAME, MAX_HOST_NAME),
        ak=fields.data("ak"),
        quote=fields.data("quote"),
        signature=fields.data("signature"),
        pcrs=fields.pcrs("pcrs"),
        firmware_log=_firmware_log(fields.value("firmware_log")),
        runtime_log=fields.data("runtime_log", MAX_LOG),
        ima_log=fields.data("ima_log", MAX_IMA) if fields.has("ima_log") else None,
        found=_found(fields) if fields.has("found") else (),
    )


def _found(fields: _Fields) -> tuple[bytes, ...]:
    items = fields.items("found", MAX_FOUND)
    if not items:
        _refuse("host.found", "is empty: leave it away")
    return tuple(_base64(item, f"host.found[{i}]", MAX_STRUCTURE) for i, item in enumerate(items))


def _firmware_log(value: object) -> FirmwareLog | None:
    if value is None:
        return None
    fields = _Fields.of(value, "host.firmware_log", ("origin", "log"))
    return FirmwareLog(fields.text("origin", _ANY), fields.data("log", MAX_LOG))


def _domain(value: object, where: str) -> DomainEvidence:
    names = ("vid", "launch", "record", "binding", "vak", "quote", "signature", "pcrs", "index", "proof")
    fields = _Fields.of(value, where, names)
    proof = fields.items("proof", merkle.MAX_PATH)
    return DomainEvidence(
        vid=fields.text("vid", _VID),
        launch=fields.data("launch"),
        record=fields.data("record"),
        binding=fields.data("binding"),
        vak=fields.data("vak"),
        quote=fields.data("quote"),
        signature=fields.data("signature"),
        pcrs=fields.pcrs("pcrs"),
        index=fields.number("index", MAX_DOMAINS),
        proof=tuple(_sibling(item, f"{where}.proof[{i}]") for i, item in enumerate(proof)),
    )


@dataclass(frozen=True, slots=True)
class _Fields:
    """One JSON object whose field names are known to be the expected ones."""

    values: dict[str, object]
    where: str

    @classmethod
    def of(cls, value: object, where: str, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> _Fields:
        if not isinstance(value, dict):
            _refuse(where or "document", "is not an object")
        for name in value:
            if name not in names + optional:
                _refuse(where or "document", f"has the unknown field {name[:40]!a}")
        for name in names:
            if name not in value:
                _refuse(where or "document", f"lacks the field {name!r}")
        return cls(value, where)

    def has(self, name: str) -> bool:
        return name in self.values

    def path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def value(self, name: str) -> object:
        return self.values[name]

    def text(self, name: str, form: re.Pattern[str], most: int = 256) -> str:
        value = self.values[name]
        if not isinstance(value, str) or len(value) > most or form.fullmatch(value) is None:
            _refuse(self.path(name), "does not have its form")
        return value

    def number(self, name: str, most: int) -> int:
        return _number(self.values[name], self.path(name), most)

    def items(self, name: str, most: int) -> list[object]:
        value = self.values[name]
        if not isinstance(value, list) or len(value) > most:
            _refuse(self.path(name), f"is not a list of at most {most} entries")
        return value

    def data(self, name: str, most: int = MAX_STRUCTURE) -> bytes:
        return _base64(self.values[name], self.path(name), most)

    def pcrs(self, name: str) -> tuple[PcrValue, ...]:
        values = self.items(name, MAX_PCRS)
        pcrs = tuple(
            _good_pcr(value) or _pcr(value, f"{self.path(name)}[{i}]") for i, value in enumerate(values)
        )
        if len({(pcr.alg, pcr.index) for pcr in pcrs}) != len(pcrs):
            _refuse(self.path(name), "gives one PCR two values")
        return pcrs


def _good_pcr(value: object) -> PcrValue | None:
    """Read a well-formed value; None for any other, of which :func:`_pcr` says what is wrong."""
    match value:
        case [str(alg), int(index), str(digest)] if not (isinstance(index, bool) or len(digest) % 2):
            if 0 <= index <= _LAST_PCR and _ALG.fullmatch(alg) and _HEX.fullmatch(digest):
                return PcrValue(alg, index, bytes.fromhex(digest))
    return None


def _pcr(value: object, where: str) -> PcrValue:
    if not isinstance(value, list) or len(value) != len(("alg", "index", "hex")):
        _refuse(where, "is not [alg, index, hex]")
    alg, index, digest = value
    if not isinstance(alg, str) or _ALG.fullmatch(alg) is None:
        _refuse(where, "does not begin with the name of a hash")
    if not isinstance(digest, str) or len(digest) % 2 or _HEX.fullmatch(digest) is None:
        _refuse(where, "does not end with lower-case hex")
    return PcrValue(alg, _number(index, where, _LAST_PCR), bytes.fromhex(digest))


def _number(value: object, where: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        _refuse(where, f"is not a number from 0 to {most}")
    return value


def _sibling(value: object, where: str) -> bytes:
    data = _base64(value, where, merkle.HASH_SIZE)
    if len(data) != merkle.HASH_SIZE:
        _refuse(where, f"is not a hash of {merkle.HASH_SIZE} bytes")
    return data


def _base64(value: object, where: str, most: int) -> bytes:
    if not isinstance(value, str) or len(value) > most * 4 // 3 + 4:
        _refuse(where, f"is not base64 of at most {most} bytes")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        _refuse(where, "is not base64")
    if base64.b64encode(data).decode() != value:
        _refuse(where, "is base64 with stray bits")
    return data


def _parse(raw: bytes) -> object:
    try:
        return canonical_json.decode(raw, "evidence", MAX_BYTES)
    except canonical_json.JsonError as error:
        raise EvidenceError(str(error)) from None


def _refuse(where: str, what: str) -> NoReturn:
    raise EvidenceError(f"evidence: {where} {what}")


def _host_document(host: HostEvidence) -> dict[str, Json]:
    log = host.firmware_log
    more: dict[str, Json] = {} if host.ima_log is None else {"ima_log": _text(host.ima_log)}
    if host.found:
        more["found"] = [_text(event) for event in host.found]
    return {
        "name": host.name,
        "ak": _text(host.ak),
        "quote": _text(host.quote),
        "signature": _text(host.signature),
        "pcrs": _pcr_rows(host.pcrs),
        "firmware_log": None if log is None else {"origin": log.origin, "log": _text(log.log)},
        "runtime_log": _text(host.runtime_log),
        **more,
    }


def _domain_document(domain: DomainEvidence) -> dict[str, Json]:
    return {
        "vid": domain.vid,
        "launch": _text(domain.launch),
        "record": _text(domain.record),
        "binding": _text(domain.binding),
        "vak": _text(domain.vak),
        "quote": _text(domain.quote),
        "signature": _text(domain.signature),
        "pcrs": _pcr_rows(domain.pcrs),
        "index": domain.index,
        "proof": [_text(sibling) for sibling in domain.proof],
    }


def _pcr_rows(pcrs: tuple[PcrValue, ...]) -> list[list[Json]]:
    return [[pcr.alg, pcr.index, pcr.value.hex()] for pcr in pcrs]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
