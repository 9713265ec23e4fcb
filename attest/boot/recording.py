"""The recording that the emulated firmware plays: a crypto-agile log of a real boot of the same machine.

Record layout as in ``attest.boot.measured``. A recording is a file of ours: it is read whole, strictly, and
small ones only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from attest.boot.errors import BootError
from attest.boot.measured import EV_NO_ACTION, TPM_ALG, Measured

MAX_RECORDING: Final = 1 << 20
_SIGNATURE: Final = b"Spec ID Event03\0"
_PCRS: Final = 24


@dataclass(slots=True)
class _Bytes:
    raw: bytes = field(repr=False)
    at: int = 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.raw):
            raise BootError(f"recording: byte {self.at}: cut short", code="boot-recording")
        self.at += size
        return self.raw[self.at - size : self.at]

    def number(self, size: int = 4) -> int:
        return int.from_bytes(self.take(size), "little")


def play(recording: bytes, banks: Sequence[str]) -> list[Measured]:
    """Return the recorded measurements in order, with the digests of ``banks`` only.

    Raises ``BootError`` when a byte is left over, a bank was not recorded, or the machine was not started at
    locality 0 (PCR 0 would then not begin with zeros).
    """
    if len(recording) > MAX_RECORDING:
        raise BootError(f"recording: larger than {MAX_RECORDING} bytes", code="boot-recording")
    source = _Bytes(recording)
    sizes = _header(source)
    if missing := [bank for bank in banks if TPM_ALG[bank] not in sizes]:
        raise BootError(f"recording: bank {missing[0]} was not recorded", code="boot-recording")
    found = []
    while source.at < len(recording):
        event = _event(source, sizes, banks)
        if event.type != EV_NO_ACTION:
            found.append(event)
        elif event.data.startswith(b"StartupLocality\0"):
            raise BootError("recording: started at another locality than 0", code="boot-recording")
    return found


def _header(source: _Bytes) -> dict[int, int]:
    """Read the first record; returns algorithm -> digest size."""
    pcr, kind, _ = source.number(), source.number(), source.take(20)
    content = _Bytes(source.take(source.number()))
    if (pcr, kind) != (0, EV_NO_ACTION) or content.take(16) != _SIGNATURE:
        raise BootError("recording: byte 0: no Spec ID Event03", code="boot-recording")
    content.take(8)
    count = content.number()
    if not 1 <= count <= 8:  # noqa: PLR2004 - hash algorithms that the TCG has named
        raise BootError(f"recording: {count} banks", code="boot-recording")
    return {content.number(2): content.number(2) for _ in range(count)}


def _event(source: _Bytes, sizes: dict[int, int], banks: Sequence[str]) -> Measured:
    start = source.at
    pcr, kind, count = source.number(), source.number(), source.number()
    if pcr >= _PCRS or count != len(sizes):
        raise BootError(f"recording: byte {start}: not an event of this log", code="boot-recording")
    digests: dict[int, bytes] = {}
    for _ in range(count):
        algorithm = source.number(2)
        if algorithm not in sizes or algorithm in digests:
            raise BootError(f"recording: byte {source.at - 2}: unexpected algorithm", code="boot-recording")
        digests[algorithm] = source.take(sizes[algorithm])
    data = source.take(source.number())
    return Measured(pcr, kind, {bank: digests[TPM_ALG[bank]] for bank in banks}, data)
