"""Replacing the enforced policy, as a transaction: all that lives is replayed against the new one first.

One violation refuses the whole policy; nothing is revoked (ACM's rule, Xen 3.x ``acm_policy.c``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hypervisor.errors import BadStateError
from hypervisor.replay import live_accesses
from hypervisor.transition import Transition

if TYPE_CHECKING:
    from acm.engine import Request
    from hypervisor.ports import PolicyEngine
    from hypervisor.state import HostState, PolicyInfo


@dataclass(frozen=True, slots=True)
class ReplacePolicy:
    """Enforce another policy; the result is the new epoch. ``policy.epoch`` must be the next one."""

    caller: int
    policy: PolicyInfo
    engine: PolicyEngine


def replace_accesses(state: HostState, call: ReplacePolicy) -> tuple[Request, ...]:
    """Every domain, channel, mapping and attachment; the monitor puts them to the new engine."""
    del call
    return live_accesses(state)


def replace_policy(state: HostState, call: ReplacePolicy) -> Transition:
    """Take the policy over; raises BadStateError for an epoch out of turn."""
    if call.policy.epoch != state.policy.epoch + 1:
        raise BadStateError(
            "epoch", f"the next policy epoch is {state.policy.epoch + 1}, not {call.policy.epoch}"
        )
    return Transition(replace(state, policy=call.policy), result=call.policy.epoch)
