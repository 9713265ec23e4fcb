"""A Chinese Wall that counts past runs: durable before a domain starts, and of no use when old."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acm.history import Anchor, History
from hypervisor.domctl import CreateDomain, DestroyDomain
from hypervisor.errors import AccessDenied
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


@pytest.fixture
def boot(description: HostDescription, counting: Policy, store: FileHistoryStore) -> Callable[[], XenHost]:
    return lambda: XenHost(description, counting, history=store)


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
