"""The content of a record of a Canonical Event Log: an event's type and data.

Source: TCG Canonical Event Log Format 1.0, "Content types". Bytes are hex. Content that is no bytes (the
management events of the log itself, TLV in JSON) becomes canonical JSON, which no digest is of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from attest import canonical_json
from attest.eventlog.log import EventLogError
from attest.eventlog.types import SYSTEMD, EventType, type_name
from attest.ima.template import DIGEST_SIZE, IMA, NAME_SPACE, split

NO_CONTENT: Final = "none"
"""The type of a record without content: systemd writes it for what it does not know."""

_NUMBER: Final = re.compile(r"[0-9]{1,10}|0[xX][0-9a-fA-F]{1,8}")
_NAME: Final = re.compile(r"EV_[A-Z0-9_]{1,60}")
_MAX_NUMBER: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Content:
    """What a record says of itself."""

    type: str
    data: bytes


def content_of(record: Mapping[str, object], number: int) -> Content:
    """Return the content of record ``number``; raises EventLogError."""
    if "content_type" not in record and "content" not in record:
        return Content(NO_CONTENT, b"")
    kind, content = record.get("content_type"), record.get("content")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        refuse(number, "content_type", f"must be one of {', '.join(_READERS)}")
    return read(content, number)


def refuse(number: int, field: str, what: str) -> NoReturn:
    """Raise the EventLogError of a record."""
    raise EventLogError(f"record {number}: {field} {what}", offset=None, code="cel")


def unhex(value: object, number: int, field: str) -> bytes:
    """Return bytes from hex; raises EventLogError."""
    if not isinstance(value, str) or not re.fullmatch(r"(?:[0-9a-fA-F]{2})*", value):
        refuse(number, field, "must be hex")
    return bytes.fromhex(value)


def _members(content: object, number: int, *names: str) -> list[object]:
    if not isinstance(content, dict) or content.keys() != set(names):
        refuse(number, "content", f"must have exactly the fields {', '.join(names)}")
    return [content[name] for name in names]


def _pcclient(content: object, number: int) -> Content:
    kind, data = _members(content, number, "event_type", "event_data")
    return Content(_event_type(kind, number), unhex(data, number, "content.event_data"))


def _event_type(value: object, number: int) -> str:
    """Read a type: the standard's name in any case, or its number, which may be in quotes."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value, 16 if value[:2] in {"0x", "0X"} else 10)
    if isinstance(value, str) and _NAME.fullmatch(value.upper()):
        found = value.upper()
    elif isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_NUMBER:
        found = type_name(value)
    else:
        refuse(number, "content.event_type", "must be the name of a type, or its number")
    if found == EventType.EV_PREBOOT_CERT.name:
        refuse(number, "content.event_type", "0 is reserved")
    return found


def _ima_template(content: object, number: int) -> Content:
    name, raw = _members(content, number, "template_name", "template_data")
    data = unhex(raw, number, "content.template_data")
    if not isinstance(name, str):
        refuse(number, "content.template_name", "must be a text")
    if name == IMA and len(data) > DIGEST_SIZE:
        data = data.ljust(DIGEST_SIZE + NAME_SPACE, b"\0")
    try:
        split(name, data)
    except EventLogError as error:
        refuse(number, "content", str(error).removeprefix("event log: "))
    return Content(name, data)


def _systemd(content: object, number: int) -> Content:
    """Read what systemd measures: the digest is of the text, unless that only names a secret."""
    if isinstance(content, dict):
        text = content.get("string", "")
        if not isinstance(text, str) or not text.isprintable():
            refuse(number, "content.string", "must be a printable text")
        return Content(SYSTEMD, text.encode())
    return Content(SYSTEMD, unhex(content, number, "content"))


def _other(kind: str) -> Callable[[object, int], Content]:
    def read(content: object, number: int) -> Content:
        if isinstance(content, str):
            return Content(kind, unhex(content, number, "content"))
        try:
            return Content(kind, canonical_json.encode(content))  # type: ignore[arg-type]  # it came from JSON
        except (ValueError, RecursionError):
            refuse(number, "content", "cannot be written as UTF-8, or is nested too deeply")

    return read


_READERS: Final[dict[str, Callable[[object, int], Content]]] = {
    "pcclient_std": _pcclient,
    "ima_template": _ima_template,
    "ima_tlv": _other("ima_tlv"),
    "cel": _other("cel"),
    "systemd": _systemd,
}
