"""Disks known by their dm-verity root: what veritysetup makes is accepted, anything else is refused."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acm.policy import Policy
from hypervisor import verity
from hypervisor.errors import HypervisorUsageError, ResourceMismatchError
from hypervisor.host import XenHost
from hypervisor.hostconfig import HostDescription
from hypervisor.state import AccessMode, Resource, ResourceKind
from tests.hypervisor.outside import Outside
from tests.hypervisor.test_launch import edited

MIB = 1 << 20


def image_of(data: bytes, *, salt: bytes = b"salt", block: int = 4096, blocks: int | None = None) -> bytes:
    """The form by the kernel's documentation, written apart from the code under test."""
    count = len(data) // block if blocks is None else blocks
    head = struct.pack(
        "<8sII16s32sIIQH6x256s",
        b"verity\0\0",
        1,
        1,
        bytes(16),
        b"sha256",
        block,
        block,
        count,
        len(salt),
        salt,
    )
    return data + head.ljust(block, b"\0") + b"".join(reversed(levels(data, salt, block)))


def levels(data: bytes, salt: bytes, block: int) -> list[bytes]:
    rows, below = [], data
    while not rows or len(rows[-1]) > block:
        parts = [below[at : at + block] for at in range(0, len(below), block)]
        row = b"".join(hashlib.sha256(salt + part).digest() for part in parts)
        below = row.ljust(-(-len(row) // block) * block, b"\0")
        rows.append(below)
    return rows


def root_of(data: bytes, salt: bytes = b"salt", block: int = 4096) -> str:
    return hashlib.sha256(salt + levels(data, salt, block)[-1]).hexdigest()


DATA = random.Random(1).randbytes(MIB)
ROOT = root_of(DATA)
IMAGE = image_of(DATA)


def refused(image: bytes, size: int = MIB, root: str = ROOT) -> str:
    with pytest.raises(ResourceMismatchError) as caught:
        verity.data_of(image, size, root)
    assert caught.value.code == "disk-content"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("block", verity.BLOCK_SIZES)
@pytest.mark.parametrize("salt", [b"", b"s", bytes(range(256))])
def test_a_good_image(block: int, salt: bytes) -> None:
    image = image_of(DATA, salt=salt, block=block)
    assert verity.data_of(image, MIB, root_of(DATA, salt, block)) == DATA


def test_zeros_behind_the_tree_are_the_rest_of_a_partition() -> None:
    assert verity.data_of(IMAGE + bytes(8192), MIB, ROOT) == DATA
    assert "tree" in refused(IMAGE + bytes(8191) + b"x")


@pytest.mark.parametrize("at", [0, MIB // 2, MIB - 1])
def test_one_bit_of_the_data(at: int) -> None:
    image = bytearray(IMAGE)
    image[at] ^= 1
    assert "root hash" in refused(bytes(image))


def test_one_bit_of_the_tree() -> None:
    image = bytearray(IMAGE)
    image[MIB + 4096] ^= 1
    assert "tree" in refused(bytes(image))


def test_the_tree_itself_is_no_data() -> None:
    """A level of the tree is under the same root as one more level: only the size tells them apart."""
    bottom = levels(DATA, b"salt", 4096)[0]
    inner = image_of(bottom)
    assert root_of(bottom) == ROOT
    assert "bytes" in refused(inner)


def test_one_block_has_no_tree() -> None:
    block = bytes(4096)
    image = image_of(block)
    assert "the disk has" in refused(image, 4096, hashlib.sha256(b"salt" + block).hexdigest())


@pytest.mark.parametrize(
    ("at", "raw", "what"),
    [
        (0, b"verify", "superblock"),
        (8, b"\2", "superblock"),
        (12, b"\0", "superblock"),
        (32, b"sha512", "sha256"),
        (64, b"\0\0\1\0", "blocks"),
        (68, b"\1", "blocks"),
        (72, b"\1", "the disk has"),
        (80, b"\xff\xff", "more than it says"),
        (80, b"\1", "more than it says"),
        (83, b"x", "more than it says"),
        (400, b"x", "tree"),
    ],
)
def test_another_superblock(at: int, raw: bytes, what: str) -> None:
    place = MIB + at
    assert what in refused(IMAGE[:place] + raw + IMAGE[place + len(raw) :])


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, MIB + 511, len(IMAGE) - 1])
def test_a_cut_image(size: int) -> None:
    refused(IMAGE[:size])


@settings(max_examples=60, deadline=None)
@given(rest=st.binary(max_size=700), keep=st.integers(0, 344))
def test_any_bytes_behind_the_data(rest: bytes, keep: int) -> None:
    refused(DATA + IMAGE[MIB : MIB + keep] + rest)


@pytest.mark.tools
@pytest.mark.skipif(shutil.which("veritysetup") is None, reason="not installed: cryptsetup-bin")
@pytest.mark.parametrize(("block", "salt"), [(4096, "aa" * 32), (1024, "-"), (512, "00ff")])
@pytest.mark.parametrize("mib", [1, 3])
def test_what_veritysetup_writes(tmp_path: Path, block: int, salt: str, mib: int) -> None:
    data = random.Random(mib).randbytes(mib * MIB)
    file = tmp_path / "disk.img"
    file.write_bytes(data)
    sizes = (f"--data-block-size={block}", f"--hash-block-size={block}", f"--hash-offset={len(data)}")
    command = ("veritysetup", "format", str(file), str(file), *sizes, f"--salt={salt}")
    command += (f"--data-blocks={len(data) // block}",)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    root = re.search(r"Root hash:\s+([0-9a-f]{64})", done.stdout)
    assert root is not None
    assert verity.data_of(file.read_bytes(), len(data), root[1]) == data


@pytest.mark.parametrize("target", [b"tools.img", b"verity:" + ROOT.encode()])
def test_a_launch_gives_the_guest_what_is_under_the_root(
    description: HostDescription, policy: Policy, target: bytes
) -> None:
    rom = Resource(ResourceKind.DISK, f"verity:{ROOT}", "red", AccessMode.READ, "tools.img", 1)
    host = XenHost(replace(description, resources=(*description.resources, rom)), policy)
    outside = Outside(host, {"kernel": b"K", "ramdisk": b"R", "tools.img": IMAGE})
    config = edited(b"/dev/red,raw,xvda,rw", b"format=raw,vdev=xvda,access=r,target=" + target)
    launched = outside.launcher().launch(config)
    assert launched.disks[0].read(0, 3) == DATA[:1536]
    assert launched.measurement.disks == (f"xvda r verity:{ROOT}",)
    outside.launcher().stop(launched)
    outside.files["tools.img"] = IMAGE.replace(DATA[:16], bytes(16), 1)
    with pytest.raises(ResourceMismatchError):
        outside.launcher().launch(config)


def test_no_guest_may_write_to_it(description: HostDescription, policy: Policy) -> None:
    rom = Resource(ResourceKind.DISK, f"verity:{ROOT}", "red", AccessMode.READ, "tools.img", 1)
    host = XenHost(replace(description, resources=(*description.resources, rom)), policy)
    outside = Outside(host, {"kernel": b"K", "ramdisk": b"R", "tools.img": IMAGE})
    with pytest.raises(HypervisorUsageError, match="read"):
        outside.launcher().launch(edited(b"/dev/red,raw,xvda,rw", b"tools.img,raw,xvda,rw"))
