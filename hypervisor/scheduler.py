"""A credit scheduler: weight and cap over physical CPUs, in integer nanoseconds of system time.

After Xen's credit scheduler. Every accounting period each domain with work gets credit in proportion to its
weight; it burns credit by running, charged by exact time stamps; domains with credit run before those
without.
A cap bounds what a domain runs in a period; out of budget, its vCPUs are parked, which counts as offline.

The books balance. For each vCPU running + runnable + blocked + offline is the system time
since it was added, as Xen's public header promises of runstates; for each physical CPU, busy + idle is the
system time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hypervisor.errors import BadStateError, NoSuchObjectError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PERIOD_NS: Final = 30_000_000
"""Accounting period, as CSCHED_DEFAULT_TSLICE_MS."""
SLICE_NS: Final = 10_000_000
"""Longest time that a vCPU runs while another one waits."""
MAX_WORK_NS: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Party:
    """A domain as the scheduler sees it; ``key`` is its UUID, since domain identifiers come again."""

    key: str
    vcpus: int
    weight: int
    cap: int
    paused: bool


@dataclass(frozen=True, slots=True)
class Runstate:
    """Nanoseconds that a vCPU has spent in each state of Xen's ``vcpu_runstate_info``."""

    running: int = 0
    runnable: int = 0
    blocked: int = 0
    offline: int = 0


@dataclass(slots=True)
class _Vcpu:
    work: int = 0
    running: int = 0
    runnable: int = 0
    blocked: int = 0
    offline: int = 0
    queued: int = 0


@dataclass(slots=True)
class _Account:
    party: Party
    vcpus: list[_Vcpu]
    credit: int = 0
    spent: int = 0
    ran: bool = False


@dataclass(slots=True)
class _Step:
    """Who runs where until the next event."""

    chosen: list[tuple[_Account, _Vcpu]] = field(default_factory=list)
    length: int = 0


