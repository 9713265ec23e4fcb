"""The measured ramdisk of dom0: kernel modules, the first act in Python, dm-verity, then dom0's own disk.

A cpio archive (newc: Linux, driver-api/early-userspace/buffer-format.rst) with fixed names, modes and times:
the same inputs give the same bytes.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.lab.errors import LabError
from tests.lab.tool import run
from tests.lab.userland import BINDINGS, DOM0, REPOSITORY, SITE, Verity
from tests.recordings.record_firmware_log import newc

MODULES: Final = (
    *("ahci", "sd_mod", "ext4", "dm-verity", "e1000", "xen-privcmd", "xenfs", "xen-evtchn", "xen-gntdev"),
    *("xen-gntalloc", "tpm_vtpm_proxy"),
)
ACCELERATED: Final = re.compile(r"pclmul|-intel\.")
"""Faster ways for processors that the lab's is not: such a module refuses to load."""
FIRST_ACT: Final = "shype.firstact"
BINDING_PARTS: Final = ("xen/__init__.py", "xen/lowlevel/__init__.py", "xen/lowlevel/xc.*.so")
LIBRARIES: Final = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64")
LOADER: Final = "lib64/ld-linux-x86-64.so.2"
LEFT_OUT: Final = frozenset({"_hashlib"})
"""hashlib does without OpenSSL: its own SHA-2 is built in, and libcrypto is larger than all the rest."""
LEVEL: Final = 6
REGULAR: Final = 0o100000
LAUNCHER: Final = (
    *("-Os", "-s", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie"),
    *("-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-Wl,--build-id=none"),
)


class Archive:
    """Entries of a cpio archive, one for each name."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, bytes]] = {}

    def folder(self, name: str) -> None:
        """Add a folder with all above it."""
        if name and name not in self._entries:
            self.folder(name.rpartition("/")[0])
            self._entries[name] = (0o040755, b"")

    def file(self, name: str, body: bytes, *, executable: bool = False) -> None:
        """Add a file, its folders included."""
        self.folder(name.rpartition("/")[0])
        self._entries[name] = (0o100755 if executable else 0o100644, body)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self.folder(name.rpartition("/")[0])
        self._entries[name] = (0o120777, target.encode())

    def close_all_but(self, name: str) -> None:
        """Take the right to be executed from every file but one."""
        for each, (mode, body) in self._entries.items():
            if mode & 0o170000 == REGULAR and each != name:
                self._entries[each] = (REGULAR | 0o644, body)

    def compressed(self) -> bytes:
        """Return the archive, compressed without a time."""
        entries = [*self._entries.items(), ("TRAILER!!!", (0, b""))]
        raw = b"".join(newc(name, mode, body, n) for n, (name, (mode, body)) in enumerate(entries, 1))
        return gzip.compress(raw, LEVEL, mtime=0)


def module_files(kernel: Path) -> list[Path]:
    """Return the modules in the order in which they load. ``kernel`` is the unpacked kernel package."""
    (folder,) = (kernel / "lib" / "modules").iterdir()
    run("depmod", "-b", kernel, folder.name)
    found: dict[str, Path] = {}
    for module in MODULES:
        said = run("modprobe", "-d", kernel, "-S", folder.name, "--show-depends", module)
        for name in re.findall(r"^insmod (\S+)", said, re.MULTILINE):
            if not ACCELERATED.search(name):
                found.setdefault(Path(name).name, Path(name))
    return list(found.values())


def dom0_ramdisk(tree: Path, kernel: Path, verity: Verity, extra: Sequence[tuple[str, bytes]] = ()) -> bytes:
    """Return the ramdisk. ``extra`` files are for the story of a ramdisk with one file more."""
    archive = Archive()
    for name in ("proc", "sys", "dev", "run", "newroot", "tmp"):
        archive.folder(name)
    archive.file("bin/busybox", (tree / "bin" / "busybox").read_bytes(), executable=True)
    for number, module in enumerate(module_files(kernel)):
        archive.file(f"modules/{number:02}-{module.name}", module.read_bytes())
    archive.file("init", launcher(), executable=True)
    archive.file("ramdisk-init", (DOM0 / "ramdisk-init").read_bytes())
    archive.file("etc/ima-policy", (DOM0 / "ima-policy").read_bytes())
    archive.file("etc/verity-table", (verity.table("DEVICE") + "\n").encode())
    _program(archive, tree, "sbin/dmsetup")
    _python(archive, tree)
    for name, body in extra:
        archive.file(name, body)
    archive.close_all_but("init")
    return archive.compressed()


def launcher() -> bytes:
    """Compile ``first.c``: it needs no library and takes nothing from the kernel's command line."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        target = Path(folder) / "first"
        run("gcc", *LAUNCHER, "-o", target, DOM0 / "first.c")
        return target.read_bytes()


def guest_ramdisk(busybox: bytes, extra: Sequence[tuple[str, bytes]] = ()) -> bytes:
    """Return the ramdisk of a guest: it says that it is up, and waits."""
    archive = Archive()
    for name in ("proc", "sys", "dev"):
        archive.folder(name)
    archive.file("bin/busybox", busybox, executable=True)
    archive.file("init", (DOM0 / "guest-init").read_bytes(), executable=True)
    for name, body in extra:
        archive.file(name, body)
    return archive.compressed()


def _python(archive: Archive, tree: Path) -> None:
    """Add Python with just the modules that the first act imports, Xen's bindings included."""
    _program(archive, tree, "usr/bin/python3.11")
    archive.link("bin/python3", "/usr/bin/python3.11")
    for name in closure():
        _module(archive, tree, name)
    for pattern in BINDING_PARTS:
        for path in (tree / BINDINGS.lstrip("/")).glob(pattern):
            name = path.relative_to(tree).as_posix()
            archive.file(name, path.read_bytes())
            if path.suffix == ".so":
                _libraries(archive, tree, path)


def closure() -> list[str]:
    """Return the names of all modules that importing the first act loads, as this Python sees it."""
    code = f"import json, sys, {FIRST_ACT}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise LabError("ramdisk", f"{FIRST_ACT} cannot be imported", done.stderr)
    names: list[str] = json.loads(done.stdout)
    return [*names, "encodings.utf_8", "encodings.ascii", "encodings.latin_1", "encodings.aliases"]


def _module(archive: Archive, tree: Path, name: str) -> None:
    """Add a module from dom0's tree, where it is not built into the interpreter."""
    if name in LEFT_OUT:
        return
    relative = name.replace(".", "/")
    for base in ("usr/lib/python3.11", SITE):
        for candidate in (f"{base}/{relative}.py", f"{base}/{relative}/__init__.py"):
            if (tree / candidate).is_file():
                archive.file(candidate, (tree / candidate).read_bytes())
                compiled = _compiled(candidate)
                if (tree / compiled).is_file():
                    archive.file(compiled, (tree / compiled).read_bytes())
                return
    dynamic = f"usr/lib/python3.11/lib-dynload/{name}.cpython-311-x86_64-linux-gnu.so"
    if (tree / dynamic).is_file():
        archive.file(dynamic, (tree / dynamic).read_bytes())
        _libraries(archive, tree, tree / dynamic)


def _compiled(source: str) -> str:
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-311.pyc"


def _program(archive: Archive, tree: Path, name: str) -> None:
    archive.file(name, (tree / name).read_bytes(), executable=True)
    _libraries(archive, tree, tree / name)


def _libraries(archive: Archive, tree: Path, binary: Path, seen: set[str] | None = None) -> None:
    """Add what a binary is linked against, found in dom0's tree and nowhere else."""
    seen = set() if seen is None else seen
    for name in needed(binary):
        if name in seen:
            continue
        seen.add(name)
        path = _find(tree, name)
        archive.file(path.relative_to(tree).as_posix(), path.read_bytes(), executable=True)
        _libraries(archive, tree, path.resolve(), seen)


def needed(binary: Path) -> list[str]:
    """Return the NEEDED entries of an ELF file."""
    return re.findall(r"\(NEEDED\)\s+Shared library: \[([^\]]+)\]", run("readelf", "-d", "-W", binary))


def _find(tree: Path, name: str) -> Path:
    if name == Path(LOADER).name:
        return tree / LOADER
    for folder in LIBRARIES:
        if (tree / folder / name).exists():
            return tree / folder / name
    raise LabError("ramdisk", f"no library {name} in dom0's tree")
