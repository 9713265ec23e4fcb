"""The ACM policy as the hypervisor's engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acm import update
from acm.decider import Decider
from hypervisor.state import PolicyInfo

if TYPE_CHECKING:
    from acm.decision import Decision
    from acm.engine import Request
    from acm.labels import Label
    from acm.livestate import LiveState
    from acm.policy import Policy


class AcmEngine:
    """Decides by one :class:`acm.policy.Policy`."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._decider = Decider(policy)

    def decide(self, request: Request) -> Decision:
        """Return the decision; raises acm.errors.AcmUsageError where the policy does not know a label."""
        return self._decider.decide(request)

    def label(self, name: str) -> Label:
        """Return a domain label; raises acm.errors.AcmUsageError."""
        return self._policy.domain(f"vm:{name}")

    def trusts(self, name: str) -> bool:
        """Tell whether the domain label of this name may span levels."""
        return name in self._policy.trusted

    @property
    def counts_past_runs(self) -> bool:
        """Whether the policy's Chinese Wall has a history."""
        return self._policy.history

    def update(self, live: LiveState, amendment: update.Amendment = update.AS_IT_IS) -> update.Update:
        """Judge the update of a host to this policy; raises acm.errors.UpdateError."""
        return update.judge(self._policy, live, amendment)

    def info(self, epoch: int = 1) -> PolicyInfo:
        """Return what the protection state says of this policy."""
        return PolicyInfo(
            self._policy.name, self._policy.version, self._policy.digest, self._policy.root, epoch
        )
