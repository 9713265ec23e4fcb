"""One entry of a measurement list, as it was read: a claim."""

from __future__ import annotations

from binascii import hexlify
from struct import Struct
from typing import Final, NamedTuple

from attest.eventlog.log import Event, EventLogError
from attest.ima.template import SIZES, digest_text, fields_of, index_of_digest, index_of_name, split
from vtpm.tpm2.constants import Alg

BOOT_AGGREGATE: Final = b"boot_aggregate"
"""The name of the entry that ties the list to PCR 0-9; each kernel that was started by kexec adds one."""

BANK_OF_SIZE: Final = {20: Alg.SHA1, 32: Alg.SHA256, 48: Alg.SHA384, 64: Alg.SHA512}
"""Bytes of a template digest -> the bank that the list is of."""

_U32: Final = {"little": Struct("<I"), "big": Struct(">I")}
_USUAL: Final = {"ima-ng": False, "ima-sig": True, "ima-buf": True}
"""Templates that are read the quick way -> whether a field stands behind the name."""
_TAG: Final = slice(4, 12)
_HEADS: Final = {
    f"{name}:\0".encode(): (f"{name}:".encode(), 12, 12 + SIZES[name])
    for name in ("sha256", "sha384", "sha512")
}
"""How a usual digest begins in the data -> how the ASCII list begins it, where it begins and ends."""
_LEAST: Final = 12
_NEW: Final = tuple.__new__


class Entry(NamedTuple):
    """An entry; a named tuple because a list has a million of them.

    ``digest`` is the template digest as the list states it; ``data`` are the bytes that it should be the
    hash of. ``file_digest`` is written as the ASCII list does (``b"sha256:HEX"``, ``b"verity:sha256:HEX"``,
    and ``b"sha1:HEX"`` for the template ``ima``). Empty where the template has no such field.
    """

    pcr: int
    digest: bytes
    template: str
    data: bytes
    file_digest: bytes
    path: bytes
    order: str = "little"

    @property
    def is_violation(self) -> bool:
        """Whether the digest is zeros: the file could change while it was measured (extended as FF..FF)."""
        return not any(self.digest)

    def values(self) -> dict[str, bytes]:
        """Return the values of the template's fields by their names."""
        fields = fields_of(self.template) or ()
        return dict(zip(fields, split(self.template, self.data, self.order), strict=True))


def entry_of(pcr: int, digest: bytes, template: str, data: bytes, order: str = "little") -> Entry:
    """Return the entry of checked template data; raises EventLogError, code ``template`` or ``algorithm``."""
    usual = _usual(template, data, order)
    if usual is not None:
        return _NEW(Entry, (pcr, digest, template, data, *usual, order))
    values = split(template, data, order)
    fields = fields_of(template) or ()
    at_digest, at_name = index_of_digest(fields), index_of_name(fields)
    path = b"" if at_name is None else values[at_name].removesuffix(b"\0")
    shown = "" if at_digest is None else _shown(fields[at_digest], values[at_digest])
    return Entry(pcr, digest, template, data, shown.encode("latin-1"), path, order)


def _usual(template: str, data: bytes, order: str) -> tuple[bytes, bytes] | None:
    """Return digest and name of usual template data; None says nothing against other data."""
    more = _USUAL.get(template)
    if more is None or len(data) < _LEAST:
        return None
    u32 = _U32[order]
    head = _HEADS.get(data[_TAG])
    if head is None:
        return None
    text, at, end = head
    stop = end + u32.size
    if stop > len(data) or u32.unpack_from(data)[0] != end - u32.size:
        return None
    name = data[stop : stop + u32.unpack_from(data, end)[0]]
    if name.find(b"\0") != len(name) - 1 or not name:
        return None
    stop += len(name)
    if more:
        if stop + u32.size > len(data):
            return None
        stop += u32.size + u32.unpack_from(data, stop)[0]
    return (text + hexlify(data[at:end]), name[:-1]) if stop == len(data) else None


def entry_of_event(event: Event) -> Entry:
    """Return the entry that an event of a measurement list was made from; raises EventLogError."""
    digest = event.digests[0][1]
    try:
        return entry_of(event.pcr, digest, event.untrusted_type, event.untrusted_data)
    except EventLogError:
        return entry_of(event.pcr, digest, event.untrusted_type, event.untrusted_data, "big")


def _shown(field: str, value: bytes) -> str:
    return f"sha1:{value.hex()}" if field == "d" else digest_text(value, typed=field == "d-ngv2")
