"""The unified image on a machine with Secure Boot on, whose owner has signed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import bootdisk, firmware, variants
from tests.lab.conftest import Shelf, note_boot
from tests.lab.live import booted, table, wait_for_agent
from tests.lab.machine import Machine, Tpm
from tests.lab.parts import Parts
from tests.lab.secureboot import BOARD, Keys
from tests.lab.variants import LOADER, PCRS, UNIFIED

pytestmark = [pytest.mark.lab, pytest.mark.heavy]


@pytest.fixture(scope="module")
def keys(parts: Parts, prepared: Shelf) -> Keys:
    prepared["unified"]  # skips where the lab has no FLASK
    with parts.cache.locked():
        return Keys.of(parts.cache)


def test_a_signed_image_boots_as_predicted_and_is_affirming(
    parts: Parts, work: Path, tpm: Tpm, keys: Keys
) -> None:
    folder = variants.boot_folder(UNIFIED, parts, work / "signed-boot")
    keys.sign(folder / LOADER)
    busybox = parts.userland.tree / "bin" / "busybox"
    with parts.cache.locked():
        log = firmware.recording(
            parts.cache, parts.kernel, busybox, board=BOARD, variables=keys.variables, sign=keys.sign
        )
    good = variants.predict(UNIFIED, parts, folder, work / "signed-reference", log)
    with booted(
        work / "signed", folder, parts, tpm, work / "desk", variables=keys.variables, board=BOARD
    ) as host:
        read = note_boot("unified image, Secure Boot", host, good.pcrs)
        print("\n" + table(good.pcrs, read))
        assert {pcr: read[pcr] for pcr in PCRS} == dict(good.pcrs)
        assert "UEFI Secure Boot is enabled" in host.shell.check("dmesg")
        assert "[integrity]" in host.shell.check("cat /sys/kernel/security/lockdown")
        wait_for_agent(host)
        for config in ("g1.cfg", "g2.cfg"):
            answer = host.launch(config)
            assert answer.code == 0, answer.output
        judged = host.verify(good)
        assert (judged.exit, judged.verdict) == (0, "affirming"), judged.details


def test_an_image_without_signature_is_not_started(parts: Parts, work: Path, keys: Keys) -> None:
    folder = variants.boot_folder(UNIFIED, parts, work / "unsigned-boot")
    image = bootdisk.make(folder, work / "unsigned.img")
    own = Tpm.manufacture(work / "unsigned-tpm")
    with Machine(
        work / "unsigned", (image, parts.userland.disk), own, keys.variables, board=BOARD
    ) as machine:
        machine.wait_for("Access Denied")
        assert "Xen" not in machine.said()
