"""Replacing the enforced policy, as a transaction: all that lives is replayed against the new one first.

One violation refuses the whole policy (ACM's rule, Xen 3.x ``acm_policy.c``), unless the amendment of the
call ends it: nothing is revoked, stopped or relabelled that the call does not name. The state after the
update is judged twice, by different code: as one value (:mod:`acm.update`), and question by question, by the
new engine, in the monitor. Rejection or all of it: there is no state in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from acm.update import AS_IT_IS, Amendment
from hypervisor.amend import amended
from hypervisor.errors import BadStateError, UpdateRefused
from hypervisor.replay import live_accesses, live_state

if TYPE_CHECKING:
    from acm.engine import Request
    from acm.update import Update
    from hypervisor.ports import PolicyEngine
    from hypervisor.state import HostState, PolicyInfo
    from hypervisor.transition import Transition


@dataclass(frozen=True, slots=True)
class ReplacePolicy:
    """Enforce another policy; the result is the new epoch. ``policy.epoch`` must be the next one.

    ``amendment`` is what is done together with it. ``past_types`` are the Chinese Wall types that have run on
    this host, None where that is not known.
    """

    caller: int
    policy: PolicyInfo
    engine: PolicyEngine
    amendment: Amendment = AS_IT_IS
    past_types: frozenset[str] | None = None


def replace_accesses(state: HostState, call: ReplacePolicy) -> tuple[Request, ...]:
    """Every domain, channel, mapping, ring and attachment that is to stay, under its new label."""
    return live_accesses(amended(state, _judged(state, call).names, call.amendment).state)


def replace_policy(state: HostState, call: ReplacePolicy) -> Transition:
    """Take the policy over; raises BadStateError for an epoch out of turn, UpdateRefused."""
    if call.policy.epoch != state.policy.epoch + 1:
        raise BadStateError(
            "epoch", f"the next policy epoch is {state.policy.epoch + 1}, not {call.policy.epoch}"
        )
    update = _judged(state, call)
    if not update.holds:
        raise UpdateRefused(update)
    after = amended(state, update.names, call.amendment)
    return replace(after, state=replace(after.state, policy=call.policy), result=call.policy.epoch)


def _judged(state: HostState, call: ReplacePolicy) -> Update:
    return call.engine.update(live_state(state, call.past_types), call.amendment)
