"""The credit scheduler: shares, caps, and books that balance to the nanosecond."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor.errors import BadStateError, NoSuchObjectError
from hypervisor.scheduler import PERIOD_NS, CreditScheduler, Party

SECOND = 1_000_000_000


def running(scheduler: CreditScheduler, key: str) -> int:
    return sum(state.running for state in scheduler.runstates(key))


def busy(pcpus: int, *parties: Party) -> CreditScheduler:
    scheduler = CreditScheduler(pcpus)
    scheduler.sync(parties)
    for party in parties:
        for vcpu in range(party.vcpus):
            scheduler.add_work(party.key, vcpu, 1000 * SECOND)
    return scheduler


def test_weight_divides_a_contended_cpu() -> None:
    scheduler = busy(1, Party("a", 1, 512, 0, paused=False), Party("b", 1, 256, 0, paused=False))
    scheduler.run(3 * SECOND)
    assert (running(scheduler, "a"), running(scheduler, "b")) == (2 * SECOND, SECOND)


def test_what_a_heavy_domain_cannot_use_goes_to_others() -> None:
    scheduler = busy(2, Party("heavy", 1, 65535, 0, paused=False), Party("light", 2, 1, 0, paused=False))
    scheduler.run(SECOND)
    assert (running(scheduler, "heavy"), running(scheduler, "light")) == (SECOND, SECOND)
    assert scheduler.idle_ns == (0, 0)


@pytest.mark.parametrize(("cap", "vcpus"), [(50, 1), (50, 4), (150, 4), (1, 3)])
def test_a_cap_binds_although_cpus_are_idle(cap: int, vcpus: int) -> None:
    scheduler = busy(4, Party("a", vcpus, 256, cap, paused=False))
    scheduler.run(100 * PERIOD_NS)
    assert running(scheduler, "a") == PERIOD_NS * cap
    assert sum(state.offline for state in scheduler.runstates("a")) > 0


def test_a_domain_that_sleeps_before_the_tick_steals_nothing() -> None:
    """Credit1 once charged whoever ran at the tick: up to 98 % of a CPU could be stolen."""
    scheduler = busy(1, Party("victim", 1, 256, 0, paused=False))
    parties = [Party("victim", 1, 256, 0, paused=False), Party("thief", 1, 256, 0, paused=False)]
    scheduler.sync(parties)
    for _ in range(100):
        scheduler.add_work("thief", 0, 9_900_000)
        scheduler.run(10_000_000)
    assert running(scheduler, "thief") <= 0.55 * SECOND


def test_a_paused_domain_is_offline_and_an_idle_one_blocked() -> None:
    scheduler = busy(1, Party("a", 2, 256, 0, paused=True))
    scheduler.sync([Party("a", 2, 256, 0, paused=True), Party("b", 1, 256, 0, paused=False)])
    scheduler.run(SECOND)
    assert [state.offline for state in scheduler.runstates("a")] == [SECOND, SECOND]
    assert [state.blocked for state in scheduler.runstates("b")] == [SECOND]
    assert scheduler.idle_ns == (SECOND,)


def test_the_same_run_gives_the_same_numbers() -> None:
    def run() -> list[object]:
        scheduler = busy(2, *(Party(key, 2, 100 + ord(key), 0, paused=False) for key in "abc"))
        scheduler.run(SECOND + 7)
        return [scheduler.runstates(key) for key in "abc"]

    assert run() == run()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "gone"]),
        st.integers(0, 2),
        st.integers(0, 4 * PERIOD_NS),
        st.sampled_from([1, 999, PERIOD_NS - 1, PERIOD_NS, 3 * PERIOD_NS + 17]),
        st.booleans(),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(pcpus=st.integers(1, 3), steps=STEPS, cap=st.sampled_from([0, 1, 33, 150]))
def test_the_conservation_law(pcpus: int, steps: list[tuple[str, int, int, int, bool]], cap: int) -> None:
    """Runstates add up to system time, busy and idle to the CPUs' time: exact integers, whatever happens."""
    scheduler = CreditScheduler(pcpus)
    alive = {
        "a": Party("a", 3, 256, cap, paused=False),
        "b": Party("b", 3, 1, 0, paused=False),
        "c": Party("c", 3, 999, 0, paused=False),
    }
    born = dict.fromkeys(alive, 0)
    for key, vcpu, work, duration, flag in steps:
        if key == "gone":
            alive.pop("c", None)
        else:
            alive = {
                each: Party(each, 3, party.weight, party.cap, paused=flag and each == key)
                for each, party in alive.items()
            }
        scheduler.sync(alive.values())
        if key in alive:
            scheduler.add_work(key, vcpu, work)
        scheduler.run(duration)
        used = 0
        for each in alive:
            for state in scheduler.runstates(each):
                total = state.running + state.runnable + state.blocked + state.offline
                assert total == scheduler.now - born[each]
                used += state.running
        assert used + scheduler.retired_ns + sum(scheduler.idle_ns) == pcpus * scheduler.now
        assert all(0 <= idle <= scheduler.now for idle in scheduler.idle_ns)


def test_wrong_use_is_refused() -> None:
    scheduler = busy(1, Party("a", 1, 256, 0, paused=False))
    with pytest.raises(NoSuchObjectError):
        scheduler.add_work("b", 0, 1)
    with pytest.raises(NoSuchObjectError):
        scheduler.add_work("a", 1, 1)
    with pytest.raises(BadStateError):
        scheduler.add_work("a", 0, -1)
    with pytest.raises(BadStateError):
        scheduler.run(-1)
