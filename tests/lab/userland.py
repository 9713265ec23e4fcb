"""Dom0's user land: a read-only ext4 disk of Debian packages, our wheel and what it needs, under dm-verity.

The root hash of dm-verity stands in the measured ramdisk, so PCR 9 (or 4) speaks for every byte of the disk;
IMA then shows whatever runs that is not from it (facts/xen-lab.md, 10 and 12).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.cache import Cache
from tests.lab.debian import Apt, unpack
from tests.lab.errors import LabError
from tests.lab.network import persistent
from tests.lab.tool import run, say

REPOSITORY: Final = Path(__file__).resolve().parents[2]
DOM0: Final = Path(__file__).resolve().parent / "dom0"
PACKAGES: Final = (
    *("python3-minimal", "libpython3.11-stdlib", "xen-utils-4.17", "busybox-static", "dmsetup"),
    *("swtpm", "tpm2-tools", "libtss2-tcti-device0", "libtss2-tcti-swtpm0", "libtss2-esys-3.0.2-0"),
    *("libtss2-rc0", "libtss2-fapi1"),
)
SITE: Final = "usr/lib/python3/dist-packages"
BINDINGS: Final = "/usr/lib/xen-4.17/lib/python"
OURS: Final = ("acm", "attest", "hypervisor", "metering", "shype", "vtpm", "configs")
UNUSED: Final = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/lib/systemd")
FOLDERS: Final = ("proc", "sys", "dev", "run", "tmp", "root", "boot", "var", "etc", "mnt")
PASSWD: Final = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
GROUP: Final = "root:x:0:\nnogroup:x:65534:\n"
DISK_UUID: Final = "a1a1a1a1-0000-4000-8000-000000000001"
SALT: Final = "73687970652d6c6162"
SPARE: Final = 24 << 20
BLOCK: Final = 4096
PIP_SECONDS: Final = 900
CLIENTS: Final = ("client", "tenant")
"""Who may ask the agent: for all of the host, and for the part of tenant cola-web."""


@dataclass(frozen=True, slots=True)
class Verity:
    """What dm-verity has to know of a disk (Linux, admin-guide/device-mapper/verity.rst); blocks of 4 KiB."""

    blocks: int
    hash_start: int
    root_hash: str

    def table(self, device: str) -> str:
        """Return the table of the device-mapper target for a disk."""
        sectors = self.blocks * BLOCK // 512
        words = ("verity", 1, device, device, BLOCK, BLOCK, self.blocks, self.hash_start, "sha256")
        return " ".join(str(word) for word in (0, sectors, *words, self.root_hash, SALT))


@dataclass(frozen=True, slots=True)
class Userland:
    """The disk, what dm-verity knows of it, and the folder of files that it was made from."""

    disk: Path
    verity: Verity
    tree: Path


def interpreter() -> None:
    """Refuse a Python other than dom0's: compiled packages are made for it."""
    if sys.version_info[:2] != (3, 11):
        raise LabError("python", "dom0 runs Python 3.11 and so must the lab: set PYTHON and run 'make setup'")


def our_digest() -> str:
    """Return a digest of all our files that get into dom0."""
    files = [REPOSITORY / "pyproject.toml"]
    for name in OURS:
        files += [path for path in (REPOSITORY / name).rglob("*") if path.is_file()]
    total = hashlib.sha256()
    for path in sorted(files):
        name = path.relative_to(REPOSITORY)
        if "__pycache__" not in name.parts:
            total.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def base(cache: Cache, apt: Apt) -> Path:
    """Return the tree of packages and Python dependencies, without anything of ours."""
    interpreter()
    pinned = apt.resolve(PACKAGES)
    wanted = (REPOSITORY / "pyproject.toml").read_text()
    dependencies = "".join(re.findall(r"^(?:dependencies|host) = \[.*?\]$", wanted, re.MULTILINE | re.DOTALL))

    def make(new: Path) -> None:
        tree = new / "tree"
        tree.mkdir()
        say(f"unpack {len(pinned)} Debian packages")
        unpack(apt.fetch(PACKAGES), tree)
        for name in UNUSED:
            shutil.rmtree(tree / name, ignore_errors=True)
        for name in FOLDERS:
            (tree / name).mkdir(exist_ok=True)
        (tree / "etc" / "passwd").write_text(PASSWD)
        (tree / "etc" / "group").write_text(GROUP)
        _applets(tree)
        _dependencies(new, tree)
        (tree / SITE / "xen.pth").write_text(f"{BINDINGS}\n")
        _compile(tree, "usr/lib/python3.11", SITE, BINDINGS.lstrip("/"))

    return cache.made("userland", "\n".join((*pinned, dependencies, PASSWD, GROUP)), make) / "tree"


