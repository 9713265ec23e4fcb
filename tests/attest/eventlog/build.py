"""Writes event logs byte by byte, independently of the parser, for tests."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field, replace

SHA1, SHA256, SHA384 = 4, 11, 12
NAMES = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384", 13: "sha512", 0x12: "sm3", 0x27: "sha3_256"}
SIZES = {SHA1: 20, SHA256: 32, SHA384: 48, 13: 64, 0x12: 32, 0x27: 32}

NO_ACTION, SEPARATOR, ACTION, TAG, IPL = 3, 4, 5, 6, 0x0D
VARIABLE, BOOT, APPLICATION, AUTHORITY = 0x80000001, 0x80000002, 0x80000003, 0x800000E0
EFI_ACTION, HCRTM = 0x80000007, 0x80000010
COMPACT_HASH, FIRMWARE_BLOB = 0x0C, 0x80000008
SPDM_DEVICE_POLICY, SPDM_DEVICE_AUTHORITY = 0x800000E3, 0x800000E4
SEPARATION = bytes(4)
LOCALITY = b"StartupLocality\0"


def digest(alg: int, data: bytes) -> bytes:
    return hashlib.new(NAMES[alg], data).digest()


@dataclass(frozen=True)
class Record:
    pcr: int
    type: int
    data: bytes = b""
    measured: bytes | None = None
    digests: tuple[tuple[int, bytes], ...] | None = None

    def digests_for(self, banks: tuple[int, ...]) -> tuple[tuple[int, bytes], ...]:
        if self.digests is not None:
            return self.digests
        if self.type == NO_ACTION:
            return tuple((alg, bytes(SIZES[alg])) for alg in banks)
        return tuple(
            (alg, digest(alg, self.data if self.measured is None else self.measured)) for alg in banks
        )


@dataclass(frozen=True)
class SpecId:
    algorithms: tuple[tuple[int, int], ...]
    count: int | None = None
    vendor: bytes = b""
    vendor_size: int | None = None
    signature: bytes = b"Spec ID Event03\0"

    @classmethod
    def of(cls, *banks: int) -> SpecId:
        return cls(tuple((alg, SIZES[alg]) for alg in banks))

    def encode(self) -> bytes:
        count = len(self.algorithms) if self.count is None else self.count
        size = len(self.vendor) if self.vendor_size is None else self.vendor_size
        head = struct.pack("<16sIBBBBI", self.signature, 0, 0, 2, 0, 2, count)
        body = b"".join(struct.pack("<HH", *pair) for pair in self.algorithms)
        return head + body + bytes([size]) + self.vendor


@dataclass(frozen=True)
class Log:
    """A crypto-agile log of these records; ``banks`` are announced and written."""

    records: tuple[Record, ...]
    banks: tuple[int, ...] = (SHA1, SHA256)
    spec: SpecId | None = None
    tail: bytes = b""
    head: Record = field(default=Record(0, NO_ACTION))

    def encode(self) -> bytes:
        spec = (self.spec or SpecId.of(*self.banks)).encode()
        return (
            sha1_record(replace(self.head, data=spec)) + b"".join(map(self.record, self.records)) + self.tail
        )

    def record(self, record: Record) -> bytes:
        digests = record.digests_for(self.banks)
        body = b"".join(struct.pack("<H", alg) + value for alg, value in digests)
        head = struct.pack("<III", record.pcr, record.type, len(digests))
        return head + body + struct.pack("<I", len(record.data)) + record.data


def sha1_record(record: Record) -> bytes:
    value = record.digests_for((SHA1,))[0][1]
    return struct.pack("<II20sI", record.pcr, record.type, value, len(record.data)) + record.data


def sha1_log(*records: Record, tail: bytes = b"") -> bytes:
    return b"".join(map(sha1_record, records)) + tail


def agile(*records: Record, banks: tuple[int, ...] = (SHA1, SHA256), tail: bytes = b"") -> bytes:
    return Log(records, banks, tail=tail).encode()


def locality(value: int, pcr: int = 0) -> Record:
    return Record(pcr, NO_ACTION, LOCALITY + bytes([value]))


def variable(name: str, value: bytes) -> bytes:
    return bytes(range(16)) + struct.pack("<QQ", len(name), len(value)) + name.encode("utf-16-le") + value


def extended(alg: int, start: bytes, *measured: bytes) -> bytes:
    """The value of a PCR, computed here and not by the code under test."""
    value = start
    for data in measured:
        value = digest(alg, value + digest(alg, data))
    return value
