"""A Chinese Wall that counts past runs: durable before a domain starts, and of no use when old."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acm.history import Anchor, History
from hypervisor.domctl import CreateDomain, DestroyDomain, RelabelDomain
from hypervisor.errors import AccessDenied, BadStateError
from hypervisor.history_store import FileHistoryStore
from hypervisor.host import XenHost
from hypervisor.savectl import Arrival, RestoreDomain
from hypervisor.state import DOM0

if TYPE_CHECKING:
    from acm.policy import Policy
    from hypervisor.hostconfig import HostDescription

Edited = Callable[[str, str], "Policy"]
UUIDS = iter(f"00000000-0000-4000-8000-{number:012x}" for number in range(1, 10_000))


@dataclass
class Register:
    """An anchor's keeper that can fail."""

    anchor: Anchor | None = None
    fail: str = ""

    def read(self) -> Anchor | None:
        return self.anchor

    def write(self, anchor: Anchor) -> None:
        if self.fail == "before":
            raise OSError(5, "the TPM does not answer")
        self.anchor = anchor
        if self.fail == "after":
            raise OSError(5, "the TPM does not answer")


@pytest.fixture
def counting(edited: Edited) -> Policy:
    return edited("chwall: {types", "chwall: {history: true, types")


@pytest.fixture
def register() -> Register:
    return Register()


@pytest.fixture
def store(tmp_path: Path, register: Register) -> FileHistoryStore:
    store = FileHistoryStore(tmp_path / "history", register)
    store.begin(bytes(32))
    return store


@dataclass
class Measured:
    """What was measured, in its order; a measurer that can fail."""

    histories: list[History] = field(default_factory=list)
    fail: bool = False

    def __call__(self, history: History) -> None:
        if self.fail:
            raise RuntimeError("the TPM does not answer")
        self.histories.append(history)

    @property
    def types(self) -> list[set[str]]:
        return [set(each.types) for each in self.histories]


@pytest.fixture
def measured() -> Measured:
    return Measured()


@pytest.fixture
def boot(
    description: HostDescription, counting: Policy, store: FileHistoryStore, measured: Measured
) -> Callable[[], XenHost]:
    return lambda: XenHost(description, counting, history=store, measure_history=measured)


def create(host: XenHost, label: str) -> int:
    uuid = next(UUIDS)
    return host.invoke(CreateDomain(DOM0, uuid, uuid, label, 1, 1))


def refused(host: XenHost, label: str) -> str:
    before = host.state
    with pytest.raises(AccessDenied) as denied:
        create(host, label)
    assert host.state is before
    return denied.value.code


def test_who_has_once_run_keeps_the_competitor_out_for_good(boot: Callable[[], XenHost]) -> None:
    host = boot()
    host.invoke(DestroyDomain(DOM0, create(host, "red-west")))
    assert refused(host, "red-east") == "chwall-history"
    create(host, "red-west")
    again = boot()
    assert refused(again, "red-east") == "chwall-history"
    create(again, "red")


def test_without_history_the_wall_forgets(host: XenHost) -> None:
    host.invoke(DestroyDomain(DOM0, create(host, "red-west")))
    create(host, "red-east")


def test_a_host_that_has_no_history_starts_nothing(description: HostDescription, counting: Policy) -> None:
    for label in ("red", "red-west", "green"):
        assert refused(XenHost(description, counting), label) == "history-missing"


def lose(what: str, boot: Callable[[], XenHost], file: Path, register: Register) -> None:
    """Add a run to the history, then take away its file or its anchor, or put the older file back."""
    backup = file.read_bytes()
    create(boot(), "red-west")
    if what == "file":
        file.unlink()
    elif what == "anchor":
        register.anchor = None
    else:
        file.write_bytes(backup)


@pytest.mark.parametrize("lost", ["file", "anchor", "older"])
def test_a_history_that_refuses_every_start_is_not_measured(
    lost: str, boot: Callable[[], XenHost], tmp_path: Path, register: Register, measured: Measured
) -> None:
    """What is measured is what counts; the log must not end with a history that was put back."""
    lose(lost, boot, tmp_path / "history", register)
    before = list(measured.histories)
    boot().monitor.measure_history()
    assert measured.histories == before


@pytest.mark.parametrize("what", ["file", "anchor"])
def test_a_history_that_was_taken_away_starts_nothing(
    what: str, boot: Callable[[], XenHost], tmp_path: Path, register: Register
) -> None:
    create(boot(), "red-west")
    if what == "file":
        (tmp_path / "history").unlink()
    else:
        register.anchor = None
    assert refused(boot(), "green") == "history-missing"


