"""Xen's build id from its image, on both sides."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.boot import xen
from attest.predict import xen_image
from tests.attest.predict.build import Image, code_view, unified
from tests.attest.predict.build import xen_image as build

ID = bytes(range(20))


@pytest.mark.parametrize("packed", [True, False])
def test_the_build_id_is_found(packed: bool) -> None:  # noqa: FBT001 - a parametrised case
    assert xen_image.build_id(build(ID, packed=packed)) == ID.hex() == xen.build_id(build(ID, packed=packed))


def test_the_build_id_of_an_efi_image_is_in_its_code_view_record() -> None:
    assert xen_image.build_id(unified()) == bytes(range(16)).hex()


@pytest.mark.parametrize(
    "record",
    [
        b"",
        code_view()[:40],
        code_view().replace(b"RSDS", b"NB10"),
        code_view().replace(b"\x1c\x10", b"\x1d\x10"),
    ],
)
def test_an_efi_image_with_another_record_has_no_build_id(record: bytes) -> None:
    assert xen_image.build_id(Image(sections=(record,), names=(b".buildid",)).build()) is None


@pytest.mark.parametrize(
    "image",
    [b"", b"\x7fELF", b"kernel", build(b""), build(packed=False)[:140], gzip.compress(b"x"), b"\x1f\x8bxx"],
)
def test_an_image_without_one_has_none(image: bytes) -> None:
    assert xen_image.build_id(image) is None
    assert xen.build_id(image) is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 170), st.integers(0, 255)), max_size=5))
def test_any_bytes_give_an_id_or_none(edits: list[tuple[int, int]]) -> None:
    raw = bytearray(build(packed=False).ljust(171, b"\0"))
    for offset, value in edits:
        raw[offset] = value
    for find in (xen_image.build_id, xen.build_id):
        found = find(bytes(raw))
        assert found is None or bytes.fromhex(found)
