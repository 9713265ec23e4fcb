"""What the meter reads: the domains of the model host, with who pays for them and their vTPM operations."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from hypervisor.host import XenHost
from hypervisor.launch import LaunchedDomain
from hypervisor.ports import DomainReading
from hypervisor.state import DOM0
from metering.meter import Meter
from metering.register import Reading, Time
from shype.host.guests import Guests
from shype.host.tenants import Tenants

NS_PER_MS: Final = 1_000_000
NO_VTPM: Final = "0" * 32
HOST_TENANT: Final = "host"
"""Who pays for Domain-0."""


@dataclass(slots=True)
class Usage:
    """Fits the meter's ``CounterSource`` and ``Clock``.

    ``tenants`` says who pays for a domain, ``vids`` by its UUID which vTPM it has.
    """

    guests: Guests
    tenants: Tenants
    host: XenHost | None = None
    vids: dict[str, str] = field(default_factory=dict)
    wall_ms_at_boot: int = field(default_factory=lambda: time.time_ns() // NS_PER_MS)

    def now(self) -> Time:
        """Return the model's system time, and the wall clock that goes with it."""
        mono = self.host.now_ns if self.host is not None else 0
        return Time(mono_ns=mono, wall_ms=self.wall_ms_at_boot + mono // NS_PER_MS)

    def snapshot(self) -> Sequence[Reading]:
        """Return a reading of every domain, Domain-0 included."""
        if self.host is None:
            return ()
        return [self.reading(self.host.reading(domid)) for domid in self.host.state.domains]

    def reading(self, read: DomainReading) -> Reading:
        """Return a domain's counters as the meter takes them."""
        used, vid = read.counters, self.vids.get(read.uuid, NO_VTPM)
        vtpm = self.guests.vtpms.get(vid)
        return Reading(
            domain=read.uuid,
            tenant=HOST_TENANT if read.domid == DOM0 else self.tenants.of(read.name, read.label),
            vid=vid,
            label=read.label,
            pages=used.pages,
            cpu_ns=used.cpu_ns,
            unique_id=read.domid,
            net_rx=used.net_rx_bytes,
            net_tx=used.net_tx_bytes,
            blk_rd_ops=used.blk_rd_ops,
            blk_rd_bytes=used.blk_rd_bytes,
            blk_wr_ops=used.blk_wr_ops,
            blk_wr_bytes=used.blk_wr_bytes,
            vtpm_ops=vtpm.operations if vtpm is not None else 0,
        )


@dataclass(slots=True)
class LaunchMeter:
    """The hypervisor's ``Meter`` port: first and last readings go into the log at once."""

    meter: Meter
    usage: Usage
    vid_of: Callable[[str], str]

    def started(self, reading: DomainReading) -> None:
        """Take the first reading of a domain that begins to run."""
        self.usage.vids[reading.uuid] = self.vid_of(reading.uuid)
        self.meter.started(self.usage.reading(reading))

    def stopped(self, reading: DomainReading) -> None:
        """Take the last reading of a domain."""
        self.meter.stopped(self.usage.reading(reading))
        self.usage.vids.pop(reading.uuid, None)


@dataclass(frozen=True, slots=True)
class Workload:
    """What a guest of the demo does for a second: burns CPU, writes and reads its disk, talks on its VLAN."""

    cpu_share: int = 30
    """Percent of one CPU."""
    sectors: int = 8
    frame: bytes = bytes(64)

    def step(self, host: XenHost, domain: LaunchedDomain, duration_ns: int) -> None:
        """Queue the work of ``duration_ns`` for one domain."""
        host.add_work(domain.domid, duration_ns * self.cpu_share // 100)
        for disk in domain.disks:
            disk.write(0, bytes([domain.domid]) * 512 * self.sectors)
            disk.read(0, self.sectors)
        for vif in domain.vifs:
            vif.send(b"\xff" * 6, self.frame)
