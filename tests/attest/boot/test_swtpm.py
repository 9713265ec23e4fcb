"""A boot extended into a real TPM: tpm2-tools read what was predicted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from attest.boot.multiboot2 import boot
from attest.predict.prediction import predict
from tests.attest.predict.build import CONFIG, RECORDING, reader

pytestmark = [pytest.mark.host, pytest.mark.tools]

BANKS = ("sha1", "sha256", "sha384")


def read_pcrs(socket: Path) -> dict[str, dict[int, bytes]]:
    """PCR 0-9 of each bank, by tpm2_pcrread."""
    selection = "+".join(f"{bank}:0,1,2,3,4,5,6,7,8,9" for bank in BANKS)
    tcti = f"cmd:{sys.executable} -m vtpm.relay {socket}"
    done = subprocess.run(
        ["tpm2_pcrread", "-T", tcti, selection], capture_output=True, text=True, check=True, timeout=60
    )
    found: dict[str, dict[int, bytes]] = {}
    values: dict[int, bytes] = {}
    for line in done.stdout.splitlines():
        if bank := re.fullmatch(r"\s*(sha\d+):", line):
            values = found.setdefault(bank[1], {})
        elif value := re.fullmatch(r"\s*(\d+)\s*: 0x([0-9A-F]+)", line):
            values[int(value[1])] = bytes.fromhex(value[2])
    return found


def test_tpm2_pcrread_shows_the_predicted_values(short_tmp: Path) -> None:
    from vtpm.relay import Relay
    from vtpm.swtpm import State, Swtpm
    from vtpm.tpm import Tpm
    from vtpm.tpm2.constants import Alg

    expected = predict(CONFIG, reader(), BANKS, recording=RECORDING, loader="EFI/BOOT/BOOTX64.EFI").pcrs
    measured = boot(RECORDING, reader(), BANKS).measurements
    with Swtpm.start(short_tmp / "state", state=State.NEW, keys=None) as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        for event in measured:
            tpm.pcr_extend(event.pcr, {Alg.from_name(bank): value for bank, value in event.digests.items()})
        with Relay(swtpm.channel, short_tmp / "relay" / "tpm"):
            found = read_pcrs(short_tmp / "relay" / "tpm")
    assert found == expected
