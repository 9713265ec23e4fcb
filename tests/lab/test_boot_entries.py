"""Words of a boot entry (EFI load options) and the unified image: no signature and no register has them.

"open" is the image of a Xen that takes them, as Debian's does. Then the report of PCR 12 tells most of them,
and for those that it cannot tell the verdict is a warning at best. The good image takes none.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.lab import bootdisk, bootentry, ssdt
from tests.lab.bench import Bench, refused
from tests.lab.conftest import Shelf
from tests.lab.live import LiveHost
from tests.lab.machine import Machine, Tpm
from tests.lab.parts import Parts
from tests.lab.variants import LAB, PCRS

pytestmark = [pytest.mark.lab, pytest.mark.heavy]
DOM0_WORDS = "console=hvc0 ro quiet"
WRITING = f"xen -- flask=permissive -- mitigations=off efivar_ssdt={ssdt.NAME}"


@pytest.fixture(scope="module")
def bench(parts: Parts, work: Path, tpm: Tpm, prepared: Shelf) -> Bench:
    prepared["flask"]  # skips where the lab has no FLASK: all of these boots need it
    return Bench(parts, work, tpm, prepared)


@pytest.fixture(scope="module")
def symbols() -> dict[str, int]:
    """Addresses in dom0's kernel, as the first of the two stories reads them: the same at every boot."""
    return {}


def test_a_closed_image_takes_no_words_of_a_boot_entry(bench: Bench, symbols: dict[str, int]) -> None:
    """The same host as without them: Xen has ignored all of it, and there is nothing to report."""
    work = bench.work / "closed"
    work.mkdir()
    entry = bootentry.variables(work, WRITING, once=True, others={ssdt.NAME: b"SSDT"})

    def look(host: LiveHost) -> None:
        assert host.shell.check("cat /proc/cmdline").strip() == DOM0_WORDS
        assert host.shell.run("flask-getenforce").output.strip() == "Enforcing"
        assert ssdt.NAME not in host.shell.check("dmesg")
        found = host.shell.check("grep ' saved_command_line$' /proc/kallsyms")
        symbols["line"] = int(found.split()[0], 16)
        for config in ("g1.cfg", "g2.cfg"):
            assert host.launch(config).code == 0

    good = bench.prepared["unified"]
    judged, read, host = bench.judge("words-that-a-closed-image-ignores", "unified", good.folder, entry, look)
    assert "Load options ignored" in host.machine.said()
    assert {pcr: read[pcr] for pcr in PCRS} == dict(good.reference.pcrs)
    assert (judged.exit, judged.verdict) == (0, "affirming"), judged.details


def test_a_program_in_a_variable_writes_dom0_s_memory_before_the_first_act(
    bench: Bench, symbols: dict[str, int]
) -> None:
    """No report tells of it, the dom0 of an open image included: so such an image is never affirming."""
    if "line" not in symbols:
        pytest.skip("the boot that shows where the kernel's command line lies was not run")
    work = bench.work / "writing"
    work.mkdir()
    table = ssdt.forging(symbols["line"], DOM0_WORDS)
    words = WRITING.replace("flask=permissive ", "")
    entry = bootentry.variables(work, words, once=True, others={ssdt.NAME: table})

    def look(host: LiveHost) -> None:
        assert host.shell.check("cat /proc/cmdline").strip() == DOM0_WORDS, "it is not so, and nobody can see"
        assert re.search(r"Command line: .* mitigations=off", host.shell.check("dmesg"))
        for config in ("g1.cfg", "g2.cfg"):
            assert host.launch(config).code == 0

    good = bench.prepared["unified-open"]
    judged, read, _ = bench.judge("a-program-in-a-variable", "unified-open", good.folder, entry, look)
    assert {pcr: read[pcr] for pcr in PCRS} == dict(good.reference.pcrs)
    assert (judged.exit, judged.verdict) == (1, "warning"), judged.details
    assert judged.codes == {"load-options-open"}, judged.details


def test_the_unified_image_by_a_boot_entry_in_bootorder(bench: Bench) -> None:
    work = bench.work / "bootorder"
    work.mkdir()
    entry = bootentry.variables(work, "xen -- flask=permissive", once=False)
    judged, read, _ = bench.judge(
        "other-options-by-BootOrder", "unified-open", bench.prepared["unified-open"].folder, entry
    )
    refused(judged)
    assert "hypervisor-report-unlike-reference" in judged.reasons["xen"]
    assert "firmware-not-in-reference" in judged.codes
    assert read[4] == bench.prepared["unified-open"].reference.pcrs[4]


def test_the_unified_image_by_bootnext_with_registers_unchanged(bench: Bench) -> None:
    work = bench.work / "bootnext"
    work.mkdir()
    entry = bootentry.variables(work, "xen -- flask=permissive", once=True)
    judged, read, _ = bench.judge(
        "other-options-by-BootNext", "unified-open", bench.prepared["unified-open"].folder, entry
    )
    refused(judged)
    predicted = bench.prepared["unified-open"].reference.pcrs
    assert {pcr: read[pcr] for pcr in PCRS} == dict(predicted), "PCR 0-9 must not tell"
    assert judged.reasons["xen"] == {"hypervisor-report-unlike-reference"}


@pytest.mark.parametrize(
    ("story", "options"),
    [
        ("without-dom0-arguments", "xen nosuch -- {options}"),
        ("more-dom0-arguments", "xen -- -- mitigations=off"),
    ],
    ids=["taken away", "added to"],
)
def test_dom0_arguments_of_a_boot_entry_with_all_else_unchanged(
    bench: Bench, story: str, options: str
) -> None:
    """A section that is not there takes dom0's arguments away; a second ``--`` adds to them."""
    work = bench.work / story
    work.mkdir()
    own = yaml.safe_load((LAB / "unified.image.yaml").read_text())["options"]
    entry = bootentry.variables(work, options.format(options=own), once=True)
    judged, read, _ = bench.judge(
        f"{story}-booted", "unified-open", bench.prepared["unified-open"].folder, entry
    )
    refused(judged)
    predicted = bench.prepared["unified-open"].reference.pcrs
    assert {pcr: read[pcr] for pcr in PCRS} == dict(predicted), "PCR 0-9 must not tell"
    assert judged.reasons["dom0"] == {"dom0-command-line-not-in-reference"}
    # Which of the guests run by now is another matter.
    assert judged.codes - judged.reasons["dom0"] <= {"domain-missing", "load-options-open"}, judged.details


FORGING = (
    'xen -- -- rdinit=/bin/busybox -- sh -c "B=/bin/busybox; $B mount -t proc proc /proc;'
    " $B sed -i /proc.proc/d /init; $B echo console=hvc0 ro quiet >/tmp/c;"
    ' $B mount --bind /tmp/c /proc/cmdline; exec /init"'
)
"""Run before the first act, these words have it read a line of their own: such a host was affirming."""


def test_words_of_a_boot_entry_do_not_run_before_the_first_act(bench: Bench) -> None:
    """Linux lets its command line choose the first program; one can be executed, and it takes no words."""
    work = bench.work / "before-the-first-act"
    work.mkdir()
    entry = bootentry.variables(work, FORGING, once=True)
    image = bootdisk.make(bench.prepared["unified-open"].folder, work / "boot.img")
    own = Tpm.manufacture(work / "tpm")
    with Machine(work / "machine", (image, bench.parts.userland.disk), own, entry) as machine:
        machine.wait_for("Kernel panic - not syncing: No working init found")
        assert "=== LAB" not in machine.said()
