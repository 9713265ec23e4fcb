"""The meter's key lives in the host's TPM, under what booted: one register more, and it signs no more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metering.key import METER_PCRS
from metering.log import read_leaves
from tests.shype.processes import Booted
from vtpm.errors import PolicyError
from vtpm.tpm2.constants import Alg

if TYPE_CHECKING:
    from tests.shype.outcome import Shype

pytestmark = pytest.mark.host

EXTENDED = "5a" * 32


@pytest.fixture
def host(machine: Path, boot_files: Path, repository: Path) -> Iterator[Any]:
    """A booted host with a policy, whose log is signed up to now."""
    from shype.host.embedded import EmbeddedHost
    from shype.host.usage import Workload

    with EmbeddedHost(machine, boot_files) as booted:
        booted.load_policy((repository / "configs/policies/datacenter.yaml").read_bytes())
        booted.run(60, Workload())
        booted.checkpoint()
        booted.run(60, Workload())
        yield booted


def files(host_folder: Path) -> dict[str, bytes]:
    usage = host_folder / "usage"
    return {name: (usage / name).read_bytes() for name in ("leaves", "checkpoint", "meter-key.json")}


def records(host_folder: Path) -> list[bytes]:
    return list(read_leaves(host_folder / "usage"))


@pytest.mark.parametrize("pcr", METER_PCRS)
def test_a_register_extended_after_boot_ends_the_key(host: Any, pcr: int) -> None:
    before = files(host.folder)
    host.tpm.extend(pcr, {Alg.SHA256: bytes.fromhex(EXTENDED)})
    with pytest.raises(PolicyError):
        host.checkpoint()
    assert files(host.folder) == before
    with pytest.raises(PolicyError):  # and it stays so
        host.checkpoint()
    assert files(host.folder) == before


@pytest.mark.parametrize("pcr", [10, 12, 13, 16])
def test_registers_that_change_while_a_host_works_do_not(host: Any, pcr: int) -> None:
    before = files(host.folder)
    host.tpm.extend(pcr, {Alg.SHA256: bytes.fromhex(EXTENDED)})
    assert host.checkpoint() == files(host.folder)["checkpoint"] != before["checkpoint"]


def test_a_tpm_without_that_extension_signs_again_after_a_reboot(host: Any, boot_files: Path) -> None:
    from shype.host.embedded import EmbeddedHost

    host.tpm.extend(0, {Alg.SHA256: bytes.fromhex(EXTENDED)})
    with pytest.raises(PolicyError):
        host.checkpoint()
    before, note = records(host.folder), files(host.folder)["checkpoint"]
    host.__exit__(None, None, None)
    with EmbeddedHost(host.folder, boot_files) as again:
        again.checkpoint()
    after = records(host.folder)
    assert after[: len(before)] == before
    assert len(after) > len(before)
    assert files(host.folder)["checkpoint"] != note


@pytest.mark.tools
def test_the_command_says_so_in_one_line(
    machine: Path, boot_files: Path, repository: Path, shype_command: Shype
) -> None:
    """The register is extended by tpm2_pcrextend, which knows nothing of us."""
    policy = repository / "configs/policies/datacenter.yaml"
    with Booted.start(machine, boot_files):
        assert shype_command("policy", "load", policy, "--host", machine).exit == 0
        assert shype_command("domain", "run", 60, "--host", machine).exit == 0
        assert shype_command("meter", "sign", "--host", machine).exit == 0
        assert shype_command("domain", "run", 60, "--host", machine).exit == 0
        before = files(machine)
        relay = f"cmd:{sys.executable} -m vtpm.relay {machine}/tpm.sock"
        subprocess.run(
            ["tpm2_pcrextend", f"9:sha256={EXTENDED}"],
            env={**os.environ, "TPM2TOOLS_TCTI": relay},
            check=True,
            capture_output=True,
        )
        outcome = shype_command("meter", "sign", "--host", machine)
        assert (outcome.exit, outcome.out) == (3, "")
        assert outcome.err.startswith("shype meter: ")
        assert "policy check failed" in outcome.err
        assert outcome.err.count("\n") == 1
        refused = shype_command("meter", "sign", "--host", machine, "--json")
        assert (refused.exit, refused.document["error"]["code"]) == (3, "policy")
        assert files(machine) == before
        assert shype_command("host", "status", machine).exit == 0, "the host lives on"
