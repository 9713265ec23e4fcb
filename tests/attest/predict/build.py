"""Small boot files: a PE image, a Xen image, a boot disk."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
RECORDING = (CONFIGS / "recordings" / "ovmf-2022.11-q35.bin").read_bytes()

CONFIG = b"""\
set timeout=0
search --file /xen.gz --set=root
multiboot2 /xen.gz placeholder console=com1
module2 /vmlinuz placeholder ro quiet
module2 --nounzip /initrd.img
boot
"""


@dataclass(frozen=True)
class Image:
    """A PE32+ image with two sections; every field can be set wrong."""

    checksum: int = 0x1234
    sections: tuple[bytes, ...] = (b"\x90" * 64, b"data" * 16)
    trailing: bytes = b""
    certificates: bytes = b""
    certificate_start: int | None = None
    directories: int = 16
    headers: int = 512
    magic: int = 0x20B
    names: tuple[bytes, ...] = ()
    """Names of the sections, from the first on; ``.s`` for the others."""

    def build(self) -> bytes:
        """Lay it out."""
        starts, end = [], self.headers
        for section in self.sections:
            starts.append(end)
            end += len(section)
        end += len(self.trailing)
        start = end if self.certificate_start is None else self.certificate_start
        entry = struct.pack("<II", start if self.certificates else 0, len(self.certificates))
        optional = struct.pack("<H", self.magic).ljust(60, b"\0") + struct.pack(
            "<II", self.headers, self.checksum
        )
        optional = optional.ljust(108 if self.magic == 0x20B else 92, b"\0") + struct.pack(
            "<I", self.directories
        )
        optional += (bytes(32) + entry + bytes(88))[: 8 * self.directories]
        coff = struct.pack("<HHIIIHH", 0x8664, len(self.sections), 0, 0, 0, len(optional), 0x22)
        names = self.names + (b".s",) * len(self.sections)
        table = b"".join(
            struct.pack("<8sIIII16x", name, len(body), 0x1000, len(body), at)
            for name, body, at in zip(names, self.sections, starts, strict=False)
        )
        head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
        head = head.ljust(0x80, b"\0") + b"PE\0\0" + coff + optional + table
        body = b"".join(self.sections) + self.trailing + self.certificates
        return head.ljust(self.headers, b"\0")[: self.headers] + body


def xen_image(build_id: bytes = bytes(range(20)), *, packed: bool = True) -> bytes:
    """An ELF32 file with a build id in its notes, as Xen's boot image is."""
    note = struct.pack("<III4s", 4, 3, 1, b"Xen\0") + b"abc\0"
    note += struct.pack("<III4s", 4, len(build_id), 3, b"GNU\0") + build_id
    head = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0, 52, 0, 0, 52, 32, 2, 40, 0, 0)
    load = struct.pack("<IIIIIIII", 1, 0, 0, 0, 0, 0, 7, 0x40)
    notes = struct.pack("<IIIIIIII", 4, 116, 0, 0, len(note), len(note), 4, 4)
    raw = head + load + notes + note
    return gzip.compress(raw, mtime=0) if packed else raw


XEN_CFG = b"""\
[global]
default=lab
[lab]
options=console=com1 flask=enforcing
kernel=vmlinuz console=hvc0 ro
ramdisk=initrd.img
"""


def unified(config: bytes = XEN_CFG, **parts: bytes) -> bytes:
    """A unified image: a config, and by default a kernel and a ramdisk."""
    held = {"config": config, **(parts or {"kernel": b"kernel", "ramdisk": b"ramdisk"})}
    names = tuple(f".{name}".encode() for name in held)
    return Image(sections=(*held.values(), code_view()), names=(*names, b".buildid"), headers=1024).build()


def code_view(build_id: bytes = bytes(range(16))) -> bytes:
    """A debug directory entry and the CodeView record behind it, as in xen.efi."""
    return struct.pack("<12xIIII4s16sIx", 2, 25, 0x1000 + 28, 0, b"RSDS", build_id, 1)


FILES: Mapping[str, bytes] = {
    "xen.gz": xen_image(),
    "vmlinuz": b"kernel",
    "initrd.img": b"ramdisk",
    "grub.cfg": CONFIG,
    "EFI/BOOT/BOOTX64.EFI": Image().build(),
}


def reader(files: Mapping[str, bytes] = FILES) -> Callable[[str], bytes]:
    """What a boot disk with these files answers."""

    def read(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return files[path]

    return read


def write(folder: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """Write the files of a boot disk into a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


SIGNED = replace(Image(), certificates=b"cert" * 4, trailing=b"tail" * 3)
