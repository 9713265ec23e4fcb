"""A guarded operation with a warm cache, beside the same monitor that asks no policy at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from acm import policyfile
from acm.decision import Code, Decision, Reason, permit
from acm.engine import Operation, Request
from acm.policy import Policy
from hypervisor import hostconfig
from hypervisor.audit import AuditTrail
from hypervisor.domctl import CreateDomain, UnpauseDomain
from hypervisor.evtchn import AllocUnbound, BindInterdomain, ClosePort
from hypervisor.gnttab import EndAccess, GrantAccess, MapGrant, UnmapGrant
from hypervisor.guest import Guest
from hypervisor.host import XenHost
from hypervisor.memory import MachineMemory
from hypervisor.monitor import ReferenceMonitor
from hypervisor.policy import AcmEngine
from hypervisor.state import DOM0, GrantKind, HostState
from tests.bench.measure import NS, Pair, Side, Size
from tests.simulators.host import POLICY, REPOSITORY

ROUNDS: Final = 200
QUESTIONS: Final = 10_000
PERMIT: Final = permit(Reason(Code.NOT_MEDIATED, "no policy"))


class Unguarded(ReferenceMonitor):
    """Permits every question without looking anything up."""

    def decide(self, request: Request) -> Decision:
        del request
        return PERMIT


@contextmanager
def channel(folder: Path, size: Size) -> Iterator[Pair]:
    """Bind an event channel between two guests, and close it."""
    del folder
    yield _pair(_channel, operations=4, size=size)


@contextmanager
def grant(folder: Path, size: Size) -> Iterator[Pair]:
    """Offer a page, map it, unmap it, take the offer back."""
    del folder
    yield _pair(_grant, operations=4, size=size)


def _channel(monitor: ReferenceMonitor) -> None:
    port = monitor.invoke(AllocUnbound(1, 2))
    bound = monitor.invoke(BindInterdomain(2, 1, port))
    monitor.invoke(ClosePort(2, bound))
    monitor.invoke(ClosePort(1, port))


def _grant(monitor: ReferenceMonitor) -> None:
    ref = monitor.invoke(GrantAccess(1, 2, 0, GrantKind.READ))
    handle = monitor.invoke(MapGrant(2, 1, ref, writable=False))
    monitor.invoke(UnmapGrant(2, handle))
    monitor.invoke(EndAccess(1, ref))


@contextmanager
def data_path(folder: Path, size: Size) -> Iterator[Pair]:
    """Signal a bound channel and read a mapped page: no policy is asked, on either side."""
    del folder
    rounds = 2 if size is Size.SMALL else ROUNDS
    (guarded, use), (_, unguarded) = (_bound(kind, rounds) for kind in (ReferenceMonitor, Unguarded))
    before = guarded.cache_counts
    use()
    yield Pair(
        Side("guarded, a signal and a page read", use, count=rounds),
        Side("the same monitor without any question", unguarded, count=rounds),
        {"questions asked": float(guarded.cache_counts != before)},
    )


def _bound(kind: type[ReferenceMonitor], rounds: int) -> tuple[ReferenceMonitor, Callable[[], None]]:
    """Return a monitor of two guests between which a channel and a page are bound, and their use."""
    policy, memory = policyfile.load(POLICY), MachineMemory()
    monitor = kind(_two_guests(policy), AcmEngine(policy), memory, AuditTrail(), time.time_ns)
    bound = monitor.invoke(BindInterdomain(2, 1, monitor.invoke(AllocUnbound(1, 2))))
    ref = monitor.invoke(GrantAccess(1, 2, 0, GrantKind.READ))
    handle = monitor.invoke(MapGrant(2, 1, ref, writable=False))
    reader = Guest(monitor, memory, 2)
    return monitor, lambda: _use(monitor, reader, bound, handle, rounds)


def _use(monitor: ReferenceMonitor, reader: Guest, bound: int, handle: int, rounds: int) -> None:
    for _ in range(rounds):
        monitor.send(2, bound)
        reader.read_mapped(handle, 0, 64)


def _pair(act: Callable[[ReferenceMonitor], None], *, operations: int, size: Size) -> Pair:
    policy = policyfile.load(POLICY)
    state, rounds = _two_guests(policy), 2 if size is Size.SMALL else ROUNDS
    guarded, unguarded = (
        kind(state, AcmEngine(policy), MachineMemory(), AuditTrail(), time.time_ns)
        for kind in (ReferenceMonitor, Unguarded)
    )

    def repeat(monitor: ReferenceMonitor) -> Callable[[], None]:
        def run() -> None:
            for _ in range(rounds):
                act(monitor)

        return run

    questions = 10 if size is Size.SMALL else QUESTIONS
    return Pair(
        Side(f"guarded, {rounds} times {operations} hypercalls", repeat(guarded)),
        Side("the same without any question", repeat(unguarded)),
        {
            "hypercalls": float(rounds * operations),
            "ns of a cached decision": _nanoseconds(guarded.decide, questions),
            "ns of a decision by the engine": _nanoseconds(AcmEngine(policy).decide, questions),
        },
    )


def _nanoseconds(decide: Callable[[Request], Decision], times: int) -> float:
    request = Request(Operation.SHARE, "cola-web", "cola-db")
    assert decide(request).permitted
    begun = time.process_time()
    for _ in range(times):
        decide(request)
    return (time.process_time() - begun) / times * NS


def _two_guests(policy: Policy) -> HostState:
    description = (REPOSITORY / "configs" / "hosts" / "embedded.yaml").read_bytes()
    host = XenHost(hostconfig.parse(description), policy)
    for number, label in enumerate(("cola-web", "cola-db"), 1):
        call = CreateDomain(
            caller=DOM0,
            uuid=f"00000000-0000-4000-8000-{number:012x}",
            name=label,
            label=label,
            memory_mib=1,
            vcpus=1,
            weight=256,
            cap=0,
        )
        host.invoke(UnpauseDomain(DOM0, host.invoke(call)))
    return host.state
