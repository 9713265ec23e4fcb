"""What a TPM says of itself, asked by four commands that change nothing (TPM 2.0 Part 3).

GetCapability (30.2) for the manufacturer and its text; NV_ReadPublic (31.6) and NV_Read (31.13) for the EK
certificates at the indices of the TCG EK Credential Profile (2.2.1.4, 2.2.1.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from attest.doctor import TpmAnswers
from vtpm.templates import EK_TEMPLATES
from vtpm.tpm2.wire import Reader, Writer

Exchange = Callable[[bytes], bytes]
"""Sends one whole command and returns the whole response."""

MAX_RESPONSE: Final = 4096
MAX_CERTIFICATE: Final = 8192
_NO_SESSIONS: Final = 0x8001
_SESSIONS: Final = 0x8002
_GET_CAPABILITY: Final = 0x17A
_NV_READ_PUBLIC: Final = 0x169
_NV_READ: Final = 0x14E
_PASSWORD: Final = 0x40000009
_PROPERTIES: Final = 6
_MANUFACTURER: Final = 0x105
_VENDOR: Final = (0x106, 0x107, 0x108, 0x109)
_CHUNK: Final = 512
_HEADER: Final = 10
_MAX_POLICY: Final = 64
_MAX_PUBLIC: Final = 4 + 2 + 4 + 2 + _MAX_POLICY + 2
"""Bytes of TPMS_NV_PUBLIC (Part 2, 13.6)."""


class TpmRefusedError(Exception):
    """The TPM answered with an error code."""


def ask(exchange: Exchange) -> TpmAnswers:
    """Ask for manufacturer and EK certificates.

    Raises ``TpmRefusedError`` where a question has no answer, ``VtpmInputError`` for a response that is none,
    and what ``exchange`` raises.
    """
    found = _properties(exchange)
    manufacturer = found.get(_MANUFACTURER, 0).to_bytes(4, "big").hex().upper()
    text = b"".join(found.get(each, 0).to_bytes(4, "big") for each in _VENDOR)
    vendor = " ".join("".join(each if each.isprintable() else " " for each in text.decode("latin-1")).split())
    indices = (template.certificate_index for template in EK_TEMPLATES)
    certificates = (_read(exchange, index) for index in indices)
    return TpmAnswers(f"id:{manufacturer}", vendor, tuple(each for each in certificates if each))


def _properties(exchange: Exchange) -> dict[int, int]:
    first, count = _MANUFACTURER, 1 + len(_VENDOR)
    reader = _run(exchange, _GET_CAPABILITY, Writer().u32(_PROPERTIES).u32(first).u32(count).done())
    reader.u8("more data")
    if reader.u32("capability") != _PROPERTIES:
        raise TpmRefusedError("it told of other things than its properties")
    return {reader.u32("property"): reader.u32("value") for _ in range(min(reader.u32("count"), count))}


def _read(exchange: Exchange, index: int) -> bytes:
    """Return all of an index that anybody may read; empty where there is none."""
    try:
        response = _run(exchange, _NV_READ_PUBLIC, Writer().u32(index).done())
    except TpmRefusedError:
        return b""
    public = response.sub("nvPublic", _MAX_PUBLIC)
    public.take(4 + 2 + 4, "index, name algorithm, attributes")
    public.sized("policy", _MAX_POLICY)
    size = public.u16("dataSize")
    return b"".join(_chunks(exchange, index, min(size, MAX_CERTIFICATE)))


def _chunks(exchange: Exchange, index: int, size: int) -> Iterator[bytes]:
    empty_password = Writer().u32(_PASSWORD).sized(b"").u8(0).sized(b"").done()
    for start in range(0, size, _CHUNK):
        wanted = min(_CHUNK, size - start)
        command = Writer().u32(index).u32(index).u32(len(empty_password)).raw(empty_password)
        reader = _run(exchange, _NV_READ, command.u16(wanted).u16(start).done(), tag=_SESSIONS)
        reader.u32("parameterSize")
        yield reader.sized("data", _CHUNK)


def _run(exchange: Exchange, code: int, body: bytes, *, tag: int = _NO_SESSIONS) -> Reader:
    command = Writer().u16(tag).u32(_HEADER + len(body)).u32(code).raw(body).done()
    reader = Reader(exchange(command)[:MAX_RESPONSE], "TPM response")
    reader.take(2 + 4, "tag and size")
    if refused := reader.u32("response code"):
        raise TpmRefusedError(f"it answers command {code:#x} with error {refused:#x}")
    return reader
