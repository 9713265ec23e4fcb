"""The same parts put in by ``objcopy``: the same boot. And ``osslsigncode`` agrees about the digest."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from attest.image.append import Part, append, checksum
from attest.predict import authenticode, unified, xen_image
from attest.predict.pe import layout
from tests.attest.image.xenefi import OPTIONAL, XenEfi

CONFIG = b"""\
[global]
default=xen
[xen]
options=console=com1 flask=enforcing
kernel=kernel console=hvc0 ro
ramdisk=ramdisk
xsm=xsm
"""
BASE = 0xFFFF82D040000000
pytestmark = pytest.mark.tools
needs_objcopy = pytest.mark.skipif(shutil.which("objcopy") is None, reason="not installed: binutils")
needs_signer = pytest.mark.skipif(
    not (shutil.which("osslsigncode") and shutil.which("openssl")), reason="not installed: osslsigncode"
)


@pytest.fixture(params=["small", "debian"])
def xen(request: pytest.FixtureRequest, repository: Path) -> bytes:
    """A small image, and Debian's."""
    if request.param == "small":
        return XenEfi(symbols=b"").build()
    found = repository / "build" / "boot" / "xen.efi"
    if not found.is_file():
        pytest.skip(f"{found} is not here: make boot-files")
    return found.read_bytes()


def parts(folder: Path) -> list[Part]:
    made = [
        Part("config", CONFIG),
        Part("kernel", b"kernel" * 9999),
        Part("ramdisk", b"r"),
        Part("xsm", b"x" * 77),
    ]
    for part in made:
        (folder / part.name).write_bytes(part.content)
    return made


def by_objcopy(folder: Path, xen: bytes, given: list[Part]) -> bytes:
    (folder / "xen.efi").write_bytes(xen)
    address, words = (
        BASE + (max(each.address + each.memory for each in layout(xen).sections) | 0xFFFFF) + 1,
        [],
    )
    for part in given:
        words += ["--add-section", f".{part.name}={folder / part.name}"]
        words += ["--change-section-vma", f".{part.name}={address:#x}"]
        address += 0x100000
    subprocess.run(
        ["objcopy", *words, folder / "xen.efi", folder / "out.efi"], check=True, capture_output=True
    )
    return (folder / "out.efi").read_bytes()


@needs_objcopy
def test_objcopy_makes_an_image_that_boots_the_same(xen: bytes, tmp_path: Path) -> None:
    given = parts(tmp_path)
    ours, theirs = append(xen, given), by_objcopy(tmp_path, xen, given)
    assert unified.read(ours) == unified.read(theirs)
    assert xen_image.build_id(ours) == xen_image.build_id(theirs) is not None
    mine, other = layout(ours), layout(theirs)
    assert [(each.name, each.memory) for each in mine.sections] == [
        (each.name, each.memory) for each in other.sections
    ]
    for one, two in zip(mine.sections, other.sections, strict=True):
        if one.name != b".buildid":  # its debug entry has an offset in the file
            assert ours[one.span.start : one.span.end].rstrip(b"\0") == theirs[
                two.span.start : two.span.end
            ].rstrip(b"\0")


@needs_objcopy
def test_objcopy_writes_the_checksum_that_we_compute(xen: bytes, tmp_path: Path) -> None:
    image = by_objcopy(tmp_path, xen, parts(tmp_path))
    place = layout(image).checksum
    assert checksum(image, place) == int.from_bytes(image[place : place + 4], "little")


@needs_objcopy
def test_objdump_lists_the_sections(xen: bytes, tmp_path: Path) -> None:
    given = parts(tmp_path)
    (tmp_path / "made.efi").write_bytes(append(xen, given))
    shown = subprocess.run(
        ["objdump", "-h", tmp_path / "made.efi"], check=True, capture_output=True, text=True
    ).stdout
    for part in given:
        assert re.search(rf"\.{part.name}\s+{len(part.content):08x}\s+ffff82d04", shown)


@needs_signer
def test_a_signature_leaves_the_digest_as_it_was(xen: bytes, tmp_path: Path) -> None:
    """``osslsigncode`` is a third opinion on the Authenticode digest, and on the checksum's place."""
    image = append(xen, parts(tmp_path))
    (tmp_path / "made.efi").write_bytes(image)
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    in_and_out = f"-in {tmp_path}/made.efi -out {tmp_path}/signed.efi"
    for words in (
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {certificate} -subj /CN=lab -days 2",
        f"osslsigncode sign -h sha256 -certs {certificate} -key {key} {in_and_out}",
    ):
        subprocess.run(words.split(), check=True, capture_output=True)
    shown = subprocess.run(
        ["osslsigncode", "verify", "-in", tmp_path / "signed.efi", "-CAfile", certificate],
        check=False, capture_output=True, text=True,
    ).stdout  # fmt: skip
    found = re.search(r"Calculated message digest *: ([0-9A-F]{64})", shown)
    assert found is not None, shown
    digest = authenticode.digests(image, ["sha256"])["sha256"]
    assert bytes.fromhex(found[1]) == digest
    assert authenticode.digests((tmp_path / "signed.efi").read_bytes(), ["sha256"])["sha256"] == digest
    assert layout(image).checksum == layout(xen).checksum >= OPTIONAL
