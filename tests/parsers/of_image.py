"""What the making of a unified image reads from outside, and the looking at one."""

from __future__ import annotations

from typing import Final

from attest.image import append, description, headers
from shype import images
from tests.attest.image.xenefi import XenEfi
from tests.attest.predict.build import RECORDING, XEN_CFG
from tests.attest.predict.build import unified as unified_image
from tests.parsers.parser import Parser, good, replaced

_PARTS: Final = (append.Part("config", XEN_CFG), append.Part("kernel", b"kernel"))


def _built(name: str, raw: bytes) -> object:
    with replaced(name, raw) as desk:
        return images.build(str(desk / ("own.yaml" if name == "boot/xen.cfg" else "host.yaml")), None)


PARSERS: Final = (
    Parser("attest.image.append:append", lambda: [XenEfi().build()], lambda raw: append.append(raw, _PARTS)),
    Parser("attest.image.description:load", lambda: [good("host.yaml"), good("own.yaml")], description.load),
    Parser("attest.image.headers:headers", lambda: [XenEfi().build()], headers.headers),
    Parser(
        "shype.images:look",
        lambda: [unified_image(), good("unified.efi")],
        lambda raw: images.look(raw, RECORDING),
        "image",
    ),
    Parser(
        "shype.images:look", lambda: [RECORDING], lambda raw: images.look(unified_image(), raw), "recording"
    ),
    *(
        Parser(
            "shype.images:build",
            lambda name=name: [good(name)],  # type: ignore[misc]
            lambda raw, name=name: _built(name, raw),  # type: ignore[misc]
            name,
            files=True,
        )
        for name in ("host.yaml", "boot/xen.efi", "boot/xen.cfg", "ovmf.bin")
    ),
)

NOT_PARSERS: Final = {
    "attest.image.append:checksum": "adds up bytes of any kind",
}
