"""A new vTPM, ready: ours with label, EK certificate and attestation key, beside libvirt's swtpm_setup."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shype.host.guests import vtpm_authority
from tests.bench.measure import Pair, Side, Size
from vtpm.record import LabelRecord
from vtpm.vtpm_manager import Vtpm, VtpmManager

LIBVIRT = (
    *("--tpm2", "--createek", "--create-ek-cert", "--create-platform-cert", "--lock-nvram"),
    "--not-overwrite",
)
"""What libvirt passes (qemu_tpm.c, qemuTPMEmulatorRunSetup), apart from paths and names."""


def _record(number: int) -> LabelRecord:
    return LabelRecord(
        vid=f"{number:032x}",
        domain=f"00000000-0000-4000-8000-{number:012x}",
        label="bench",
        ste_types=("bench",),
        chwall_types=(),
        mls=None,
        policy_digest="00" * 32,
        policy_version="1.0",
        generation=1,
    )


@contextmanager
def new(folder: Path, size: Size) -> Iterator[Pair]:
    del size
    numbers = itertools.count(1)
    manager = VtpmManager(folder / "vtpm", os.urandom(32), vtpm_authority("bench"))
    config = _configuration(folder)

    def theirs() -> Path:
        number = next(numbers)
        state = folder / f"libvirt-{number}"
        state.mkdir()
        command = ("swtpm_setup", *LIBVIRT, "--tpm-state", str(state), "--vmid", f"vm{number}")
        subprocess.run(
            (*command, "--config", str(config), "--logfile", str(state / "log")),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return state

    yield Pair(
        Side(
            "VtpmManager.create: runs, labelled, EK certificate, AK",
            lambda: manager.create(_record(next(numbers))),
            Vtpm.destroy,
        ),
        Side("swtpm_setup with libvirt's options: state only, not started", theirs, shutil.rmtree),
    )


def _configuration(folder: Path) -> Path:
    """A CA of its own in the folder; the first run makes its keys, and is not timed."""
    authority = folder / "ca"
    authority.mkdir()
    (folder / "localca.options").write_text(
        "--platform-manufacturer x\n--platform-version 1\n--platform-model y\n"
    )
    (folder / "localca.conf").write_text(
        f"statedir = {authority}\nsigningkey = {authority}/signkey.pem\n"
        f"issuercert = {authority}/issuercert.pem\ncertserial = {authority}/certserial\n"
    )
    config = folder / "setup.conf"
    config.write_text(
        f"create_certs_tool = {shutil.which('swtpm_localca')}\n"
        f"create_certs_tool_config = {folder}/localca.conf\n"
        f"create_certs_tool_options = {folder}/localca.options\n"
        "active_pcr_banks = sha256\n"
    )
    return config