class CreditScheduler:
    """Runs vCPUs that have work on ``pcpus`` physical CPUs; time passes only in :meth:`run`."""

    def __init__(self, pcpus: int) -> None:
        self.now = 0
        self.retired_ns = 0
        self._idle = [0] * pcpus
        self._accounts: dict[str, _Account] = {}
        self._period_left = 0
        self._ticket = 0

    @property
    def idle_ns(self) -> tuple[int, ...]:
        """Idle time of each physical CPU."""
        return tuple(self._idle)

    def sync(self, parties: Iterable[Party]) -> None:
        """Take over which domains exist, and how; a domain that is gone leaves its time in ``retired_ns``."""
        wanted = {party.key: party for party in parties}
        for key in self._accounts.keys() - wanted.keys():
            self.retired_ns += sum(vcpu.running for vcpu in self._accounts.pop(key).vcpus)
        for key, party in wanted.items():
            account = self._accounts.get(key)
            if account is None:
                vcpus = [_Vcpu() for _ in range(party.vcpus)]
                self._accounts[key] = _Account(party, vcpus)
            else:
                account.party = party

    def add_work(self, key: str, vcpu: int, work_ns: int) -> None:
        """Give a vCPU ``work_ns`` more to do; raises NoSuchObjectError, BadStateError."""
        account = self._account(key)
        if not 0 <= vcpu < len(account.vcpus):
            raise NoSuchObjectError("no-vcpu", f"the domain has vCPUs 0-{len(account.vcpus) - 1}, not {vcpu}")
        if not 0 <= work_ns < MAX_WORK_NS:
            raise BadStateError("bad-number", f"work must be 0-{MAX_WORK_NS - 1} ns")
        account.vcpus[vcpu].work += work_ns

    def runstates(self, key: str) -> tuple[Runstate, ...]:
        """Return the runstate of each vCPU of a domain; raises NoSuchObjectError."""
        return tuple(
            Runstate(vcpu.running, vcpu.runnable, vcpu.blocked, vcpu.offline)
            for vcpu in self._account(key).vcpus
        )

    def run(self, duration_ns: int) -> None:
        """Let ``duration_ns`` of system time pass."""
        if duration_ns < 0:
            raise BadStateError("bad-number", "time does not run backwards")
        end = self.now + duration_ns
        while self.now < end:
            if not self._period_left:
                self._hand_out_credit()
                self._period_left = PERIOD_NS
            step = self._next_step(end - self.now)
            self._advance(step)

    def _next_step(self, left: int) -> _Step:
        ready = [
            (account, vcpu)
            for account in self._accounts.values()
            for vcpu in account.vcpus
            if vcpu.work and not account.party.paused and self._budget(account) > 0
        ]
        if not ready and not self._parked():
            return _Step(length=left)
        ready.sort(key=lambda pair: (pair[0].credit <= 0, pair[1].queued))
        chosen = self._within_caps(ready)
        return _Step(chosen, self._length(chosen, contended=len(ready) > len(chosen), left=left))

    def _within_caps(self, ready: Sequence[tuple[_Account, _Vcpu]]) -> list[tuple[_Account, _Vcpu]]:
        """Choose one vCPU a physical CPU; a capped domain gets no more vCPUs than it has nanoseconds left."""
        chosen: list[tuple[_Account, _Vcpu]] = []
        using: dict[str, int] = {}
        for account, vcpu in ready:
            used = using.get(account.party.key, 0)
            if len(chosen) < len(self._idle) and used < self._budget(account):
                using[account.party.key] = used + 1
                chosen.append((account, vcpu))
        return chosen

    def _length(self, chosen: Sequence[tuple[_Account, _Vcpu]], *, contended: bool, left: int) -> int:
        """Return the time until anything about the choice can change; at least 1 ns."""
        length = min(left, self._period_left)
        beside: dict[str, int] = {}
        for account, _ in chosen:
            beside[account.party.key] = beside.get(account.party.key, 0) + 1
        for account, vcpu in chosen:
            count = beside[account.party.key]
            length = min(length, vcpu.work, max(1, self._budget(account) // count))
            if contended:
                length = min(length, SLICE_NS)
                if account.credit > 0:
                    length = min(length, max(1, account.credit // count))
        return length

    def _advance(self, step: _Step) -> None:
        length = step.length
        self.now += length
        running = {id(vcpu) for _, vcpu in step.chosen}
        for account in self._accounts.values():
            for vcpu in account.vcpus:
                if id(vcpu) not in running:
                    self._wait(account, vcpu, length)
        for account, vcpu in step.chosen:
            self._charge(account, vcpu, length)
        for pcpu in range(len(step.chosen), len(self._idle)):
            self._idle[pcpu] += length
        self._period_left = max(0, self._period_left - length)

    def _wait(self, account: _Account, vcpu: _Vcpu, length: int) -> None:
        if not vcpu.work:
            vcpu.blocked += length
        elif account.party.paused or self._budget(account) <= 0:
            vcpu.offline += length
        else:
            vcpu.runnable += length

    def _charge(self, account: _Account, vcpu: _Vcpu, length: int) -> None:
        self._ticket += 1
        vcpu.queued = self._ticket
        vcpu.running += length
        vcpu.work -= length
        account.credit -= length
        account.spent += length
        account.ran = True

    def _hand_out_credit(self) -> None:
        active = []
        for account in self._accounts.values():
            if account.ran or any(vcpu.work for vcpu in account.vcpus):
                active.append(account)
            else:
                account.credit = 0
            account.spent = 0
            account.ran = False
        total = PERIOD_NS * len(self._idle)
        weights = sum(account.party.weight for account in active)
        for account in active:
            # Bounded both ways: idling saves up one period at most, and no debt outlives a period.
            credit = account.credit + total * account.party.weight // weights
            account.credit = max(-PERIOD_NS, min(credit, total))

    def _parked(self) -> bool:
        return any(
            self._budget(account) <= 0
            and not account.party.paused
            and any(vcpu.work for vcpu in account.vcpus)
            for account in self._accounts.values()
        )

    def _budget(self, account: _Account) -> int:
        """Return what the cap leaves the domain in this period."""
        if not account.party.cap:
            return MAX_WORK_NS
        return PERIOD_NS * account.party.cap // 100 - account.spent

    def _account(self, key: str) -> _Account:
        account = self._accounts.get(key)
        if account is None:
            raise NoSuchObjectError("no-account", f"the scheduler knows no domain {key}")
        return account
