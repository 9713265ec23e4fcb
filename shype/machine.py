"""Looks at a machine for ``shype doctor``: reads files of it, or of another root, and changes nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attest.doctor import BANK, BootEntry, Facts, Ima, Image, ImageKind, TpmAnswers, Xen
from attest.errors import AttestInputError
from attest.eventlog.log import EventLogError
from attest.eventlog.tcg import parse_tcg
from attest.predict import pe, unified
from shype.files import read_regular
from shype.tpmanswers import MAX_RESPONSE, TpmRefusedError, ask
from vtpm.errors import VtpmInputError
from vtpm.tpm2.constants import Alg

_TPM: Final = "sys/class/tpm/tpm0"
_SECURITY: Final = "sys/kernel/security"
_EFIVARS: Final = "sys/firmware/efi/efivars"
_GLOBAL: Final = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3)."""
_SYSTEM_PARTITIONS: Final = ("boot/efi/", "efi/", "boot/", "")
"""Where EFI applications are looked for; the last where the root is that of such a partition itself."""
_VIRTUAL: Final = ("QEMU", "Xen", "VMware", "innotek", "Microsoft Corporation", "Google", "Amazon EC2")
_PCRS: Final = range(24)
_MAX_TEXT: Final = 1 << 20
_MAX_LIST: Final = 64 << 20
_MAX_IMAGE: Final = 256 << 20
_MAX_IMAGES: Final = 32
_SECONDS: Final = 10
_MEASURES: Final = b"grub_cmd: "
"""Only in images with GRUB's tpm module: how it describes a command in the event log (commands/tpm.c)."""
_WORDS: Final = "words of a boot entry reach its kernels, and no register shows them"
_GRUB: Final = b"grub_cmdline_get"
_PARTS: Final = frozenset(f".{part}".encode() for part in ("config", *unified.PARTS))


class Root:
    """The files below a folder, ``/`` or that of another machine; a link out of it leads nowhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.realpath(folder, strict=True))
        if not self.folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        self.unreadable: list[str] = []

    def read(self, path: str, limit: int = _MAX_TEXT) -> bytes | None:
        """Return a file; None where there is none, or none that can be read."""
        found = self._inside(path)
        if found is None:
            return None
        try:
            return read_regular(found, limit)
        except PermissionError:
            self.unreadable.append(f"/{path}")
        except OSError:
            pass
        return None

    def text(self, path: str) -> str | None:
        """Return a file as text without the blanks around it; None where there is none."""
        raw = self.read(path)
        return None if raw is None else raw.decode("utf-8", "replace").strip("\0 \t\r\n")

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted; none where there is no such folder."""
        found = self._inside(path)
        try:
            return () if found is None else tuple(sorted(each.name for each in found.iterdir()))
        except PermissionError:
            self.unreadable.append(f"/{path}")
        except OSError:
            pass
        return ()

    def resolves_into(self, path: str, folder: str) -> bool:
        """Tell whether a path is a link to something below another folder."""
        found = self._inside(path)
        return found is not None and found.is_relative_to(self.folder / folder)

    def _inside(self, path: str) -> Path | None:
        found = Path(os.path.realpath(self.folder / path))
        return found if found.is_relative_to(self.folder) else None


def look(folder: Path) -> Facts:
    """Observe a machine; raises ``OSError`` for a folder that is missing, or none."""
    root = Root(folder)
    live = root.folder == Path("/")
    version = _tpm_version(root)
    log = root.read(f"{_SECURITY}/tpm0/binary_bios_measurements", _MAX_LIST)
    banks = tuple(name.removeprefix("pcr-") for name in root.names(_TPM) if name.startswith("pcr-"))
    return Facts(
        live=live,
        tpm_version=version,
        banks=banks,
        pcrs=_pcrs(root),
        answers=_ask() if live and version == "2" else None,
        virtual=_virtual(root),
        firmware_log=None if log is None else len(log),
        firmware_log_flaw=_flaw_of(log) if log else None,
        ima=_ima(root),
        xen=_xen(root, live=live),
        images=tuple(_images(root)),
        entry=_boot_entry(root),
        unreadable=tuple(dict.fromkeys(root.unreadable)),
    )


def _tpm_version(root: Root) -> str | None:
    if "tpm0" not in root.names("sys/class/tpm"):
        return None
    return root.text(f"{_TPM}/tpm_version_major") or "1.2"  # only TPM 2.0 has the file before Linux 5.6


def _pcrs(root: Root) -> dict[int, bytes]:
    shown = {pcr: root.text(f"{_TPM}/pcr-{BANK}/{pcr}") for pcr in _PCRS}
    found: dict[int, bytes] = {}
    for pcr, text in shown.items():
        try:
            found[pcr] = bytes.fromhex(text or "")
        except ValueError:
            continue
    return {pcr: value for pcr, value in found.items() if value}


