"""Boots a host that is not as it should be, and has it judged by the reference values of the good one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.lab.conftest import Shelf, note_boot
from tests.lab.live import Judgement, LiveHost, booted, wait_for_agent
from tests.lab.machine import VARIABLES, Tpm
from tests.lab.parts import Parts


class Bench:
    """Boots an altered host and has it judged by the good one's reference values."""

    def __init__(self, parts: Parts, work: Path, tpm: Tpm, prepared: Shelf) -> None:
        self.parts, self.work, self.tpm, self.prepared = parts, work, tpm, prepared

    def judge(
        self,
        story: str,
        variant: str,
        folder: Path,
        variables: Path = VARIABLES,
        look: Callable[[LiveHost], None] = lambda _host: None,
    ) -> tuple[Judgement, dict[int, str], LiveHost]:
        """Return the verdict, the registers and the host, off by then; ``look`` sees it while it is up."""
        good = self.prepared[variant]
        with booted(
            self.work / story, folder, self.parts, self.tpm, self.work / "desk", variables=variables
        ) as host:
            read = note_boot(story.replace("-", " "), host, good.reference.pcrs)
            wait_for_agent(host)
            look(host)
            return host.verify(good.reference), read, host


def refused(judged: Judgement) -> None:
    assert (judged.exit, judged.verdict) == (1, "contraindicated"), judged.details
