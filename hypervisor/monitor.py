"""The reference monitor: the only way to act on a host.

Every hypercall is a transaction. *Prepare*: the caller is who it must be, the policy permits every question
of the call's hook, and the next state exists. *Commit*: the data moves, the next state is the current one;
it cannot fail. Any refusal leaves the old state, and is recorded.

Questions are asked when something is bound. Sending on a bound channel and touching a mapped page ask none.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from acm.decision import Decision, Reason, deny
from acm.errors import AcmInputError, AcmUsageError
from hypervisor.audit import AuditTrail, Outcome
from hypervisor.decision_cache import DecisionCache
from hypervisor.errors import (
    AccessDenied,
    BadStateError,
    HypervisorDenied,
    HypervisorUsageError,
    NotPrivileged,
    Undecided,
)
from hypervisor.hypercalls import HYPERCALLS, Call, Caller, Hypercall
from hypervisor.policyctl import ReplacePolicy
from hypervisor.state import DOM0, DomainStatus, HostState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from acm.engine import Request
    from hypervisor.memory import MachineMemory
    from hypervisor.ports import PolicyEngine
    from hypervisor.transition import Transition


class ReferenceMonitor:
    """Holds the current state of a host and replaces it, one permitted hypercall after another.

    ``clock`` gives the time of audit records in nanoseconds.
    """

    def __init__(
        self,
        state: HostState,
        engine: PolicyEngine,
        memory: MachineMemory,
        trail: AuditTrail,
        clock: Callable[[], int],
    ) -> None:
        self._state = state
        self._engine = engine
        self._memory = memory
        self._trail = trail
        self._clock = clock
        self._cache = DecisionCache()

    @property
    def state(self) -> HostState:
        """The current state. It is frozen: holding it gives no power over the host."""
        return self._state

    @property
    def engine(self) -> PolicyEngine:
        """The engine of the enforced policy."""
        return self._engine

    def invoke(self, call: Call, *, actor: str = "", why: str = "") -> int:
        """Carry out a hypercall and return its result (see the call's own docstring).

        ``actor`` and ``why`` name the person behind a Domain-0 call and the reason, for the audit trail.
        Raises HypervisorDenied (against policy or privilege) or HypervisorUsageError; then nothing changed.
        """
        row = HYPERCALLS[type(call)]
        try:
            transition = self._prepare(row, call)
        except HypervisorDenied as error:
            self._record(call, Outcome.DENIED, _reasons(error), actor)
            raise
        except HypervisorUsageError as error:
            self._record(call, Outcome.FAILED, ((error.code, str(error)),), actor)
            raise
        if row.caller is Caller.DOM0:
            # Before the commit: an action that cannot be recorded does not happen.
            self._record(call, Outcome.DONE, (("asked", why),) if why else (), actor)
        self._commit(call, transition)
        return transition.result

    def judge(self, operation: str, requests: Iterable[Request]) -> None:
        """Put questions to the policy without acting, as a launch does first; refusals are recorded.

        Raises AccessDenied with every reason of every refusal, or Undecided.
        """
        try:
            self._require(operation, requests, self.decide)
        except HypervisorDenied as error:
            self._append("toolstack", operation, "", Outcome.DENIED, _reasons(error))
            raise

    def refuse(self, operation: str, error: HypervisorDenied) -> HypervisorDenied:
        """Record a refusal that another rule of the host came to, and return it for raising."""
        self._append("toolstack", operation, "", Outcome.DENIED, _reasons(error))
        return error

    def decide(self, request: Request) -> Decision:
        """Return the decision of the enforced policy, from the cache where it was taken before."""
        epoch = self._state.policy.epoch
        decision = self._cache.find(request, epoch)
        if decision is None:
            decision = self._engine.decide(request)
            self._cache.keep(request, epoch, decision)
        return decision

    def _prepare(self, row: Hypercall, call: Call) -> Transition:
        caller = self._state.domain(call.caller)
        if row.caller is Caller.DOM0 and caller.domid != DOM0:
            raise NotPrivileged("not-privileged", f"{row.xen}: only Domain-0 may, not domain {caller.domid}")
        if caller.status is not DomainStatus.RUNNING:
            raise BadStateError(
                "not-running", f"domain {caller.domid} does not run, so it cannot call {row.xen}"
            )
        # A new policy is judged by its own engine, past the cache: if it is refused, nothing of it may stay.
        decide = call.engine.decide if isinstance(call, ReplacePolicy) else self.decide
        self._require(row.xen, row.accesses(self._state, call), decide)
        return row.apply(self._state, call)

    def _require(
        self, operation: str, requests: Iterable[Request], decide: Callable[[Request], Decision]
    ) -> None:
        refusals: list[Reason] = []
        for request in requests:
            try:
                decision = decide(request)
            except (AcmUsageError, AcmInputError) as error:
                if refusals:
                    break
                raise Undecided(error.code, f"{operation} denied: {error}") from error
            if not decision.permitted:
                refusals += decision.reasons
        if refusals:
            raise AccessDenied(operation, deny(*dict.fromkeys(refusals)))

    def _commit(self, call: Call, transition: Transition) -> None:
        self._memory.commit(transition)
        self._state = transition.state
        if isinstance(call, ReplacePolicy):
            self._engine = call.engine
            self._cache.clear()

    def _record(self, call: Call, outcome: Outcome, why: tuple[tuple[str, str], ...], actor: str) -> None:
        caller = self._state.domains.get(call.caller)
        who = (
            f"domain {call.caller}"
            if caller is None
            else f"domain {call.caller} {caller.name} ({caller.label})"
        )
        who = f"{actor} on {who}" if actor else who
        self._append(who, HYPERCALLS[type(call)].id, _text(call), outcome, why)

    def _append(
        self, who: str, action: str, what: str, outcome: Outcome, why: tuple[tuple[str, str], ...]
    ) -> None:
        self._trail.append(
            time_ns=self._clock(),
            epoch=self._state.policy.epoch,
            who=who,
            action=action,
            what=what,
            outcome=outcome,
            why=why,
        )


def _reasons(error: HypervisorDenied) -> tuple[tuple[str, str], ...]:
    if isinstance(error, AccessDenied):
        return tuple((str(reason.code), reason.detail) for reason in error.decision.reasons)
    return ((error.code, str(error)),)


def _text(call: Call) -> str:
    shown = []
    for each in fields(call):
        value = getattr(call, each.name)
        if each.name not in ("caller", "engine"):
            shown.append(
                f"{each.name}={len(value)} bytes" if isinstance(value, bytes) else f"{each.name}={value}"
            )
    return f"{type(call).__name__}({', '.join(shown)})"