def _applets(tree: Path) -> None:
    """Link busybox under the names that no package of its own has."""
    listed = run(tree / "bin" / "busybox", "--list-full").split()
    for name in listed:
        target = tree / name
        if not target.exists() and not (tree / "usr" / name).exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to("/bin/busybox")


def _pip(*words: str | Path) -> None:
    command = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words)
    persistent(f"pip {words[0]}", lambda: run(*command, cwd=REPOSITORY, seconds=PIP_SECONDS))


def _dependencies(new: Path, tree: Path) -> None:
    say("build the Python dependencies")
    wheels = new / "wheels"
    _pip("wheel", "--wheel-dir", wheels, ".[host]")
    found = [path for path in sorted(wheels.glob("*.whl")) if not path.name.startswith("shype-")]
    _pip("install", "--no-deps", "--no-compile", "--no-index", "--target", tree / SITE, *found)
    shutil.rmtree(wheels)


def _compile(tree: Path, *folders: str) -> None:
    """Compile ahead: dom0's disk is read-only, and slow to compile on.

    One process: several need semaphores, and with them a /dev/shm.
    """
    run(
        *(sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"),
        *("-s", tree, "-p", "/"),
        *(tree / folder for folder in folders),
        seconds=PIP_SECONDS,
    )


def userland(cache: Cache, apt: Apt, guest: Path, configs: Path, clients: Path) -> Userland:
    """Return dom0's disk: the base, our wheel, the lab's own files, guest images of ``guest``.

    ``clients`` has the certificates of those who may ask the agent.
    """
    tree = base(cache, apt)
    certificates = [clients / f"{name}.crt" for name in CLIENTS]
    parts = [tree.parent.name, our_digest(), str(SPARE), *(each.read_text() for each in certificates)]
    for folder in (DOM0, guest, configs):
        parts += [
            f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]

    def make(new: Path) -> None:
        own = new / "tree"
        run("cp", "-al", tree, own)
        _ours(new, own)
        shutil.copytree(guest, own / "boot" / "guest")
        shutil.copytree(configs, own / "etc" / "shype")
        for each in certificates:
            shutil.copy(each, own / "etc" / "shype")
        for path in DOM0.iterdir():
            target = own / "usr" / "lib" / "lab" / path.name
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
            target.chmod(0o755 if path.read_bytes().startswith(b"#!") else 0o644)
        (own / "usr" / "bin" / "shype").write_text(
            "#!/usr/bin/python3\nimport sys\nfrom shype.main import run\nsys.exit(run())\n"
        )
        (own / "usr" / "bin" / "shype").chmod(0o755)
        verity = _disk(own, new / "root.ext4")
        (new / "verity.json").write_text(
            json.dumps({"blocks": verity.blocks, "hash_start": verity.hash_start, "root": verity.root_hash})
        )

    folder = cache.made("dom0", "\n".join(parts), make)
    known = json.loads((folder / "verity.json").read_text())
    verity = Verity(known["blocks"], known["hash_start"], known["root"])
    return Userland(folder / "root.ext4", verity, folder / "tree")


def _ours(new: Path, tree: Path) -> None:
    wheels = new / "wheels"
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ".")
    (wheel,) = wheels.glob("shype-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tree / SITE)
    shutil.rmtree(wheels)
    _compile(tree, *(f"{SITE}/{name}" for name in OURS if name != "configs"))


def _disk(tree: Path, target: Path) -> Verity:
    size = int(run("du", "-s", "--apparent-size", "-B1", tree).split()[0])
    blocks = (size * 11 // 10 + SPARE) // BLOCK
    features = "^has_journal,^metadata_csum,^resize_inode"
    run(
        *("mke2fs", "-q", "-t", "ext4", "-O", features, "-m", "0", "-b", str(BLOCK), "-L", "dom0"),
        *("-U", DISK_UUID, "-E", f"root_owner=0:0,hash_seed={DISK_UUID}", "-d", tree, target, str(blocks)),
    )
    said = run(
        *("veritysetup", "format", target, target, f"--hash-offset={blocks * BLOCK}", f"--salt={SALT}"),
        *("--no-superblock", f"--data-blocks={blocks}"),
    )
    found = re.search(r"^Root hash:\s+([0-9a-f]{64})$", said, re.MULTILINE)
    if found is None:
        raise LabError("veritysetup", "said no root hash")
    return Verity(blocks, blocks, found[1])
