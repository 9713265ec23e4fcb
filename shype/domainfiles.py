"""A domain config and the files it names, as reference values: what a relying party expects of the domain."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from attest.errors import AttestUsageError
from attest.reference import DomainReference
from hypervisor import hostconfig, xlconfig
from hypervisor.hostconfig import HostDescription
from hypervisor.xlspec import DiskSpec
from shype.bootfiles import MAX_FILE
from shype.files import read_regular

_MAX_CONFIG: Final = 1 << 20


def host(file: Path | None) -> HostDescription | None:
    """Read a host description; None where none is named."""
    return None if file is None else hostconfig.parse(read_regular(file, _MAX_CONFIG))


def reference(file: Path, images: Path, description: HostDescription | None) -> DomainReference:
    """Return the reference values of an xl config, whose kernel and ramdisk are in the folder ``images``.

    Raises ``ConfigError`` for a broken config, ``OSError`` for a file that is missing, ``AttestUsageError``
    for a disk without an identity.
    """
    config = xlconfig.parse(read_regular(file, _MAX_CONFIG))
    disks = (f"{disk.vdev} {disk.access} {_identity(file, disk, description)}" for disk in config.disks)
    return DomainReference(
        name=config.name,
        label=config.label,
        config_digest=config.digest,
        kernel=_digest(images, config.kernel),
        ramdisk=_digest(images, config.ramdisk),
        disks=tuple(disks),
    )


def _digest(images: Path, name: str | None) -> str | None:
    return None if name is None else hashlib.sha256(read_regular(images / name, MAX_FILE)).hexdigest()


def _identity(config: Path, disk: DiskSpec, description: HostDescription | None) -> str:
    if description is None and ":" in disk.target and not disk.target.startswith(("/", ".")):
        return disk.target
    resource = None if description is None else description.disk(disk.target)
    if resource is None:
        where = "the host description (--host)" if description is None else "the host description"
        raise AttestUsageError(f"{config}: disk {disk.target}: no identity for it in {where}", code="disk")
    return resource.identity
