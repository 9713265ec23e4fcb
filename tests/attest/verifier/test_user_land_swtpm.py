"""Dom0's user land with a real TPM: a swtpm extends PCR 10 and signs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from attest.result import Verdict
from tests.attest.ima.build import binary_of, ng, violation
from tests.simulators.host import codes
from tests.simulators.user_land import PROGRAMS, MeasuringHost

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(shutil.which("swtpm") is None, reason="swtpm is not installed"),
]


@pytest.fixture
def state(private: Path) -> Path:
    return private / "tpm"


@pytest.fixture
def host(state: Path) -> Iterator[MeasuringHost]:
    from tests.simulators.real_tpm import powered_on

    with powered_on(state) as tpm:
        yield MeasuringHost.running(tpm=tpm)


def test_a_good_user_land_is_affirmed(host: MeasuringHost) -> None:
    result = host.verify(host.evidence().encode())
    assert (result.verdict, codes(result)) == (Verdict.AFFIRMING, [])


@pytest.mark.parametrize("path", ["/usr/bin/nc", "/run/nc"])
def test_an_unknown_program(host: MeasuringHost, path: str) -> None:
    host.execute(path, b"netcat")
    result = host.verify(host.evidence().encode())
    assert (result.verdict, codes(result)) == (Verdict.CONTRAINDICATED, ["ima-not-allowed"])


def test_a_known_path_with_other_content(host: MeasuringHost) -> None:
    host.execute("/usr/sbin/xl", b"xl with a back door")
    assert codes(host.verify()) == ["ima-digest-differs"]


def test_a_violation(host: MeasuringHost) -> None:
    host.listed(violation("/usr/sbin/xl"))
    assert codes(host.verify()) == ["ima-violation"]


def test_64_the_list_without_the_program_that_was_run(host: MeasuringHost) -> None:
    host.execute("/run/nc", b"netcat")
    evidence = host.evidence()
    cut = replace(evidence, host=replace(evidence.host, ima_log=binary_of(*host.ima[:-1])))
    assert codes(host.verify(cut)) == ["ima-list-mismatch"]
    swapped = replace(
        evidence, host=replace(evidence.host, ima_log=binary_of(*host.ima[:-1], ng("/usr/sbin/xl", b"xl")))
    )
    assert codes(host.verify(swapped)) == ["ima-list-mismatch"]


def test_72_a_tail_behind_the_quote(host: MeasuringHost) -> None:
    evidence = host.evidence()
    host.execute("/run/nc", b"netcat")
    longer = replace(evidence, host=replace(evidence.host, ima_log=host.ima_log()))
    assert host.verify(longer).verdict is Verdict.AFFIRMING


def test_the_list_of_an_earlier_boot(state: Path) -> None:
    """The TPM is reset, dom0 runs something else, and the good list of before is shown."""
    from tests.simulators.real_tpm import powered_on

    with powered_on(state) as tpm:
        before = MeasuringHost.running(tpm=tpm)
        assert before.verify().verdict is Verdict.AFFIRMING
    with powered_on(state) as tpm:
        now = MeasuringHost.running({**PROGRAMS, "/run/nc": b"netcat"}, tpm=tpm)
        evidence = now.evidence()
        old = replace(evidence, host=replace(evidence.host, ima_log=before.ima_log()))
        assert codes(now.verify(old)) == ["ima-list-mismatch"]
        assert codes(now.verify(evidence)) == ["ima-not-allowed"]