def test_a_history_that_was_put_back_starts_nothing(boot: Callable[[], XenHost], tmp_path: Path) -> None:
    backup = (tmp_path / "history").read_bytes()
    create(boot(), "red-west")
    (tmp_path / "history").write_bytes(backup)
    assert refused(boot(), "red-east") == "history-stale"
    (tmp_path / "history").write_bytes(b"{}")
    assert refused(boot(), "red-east") == "history-missing"


def test_another_history_of_the_same_age_starts_nothing(boot: Callable[[], XenHost], tmp_path: Path) -> None:
    other = FileHistoryStore(tmp_path / "other", Register()).begin(b"\1" * 32)
    (tmp_path / "history").write_bytes(other.encode())
    assert refused(boot(), "green") == "history-mismatch"


@pytest.mark.parametrize("fail", ["before", "after"])
def test_a_start_that_cannot_be_made_durable_does_not_happen(
    fail: str, boot: Callable[[], XenHost], register: Register
) -> None:
    host = boot()
    before = host.state
    register.fail = fail
    with pytest.raises(OSError, match="TPM"):
        create(host, "red-west")
    assert host.state is before
    assert [(each.outcome, each.why[0][0]) for each in host.trail] == [("failed", "history")]
    register.fail = ""
    create(host, "red-west")
    assert refused(boot(), "red-east") == "chwall-history"


@pytest.mark.parametrize("fail", ["before", "after"])
def test_after_a_crash_the_history_is_the_one_of_the_anchor(
    fail: str, boot: Callable[[], XenHost], register: Register
) -> None:
    host = boot()
    register.fail = fail
    with pytest.raises(OSError, match="TPM"):
        create(host, "red-west")
    register.fail = ""
    reborn = boot()
    if fail == "after":
        assert refused(reborn, "red-east") == "chwall-history"
    else:
        create(reborn, "red-east")


@pytest.mark.parametrize("arrival", Arrival)
def test_who_comes_back_counts_like_who_starts(
    arrival: Arrival, boot: Callable[[], XenHost], host: XenHost, counting: Policy
) -> None:
    west = create(host, "red-west")
    image = replace(host.save(west), policy_digest=counting.digest)
    counting_host = boot()
    counting_host.invoke(RestoreDomain(DOM0, image, arrival))
    assert counting_host.monitor.past_types == {"west"}
    assert refused(boot(), "red-east") == "chwall-history"


def test_a_label_that_came_by_a_relabel_counts_like_one_that_started(
    boot: Callable[[], XenHost], measured: Measured
) -> None:
    host = boot()
    domid = create(host, "red")
    host.invoke(RelabelDomain(DOM0, domid, "red", "red-west"))
    assert host.monitor.past_types == {"west"}
    assert measured.types[-1] == {"west"}
    host.invoke(DestroyDomain(DOM0, domid))
    assert refused(host, "red-east") == "chwall-history"
    assert refused(boot(), "red-east") == "chwall-history"


def test_a_relabel_that_cannot_be_made_durable_does_not_happen(
    boot: Callable[[], XenHost], register: Register
) -> None:
    host = boot()
    domid = create(host, "red")
    register.fail = "before"
    with pytest.raises(OSError, match="TPM"):
        host.invoke(RelabelDomain(DOM0, domid, "red", "red-west"))
    assert host.state.domain(domid).label == "red"


def test_a_policy_that_begins_to_count_counts_what_runs(
    description: HostDescription, policy: Policy, counting: Policy, store: FileHistoryStore
) -> None:
    host = XenHost(description, policy, history=store)
    west = create(host, "red-west")
    host.replace_policy(counting)
    host.invoke(DestroyDomain(DOM0, west))
    assert refused(host, "red-east") == "chwall-history"


def test_a_start_that_adds_nothing_writes_nothing(
    boot: Callable[[], XenHost], monkeypatch: pytest.MonkeyPatch, store: FileHistoryStore
) -> None:
    host = boot()
    create(host, "red-west")
    saved: list[History] = []
    monkeypatch.setattr(store, "save", saved.append)
    for label in ("red-west", "red", "green"):
        create(host, label)
    assert saved == []


