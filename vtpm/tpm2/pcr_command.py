"""TPM2_PCR_Extend and TPM2_PCR_Read as bytes, for whoever has a TPM and no library for it.

Sources: Part 3, 22.2 and 22.4; Part 1, 18 (headers) and 19.4 (a password session with an empty password).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vtpm.errors import ResponseError, StructureError, VtpmUsageError
from vtpm.tpm2.constants import PCR_COUNT, Alg, Command
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.wire import Reader, Writer

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_SESSIONS: Final = 0x8001
"""TPM_ST_NO_SESSIONS (Part 2, 6.9)."""
SESSIONS: Final = 0x8002
"""TPM_ST_SESSIONS."""

_HEADER: Final = 10
_PASSWORD: Final = 0x40000009
"""TPM_RS_PW (Part 2, 7.4)."""
_CONTINUE: Final = 1
_MAX_PCR: Final = 64


def extend_command(pcr: int, digests: Mapping[Alg, bytes]) -> bytes:
    """Return the command that extends one PCR in each of these banks; raises VtpmUsageError."""
    if not 0 <= pcr < PCR_COUNT or not digests:
        raise VtpmUsageError(f"PCR {pcr}: a PCR 0..{PCR_COUNT - 1} and a digest are needed")
    body = Writer().u32(pcr)
    authorisation = Writer().u32(_PASSWORD).sized(b"").u8(0).sized(b"").done()
    body.u32(len(authorisation)).raw(authorisation).u32(len(digests))
    for alg, digest in digests.items():
        if len(digest) != alg.digest_size:
            raise VtpmUsageError(f"PCR {pcr}: a digest of {alg.hash_name} has {alg.digest_size} bytes")
        body.u16(alg).raw(digest)
    return _command(SESSIONS, Command.PCR_EXTEND, body.done())


def check_extended(response: bytes) -> None:
    """Read the answer to ``extend_command``; raises StructureError, and ResponseError where it says no."""
    reader = _answer(response, "PCR_Extend", SESSIONS)
    if reader.u32("parameterSize") != 0:
        raise reader.fail("parameterSize", "is not 0", code="value", back=4)
    if reader.sized("nonceTPM", 0) or reader.u8("sessionAttributes") & ~_CONTINUE or reader.sized("hmac", 0):
        raise reader.fail("session", "is not that of an empty password", code="value")
    reader.end()


def read_command(alg: Alg, pcr: int) -> bytes:
    """Return the command that reads one PCR of one bank."""
    return _command(NO_SESSIONS, Command.PCR_READ, PcrSelection.of(alg, [pcr]).encode())


def read_value(response: bytes, alg: Alg, pcr: int) -> bytes:
    """Return the PCR that the answer to ``read_command`` holds.

    Raises StructureError, and ResponseError: ``absent`` where the TPM does not have the bank.
    """
    reader = _answer(response, "PCR_Read", NO_SESSIONS)
    reader.u32("pcrUpdateCounter")
    selected = PcrSelection.read(reader)
    count = reader.u32("pcrValues.count")
    if count == 0:
        reader.end()
        raise ResponseError(f"PCR_Read: the TPM lacks a bank of {alg.hash_name}", code="absent", response=0)
    value = reader.sized("pcrValues", _MAX_PCR)
    reader.end()
    if count != 1 or selected != PcrSelection.of(alg, [pcr]) or len(value) != alg.digest_size:
        raise StructureError("PCR_Read.pcrValues", 0, f"is not PCR {pcr} of {alg.hash_name}", code="value")
    return value


def _command(tag: int, code: Command, body: bytes) -> bytes:
    return Writer().u16(tag).u32(_HEADER + len(body)).u32(code).raw(body).done()


def _answer(response: bytes, what: str, tag: int) -> Reader:
    """Check the header and return a reader behind it."""
    reader = Reader(response, what)
    found, size, code = reader.u16("tag"), reader.u32("responseSize"), reader.u32("responseCode")
    if size != len(response):
        raise StructureError(what, 2, f"says {size} bytes and has {len(response)}", code="size")
    if code:
        raise ResponseError(f"{what}: the TPM answers {code:#x}", code="response", response=code)
    if found != tag:
        raise StructureError(what, 0, f"tag {found:#06x} is not {tag:#06x}", code="value")
    return reader
