"""The hypervisor with XSM and FLASK, and Xen's default policy, from Debian's source of Xen.

Debian builds Xen without XSM. The policy is not compiled in: what is enforced is the module that the loader
hands over, which is measured. Without the source the lab runs Debian's plain hypervisor and says so.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.cache import Cache
from tests.lab.debian import Apt
from tests.lab.errors import LabError
from tests.lab.tool import run, say

VERSION: Final = "4.17.5+72-g01140da4e8-1"
UPSTREAM: Final = "xen_4.17.5+72-g01140da4e8.orig.tar.xz"
PACKAGING: Final = "xen_4.17.5+72-g01140da4e8-1.debian.tar.xz"
SOURCES: Final = {
    UPSTREAM: "53922f4d0a02c577f2ea9d63f65989cd88715779eebeed879ca1d314103ee06e",
    PACKAGING: "5bcf3812c64585e270e0b3fa6ee8fd16dff7b9bc0f61375d648c64672484c4d9",
}
OPTIONS: Final = """\
CONFIG_XSM=y
CONFIG_XSM_FLASK=y
CONFIG_XSM_FLASK_DEFAULT=y
# CONFIG_XSM_FLASK_POLICY is not set
"""
STAMPS: Final = (
    *("XEN_BUILD_DATE=2026-01-01", "XEN_BUILD_TIME=00:00:00", "XEN_BUILD_HOST=lab"),
    *("XEN_WHOAMI=lab", "XEN_DOMAIN=shype", "SOURCE_DATE_EPOCH=1767225600"),
)
"""The same source gives the same bytes, wherever and whenever it is built; xen.efi has no time in it."""
PATCH: Final = Path(__file__).resolve().parent / "xen-load-options.patch"
OTHER_POLICY: Final = "allow domU_t isolated_domU_t:grant { map_read map_write };\n"
BUILD_SECONDS: Final = 1800
POLICY_VERSION: Final = 30


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """Xen as multiboot2 file and as EFI image, and its policies; these are None for a plain hypervisor.

    ``closed`` is the EFI image with our patch: in a unified image it takes no words of a boot entry.
    """

    gz: Path
    efi: Path
    closed: Path | None
    policy: Path | None
    other_policy: Path | None

    @property
    def flask(self) -> bool:
        """Whether it has FLASK."""
        return self.policy is not None


def hypervisor(cache: Cache, apt: Apt) -> Hypervisor:
    """Return the hypervisor, built if need be."""
    try:
        made_from = "".join((VERSION, OPTIONS, OTHER_POLICY, *STAMPS, PATCH.read_text()))
        folder = cache.made("xen", made_from, lambda new: _build(new, apt))
    except LabError as error:
        if error.part != "source":
            raise
        say(f"the source of Xen cannot be had, so this lab runs Debian's hypervisor, WITHOUT FLASK: {error}")
        return plain(cache, apt)
    names = ("xen.gz", "xen.efi", "xen-closed.efi", "xenpolicy", "other-xenpolicy")
    return Hypervisor(*(folder / name for name in names))


def plain(cache: Cache, apt: Apt) -> Hypervisor:
    """Return Debian's own hypervisor, which is built without XSM."""
    archive = apt.download("xen-hypervisor-4.17-amd64")

    def make(new: Path) -> None:
        run("dpkg-deb", "-x", archive, new / "package")
        (found,) = (new / "package" / "boot").glob("xen-*.gz")
        shutil.copy(found, new / "xen.gz")
        shutil.copy(found.with_suffix(".efi"), new / "xen.efi")
        shutil.rmtree(new / "package")

    folder = cache.made("xen-plain", archive.name, make)
    return Hypervisor(folder / "xen.gz", folder / "xen.efi", None, None, None)


def _build(new: Path, apt: Apt) -> None:
    source = new / "source"
    source.mkdir()
    _fetch(source, apt)
    tree = source / "tree"
    tree.mkdir()
    for name, strip in zip(SOURCES, (1, 0), strict=True):
        run("tar", "-xf", source / name, "-C", tree, f"--strip-components={strip}")
    say("compile Xen with FLASK (two to four minutes)")
    (tree / "xen" / ".config").write_text((tree / "debian" / "xen-kconfig").read_text() + OPTIONS)
    log = new / "build.log"
    make = ("make", "-C", tree / "xen", *STAMPS)
    run(*make, "olddefconfig", log=log, seconds=BUILD_SECONDS, alone=True)
    kept = (tree / "xen" / ".config").read_text()
    if "CONFIG_XSM_FLASK=y" not in kept or "CONFIG_XSM_FLASK_POLICY=y" in kept:
        raise LabError("xen", "its configuration did not take the FLASK options")
    run(*make, "-j2", log=log, seconds=BUILD_SECONDS, alone=True)
    _policy(tree, new / "xenpolicy")
    module = tree / "tools" / "flask" / "policy" / "modules" / "domU.te"
    module.write_text(module.read_text() + OTHER_POLICY)
    _policy(tree, new / "other-xenpolicy")
    for name in ("xen.gz", "xen.efi"):
        shutil.copy(tree / "xen" / name, new / name)
    run("patch", "-p1", "-d", tree, "-i", PATCH)
    run(*make, "-j2", log=log, seconds=BUILD_SECONDS, alone=True)
    shutil.copy(tree / "xen" / "xen.efi", new / "xen-closed.efi")
    shutil.rmtree(source)


def _fetch(folder: Path, apt: Apt) -> None:
    try:
        apt.source("xen", VERSION, folder)
    except LabError as error:
        raise LabError("source", str(error)) from None
    for name, digest in SOURCES.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise LabError("source-hash", f"{name} is not what this lab was written for")


def _policy(tree: Path, target: Path) -> None:
    """Compile Xen's own policy (docs/misc/xsm-flask.txt)."""
    build = target.with_suffix(".build")
    build.mkdir()
    run(
        *("make", "-C", tree / "tools" / "flask" / "policy", "-f", "Makefile.common"),
        *(f"FLASK_BUILD_DIR={build}", "XEN_FULLVERSION=lab", f"BEST_POLICY_VER={POLICY_VERSION}"),
        alone=True,
    )
    shutil.copy(build / "xenpolicy-lab", target)
    shutil.rmtree(build)
