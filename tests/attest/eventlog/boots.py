"""Records of a UEFI boot with Secure Boot variables, and of attacks on its log."""

from __future__ import annotations

import struct
from uuid import UUID

from attest.eventlog.variable import GLOBAL, IMAGE_SECURITY
from tests.attest.eventlog.build import AUTHORITY, SEPARATION, SEPARATOR, VARIABLE, Record

UNUSED = 2
SHIM = UUID("605dab50-e046-4300-abb6-3dd810dd8b23")


def data(name: str, value: bytes, vendor: UUID = GLOBAL) -> bytes:
    head = vendor.bytes_le + struct.pack("<QQ", len(name), len(value))
    return head + name.encode("utf-16-le") + value


def variable(name: str, value: bytes = b"list", vendor: UUID = GLOBAL) -> Record:
    return Record(7, VARIABLE, data(name, value, vendor))


def separator(pcr: int) -> Record:
    return Record(pcr, SEPARATOR, SEPARATION)


SECURE_BOOT, PK, KEK = variable("SecureBoot", b"\1"), variable("PK"), variable("KEK")
DB, DBX = variable("db", vendor=IMAGE_SECURITY), variable("dbx", vendor=IMAGE_SECURITY)
CONFIGURED = (SECURE_BOOT, PK, KEK, DB, DBX)
OTHERS = tuple(separator(pcr) for pcr in range(7))
DB_USED = Record(7, AUTHORITY, data("db", b"certificate", IMAGE_SECURITY))
OFF = variable("SecureBoot", b"\0")
