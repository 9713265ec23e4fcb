"""Everything outside of the hypervisor that a launch talks to, in one object that can fail at every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypervisor.host import XenHost
from hypervisor.launch import Launcher
from hypervisor.ports import DomainReading, LaunchMeasurement, VtpmOrder

CONFIG = b"""
name = "web"
kernel = "kernel"
ramdisk = "ramdisk"
memory = 8
disk = [ '/dev/red,raw,xvda,rw' ]
vif = [ 'vlan=1' ]
access_control = [ "policy=test,label=red" ]
"""


@dataclass
class Outside:
    """Everything that the launcher talks to: notes each step, and fails where it is told to."""

    host: XenHost
    files: dict[str, bytes]
    fail_at: str | None = None
    steps: list[str] = field(default_factory=list)
    measured: list[LaunchMeasurement] = field(default_factory=list)
    ordered: list[VtpmOrder] = field(default_factory=list)
    readings: list[DomainReading] = field(default_factory=list)
    uuids: Iterator[int] = field(default_factory=lambda: iter(range(1, 1000)))

    def _step(self, name: str) -> None:
        if name == self.fail_at:
            raise RuntimeError(f"{name} failed")
        self.steps.append(name)

    def read(self, path: str, limit: int) -> bytes:
        self._step(f"read {path}")
        assert len(self.files[path]) <= limit
        return self.files[path]

    def create(self, order: VtpmOrder) -> str:
        self._step("vtpm")
        self.ordered.append(order)
        return "b" * 64

    def destroy(self, vid: str) -> None:
        assert vid == self.ordered[-1].vid
        self._step("vtpm destroyed")

    def measure_launch(self, launch: LaunchMeasurement) -> None:
        domain = next(each for each in self.host.state.domains.values() if each.uuid == launch.uuid)
        assert not domain.started, "measured after the domain ran"
        self._step("measured")
        self.measured.append(launch)

    def measure_stop(self, launch: LaunchMeasurement) -> None:
        assert launch == self.measured[-1]
        self._step("stop measured")

    def started(self, reading: DomainReading) -> None:
        self._step("meter")
        self.readings.append(reading)

    def stopped(self, reading: DomainReading) -> None:
        self._step("meter stopped")
        self.readings.append(reading)

    def new_uuid(self) -> str:
        return f"00000000-0000-4000-8000-{next(self.uuids):012x}"

    def launcher(self) -> Launcher:
        return Launcher(self.host, files=self, measurer=self, vtpms=self, meter=self, new_uuid=self.new_uuid)


def edited(old: bytes, new: bytes) -> bytes:
    assert old in CONFIG
    return CONFIG.replace(old, new)
