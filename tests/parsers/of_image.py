"""What the making of a unified image reads from outside."""

from __future__ import annotations

from typing import Final

from attest.image import append, description, headers
from tests.attest.image.test_description import GOOD, OWN
from tests.attest.image.xenefi import XenEfi
from tests.attest.predict.build import XEN_CFG
from tests.parsers.parser import Parser

_PARTS: Final = (append.Part("config", XEN_CFG), append.Part("kernel", b"kernel"))


PARSERS: Final = (
    Parser("attest.image.append:append", lambda: [XenEfi().build()], lambda raw: append.append(raw, _PARTS)),
    Parser("attest.image.description:load", lambda: [GOOD.encode(), OWN.encode()], description.load),
    Parser("attest.image.headers:headers", lambda: [XenEfi().build()], headers.headers),
)

NOT_PARSERS: Final = {
    "attest.image.append:checksum": "adds up bytes of any kind",
}
