"""Templates of IMA measurement lists: which fields an entry has, and which bytes its digest covers.

Sources: Linux, Documentation/security/IMA-templates.rst; security/integrity/ima/ima_template.c and
ima_template_lib.c (fields), ima_crypto.c (the template digest), crypto/hash_info.c (names of digests).

Template data, the bytes that are hashed; integers in the kernel's byte order (``ima_canonical_fmt``:
little)::

    ima        digest [20] | name, filled up with 00 to 256 bytes
    any other  for each field: length u32 | value

Values: ``d-ng`` and ``d-modsig`` are ``ALGORITHM ":" 00 digest``, ``d-ngv2`` is
``TYPE ":" ALGORITHM ":" 00 digest`` with type ``ima`` or ``verity``; texts end with 00; all others are bytes.
A field without a value has length 0.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from struct import Struct
from typing import Final

from attest.eventlog.log import EventLogError

IMA: Final = "ima"
NAME_SPACE: Final = 256
"""Bytes of the name in the data of the template ``ima``."""

DIGEST_SIZE: Final = 20
"""Bytes of the digest in the template ``ima``: SHA-1, or MD5 filled up."""

MAX_DATA: Final = 1 << 20
"""Bytes of the template data of one entry; device-mapper tables and signatures have a few kB."""

MAX_NAME: Final = 255
"""Bytes of a template's name."""

SIZES: Final[dict[str, int]] = {
    **dict.fromkeys(("md4", "md5", "rmd128", "tgr128"), 16),
    **dict.fromkeys(("sha1", "rmd160", "tgr160"), 20),
    **dict.fromkeys(("tgr192",), 24),
    **dict.fromkeys(("sha224",), 28),
    **dict.fromkeys(("sha256", "rmd256", "wp256", "sm3", "sm3-256", "streebog256", "sha3-256"), 32),
    **dict.fromkeys(("rmd320",), 40),
    **dict.fromkeys(("sha384", "wp384", "sha3-384"), 48),
    **dict.fromkeys(("sha512", "wp512", "streebog512", "sha3-512"), 64),
}
"""The kernel's name of a hash algorithm -> bytes of its digest."""

DIGEST_TYPES: Final = ("ima", "verity")
"""What a ``d-ngv2`` digest is of: the file's content, or the root of its fs-verity tree."""


class Kind(StrEnum):
    """How a field's value is built, and written in the ASCII list."""

    BARE_DIGEST = "bare-digest"
    DIGEST = "digest"
    TYPED_DIGEST = "typed-digest"
    TEXT = "text"
    BYTES = "bytes"
    U16 = "u16"
    U32 = "u32"


FIELDS: Final[dict[str, Kind]] = {
    "d": Kind.BARE_DIGEST,
    "n": Kind.TEXT,
    "d-ng": Kind.DIGEST,
    "d-ngv2": Kind.TYPED_DIGEST,
    "n-ng": Kind.TEXT,
    "sig": Kind.BYTES,
    "buf": Kind.BYTES,
    "d-modsig": Kind.DIGEST,
    "modsig": Kind.BYTES,
    "evmsig": Kind.BYTES,
    "xattrnames": Kind.TEXT,
    "xattrlengths": Kind.BYTES,
    "xattrvalues": Kind.BYTES,
    "iuid": Kind.U32,
    "igid": Kind.U32,
    "imode": Kind.U16,
}

TEMPLATES: Final[dict[str, tuple[str, ...]]] = {
    IMA: ("d", "n"),
    "ima-ng": ("d-ng", "n-ng"),
    "ima-ngv2": ("d-ngv2", "n-ng"),
    "ima-sig": ("d-ng", "n-ng", "sig"),
    "ima-sigv2": ("d-ngv2", "n-ng", "sig"),
    "ima-buf": ("d-ng", "n-ng", "buf"),
    "ima-modsig": ("d-ng", "n-ng", "sig", "d-modsig", "modsig"),
    "evm-sig": (
        *("d-ng", "n-ng", "evmsig", "xattrnames", "xattrlengths", "xattrvalues"),
        *("iuid", "igid", "imode"),
    ),
}

_U32: Final = {"little": Struct("<I"), "big": Struct(">I")}
_FILE_DIGESTS: Final = ("d", "d-ng", "d-ngv2")
_FILE_NAMES: Final = ("n", "n-ng")


