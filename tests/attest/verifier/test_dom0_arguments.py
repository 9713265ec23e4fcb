"""A boot entry alters dom0's command line, and nothing else tells: registers and Xen's line are as expected.

``xen nosuch -- OPTIONS`` takes dom0's arguments away, ``xen -- -- WORDS`` adds to them.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from attest.reference import ReferenceValues
from attest.result import Verdict
from attest.verifier.verify import verify
from tests.attest.verifier.test_golden import golden
from tests.simulators.host import DOM0_ARGUMENTS, GOOD_BOOT, REPORT, Host, codes, nodes


def serving(dom0: str | None) -> Host:
    return Host.serving(report=replace(REPORT, dom0_commandline=dom0))


@pytest.mark.parametrize("line", ["", "ro", f"{DOM0_ARGUMENTS} rdinit=/bin/sh", f"{DOM0_ARGUMENTS} "])
def test_altered_arguments_are_told_at_dom0_alone(line: str) -> None:
    result = serving(line).verify()
    assert (result.verdict, codes(result)) == (
        Verdict.CONTRAINDICATED,
        ["dom0-command-line-not-in-reference"],
    )
    [(path, reason)] = result.reasons()
    assert path.endswith("/ dom0")
    assert reason.detail == f"dom0's kernel reports the command line {line!a}"
    assert nodes(result)["xen"] is Verdict.AFFIRMING


def test_a_report_that_does_not_say_them_is_not_good() -> None:
    result = serving(None).verify()
    assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["dom0-command-line-not-reported"])


@pytest.mark.parametrize("line", [None, "", "anything"])
def test_reference_values_that_do_not_say_them_admit_any(line: str | None) -> None:
    host = serving(line)
    reference = host.reference()
    silent = replace(reference, hypervisor=replace(reference.hypervisor, dom0_commandline=None))
    assert host.verify(reference=silent).verdict is Verdict.AFFIRMING


def test_what_the_loader_s_measurements_tell_is_not_told_twice() -> None:
    report = replace(REPORT, dom0_commandline="placeholder rw")
    result = Host.serving(boot=GOOD_BOOT.replaced(b"ro", b"rw"), report=report).verify()
    assert codes(result) == ["dom0-command-line-not-in-reference"]
    assert next(iter(result.reasons()))[1].detail.startswith("PCR 8")


@pytest.mark.parametrize("line", [None, "", DOM0_ARGUMENTS])
def test_a_golden_host_brings_its_own(line: str | None) -> None:
    host = serving(line)
    values = golden(host)
    assert values.hypervisor.dom0_commandline == line
    assert ReferenceValues.decode(values.encode()) == values
    other = serving("other")
    verdict = Verdict.AFFIRMING if line is None else Verdict.CONTRAINDICATED
    assert verify(other.evidence(), replace(other.expectation(), reference=values)).verdict is verdict
