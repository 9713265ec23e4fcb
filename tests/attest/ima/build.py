"""Writes measurement lists as a kernel does, with code of its own."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Literal

Order = Literal["little", "big"]
SIZES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64, "md5": 16, "sha224": 28}


def u32(value: int, order: Order = "little") -> bytes:
    return struct.pack("<I" if order == "little" else ">I", value)


def field(value: bytes, order: Order = "little") -> bytes:
    return u32(len(value), order) + value


def digest(content: bytes, name: str = "sha256", kind: str = "") -> bytes:
    """The value of ``d-ng``, or of ``d-ngv2`` with a kind."""
    head = f"{kind}:{name}" if kind else name
    return head.encode() + b":\0" + hashlib.new(name, content).digest()


@dataclass(frozen=True)
class Made:
    """An entry: its template, the values of its fields, and how the ASCII list shows them."""

    template: str
    values: tuple[bytes, ...]
    shown: tuple[str, ...]
    pcr: int = 10
    violation: bool = False
    bank: str = "sha1"
    stated: bytes | None = None

    def data(self, order: Order = "little") -> bytes:
        if self.template == "ima":
            return self.values[0] + self.values[1].ljust(256, b"\0")
        return b"".join(field(value, order) for value in self.values)

    def digest(self, order: Order = "little") -> bytes:
        if self.stated is not None:
            return self.stated
        if self.violation:
            return bytes(SIZES[self.bank])
        return hashlib.new(self.bank, self.data(order)).digest()

    def line(self) -> bytes:
        head = f"{self.pcr:2d} {self.digest().hex()} {self.template} ".encode()
        return head + " ".join(self.shown).encode("utf-8", "surrogateescape") + b"\n"

    def record(self, order: Order = "little") -> bytes:
        head = u32(self.pcr, order) + self.digest(order) + field(self.template.encode(), order)
        if self.template == "ima":
            return head + self.values[0] + field(self.values[1].removesuffix(b"\0"), order)
        return head + field(self.data(order), order)

    def extended(self, bank: str, order: Order = "little") -> bytes:
        if self.violation:
            return b"\xff" * SIZES[bank]
        return hashlib.new(bank, self.data(order)).digest()


def ng(path: str, content: bytes = b"x", name: str = "sha256", **more: object) -> Made:
    value = digest(content, name)
    shown = (f"{name}:{value.split(b':' + bytes(1))[1].hex()}", path)
    return Made("ima-ng", (value, path.encode() + b"\0"), shown, **more)  # type: ignore[arg-type]


def with_bytes(template: str, path: str, raw: bytes, content: bytes = b"x", **more: object) -> Made:
    """``ima-sig`` or ``ima-buf``."""
    plain = ng(path, content)
    return Made(template, (*plain.values, raw), (*plain.shown, raw.hex()), **more)  # type: ignore[arg-type]


def sig(path: str, raw: bytes, content: bytes = b"x", **more: object) -> Made:
    return with_bytes("ima-sig", path, raw, content, **more)


def violation(path: str) -> Made:
    value = b"sha256:\0" + bytes(32)
    return Made("ima-ng", (value, path.encode() + b"\0"), ("sha256:" + "0" * 64, path), violation=True)


def old(path: str, content: bytes = b"x") -> Made:
    value = hashlib.sha1(content).digest()
    return Made("ima", (value, path.encode() + b"\0"), (value.hex(), path))


def v2(path: str, kind: str = "verity", template: str = "ima-ngv2") -> Made:
    value = digest(b"x", kind=kind)
    shown: tuple[str, ...] = (f"{kind}:sha256:{hashlib.sha256(b'x').hexdigest()}", path)
    values: tuple[bytes, ...] = (value, path.encode() + b"\0")
    if template == "ima-sigv2":
        shown, values = (*shown, "06"), (*values, b"\x06")
    return Made(template, values, shown)


def modsig(path: str) -> Made:
    values = (digest(b"x"), path.encode() + b"\0", b"", digest(b"y"), b"\x30\x03abc")
    shown = ("sha256:" + values[0][8:].hex(), path, "", "sha256:" + values[3][8:].hex(), values[4].hex())
    return Made("ima-modsig", values, shown)


def evm(path: str) -> Made:
    numbers = (struct.pack("<I", 1000), struct.pack("<I", 100), struct.pack("<H", 0o100644))
    values = (digest(b"x"), path.encode() + b"\0", b"\x05ev", b"security.ima|security.selinux\0")
    values = (*values, struct.pack("<II", 2, 3), b"abcde", *numbers)
    shown = ("sha256:" + values[0][8:].hex(), path, "056576", "security.ima|security.selinux")
    return Made("evm-sig", values, (*shown, values[4].hex(), values[5].hex(), "1000", "100", "33188"))


def ascii_of(*entries: Made) -> bytes:
    return b"".join(entry.line() for entry in entries)


def binary_of(*entries: Made, order: Order = "little") -> bytes:
    return b"".join(entry.record(order) for entry in entries)


def replayed(*entries: Made, bank: str = "sha256", pcr: int = 10, order: Order = "little") -> bytes:
    """The PCR after these entries, computed here."""
    value = bytes(SIZES[bank])
    for entry in entries:
        if entry.pcr == pcr:
            value = hashlib.new(bank, value + entry.extended(bank, order)).digest()
    return value


AGGREGATE = ng("boot_aggregate", b"pcrs")
ALL = (
    ng("boot_aggregate"),
    old("/sbin/init"),
    ng("/usr/bin/cat", name="sha512"),
    v2("/usr/bin/verity"),
    v2("/usr/bin/plain", kind="ima"),
    v2("/usr/bin/signed", template="ima-sigv2"),
    sig("/usr/bin/dd", b"\x03\x02\x04keyid"),
    sig("/usr/bin/unsigned", b""),
    with_bytes("ima-buf", ".ima", b"certificate"),
    modsig("/lib/modules/x.ko"),
    evm("/usr/bin/evm"),
    Made("d-ng|n-ng|iuid", (digest(b"x"), b"/a\0", u32(7)), ("sha256:" + digest(b"x")[8:].hex(), "/a", "7")),
    Made("d-ngv2", (digest(b"x", kind="ima"),), ("ima:sha256:" + digest(b"x")[8:].hex(),)),
    violation("/var/log/syslog"),
    ng("/usr/bin/é€"),
    ng("/a", pcr=9),
)
"""One entry of every template, and of each thing that may be in it."""
