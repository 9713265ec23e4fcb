"""Whether a domain could run, by files alone: a policy, a domain config, a host's description.

The questions are those of a launch (:mod:`hypervisor.launch`): may it start beside what runs and has run, may
this host run it, may it use each of its disks and VLANs. Nothing acts, nothing is measured, and room in
memory is not asked for. A launch asks again: what runs by then is what counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acm import engine
from acm.decision import Code, Decision, Reason, deny, permit
from hypervisor.state import AccessMode, ResourceKind
from hypervisor.transition import authorize, start, use

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from acm.engine import Request
    from acm.history import Anchor, History
    from acm.policy import Policy
    from hypervisor.hostconfig import HostDescription
    from hypervisor.xlconfig import DomainConfig


def can_run(
    policy: Policy,
    config: DomainConfig,
    host: HostDescription,
    running: Sequence[str] = (),
    *,
    history: History | None = None,
    anchor: Anchor | None = None,
) -> Decision:
    """Decide by every question of a launch; a denial has the reasons of all that fail.

    ``running`` are the labels that run on the host, Domain-0 aside; ``history`` and ``anchor`` are needed
    where the policy counts past runs. A config for another policy and a resource that the host does not have
    are denied too. Raises LabelError and RequestError of :mod:`acm.errors`.
    """
    if config.policy not in (None, policy.name):
        detail = f"'{config.name}' is written for policy '{config.policy}', not '{policy.name}'"
        return deny(Reason(Code.POLICY_MISMATCH, detail))
    beside = tuple(label.removeprefix("vm:") for label in running)
    first = start(config.label, host.dom0_label, beside)._replace(history=history, anchor=anchor)
    asked = [first, authorize(host.dom0_label, config.label), *_uses(config, host)]
    decisions = [engine.decide(policy, request) for request in asked]
    refused = [reason for each in decisions if not each.permitted for reason in each.reasons]
    refused += _missing(config, host)
    if refused:
        return deny(*dict.fromkeys(refused))
    return permit(*dict.fromkeys(reason for each in decisions for reason in each.reasons))


def _uses(config: DomainConfig, host: HostDescription) -> Iterator[Request]:
    for disk in config.disks:
        found = host.disk(disk.target)
        if found is not None:
            yield from use(config.label, found.label, disk.access)
    for vif in config.vifs:
        found = host.vlan(vif.vlan)
        if found is not None:
            yield from use(config.label, found.label, AccessMode.WRITE, ResourceKind.VLAN)


def _missing(config: DomainConfig, host: HostDescription) -> Iterator[Reason]:
    names = [f"disk '{disk.target}'" for disk in config.disks if host.disk(disk.target) is None]
    names += [f"VLAN {vif.vlan}" for vif in config.vifs if host.vlan(vif.vlan) is None]
    for name in names:
        yield Reason(Code.RESOURCE_UNKNOWN, f"host '{host.name}' has no {name}, so nothing labels it")