@lru_cache(maxsize=64)
def fields_of(template: str) -> tuple[str, ...] | None:
    """Return the fields of a template by its name, or by its format (``d-ng|n-ng``); None if unknown."""
    known = TEMPLATES.get(template)
    if known is not None or len(template) > MAX_NAME:
        return known
    fields = tuple(template.split("|"))
    if any(field not in FIELDS for field in fields) or len(set(fields)) != len(fields):
        return None
    return None if fields == TEMPLATES[IMA] else fields


def index_of_digest(fields: tuple[str, ...]) -> int | None:
    """Return which field is the digest of the file; None where the template has none."""
    return next((at for at, field in enumerate(fields) if field in _FILE_DIGESTS), None)


def index_of_name(fields: tuple[str, ...]) -> int | None:
    """Return which field is the name of the file; None where the template has none."""
    return next((at for at, field in enumerate(fields) if field in _FILE_NAMES), None)


def split(template: str, data: bytes, order: str = "little") -> tuple[bytes, ...]:
    """Return the values of the fields in template data, each checked.

    ``order`` is the byte order of the lengths: ``little`` or ``big``. Raises EventLogError, code ``template``
    or ``algorithm``.
    """
    fields = fields_of(template)
    if fields is None:
        raise malformed(f"the template {template[:40]!a} is unknown")
    values = _of_ima(data) if template == IMA else _of_fields(fields, data, _U32[order])
    for field, value in zip(fields, values, strict=True):
        check(field, value)
    return values


def malformed(what: str, code: str = "template") -> EventLogError:
    """Return the error for an entry that is not as its template says; who reads the list says where."""
    return EventLogError(what, offset=None, code=code)


def _of_ima(data: bytes) -> tuple[bytes, ...]:
    name, _, rest = data[DIGEST_SIZE:].partition(b"\0")
    if len(data) != DIGEST_SIZE + NAME_SPACE or any(rest) or len(name) == NAME_SPACE:
        raise malformed("the data are not a digest and a name")
    return data[:DIGEST_SIZE], name + b"\0"


def _of_fields(fields: tuple[str, ...], data: bytes, u32: Struct) -> tuple[bytes, ...]:
    values, at = [], 0
    for field in fields:
        start = at + u32.size
        at = start + u32.unpack_from(data, start - u32.size)[0] if start <= len(data) else start
        if at > len(data):
            raise malformed(f"the field {field} is longer than the entry")
        values.append(data[start:at])
    if at != len(data):
        raise malformed(f"{len(data) - at} bytes of data stand behind the last field")
    return tuple(values)


def check(field: str, value: bytes) -> None:
    """Check one value; raises EventLogError, code ``template``, or ``algorithm`` for a digest."""
    match FIELDS[field]:
        case Kind.BARE_DIGEST if len(value) != DIGEST_SIZE:
            raise malformed(f"the digest has {len(value)} bytes, not {DIGEST_SIZE}", "algorithm")
        case Kind.DIGEST if value or field == "d-ng":
            digest_text(value)
        case Kind.TYPED_DIGEST:
            digest_text(value, typed=True)
        case Kind.TEXT if value.find(b"\0") != len(value) - 1:
            raise malformed(f"the text of {field} must end with 00 and hold no other")
        case Kind.U16 | Kind.U32 as kind if value and len(value) != (2 if kind is Kind.U16 else 4):
            raise malformed(f"the number {field} has {len(value)} bytes")
        case _:
            pass


def digest_text(value: bytes, *, typed: bool = False) -> str:
    """Return a digest field as the ASCII list writes it: ``sha256:HEX``, ``verity:sha256:HEX``.

    Raises EventLogError, code ``algorithm``, for an unknown algorithm or a size that is not its own.
    """
    head, _, digest = value.partition(b":\0")
    kind, _, name = head.rpartition(b":")
    size = SIZES.get(name.decode("latin-1"))
    if typed != (kind.decode("latin-1") in DIGEST_TYPES) or (kind and not typed):
        text = head[:40].decode("latin-1")
        raise malformed(f"the digest {text!a} is not of a type that its template has", "algorithm")
    if size is None or len(digest) != size:
        text = name[:40].decode("latin-1")
        raise malformed(f"{len(digest)} bytes are no digest of {text!a}", "algorithm")
    return f"{head.decode('latin-1')}:{digest.hex()}"
