"""Loading another policy on a running host: judged as a whole first, then one hypercall or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acm.update import revocation
from hypervisor.errors import UpdateRefused
from hypervisor.policy import AcmEngine
from hypervisor.policyctl import ReplacePolicy
from hypervisor.replay import live_state
from hypervisor.state import DOM0

if TYPE_CHECKING:
    from collections.abc import Callable

    from acm.policy import Policy
    from acm.update import Amendment, Update
    from hypervisor.monitor import ReferenceMonitor


def judged(monitor: ReferenceMonitor, policy: Policy, amendment: Amendment, *, revoke: bool) -> Update:
    """Judge an update of a host without any effect; with ``revoke``, all sharing that breaks is to end.

    Raises UpdateRefused, which is recorded, for everything that would still break; acm.errors.UpdateError
    where the amendment names what is not there.
    """
    live, engine = live_state(monitor.state, monitor.past_types), AcmEngine(policy)
    update = engine.update(live, amendment)
    if revoke and update.violations:
        update = engine.update(live, amendment | revocation(update))
    if not update.holds:
        raise monitor.refuse("policy update", UpdateRefused(update))
    return update


def enforce(
    monitor: ReferenceMonitor,
    update: Update,
    *,
    actor: str = "",
    why: str = "",
    measure: Callable[[], object] | None = None,
) -> int:
    """Carry out a judged update and return the epoch.

    The monitor judges it again on the state of this moment. Raises HypervisorDenied and what ``measure``
    raises; then nothing has changed.
    """
    engine = AcmEngine(update.new)
    info = engine.info(monitor.state.policy.epoch + 1)
    call = ReplacePolicy(DOM0, info, engine, update.amendment, monitor.past_types)
    return monitor.invoke(call, actor=actor, why=why, measure=measure)
