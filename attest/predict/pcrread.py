"""What ``tpm2_pcrread`` prints: PCR values by bank. Nothing in it is signed.

::

      sha256:
        0 : 0x24AF52A4F429B71A3184A6D64CDDAD17E54EA030E2AA6576BF3A5A3D8BD3328F
        10: 0x0000…
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attest.errors import AttestInputError
from attest.reference import BANK_BYTES

MAX_BYTES: Final = 64 << 10
PCRS: Final = range(24)
_HEAD: Final = re.compile(r"(?:selected-pcrs|pcrs):")
_BANK: Final = re.compile(r"\s*(sha[0-9]{1,3}):\s*")
_VALUE: Final = re.compile(r"\s+([0-9]{1,2})\s*:\s*(?:0x)?([0-9A-Fa-f]{40,128})\s*")


class PcrReadError(AttestInputError):
    """Text that ``tpm2_pcrread`` does not print; the message has the line."""

    code = "pcrread"


def decode(raw: bytes) -> dict[str, Mapping[int, bytes]]:
    """Return the values by bank (hashlib name) and PCR number; raises ``PcrReadError``."""
    if len(raw) > MAX_BYTES or not raw.isascii():
        raise PcrReadError(f"PCR values: no text of at most {MAX_BYTES} bytes as tpm2_pcrread prints it")
    found: dict[str, dict[int, bytes]] = {}
    bank = ""
    for row, line in enumerate(raw.decode("ascii").splitlines(), 1):
        if not line.strip() or (row == 1 and _HEAD.fullmatch(line.strip())):
            continue
        if head := _BANK.fullmatch(line):
            bank = head[1]
            if bank in found or bank not in BANK_BYTES:
                raise _error(row, f"bank {bank} stands twice, or is none of {', '.join(BANK_BYTES)}")
            found[bank] = {}
        elif (value := _VALUE.fullmatch(line)) and bank:
            _take(found[bank], bank, value, row)
        else:
            raise _error(row, "neither a bank nor a value")
    if not any(found.values()):
        raise _error(1, "no value")
    return {bank: values for bank, values in found.items() if values}


def _take(values: dict[int, bytes], bank: str, value: re.Match[str], row: int) -> None:
    pcr, digest = int(value[1]), value[2]
    if pcr not in PCRS or pcr in values or len(digest) != 2 * BANK_BYTES[bank]:
        raise _error(row, f"PCR {pcr}: no register, one that stands twice, or not {BANK_BYTES[bank]} bytes")
    values[pcr] = bytes.fromhex(digest)


def _error(row: int, message: str) -> PcrReadError:
    return PcrReadError(f"PCR values: line {row}: {message}")