def _ask() -> TpmAnswers | None:
    """Ask the TPM through the kernel's resource manager; None where it does not answer us."""
    try:
        with open("/dev/tpmrm0", "r+b", buffering=0) as device:  # noqa: PTH123 - unbuffered: one write, one read

            def exchange(command: bytes) -> bytes:
                device.write(command)
                return device.read(MAX_RESPONSE) or b""

            return ask(exchange)
    except (OSError, TpmRefusedError, VtpmInputError):
        return None


def _virtual(root: Root) -> str | None:
    if root.resolves_into(_TPM, "sys/devices/virtual"):
        return "a proxy device"
    names = [root.text(f"sys/class/dmi/id/{name}") or "" for name in ("sys_vendor", "product_name")]
    shown = " ".join(name for name in names if name)
    return shown if any(word in shown for word in _VIRTUAL) else None


def _flaw_of(log: bytes) -> str | None:
    """Say why a verifier would refuse a firmware log; None for one that it can read."""
    try:
        banks = parse_tcg(log).banks
    except EventLogError as error:
        return str(error)
    return None if Alg.SHA256 in banks else f"it has no {BANK} digests"


def _ima(root: Root) -> Ima | None:
    count = root.text(f"{_SECURITY}/ima/runtime_measurements_count")
    if count is None:
        return None
    words = (root.text("proc/cmdline") or "").split()
    builtin = tuple(word.removeprefix("ima_policy=") for word in words if word.startswith("ima_policy="))
    entries = int(count) if count.isascii() and count.isdigit() and len(count) < 16 else 0  # noqa: PLR2004
    return Ima(entries, "ima-policy" in root.names("etc/ima"), builtin)


def _xen(root: Root, *, live: bool) -> Xen | None:
    if root.text("sys/hypervisor/type") != "xen":
        return None
    parts = [root.text(f"sys/hypervisor/version/{name}") or "" for name in ("major", "minor", "extra")]
    config = _xen_config(root, f"xen-{parts[0]}.{parts[1]}")
    return Xen(f"{parts[0]}.{parts[1]}{parts[2]}", _xl_info() if live else None, config)


def _xen_config(root: Root, prefix: str) -> bool | None:
    """Tell whether the config that Debian puts beside Xen's image has XSM."""
    names = [name for name in root.names("boot") if name.startswith(prefix) and name.endswith(".config")]
    found = [root.text(f"boot/{name}") for name in names]
    lines = [line for text in found if text is not None for line in text.splitlines()]
    return "CONFIG_XSM=y" in lines if lines else None


def _xl_info() -> str | None:
    """Return Xen's command line as ``xl info`` tells it; None where it does not."""
    try:
        done = subprocess.run(["xl", "info"], capture_output=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() == "xen_commandline":
            return value.strip()
    return None


def _boot_entry(root: Root) -> BootEntry | None:
    current = root.read(f"{_EFIVARS}/BootCurrent-{_GLOBAL}")
    if current is None or len(current) != struct.calcsize("<IH"):
        return None
    (number,) = struct.unpack_from("<H", current, 4)
    entry = root.read(f"{_EFIVARS}/Boot{number:04X}-{_GLOBAL}")
    if entry is None:
        return None
    boot_next = f"BootNext-{_GLOBAL}" in root.names(_EFIVARS)
    return BootEntry(_options(entry[4:]), boot_next)


def _options(entry: bytes) -> bytes:
    """Return the optional data of an EFI_LOAD_OPTION (UEFI 2.10, 3.1.3): what follows its device path.

    Layout: attributes u32, length of the device path u16, description in UTF-16 with a final NUL, path, data.
    """
    end = next((at for at in range(6, len(entry) - 1, 2) if entry[at : at + 2] == b"\0\0"), None)
    if end is None:
        return b""
    (length,) = struct.unpack_from("<H", entry, 4)
    return entry[end + 2 + length :]


def _images(root: Root) -> Iterator[Image]:
    """Yield the GRUB and unified Xen images on the EFI system partition."""
    seen: set[bytes] = set()
    for path in list(_applications(root))[:_MAX_IMAGES]:
        raw = root.read(path, _MAX_IMAGE)
        digest = hashlib.sha256(raw or b"").digest()
        if raw is None or digest in seen:
            continue
        seen.add(digest)
        if image := _image(f"/{path}", raw):
            yield image


def _applications(root: Root) -> Iterator[str]:
    for partition in _SYSTEM_PARTITIONS:
        for vendor in root.names(f"{partition}EFI"):
            for name in root.names(f"{partition}EFI/{vendor}"):
                if name.lower().endswith(".efi"):
                    yield f"{partition}EFI/{vendor}/{name}"


def _image(path: str, raw: bytes) -> Image | None:
    try:
        names = {section.name for section in pe.layout(raw).sections}
    except AttestInputError:
        return None
    if names & _PARTS:
        try:
            unified.read(raw)
            open_to = None if unified.ignores_load_options(raw) else _WORDS
        except AttestInputError as error:
            return Image(path, ImageKind.UNIFIED, str(error))
        return Image(path, ImageKind.UNIFIED, open_to)
    if _GRUB in raw:
        return Image(path, ImageKind.GRUB, None if _MEASURES in raw else "no tpm module")
    return None