def test_a_history_is_measured_before_the_first_start_and_whenever_it_grows(
    boot: Callable[[], XenHost], measured: Measured
) -> None:
    host = boot()
    for label in ("green", "red-west", "red-west", "red"):
        create(host, label)
    assert measured.types == [set(), {"west"}]
    assert host.monitor.past_runs == measured.histories[-1]


def test_a_run_that_is_not_measured_does_not_happen_and_the_next_one_measures_what_is_kept(
    boot: Callable[[], XenHost], measured: Measured
) -> None:
    host = boot()
    before, measured.fail = host.state, True
    with pytest.raises(RuntimeError, match="TPM"):
        create(host, "red-west")
    assert host.state is before
    assert [(each.outcome, each.why[0][0]) for each in host.trail] == [("failed", "history")]
    measured.fail = False
    create(host, "red")
    assert measured.types == [{"west"}]


class TestBegunAnew:
    def test_what_runs_counts_and_what_has_run_is_forgotten(
        self, boot: Callable[[], XenHost], measured: Measured
    ) -> None:
        host = boot()
        host.invoke(DestroyDomain(DOM0, create(host, "red-west")))
        begun = host.monitor.begin_history(b"\2" * 32, actor="operator", why="ticket 1")
        assert (begun.sequence, begun.types) == (0, frozenset())
        assert measured.histories[-1] == begun
        east = create(host, "red-east")
        assert host.monitor.begin_history(b"\3" * 32, actor="operator", why="ticket 2").types == {"east"}
        host.invoke(DestroyDomain(DOM0, east))
        assert refused(host, "red-west") == "chwall-history"
        assert refused(boot(), "red-west") == "chwall-history"

    @pytest.mark.parametrize("lost", ["file", "anchor", "older"])
    def test_mends_a_host_that_starts_nothing(
        self, lost: str, boot: Callable[[], XenHost], tmp_path: Path, register: Register
    ) -> None:
        lose(lost, boot, tmp_path / "history", register)
        host = boot()
        assert host.monitor.past_refusal is not None
        assert refused(host, "green").startswith("history-")
        host.monitor.begin_history(b"\2" * 32, actor="operator", why="disk lost")
        assert host.monitor.past_refusal is None
        create(host, "green")

    def test_is_recorded_with_its_reason(self, boot: Callable[[], XenHost]) -> None:
        host = boot()
        host.monitor.begin_history(b"\2" * 32, actor="operator", why="disk lost")
        [record] = host.trail
        assert (record.who, record.action, record.outcome) == ("operator", "history.begin", "done")
        assert record.why == (("asked", "disk lost"),)

    @pytest.mark.parametrize("broken", ["measurer", "register"])
    def test_where_it_cannot_be_measured_or_kept_the_old_one_stays(
        self, broken: str, boot: Callable[[], XenHost], measured: Measured, register: Register
    ) -> None:
        host = boot()
        host.invoke(DestroyDomain(DOM0, create(host, "red-west")))
        old, count = host.monitor.past_runs, len(host.trail)
        measured.fail, register.fail = broken == "measurer", "before" if broken == "register" else ""
        with pytest.raises((RuntimeError, OSError), match="TPM"):
            host.monitor.begin_history(b"\2" * 32, actor="operator", why="disk lost")
        assert [each.outcome for each in list(host.trail)[count:]] == ["done", "failed"]
        measured.fail, register.fail = False, ""
        assert host.monitor.past_runs == old
        assert refused(host, "red-east") == "chwall-history"
        create(host, "red")
        assert measured.histories[-1] == old, "the log ends with what counts"

    def test_a_failure_is_told_as_it_is_although_the_trail_is_full(
        self, boot: Callable[[], XenHost], measured: Measured
    ) -> None:
        host, lines = boot(), list[bytes]()

        def filling(line: bytes) -> None:
            if lines:
                raise OSError(28, "No space left on device")
            lines.append(line)

        host.trail._sink = filling
        measured.fail = True
        with pytest.raises(RuntimeError, match="TPM"):
            host.monitor.begin_history(b"\2" * 32, actor="operator", why="disk lost")
        host.trail._sink, measured.fail = None, False
        create(host, "red")
        assert [each.outcome for each in list(host.trail)[:2]] == ["done", "failed"]

    def test_a_host_that_keeps_none_says_so(self, description: HostDescription, counting: Policy) -> None:
        host = XenHost(description, counting)
        with pytest.raises(BadStateError, match="keeps no history"):
            host.monitor.begin_history(bytes(32), actor="operator", why="why not")
        assert [each.outcome for each in host.trail] == ["done", "failed"]
