"""A small policy and a small host, and engines that watch or refuse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from acm import policyfile
from acm.decision import Code, Decision, Reason, deny, permit
from acm.labels import Label
from acm.update import Amendment, Update
from hypervisor import hostconfig
from hypervisor.audit import AuditTrail
from hypervisor.domctl import CreateDomain, UnpauseDomain
from hypervisor.host import XenHost
from hypervisor.memory import MachineMemory
from hypervisor.monitor import ReferenceMonitor
from hypervisor.state import DOM0, HostState
from tests.hypervisor.examples import POLICY

if TYPE_CHECKING:
    from collections.abc import Callable

    from acm.engine import Request
    from acm.livestate import LiveState
    from acm.policy import Policy
    from hypervisor.hostconfig import HostDescription

HOST = b"""
schema: shype.host/1
name: test
pcpus: "2"
memory: 64 MiB
dom0: {label: dom0, memory: 8 MiB, vcpus: "1"}
profile: p.yaml
policy: p.yaml
resources:
  - {kind: disk, identity: "uuid:00000000-0000-0000-0000-00000000000a", path: /dev/red, label: red,
     access: rw, size: 1 MiB}
  - {kind: disk, identity: "uuid:00000000-0000-0000-0000-00000000000b", path: /dev/green, label: green,
     access: rw, size: 1 MiB}
  - {kind: disk, identity: "uuid:00000000-0000-0000-0000-00000000000c", label: red, access: r, size: 1 MiB}
  - {kind: vlan, id: "1", label: red}
  - {kind: vlan, id: "2", label: green}
"""


@dataclass
class Watcher:
    """A policy engine that permits what it is told to, and keeps every question."""

    permits: Callable[[Request], bool] = lambda _: True
    asked: list[Request] = field(default_factory=list)
    counts_past_runs: bool = False

    def decide(self, request: Request) -> Decision:
        self.asked.append(request)
        reason = Reason(Code.NOT_MEDIATED, "watched")
        return permit(reason) if self.permits(request) else deny(reason)

    def label(self, name: str) -> Label:
        return Label(name)

    def trusts(self, name: str) -> bool:
        return not name

    def update(self, live: LiveState, amendment: Amendment) -> Update:
        """Every label lives on, and nothing is wrong with anything."""
        names: dict[int | str, str | None] = {each.domid: each.label for each in live.domains}
        names |= {each.identity: each.label for each in live.resources}
        return Update(policyfile.load(POLICY), live, amendment, (), names, ())


@dataclass
class Bench:
    """A monitor on a given state with a given engine."""

    monitor: ReferenceMonitor
    engine: Watcher
    memory: MachineMemory
    trail: AuditTrail


@pytest.fixture(scope="session")
def policy() -> Policy:
    return policyfile.load(POLICY)


@pytest.fixture(scope="session")
def edited() -> Callable[[str, str], Policy]:
    """The successor of the test policy, with one piece of its text replaced."""

    def edit(old: str, new: str) -> Policy:
        text = POLICY.decode().replace('version: "1.0"', 'version: "1.1"\nfrom: {name: test, version: "1.0"}')
        assert old in text
        return policyfile.load(text.replace(old, new).encode())

    return edit


@pytest.fixture(scope="session")
def description() -> HostDescription:
    return hostconfig.parse(HOST)


@pytest.fixture
def host(description: HostDescription, policy: Policy) -> XenHost:
    return XenHost(description, policy)


@pytest.fixture
def start(host: XenHost) -> Callable[..., int]:
    """Create and unpause a domain of a label; returns its identifier."""

    def run(label: str, name: str | None = None, **more: int) -> int:
        number = len(host.trail)
        values = {"memory_mib": 1, "vcpus": 1, **more}
        call = CreateDomain(
            caller=DOM0,
            uuid=f"00000000-0000-4000-8000-{number:012x}",
            name=name or f"{label}-{number}",
            label=label,
            memory_mib=values["memory_mib"],
            vcpus=values["vcpus"],
            weight=values.get("weight", 256),
            cap=values.get("cap", 0),
        )
        domid = host.invoke(call)
        host.invoke(UnpauseDomain(DOM0, domid))
        return domid

    return run


@pytest.fixture
def watched() -> Callable[..., Bench]:
    """Put a state under a monitor whose engine is a Watcher."""

    def build(state: HostState, permits: Callable[[Request], bool] = lambda _: True) -> Bench:
        engine, memory, trail = Watcher(permits), MachineMemory(), AuditTrail()
        monitor = ReferenceMonitor(state, engine, memory, trail, lambda: 7)
        return Bench(monitor, engine, memory, trail)

    return build
