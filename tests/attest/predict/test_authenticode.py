"""The Authenticode digest of the loader: ranges, refusals, and both sides alike."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attest.boot.image import image_digests
from attest.errors import AttestInputError
from attest.predict.authenticode import ImageError, digests
from tests.attest.predict.build import SIGNED, Image


def digest(image: bytes) -> str:
    return digests(image, ["sha256"])["sha256"].hex()


def test_it_is_the_hash_of_all_but_checksum_and_certificates() -> None:
    raw = SIGNED.build()
    checksum, entry = 0x80 + 24 + 64, 0x80 + 24 + 112 + 32
    kept = raw[:checksum] + raw[checksum + 4 : entry] + raw[entry + 8 : -len(SIGNED.certificates)]
    assert digest(raw) == hashlib.sha256(kept).hexdigest()


@pytest.mark.parametrize(
    "image", [Image(), SIGNED, Image(magic=0x10B), Image(directories=4), Image(sections=())]
)
def test_both_sides_agree(image: Image) -> None:
    banks = ["sha1", "sha256", "sha384"]
    assert digests(image.build(), banks) == image_digests(image.build(), banks)


def test_signing_and_the_checksum_do_not_change_it() -> None:
    unsigned = replace(SIGNED, certificates=b"", checksum=0)
    assert digest(unsigned.build()) == digest(SIGNED.build())


@pytest.mark.parametrize("offset", [0x85, 0x80 + 24 + 70, 511, 520, 512 + 64 + 64 + 5])
def test_every_other_byte_changes_it(offset: int) -> None:
    raw = bytearray(SIGNED.build())
    raw[offset] ^= 1
    assert digest(bytes(raw)) != digest(SIGNED.build())


BROKEN = {
    "empty": b"",
    "no MZ": b"ZM" + Image().build()[2:],
    "no PE": Image().build().replace(b"PE\0\0", b"PE\0\1"),
    "magic": replace(Image(), magic=0x107).build(),
    "cut in the headers": Image().build()[:300],
    "cut in a section": Image().build()[:-1],
    "certificates before the end": SIGNED.build() + b"more",
    "certificates over sections": replace(SIGNED, certificates=b"c" * 600, certificate_start=0).build(),
    "headers end before the section table": replace(Image(), headers=400).build(),
    "headers longer than the file": replace(Image(), sections=(), headers=512).build()[:500],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_refused_by_both_sides(name: str) -> None:
    with pytest.raises(ImageError, match="PE image: byte") as caught:
        digests(BROKEN[name], ["sha256"])
    assert caught.value.code == "pe-image"
    with pytest.raises(AttestInputError):
        image_digests(BROKEN[name], ["sha256"])


def test_overlapping_sections_are_refused() -> None:
    raw = bytearray(Image().build())
    second = 0x80 + 24 + 240 + 40 + 20
    raw[second : second + 4] = (512 + 32).to_bytes(4, "little")
    for side in (digests, image_digests):
        with pytest.raises(AttestInputError, match="overlap"):
            side(bytes(raw), ["sha256"])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 600), st.integers(0, 255)),
        max_size=6,
    ),
    st.integers(0, 700),
)
@example([], 700)
def test_an_altered_image_gives_a_digest_or_an_input_error_alike(
    edits: list[tuple[int, int]], size: int
) -> None:
    raw = bytearray(SIGNED.build())
    for offset, value in edits:
        raw[offset] = value
    outcomes: list[dict[str, bytes] | None] = []
    for side in (digests, image_digests):
        try:
            outcomes.append(side(bytes(raw[:size]), ["sha256"]))
        except AttestInputError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]
