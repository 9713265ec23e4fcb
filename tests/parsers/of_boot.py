"""What the measured boot and its prediction read from outside."""

from __future__ import annotations

from typing import Final

from attest.boot import firmware as boot_firmware
from attest.boot import image, recording, script, xen
from attest.boot.grub import Grub
from attest.boot.multiboot2 import boot
from attest.predict import authenticode, grub, prediction, profile, reference, xen_image
from attest.predict import firmware as predict_firmware
from tests.attest.predict.build import CONFIG, FILES, RECORDING, SIGNED, reader
from tests.parsers.parser import Parser, good

_BANKS: Final = ("sha256", "sha1")


def _with_file(name: str, raw: bytes) -> None:
    prediction.predict(
        raw if name == "grub.cfg" else CONFIG,
        reader({**FILES, name: raw}),
        _BANKS,
        recording=RECORDING,
        loader="EFI/BOOT/BOOTX64.EFI",
    )


def _references(raw: bytes) -> object:
    found = prediction.predict(CONFIG, reader(), ("sha256",))
    return reference.reference_values(profile.load(good("rack7.yaml")), found, raw, (), version=1)


def build_elf() -> bytes:
    """An image of Xen that is not compressed."""
    from tests.attest.predict.build import xen_image as built

    return built(packed=False)


PARSERS: Final = (
    Parser(
        "attest.boot.firmware:firmware",
        lambda: [RECORDING],
        lambda raw: boot_firmware.firmware(raw, SIGNED.build(), _BANKS),
    ),
    Parser(
        "attest.boot.grub:Grub.run", lambda: [CONFIG], lambda raw: Grub(reader(), _BANKS).run(raw), files=True
    ),
    Parser(
        "attest.boot.image:image_digests",
        lambda: [SIGNED.build()],
        lambda raw: image.image_digests(raw, _BANKS),
    ),
    Parser(
        "attest.boot.multiboot2:boot",
        lambda: [RECORDING],
        lambda raw: boot(raw, reader(), _BANKS),
        files=True,
    ),
    Parser("attest.boot.recording:play", lambda: [RECORDING], lambda raw: recording.play(raw, _BANKS)),
    Parser(
        "attest.boot.script:Script.__init__",
        lambda: [CONFIG, b"set a='b'\n\"${a}\" $a\\\n c; true\n"],
        lambda raw: list(script.Script(raw).lines()),
    ),
    Parser("attest.boot.xen:build_id", lambda: [FILES["xen.gz"], build_elf()], xen.build_id),
    Parser(
        "attest.predict.authenticode:digests",
        lambda: [SIGNED.build()],
        lambda raw: authenticode.digests(raw, _BANKS),
    ),
    Parser(
        "attest.predict.firmware:read", lambda: [RECORDING], lambda raw: predict_firmware.read(raw, _BANKS)
    ),
    Parser(
        "attest.predict.grub:run", lambda: [CONFIG], lambda raw: grub.run(raw, reader(), _BANKS), files=True
    ),
    Parser(
        "attest.predict.prediction:predict",
        lambda: [CONFIG],
        lambda raw: _with_file("grub.cfg", raw),
        files=True,
    ),
    Parser("attest.predict.profile:load", lambda: [good("rack7.yaml")], profile.load),
    Parser("attest.predict.reference:reference_values", lambda: [FILES["xen.gz"]], _references),
    Parser("attest.predict.xen_image:build_id", lambda: [FILES["xen.gz"], build_elf()], xen_image.build_id),
)

NOT_PARSERS: Final = {
    "attest.boot.grub:Grub.__init__": "how files are read",
    "attest.boot.measured:measure": "hashes bytes of any kind",
}
