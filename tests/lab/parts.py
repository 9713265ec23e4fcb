"""Everything that a boot is made of, built once: hypervisor, kernel, dom0's disk and ramdisk, firmware."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab import firmware, ramdisk, userland, xen
from tests.lab.cache import Cache, default_folder
from tests.lab.debian import Apt, unpack
from tests.lab.tool import run
from tests.lab.userland import CLIENTS, REPOSITORY, Userland
from tests.lab.xen import Hypervisor

CONFIGS: Final = REPOSITORY / "configs"
SHYPE: Final = REPOSITORY / ".venv" / "bin" / "shype"


@dataclass(frozen=True, slots=True)
class Parts:
    """The files of a good host.

    ``client`` is the key of the one who may ask its agent for all of it, ``tenant`` that of tenant cola-web.
    ``plain`` is Debian's hypervisor, ``hypervisor`` ours with FLASK where its source could be had.
    """

    cache: Cache
    hypervisor: Hypervisor
    plain: Hypervisor
    kernel_package: Path
    kernel: Path
    userland: Userland
    ramdisk: bytes
    guest: Path
    firmware: Path
    client: Path
    tenant: Path

    def other_ramdisk(self) -> bytes:
        """Return dom0's ramdisk with one file more."""
        extra = [("etc/one-more", b"nobody listed this file\n")]
        return ramdisk.dom0_ramdisk(self.userland.tree, self.kernel_package, self.userland.verity, extra)


def build() -> Parts:
    """Return all parts, built where they are not in the cache."""
    cache = Cache(default_folder())
    with cache.locked():
        apt = Apt(cache.folder / "apt")
        hypervisor, plain = xen.hypervisor(cache, apt), xen.plain(cache, apt)
        archive = apt.download(apt.kernel())
        package = cache.made("linux", archive.name, lambda new: unpack([archive], new))
        (kernel,) = (package / "boot").glob("vmlinuz-*")
        busybox = userland.base(cache, apt) / "bin" / "busybox"
        guest = _guest(cache, kernel, busybox)
        clients = _clients(cache)
        disk = userland.userland(cache, apt, guest, CONFIGS, clients)
        log = firmware.recording(cache, kernel, busybox)
    first = ramdisk.dom0_ramdisk(disk.tree, package, disk.verity)
    keys = (clients / "client.pem", clients / "tenant.pem")
    return Parts(cache, hypervisor, plain, package, kernel, disk, first, guest, log, *keys)


def _guest(cache: Cache, kernel: Path, busybox: Path) -> Path:
    """Return the folder of what guests boot: kernel, ramdisk, and another ramdisk."""
    first = ramdisk.guest_ramdisk(busybox.read_bytes())
    other = ramdisk.guest_ramdisk(busybox.read_bytes(), [("etc/other", b"another guest\n")])

    def make(new: Path) -> None:
        shutil.copy(kernel, new / "vmlinuz")
        (new / "initrd.img").write_bytes(first)
        (new / "other.img").write_bytes(other)

    return cache.made("guest", f"{kernel.name} {_digest(first, other)}", make)


def _digest(*contents: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in contents)).hexdigest()


def _clients(cache: Cache) -> Path:
    """Return the folder of the verifiers' own keys, whose certificates are on dom0's disk."""

    def make(new: Path) -> None:
        for name in CLIENTS:
            words = ("enroll", "client-key", "--name", name, "-o", new / f"{name}.pem")
            run(SHYPE, *words, "--certificate", new / f"{name}.crt")

    return cache.made("client", " ".join(CLIENTS), make)
