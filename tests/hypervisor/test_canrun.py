"""Whether a domain could run, by files alone: the same answer as a launch's own check gives."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from acm import history, policyfile
from acm.errors import LabelError, RequestError
from hypervisor import hostconfig, xlconfig
from hypervisor.canrun import can_run
from hypervisor.domctl import CreateDomain
from hypervisor.errors import HypervisorDenied
from hypervisor.host import XenHost
from hypervisor.launch import Launcher
from hypervisor.state import DOM0

if TYPE_CHECKING:
    from pathlib import Path

    from acm.decision import Decision
    from acm.policy import Policy
    from hypervisor.hostconfig import HostDescription

NAMES = ("cola-web", "cola-db", "cola-reports", "juice-web", "bank-web")
CONFIG = b"""
name = "web"
kernel = "kernel"
memory = 8
disk = [ '/dev/vg0/cola-web,raw,xvda,rw' ]
vif = [ 'vlan=101' ]
access_control = [ "policy=datacenter,label=cola-web" ]
"""


@pytest.fixture(scope="module")
def embedded(repository: Path) -> tuple[Policy, HostDescription]:
    description = hostconfig.parse((repository / "configs/hosts/embedded.yaml").read_bytes())
    data = (repository / "configs/hosts" / description.policy).read_bytes()
    return policyfile.load(data), description


def codes(decision: Decision) -> list[str]:
    return [str(reason.code) for reason in decision.reasons]


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_as_a_launch_does(
    repository: Path, embedded: tuple[Policy, HostDescription], name: str
) -> None:
    policy, description = embedded
    config = xlconfig.parse((repository / f"configs/hosts/{name}.cfg").read_bytes())
    for running in combinations(("cola-db", "bank-web", "batch"), 2):
        host = XenHost(description, policy)
        for number, label in enumerate(running):
            uuid = f"00000000-0000-4000-8000-{number:012x}"
            host.invoke(CreateDomain(DOM0, uuid, f"d{number}", label, memory_mib=1, vcpus=1))
        outside: Any = None
        launcher = Launcher(
            host, files=outside, measurer=outside, vtpms=outside, meter=outside, new_uuid=outside
        )
        try:
            launcher.check(config)
            permitted = True
        except HypervisorDenied:
            permitted = False
        decision = can_run(policy, config, description, running)
        assert decision.permitted is permitted
        assert len(set(decision.reasons)) == len(decision.reasons)


@pytest.mark.parametrize(
    ("old", "new", "running", "expected"),
    [
        ("", "", ("juice-web",), ["chwall-conflict"]),
        ("", "", ("vm:juice-web",), ["chwall-conflict"]),
        ("policy=datacenter", "policy=other", (), ["policy-mismatch"]),
        ("vg0/cola-web", "vg0/cola-db", (), ["ste-no-shared-type"]),
        ("vlan=101", "vlan=102", (), ["ste-no-shared-type"]),
        ("vg0/cola-web", "vg0/gone", (), ["resource-unknown"]),
        ("vlan=101", "vlan=999", (), ["resource-unknown"]),
        ('access_control = [ "policy=datacenter,label=cola-web" ]', "", (), ["unlabeled-confined"] * 4),
        ("vg0/cola-web", "vg0/cola-db", ("juice-web",), ["chwall-conflict", "ste-no-shared-type"]),
    ],
)
def test_every_question_that_fails_is_named(
    embedded: tuple[Policy, HostDescription],
    old: str,
    new: str,
    running: tuple[str, ...],
    expected: list[str],
) -> None:
    text = CONFIG.decode()
    assert old in text
    decision = can_run(embedded[0], xlconfig.parse(text.replace(old, new).encode()), embedded[1], running)
    assert not decision.permitted
    assert set(codes(decision)) == set(expected)


def test_past_runs_count_where_the_policy_says_so(
    repository: Path, embedded: tuple[Policy, HostDescription]
) -> None:
    data = (repository / "configs/policies/datacenter.yaml").read_bytes()
    policy = policyfile.load(data.replace(b"  conflict_sets:", b"  history: true\n  conflict_sets:"))
    config, host = xlconfig.parse(CONFIG), embedded[1]
    assert codes(can_run(policy, config, host)) == ["history-missing"]
    new = history.begin(bytes(32))
    assert can_run(policy, config, host, history=new, anchor=new.anchor).permitted
    used = new.with_run(frozenset({"juice"}))
    assert codes(can_run(policy, config, host, history=used, anchor=used.anchor)) == ["chwall-history"]
    assert codes(can_run(policy, config, host, history=new, anchor=used.anchor)) == ["history-stale"]


def test_a_wrong_question_has_no_answer(embedded: tuple[Policy, HostDescription]) -> None:
    policy, host = embedded
    for label in ("nobody", "res:cola-disk"):
        with pytest.raises(LabelError):
            can_run(policy, xlconfig.parse(CONFIG), host, (label,))
    with pytest.raises(LabelError):
        can_run(policy, xlconfig.parse(CONFIG.replace(b"label=cola-web", b"label=nobody")), host)
    with pytest.raises(RequestError):
        can_run(policy, xlconfig.parse(CONFIG), host, ("cola-db", "juice-web"))
