"""Sections appended to xen.efi: where they come to lie, what moves, and images that are refused."""

from __future__ import annotations

import contextlib
import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import AttestInputError
from attest.image import append as appending
from attest.image.append import PARTS, Part, append, checksum
from attest.image.headers import XenImageError
from attest.predict import authenticode, unified, xen_image
from attest.predict.pe import Layout, layout
from tests.attest.image.xenefi import BUILD_ID, COFF, OPTIONAL, TABLE, Sec, XenEfi
from tests.attest.predict.build import XEN_CFG

CONFIG = Part("config", XEN_CFG)
KERNEL = Part("kernel", b"kernel")
RAMDISK = Part("ramdisk", b"ramdisk" * 100)
ALL = (CONFIG, KERNEL, RAMDISK)


def number(image: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", image, place)[0])


def content(image: bytes, name: str) -> bytes:
    (found,) = (each for each in layout(image).sections if each.name == name.encode())
    return image[found.span.start : found.span.start + found.memory]


def hashed_once(image: bytes) -> Layout:
    """Sections touch each other from the headers on: the digest takes every byte once."""
    found = layout(image)
    end = found.headers_end
    for span in sorted((each.span for each in found.sections if each.span.end), key=lambda span: span.start):
        assert span.start == end
        end = span.end
    return found


@pytest.mark.parametrize("room", [0, 1, 2, 3, 8])
def test_the_parts_are_read_back(room: int) -> None:
    image = append(XenEfi(room=room).build(), ALL)
    assert unified.read(image).parts == ((".kernel", KERNEL.content), (".ramdisk", RAMDISK.content))
    assert content(image, ".config") == XEN_CFG
    hashed_once(image)


@pytest.mark.parametrize("room", [0, 3])
def test_what_was_there_stays(room: int) -> None:
    before = XenEfi(room=room).build()
    after = append(before, ALL)
    old, new = layout(before), layout(after)
    for was, now in zip(old.sections, new.sections, strict=False):
        assert (was.name, was.memory, was.address) == (now.name, now.memory, now.address)
        if was.name != b".buildid":
            assert before[was.span.start : was.span.end] == after[now.span.start : now.span.end]
    assert xen_image.build_id(after) == BUILD_ID.hex()


@pytest.mark.parametrize("room", [0, 3])
def test_pointers_into_the_file_move_with_it(room: int) -> None:
    """The debug entry's PointerToRawData leads to its record, PointerToSymbolTable to the symbols."""
    image = append(XenEfi(room=room).build(), ALL)
    (buildid,) = (each for each in layout(image).sections if each.name == b".buildid")
    assert image[number(image, buildid.span.start + 24) :].startswith(b"RSDS" + BUILD_ID)
    assert image[number(image, COFF + 12) :].startswith(b"symbols!")
    assert number(append(XenEfi(symbols=b"").build(), ALL), COFF + 12) == 0


def test_new_sections_lie_behind_the_others_in_memory() -> None:
    image = append(XenEfi().build(), ALL)
    new = layout(image).sections[-3:]
    assert [each.name for each in new] == [b".config", b".kernel", b".ramdisk"]
    assert [each.address for each in new] == [0xA00000 - 0x200000, 0xA00000, 0xC00000]
    assert [each.memory for each in new] == [len(part.content) for part in ALL]
    assert number(image, OPTIONAL + 56) == 0xE00000
    assert number(image, OPTIONAL + 8) == 200 + sum(each.span.end - each.span.start for each in new)


def test_a_mebibyte_is_the_least_distance() -> None:
    image = append(XenEfi(section_alignment=0x1000).build(), ALL)
    assert [each.address for each in layout(image).sections[-3:]] == [0x800000, 0x900000, 0xA00000]
    assert number(image, OPTIONAL + 56) == 0xA01000


def test_xen_may_write_into_its_config_alone() -> None:
    """It cuts the config into lines in place."""
    image = append(XenEfi(room=3).build(), ALL)
    flags = [number(image, TABLE + 40 * at + 36) for at in (5, 6, 7)]
    assert flags == [0xC0000040, 0x40000040, 0x40000040]


def test_the_same_inputs_give_the_same_image() -> None:
    assert append(XenEfi().build(), ALL) == append(XenEfi().build(), ALL)


def test_the_checksum_is_the_sum_of_the_words() -> None:
    image = append(XenEfi().build(), ALL)
    place, total = OPTIONAL + 64, 0
    raw = image[:place] + bytes(4) + image[place + 4 :]
    for (word,) in struct.iter_unpack("<H", raw):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    assert number(image, place) == total + len(image)


@given(st.binary(min_size=8, max_size=200), st.integers(0, 2), st.sampled_from([2, 4, 1 << 20]))
def test_the_checksum_of_anything(raw: bytes, place: int, chunk: int) -> None:
    raw, place = raw + bytes(len(raw) % 2), 2 * place
    total = 0
    for (word,) in struct.iter_unpack("<H", raw[:place] + bytes(4) + raw[place + 4 :]):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(appending, "_CHUNK", chunk)
        assert checksum(raw, place) == total + len(raw)


@pytest.mark.parametrize("symbols", [b"", b"s", b"symbols!", b"symbols!+"])
def test_signing_leaves_the_digest(symbols: bytes) -> None:
    """A signer pads the file to 8 bytes and hashes the padding: here nothing is left to pad."""
    image = append(XenEfi(symbols=symbols).build(), ALL)
    assert len(image) % 8 == 0
    signed = bytearray(image + b"c" * 16)
    struct.pack_into("<II", signed, OPTIONAL + 112 + 32, len(image), 16)
    assert authenticode.digests(bytes(signed), ["sha256"]) == authenticode.digests(image, ["sha256"])


def test_every_byte_moves_the_digest() -> None:
    """But CheckSum, the certificate table's entry, and what makes the image none."""
    image = append(XenEfi().build(), ALL)
    good = authenticode.digests(image, ["sha256"])
    free = {*range(OPTIONAL + 64, OPTIONAL + 68), *range(OPTIONAL + 144, OPTIONAL + 152)}
    for place in set(range(len(image))) - free:
        raw = bytearray(image)
        raw[place] ^= 1
        with contextlib.suppress(AttestInputError):
            assert authenticode.digests(bytes(raw), ["sha256"]) != good, place


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(PARTS[2:]), unique=True),
    st.integers(0, 6),
    st.sampled_from([0x20, 0x200, 0x1000]),
    st.binary(max_size=40),
    st.data(),
)
def test_any_content_is_read_back(
    names: list[str], room: int, alignment: int, symbols: bytes, data: st.DataObject
) -> None:
    contents = st.one_of(st.binary(min_size=1, max_size=300), st.integers(1, 9000).map(lambda n: b"z" * n))
    parts = [Part(name, data.draw(contents)) for name in ("kernel", *names)]
    config = b"[global]\ndefault=a\n[a]\noptions=x y\n" + b"".join(f"{p.name}=n\n".encode() for p in parts)
    xen = XenEfi(room=room, symbols=symbols, file_alignment=alignment).build()
    image = append(xen, data.draw(st.permutations([Part("config", config), *parts])))
    found = unified.read(image)
    assert found.xen_arguments == "x y"
    assert dict(found.parts) == {f".{part.name}": part.content for part in parts}
    hashed_once(image)


