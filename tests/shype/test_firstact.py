"""The first act of Domain-0: what Xen says goes into PCR 12 first, or not at all."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attest.eventlog.read import parse
from attest.eventlog.replay import verify_replay
from attest.runtime_events import HypervisorReport, PolicyLoaded
from attest.runtime_log import RuntimeLog
from hypervisor.xen import binding
from shype import firstact
from shype.firstact import CommandLineError, NotFirstError, dom0_commandline, first_act
from tests.simulators.device import device as simulated_device
from tests.simulators.xen import FakeXen
from vtpm.rawdevice import RawDevice
from vtpm.tpm2.constants import Alg

if TYPE_CHECKING:
    from vtpm.swtpm import Swtpm

XEN = binding.Xc(FakeXen()).report()
DOM0 = "console=hvc0 ro quiet"
FOREIGN = ("cryptography", "yaml", "jwt", "tpm2_pytss", "cffi", "ctypes", "subprocess", "socket", "ssl")


@pytest.fixture
def device(swtpm: Swtpm) -> Iterator[RawDevice]:
    """A socket that takes and gives whole messages plays /dev/tpm0."""
    with simulated_device(swtpm.channel.exchange) as raw:
        yield raw


@pytest.mark.host
def test_what_xen_says_is_the_first_event_of_register_12(device: RawDevice, tmp_path: Path) -> None:
    log = tmp_path / "run" / "runtime.log"
    first_act(XEN, DOM0, device, log)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    with RuntimeLog(log, device.extend, device.read) as runtime:
        raw = runtime.cel()
    (event,) = verify_replay(parse(raw), {12: device.read(12), 13: bytes(32)}, Alg.SHA256).events
    assert event.pcr == 12
    assert HypervisorReport.decode(event.measured or b"") == HypervisorReport(
        version="4.17.5-pre",
        build_id="ab" * 20,
        commandline="console=com1 flask=enforcing",
        xsm_module="flask",
        xsm_mode="enforcing",
        flask_policy=None,
        dom0_commandline=DOM0,
    )


@pytest.mark.host
def test_the_host_goes_on_with_its_log(device: RawDevice, tmp_path: Path) -> None:
    log = tmp_path / "runtime.log"
    first_act(XEN, DOM0, device, log)
    with RuntimeLog(log, device.extend, device.read) as runtime:
        runtime.append(12, PolicyLoaded("p", "1.0", "a" * 64, "b" * 64).encode())
        events = [json.loads(event.untrusted_data)["type"] for event in runtime.events()]
    assert events == ["hypervisor", "policy"]


@pytest.mark.host
@pytest.mark.parametrize("pcr", [12, 13])
def test_whoever_measures_before_the_first_act_ends_it(pcr: int, device: RawDevice, tmp_path: Path) -> None:
    """A report of one's own in PCR 12, and the true one behind it, would be believed by its place."""
    device.extend(pcr, {Alg.SHA256: bytes(32)})
    before = device.read(12)
    with pytest.raises(NotFirstError, match=f"PCR {pcr}"):
        first_act(XEN, DOM0, device, tmp_path / "runtime.log")
    assert device.read(12) == before
    assert not (tmp_path / "runtime.log").exists()


@pytest.mark.parametrize("line", [DOM0, "", " ro ", "é", "x" * 2047])
def test_dom0_s_command_line_is_the_kernel_s_own_to_the_blank(line: str, tmp_path: Path) -> None:
    (tmp_path / "cmdline").write_text(f"{line}\n")
    assert dom0_commandline(tmp_path / "cmdline") == line


@pytest.mark.parametrize(
    "raw",
    [b"", b"ro", b"a\nb\n", b"ro\n\n", b"a\tb\n", b"\xff\n", b"\0\n", b"\x1b[2J\n", b"x" * 2048 + b"\n"],
)
def test_a_command_line_that_cannot_be_reported_ends_the_first_act(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "cmdline").write_bytes(raw)
    with pytest.raises(CommandLineError, match="cmdline"):
        dom0_commandline(tmp_path / "cmdline")


def test_this_kernel_s_command_line_is_read() -> None:
    assert f"{dom0_commandline()}\n" == Path("/proc/cmdline").read_text()


@pytest.mark.host
def test_there_is_no_second_first_act(device: RawDevice, tmp_path: Path) -> None:
    first_act(XEN, DOM0, device, tmp_path / "runtime.log")
    before = device.read(12), (tmp_path / "runtime.log").read_bytes()
    with pytest.raises(NotFirstError):
        first_act(XEN, DOM0, device, tmp_path / "runtime.log")
    assert (device.read(12), (tmp_path / "runtime.log").read_bytes()) == before


def test_its_imports_are_python_and_our_own_pure_code() -> None:
    """They all lie in the measured ramdisk: a library there would be trusted by everybody."""
    script = "import json, sys; import shype.firstact;print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-c", script],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(firstact.__file__).parents[1])},
    )
    modules = set(json.loads(done.stdout))
    roots = {name.partition(".")[0] for name in modules}
    assert modules.isdisjoint(FOREIGN)
    ours = {"acm", "attest", "hypervisor", "shype", "vtpm"}
    assert roots - ours - set(sys.stdlib_module_names) <= {"__main__"}
    assert {name for name in modules if name.partition(".")[0] in ours} == {
        "acm",
        "acm.strictjson",
        "attest",
        "attest.canonical_json",
        "attest.errors",
        "attest.eventlog",
        "attest.eventlog.cel",
        "attest.eventlog.data",
        "attest.eventlog.log",
        "attest.eventlog.replay",
        "attest.eventlog.types",
        "attest.ima",
        "attest.ima.extend",
        "attest.ima.template",
        "attest.runtime_events",
        "attest.runtime_journal",
        "attest.runtime_log",
        "hypervisor",
        "hypervisor.errors",
        "hypervisor.xen",
        "hypervisor.xen.binding",
        "hypervisor.xen.report",
        "shype",
        "shype.firstact",
        "vtpm",
        "vtpm.canonical",
        "vtpm.channel",
        "vtpm.errors",
        "vtpm.rawdevice",
        "vtpm.tpm2",
        "vtpm.tpm2.constants",
        "vtpm.tpm2.fields",
        "vtpm.tpm2.pcr_command",
        "vtpm.tpm2.pcrs",
        "vtpm.tpm2.wire",
    }


@pytest.mark.parametrize(
    ("words", "exit_code", "line"),
    [
        ([], 3, "no Xen runs under this system"),
        (["--help"], 2, "usage"),
        (["log", "tpm", "more"], 2, "usage"),
    ],
)
def test_it_ends_with_one_line(
    words: list[str], exit_code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert firstact.main(words) == exit_code
    said = capsys.readouterr()
    assert said.out == ""
    assert line in said.err
    assert said.err.count("\n") == 1
