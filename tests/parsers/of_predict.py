"""What predictions of whole scripts and unified images, and comparisons of registers, read from outside."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final

from attest.predict import document, pcrread, pe, prediction, unified
from attest.predict.script import Source
from shype import registers
from tests.attest.predict.build import CONFIG, RECORDING, SIGNED, reader
from tests.attest.predict.build import unified as unified_image
from tests.parsers.parser import Parser, good, replaced

_PATH: Final = "EFI/BOOT/BOOTX64.EFI"
_PRINTED: Final = b"  sha256:\n    0 : 0x%s\n    10: 0x%s\n" % (b"AB" * 32, b"00" * 32)


@cache
def _document() -> bytes:
    found = prediction.predict(CONFIG, reader(), ("sha256",), recording=RECORDING, loader=_PATH)
    return json.dumps(document.document("rack7", ("sha256",), found)).encode()


def _side(name: str, raw: bytes) -> object:
    with replaced(name, raw) as desk:
        return registers.load(str(desk / name), Path(desk / "boot"))


PARSERS: Final = (
    Parser("attest.predict.document:decode", lambda: [_document()], document.decode),
    Parser("attest.predict.pcrread:decode", lambda: [_PRINTED], pcrread.decode),
    Parser("attest.predict.pe:layout", lambda: [SIGNED.build(), unified_image()], pe.layout),
    Parser(
        "attest.predict.prediction:predict_unified",
        lambda: [unified_image()],
        lambda raw: prediction.predict_unified(raw, _PATH, ("sha256",), RECORDING),
        "image",
    ),
    Parser(
        "attest.predict.prediction:predict_unified",
        lambda: [RECORDING],
        lambda raw: prediction.predict_unified(unified_image(), _PATH, ("sha256",), raw),
        "recording",
    ),
    Parser("attest.predict.script:Source.of", lambda: [CONFIG], Source.of),
    Parser(
        "attest.predict.unified:ignores_load_options",
        lambda: [unified_image()],
        unified.ignores_load_options,
    ),
    Parser("attest.predict.unified:other_entries", lambda: [unified_image()], unified.other_entries),
    Parser("attest.predict.unified:read", lambda: [unified_image()], unified.read),
    *(
        Parser(
            "shype.registers:load",
            lambda name=name: [good(name)],  # type: ignore[misc]
            lambda raw, name=name: _side(name, raw),  # type: ignore[misc]
            name,
            files=True,
        )
        for name in ("rack7.yaml", "reference.json", "evidence.json")
    ),
)

NOT_PARSERS: Final = {
    "shype.machine:*": "takes a folder; what its files can hold is tried in tests/shype/test_doctor.py",
    "attest.predict.flask:loaded_policy": "hashes files of any kind",
    "attest.predict.prediction:with_firmware_values": "values that attest.predict.pcrread:decode has read",
    "attest.predict.pe:number": "reads at an offset that attest.predict.pe:layout has checked",
}
