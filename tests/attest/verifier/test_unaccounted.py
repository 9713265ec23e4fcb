"""A domain that runs on the host and that nobody launched under the policy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attest.result import Result, Verdict
from attest.runtime_events import DomainCommitment, DomainEvent, DomainLaunch
from attest.verifier import host as host_checks
from attest.verifier import steps
from attest.verifier.golden import GoldenError, golden_values
from tests.disclosure import named
from tests.simulators.host import Host, codes, nodes

BAD = Verdict.CONTRAINDICATED


@pytest.fixture
def host() -> Host:
    host = Host.serving()
    host.find("behind", domid=9, context="system_u:system_r:domU_t")
    return host


def detail(result: Result) -> str:
    [(path, reason)] = result.reasons()
    assert path == "host xen1.example"
    return reason.detail


def test_a_domain_found_after_the_launch_log_turns_the_host(host: Host) -> None:
    result = host.verify(host.evidence().encode())
    assert (result.verdict, codes(result)) == (BAD, ["domain-unaccounted"])
    assert "domain 'behind', number 9" in detail(result)
    assert "system_u:system_r:domU_t" in detail(result)
    verdicts = nodes(result)
    assert verdicts.pop("host xen1.example") is BAD
    assert set(verdicts.values()) == {Verdict.AFFIRMING}


def test_without_its_check_it_would_pass(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "HOST", tuple(one for one in steps.HOST if one is not host_checks.accounted))
    assert host.verify().verdict is Verdict.AFFIRMING


def test_that_it_has_ended_takes_nothing_back(host: Host) -> None:
    commitment = host.find("again").commitment()
    for event in (DomainEvent.STOP, DomainEvent.LAUNCH, DomainEvent.STOP):
        host.measure(13, DomainCommitment(event, commitment).encode())
    assert "2 since the last reset" in detail(host.verify())


def test_it_is_counted_once_however_often_it_is_measured(host: Host) -> None:
    host.measure(13, host.events[-1][1])
    assert "1 since the last reset" in detail(host.verify())


def test_left_out_of_the_log_the_log_does_not_replay(host: Host) -> None:
    host.events.pop()
    result = host.verify()
    assert (result.verdict, codes(result)) == (Verdict.NONE, ["runtime-log-mismatch"])


def test_a_tenant_learns_that_there_is_one_and_not_which(host: Host) -> None:
    assert named(host.evidence().encode(), {"behind"})
    host.found.clear()
    own = host.evidence(only=frozenset({"web"}))
    assert not named(own.encode(), {"behind"})
    result = host.verify(own, domains=frozenset({"web"}))
    assert codes(result) == ["domain-unaccounted"]
    assert "does not say which" in detail(result)


def test_what_is_opened_and_was_not_measured_is_not_used(host: Host) -> None:
    clean = Host.serving()
    clean.found = host.found
    assert clean.verify().verdict is Verdict.AFFIRMING
    other = Host.serving()
    other.find("quiet")
    other.found = host.found
    assert "behind" not in detail(other.verify())


def test_what_is_opened_must_have_its_form(host: Host) -> None:
    host.found.append(b"{}")
    assert codes(host.verify()) == ["runtime-log-malformed"]


def test_a_launch_that_was_only_found_is_not_a_launch(host: Host) -> None:
    """The attack: measure somebody's launch as found, and show it as launched."""
    launch = DomainLaunch.decode(host.domains["web"].launch)
    forged = replace(launch, salt="ab" * 32)
    host.domains["web"].launch = forged.encode()
    host.measure(13, DomainCommitment(DomainEvent.FOUND, forged.commitment()).encode())
    assert "launch-not-measured" in codes(host.verify())


def test_more_than_a_few_are_counted(host: Host) -> None:
    for number in range(5):
        host.find(f"more{number}")
    assert detail(host.verify()).endswith("; 3 more")


def test_it_does_not_count_as_a_launched_domain(host: Host) -> None:
    [platform] = [node for node in host.verify().root.children if node.name == "platform"]
    assert "domains running 2" in platform.notes[-1]


def test_a_golden_host_has_none(host: Host) -> None:
    with pytest.raises(GoldenError) as caught:
        golden_values(host.evidence(), host.expectation())
    assert caught.value.code == "domain-unaccounted"