def patched(place: int, value: int, size: int = 4) -> XenEfi:
    return XenEfi(patches=((place, value.to_bytes(size, "little")),))


REFUSED = {
    "no_pe": (b"\x7fELF" + bytes(200), "no MZ"),
    "empty": (b"", "no MZ"),
    "headers_cut": (XenEfi().build()[:180], "ends in its headers"),
    "sections_cut": (XenEfi(symbols=b"").build()[:-10], "ends inside a section"),
    "arm64": (patched(COFF + 4, 0xAA64, 2).build(), "x86-64"),
    "odd_place": (patched(0x3C, COFF + 4).build(), "x86-64"),
    "pe32": (patched(OPTIONAL, 0x10B, 2).build(), "PE32\\+"),
    "boot_driver": (patched(OPTIONAL + 68, 11, 2).build(), "EFI application"),
    "no_alignment": (patched(OPTIONAL + 32, 0).build(), "alignments"),
    "odd_alignment": (patched(OPTIONAL + 36, 48).build(), "alignments"),
    "huge_alignment": (patched(OPTIONAL + 32, 1 << 31).build(), "alignments"),
    "many_sections": (patched(COFF + 6, 97, 2).build(), "do not fit"),
    "short_headers": (patched(OPTIONAL + 60, TABLE).build(), "do not fit"),
    "huge_headers": (patched(OPTIONAL + 60, 1 << 31).build(), "do not fit"),
    "directories_too_many": (patched(OPTIONAL + 108, 1 << 30).build(), "too short"),
    "signed": (XenEfi(certificates=(2000, 8)).build(), "signed"),
    "signed_at_nothing": (XenEfi(certificates=(8, 0)).build(), "signed"),
    "bytes_behind_the_table": (
        XenEfi(room=2, patches=((TABLE + 40 * 6, b"bound"),)).build(),
        "behind the section table",
    ),
    "object_file": (patched(TABLE + 24, 500).build(), "object file"),
    "overlap_in_the_file": (patched(TABLE + 20, 64).build(), "overlap"),
    "gap_in_the_file": (patched(TABLE + 16, 96).build(), "gap"),
    "symbols_in_a_section": (patched(COFF + 12, 700).build(), "symbol table"),
    "overlap_in_memory": (patched(TABLE + 40 + 12, 0x200001).build(), "overlaps in memory"),
    "section_on_the_headers": (patched(TABLE + 12, 100).build(), "overlaps in memory"),
    "debug_nowhere": (patched(OPTIONAL + 112 + 48, 0x10).build(), "debug directory"),
    "debug_too_long": (patched(OPTIONAL + 112 + 52, 56).build(), "debug directory"),
    "debug_odd": (patched(OPTIONAL + 112 + 52, 27).build(), "debug directory"),
    "debug_in_bss": (patched(OPTIONAL + 112 + 48, 0x600000).build(), "debug directory"),
    "no_room_in_memory": (XenEfi(extra=(Sec(b".low", 0x280, b""),)).build(), "no room"),
    "unified_already": (XenEfi(extra=(Sec(b".config", 0x800000, b"x"),)).build(), "section .config already"),
    "ramdisk_already": (XenEfi(extra=(Sec(b".ramdisk", 0x800000, b"x"),)).build(), ".ramdisk already"),
    "memory_full": (XenEfi(extra=(Sec(b".pad", 0x800000, None, 0xFF000000),)).build(), "larger than"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_image_that_cannot_be_extended_is_refused(name: str) -> None:
    image, match = REFUSED[name]
    with pytest.raises(XenImageError, match=match) as caught:
        append(image, ALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ([CONFIG, Part("kernel", b"")], r"\.kernel: its file is empty"),
        ([KERNEL, KERNEL], "each once"),
        ([Part("text", b"x")], "one of config"),
        ([Part("kernel", b"k" * (1 << 16))], "larger than"),
    ],
)
def test_parts_that_do_not_fit(parts: list[Part], match: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "MAX_IMAGE", 0x800000 + (1 << 15))
    with pytest.raises(XenImageError, match=match):
        append(XenEfi().build(), parts)


def test_more_sections_than_a_loader_takes() -> None:
    extra = tuple(Sec(b".x", 0x800000 + at * 16, None, 16) for at in range(90))
    append(XenEfi(extra=extra).build(), [CONFIG])
    with pytest.raises(XenImageError, match="more than 96"):
        append(XenEfi(extra=extra).build(), [CONFIG, KERNEL])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=30), st.integers(0, 800), st.integers(0, 30))
def test_an_altered_image_is_extended_well_or_refused(noise: bytes, place: int, skip: int) -> None:
    raw = XenEfi().build()
    raw = raw[:place] + noise + raw[place + skip :]
    try:
        image = append(raw, ALL)
    except XenImageError:
        return
    found = unified.read(image)
    assert dict(found.parts) == {".kernel": KERNEL.content, ".ramdisk": RAMDISK.content}
    hashed_once(image)
    assert hashlib.sha256(image).digest() == hashlib.sha256(append(raw, ALL)).digest()
