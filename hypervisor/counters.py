"""What a domain has used, as a meter reads it: cumulative integers, never deltas."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counters:
    """Usage since the domain was created.

    ``cpu_ns`` is running time over all vCPUs, ``runnable_ns`` the time a vCPU wanted a CPU and had none;
    ``pages`` is what the domain owns now (4096 bytes each), ``page_ns`` its integral over system time.
    Block and network figures are counted by the back ends in Domain-0.
    """

    cpu_ns: int = 0
    runnable_ns: int = 0
    pages: int = 0
    page_ns: int = 0
    blk_rd_ops: int = 0
    blk_rd_bytes: int = 0
    blk_wr_ops: int = 0
    blk_wr_bytes: int = 0
    net_rx_packets: int = 0
    net_rx_bytes: int = 0
    net_tx_packets: int = 0
    net_tx_bytes: int = 0


@dataclass(frozen=True, slots=True)
class HostCounters:
    """The books of a host: they balance, or something ran that is not listed.

    ``sum(idle_ns) + cpu_ns of all domains + retired_cpu_ns == len(idle_ns) * time_ns`` and
    ``pages == free_pages + pages of all domains``.
    """

    time_ns: int
    idle_ns: tuple[int, ...]
    retired_cpu_ns: int
    pages: int
    free_pages: int
