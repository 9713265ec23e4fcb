"""The other ways to boot: each has the registers that were predicted before it, and is affirming."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.conftest import Shelf, note_boot
from tests.lab.live import booted, table, wait_for_agent
from tests.lab.machine import Tpm
from tests.lab.parts import Parts
from tests.lab.variants import PCRS

pytestmark = [pytest.mark.lab, pytest.mark.heavy]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("unified", marks=pytest.mark.smoke),
        pytest.param("plain", marks=pytest.mark.without_flask),
    ],
)
def test_boot(name: str, parts: Parts, work: Path, tpm: Tpm, prepared: Shelf) -> None:
    good = prepared[name]
    with booted(work / name, good.folder, parts, tpm, work / "desk") as host:
        read = note_boot(name, host, good.reference.pcrs)
        print("\n" + table(good.reference.pcrs, read))
        assert {pcr: read[pcr] for pcr in PCRS} == dict(good.reference.pcrs)
        wait_for_agent(host)
        for config in ("g1.cfg", "g2.cfg"):
            answer = host.launch(config)
            assert answer.code == 0, answer.output
        judged = host.verify(good.reference)
        assert (judged.exit, judged.verdict) == (0, "affirming"), judged.details
