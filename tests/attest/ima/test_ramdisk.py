"""The programs of a ramdisk, as the kernel unpacks it."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.errors import AttestInputError
from attest.ima import ramdisk
from attest.ima.ramdisk import RamdiskError, programs
from attest.ima.reference import FileReferenceError
from tests.attest.ima.archive import FILE, FOLDER, LINK, Member, archive

BUSYBOX = Member("bin/busybox", b"\x7fELF busybox")
INIT = Member("init", b"#!/bin/sh\n")
ROOT = (Member(".", mode=FOLDER, links=2), Member("bin", mode=FOLDER, links=2), BUSYBOX, INIT)
GOOD = archive(*ROOT)


def digest(content: bytes) -> frozenset[str]:
    return frozenset({hashlib.sha256(content).hexdigest()})


EXPECTED = {"/bin/busybox": digest(BUSYBOX.content), "/init": digest(INIT.content)}


@pytest.mark.parametrize(
    "raw",
    [
        GOOD,
        gzip.compress(GOOD),
        GOOD + bytes(400),
        archive(*ROOT[:3]) + bytes(512) + gzip.compress(archive(INIT)),
        gzip.compress(archive(*ROOT[:3])) + bytes(4) + gzip.compress(archive(INIT)),
        gzip.compress(archive(*ROOT[:3]) + bytes(100) + archive(INIT) + bytes(10_000)),
        archive(Member("kernel/x86/microcode/x.bin", b"microcode", FILE)) + gzip.compress(GOOD),
        archive(*(Member(f"./{one.name}", one.content, one.mode) for one in ROOT)),
        archive(*(Member(f"/{one.name}", one.content, one.mode) for one in ROOT)),
    ],
    ids=["plain", "gzip", "padded", "plain-gzip", "gzip-gzip", "two-in-gzip", "microcode", "dots", "slashes"],
)
def test_every_form_that_the_kernel_takes(raw: bytes) -> None:
    assert programs(raw).files == EXPECTED


@pytest.mark.tools
@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_what_cpio_writes(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for one in (BUSYBOX, INIT):
        (tmp_path / one.name).write_bytes(one.content)
        (tmp_path / one.name).chmod(0o755)
    (tmp_path / "bin" / "sh").hardlink_to(tmp_path / "bin" / "busybox")
    (tmp_path / "bin" / "ls").symlink_to("busybox")
    names = "\n".join(sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")))
    made = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"],
        input=names.encode(),
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert programs(made.stdout).files == {**EXPECTED, "/bin/sh": digest(BUSYBOX.content)}


def test_what_is_no_program_is_left_out() -> None:
    members = (
        Member("etc/passwd", b"root", FILE),
        Member("lib/libc.so.6", b"\x7fELF libc", FILE),
        Member("lib/modules/6.1/e1000.ko", b"module", FILE),
        Member("lib/modules/6.1/ext4.ko.xz", b"module", FILE),
        Member("lib/firmware/x.bin", b"firmware", FILE),
        Member("etc/ima/policy", b"measure", FILE),
        Member("usr/lib/run.sh", b"#!/bin/sh", FILE),
        Member("dev/console", mode=0o020600),
    )
    found = set(programs(archive(*members)).files)
    assert found == {f"/{one.name}" for one in members} - {"/etc/passwd", "/dev/console"}


def test_the_later_file_counts() -> None:
    assert programs(archive(INIT, Member("init", b"later"))).files == {"/init": digest(b"later")}
    again = gzip.compress(GOOD) + archive(Member("init", b"later"))
    assert programs(again).files["/init"] == digest(b"later")
    assert "/init" not in programs(archive(INIT, Member("init", b"bin/busybox", LINK))).files


@pytest.mark.parametrize("order", [1, -1])
def test_all_names_of_one_file(order: int) -> None:
    members = (Member("a", b"", inode=7, links=2), Member("b", b"text", inode=7, links=2))[::order]
    assert programs(archive(*members)).files == {"/a": digest(b"text"), "/b": digest(b"text")}


def test_inodes_of_another_archive_are_other_files() -> None:
    raw = archive(Member("a", b"one", inode=7, links=2)) + archive(Member("b", b"two", inode=7, links=2))
    assert programs(raw).files == {"/a": digest(b"one"), "/b": digest(b"two")}


def test_an_empty_ramdisk_has_no_programs() -> None:
    assert programs(archive()).files == {}


BROKEN = {
    "nothing": b"",
    "zeros": bytes(512),
    "text": b"no ramdisk",
    "cut header": GOOD[:60],
    "cut content": archive(BUSYBOX)[:120],
    "no trailer": BUSYBOX.encode(),
    "tail": GOOD + b"x",
    "number": GOOD.replace(b"00000008", b"0000000g", 1),
    "size beyond the end": archive(Member("a", b"x", size=1 << 31)),
    "no name": archive(Member("a", length=0)),
    "name of the NUL alone": archive(Member("", length=1)),
    "long name": archive(Member("a" * 5000)),
    "name without its NUL": archive(Member("abc", length=3)),
    "name with two NULs": archive(Member("a\0b")),
    "name above the root": archive(Member("../init")),
    "behind a link": archive(Member("bin", b"usr/bin", LINK), Member("bin/sh", b"x")),
    "two contents": archive(Member("a", b"one", inode=7, links=2), Member("b", b"two", inode=7, links=2)),
    "cut gzip": gzip.compress(GOOD)[:-20],
    "broken gzip": gzip.compress(GOOD)[:20] + b"\xff" * 50,
    "xz": lzma.compress(GOOD),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(9),
    "checksums": archive(Member("a", magic=b"070702")),
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_refused(raw: bytes) -> None:
    with pytest.raises(RamdiskError, match=r"^ramdisk: ") as caught:
        programs(raw)
    assert "\n" not in str(caught.value)


def test_a_program_whose_name_is_no_text() -> None:
    with pytest.raises(FileReferenceError, match="UTF-8"):
        programs(archive(Member("bin/\udcff", b"x")))
    assert programs(archive(Member("etc/\udcff", b"x", FILE))).files == {}


def test_unpacking_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ramdisk, "MAX_UNPACKED", 2000)
    assert programs(gzip.compress(GOOD)).files == EXPECTED
    with pytest.raises(RamdiskError, match="2000"):
        programs(gzip.compress(GOOD + bytes(1 << 20)))
    with pytest.raises(RamdiskError, match="2000"):
        programs(gzip.compress(GOOD) * 5)


@given(st.binary(max_size=300), st.integers(0, len(GOOD) - 1))
def test_no_bytes_do_harm(raw: bytes, at: int) -> None:
    with suppress(AttestInputError):
        programs(raw)
    with suppress(AttestInputError):
        programs(GOOD[:at] + raw + GOOD[at + len(raw) :])
