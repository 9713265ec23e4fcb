"""Fixtures of the lab: the parts, built once; and a summary of boots, guests, registers and stories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.lab import parts as lab_parts
from tests.lab import variants
from tests.lab.live import LiveHost, Timings
from tests.lab.machine import Tpm
from tests.lab.parts import Parts
from tests.lab.userland import REPOSITORY
from tests.lab.variants import PCRS, Reference, Variant

SUMMARY: Final = REPOSITORY / "build" / "lab-summary.txt"


@dataclass(slots=True)
class Report:
    """What the summary tells."""

    boots: dict[str, Timings] = field(default_factory=dict)
    registers: dict[str, bool] = field(default_factory=dict)
    stories: list[tuple[str, str, str]] = field(default_factory=list)
    flask: bool | None = None

    def lines(self) -> Iterator[str]:
        """Yield the summary."""
        if self.flask is False:
            yield "WITHOUT FLASK: the source of Xen could not be had; its stories were not told."
        yield f"{'boot':<28}{'dom0 answers':>14}{'agent listens':>15}   PCR 0-9 predicted"
        for name, timings in self.boots.items():
            agent = f"{timings.agent:.1f} s" if timings.agent else "-"
            equal = {True: "equal", False: "DIFFER, as they must", None: "-"}[self.registers.get(name)]
            yield f"{name:<28}{timings.dom0:>12.1f} s{agent:>15}   {equal}"
        for name, timings in self.boots.items():
            for guest, seconds in timings.guests.items():
                yield f"guest {guest} on {name} started in {seconds:.1f} s"
        yield ""
        for outcome, name, why in self.stories:
            yield f"  {outcome}  {name}" + (f": {why}" if why else "")


REPORT: Final = Report()


@pytest.fixture(scope="session")
def parts() -> Parts:
    """All that a good host boots from; a lab that cannot be built says which part failed."""
    built = lab_parts.build()
    REPORT.flask = built.hypervisor.flask
    return built


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for this run's boots."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="session")
def tpm(work: Path) -> Tpm:
    """The host's TPM: it stays the same over all boots."""
    return Tpm.manufacture(work / "tpm")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A boot folder and the reference values that were predicted from it before any boot."""

    variant: Variant
    folder: Path
    reference: Reference


class Shelf:
    """Good boots, each prepared when it is first asked for, and always before it is booted."""

    def __init__(self, parts: Parts, work: Path) -> None:
        self._parts = parts
        self._work = work
        self._ready: dict[str, Prepared] = {}

    def __getitem__(self, name: str) -> Prepared:
        """Return a boot; skips the test where it needs FLASK and there is none."""
        variant = next(each for each in variants.VARIANTS if each.name == name)
        if variant.flask and not self._parts.hypervisor.flask:
            pytest.skip("no source of Xen could be had: the hypervisor is Debian's, without FLASK")
        if name not in self._ready:
            folder = variants.boot_folder(variant, self._parts, self._work / f"{name}-boot")
            reference = variants.predict(variant, self._parts, folder, self._work / f"{name}-reference")
            self._ready[name] = Prepared(variant, folder, reference)
        return self._ready[name]


@pytest.fixture(scope="session")
def prepared(parts: Parts, work: Path) -> Shelf:
    """The good boots with their predictions."""
    return Shelf(parts, work)


def note_boot(name: str, host: LiveHost, predicted: Mapping[int, str]) -> dict[int, str]:
    """Take a boot into the summary; return the registers that dom0 reads."""
    read = host.registers()
    REPORT.boots[name] = host.timings
    REPORT.registers[name] = all(predicted[pcr] == read[pcr] for pcr in PCRS)
    return read


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep how each story ended."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if "tests/lab" in report.nodeid and (report.when == "call" or not report.passed):
        outcome = {"passed": "✓", "failed": "✗", "skipped": "-"}[report.outcome]
        why = str(call.excinfo.value).splitlines()[0][:200] if call.excinfo and not report.passed else ""
        REPORT.stories.append((outcome, item.name.removeprefix("test_").replace("_", " "), why))
    return report  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the summary, and keep it in build/."""
    if not REPORT.boots:
        return
    text = "\n".join(REPORT.lines())
    SUMMARY.parent.mkdir(exist_ok=True)
    SUMMARY.write_text(text + "\n")
    terminalreporter.section("the lab")
    terminalreporter.write_line(text)
