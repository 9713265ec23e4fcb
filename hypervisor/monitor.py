"""The reference monitor: the only way to act on a host.

Every hypercall is a transaction. *Prepare*: the caller is who it must be, the policy permits every question
of the call's hook, and the next state exists. *Commit*: the data moves, the next state is the current one;
it cannot fail. Any refusal leaves the old state, and is recorded.

Questions are asked when something is bound. Sending on a bound channel, putting a message into a ring and
touching a mapped page ask none. What one domain does to the memory or the ports of another is done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acm.decision import Decision, Reason, deny
from acm.errors import AcmInputError, AcmUsageError
from hypervisor import argo, audit_text, evtchn
from hypervisor.argo import ConnectRing
from hypervisor.argo_ring import ArgoMessage, ArgoWindow
from hypervisor.audit import MAX_REASONS, AuditEvent, AuditTrail, Outcome
from hypervisor.decision_cache import CacheCounts, DecisionCache
from hypervisor.errors import (
    AccessDenied,
    BadStateError,
    HypervisorDenied,
    HypervisorUsageError,
    NotPrivileged,
    Undecided,
)
from hypervisor.hypercalls import HYPERCALLS, Call, Caller, Hypercall
from hypervisor.memory import FramePage
from hypervisor.past_runs import PastRuns
from hypervisor.policyctl import ReplacePolicy
from hypervisor.savectl import SaveDomain, saved_domain
from hypervisor.state import DOM0, Domain, DomainStatus, HostState, Virq, VirqLine, brings_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from acm.engine import Request
    from acm.history import History
    from hypervisor.domctl import DestroyDomain
    from hypervisor.memory import MachineMemory
    from hypervisor.ports import HistoryMeasurer, HistoryStore, PolicyEngine
    from hypervisor.savectl import SavedDomain
    from hypervisor.transition import Transition


class ReferenceMonitor:
    """Holds the current state of a host and replaces it, one permitted hypercall after another.

    ``clock`` gives the time of audit records in nanoseconds, ``history`` keeps past runs, and
    ``measure_history`` measures which history counts.
    """

    def __init__(
        self,
        state: HostState,
        engine: PolicyEngine,
        memory: MachineMemory,
        trail: AuditTrail,
        clock: Callable[[], int],
        *,
        history: HistoryStore | None = None,
        measure_history: HistoryMeasurer | None = None,
    ) -> None:
        self._state = state
        self._engine = engine
        self._memory = memory
        self._trail = trail
        self._clock = clock
        self._cache = DecisionCache()
        self._past = PastRuns(history, measure_history)

    @property
    def state(self) -> HostState:
        """The current state. It is frozen: holding it gives no power over the host."""
        return self._state

    @property
    def engine(self) -> PolicyEngine:
        """The engine of the enforced policy."""
        return self._engine

    @property
    def cache_counts(self) -> CacheCounts:
        """How often a decision was at hand, and how often the engine was asked."""
        return self._cache.counts

    @property
    def past_runs(self) -> History | None:
        """The Chinese Wall types that have ever run here, where the host keeps a history."""
        return self._past.history

    @property
    def past_refusal(self) -> Reason | None:
        """Why that history refuses every start under a policy that counts past runs; None if it does not."""
        return self._past.refusal

    def measure_history(self) -> None:
        """Measure the history in force, as goes with every policy that counts past runs."""
        self._past.measure()

    def begin_history(self, origin: bytes, *, actor: str, why: str) -> History:
        """Forget all past runs: begin a history with what runs now, measured before it takes effect.

        ``origin`` are 32 fresh random bytes. Raises BadStateError (``no-history``: none is kept), OSError
        where it could not be recorded, and what measurer and store raise.
        """
        types = self._types(self._engine, self._state.domains.values())
        call = f"begins anew with {len(types)} types"

        self._append(actor, "history.begin", call, Outcome.DONE, (("asked", why),))
        try:
            return self._past.begin(origin, types)
        except BaseException as error:
            # The record said that it would happen; it did not.
            reason = ("history", f"{type(error).__name__}: {error}")
            self._append(actor, "history.begin", call, Outcome.FAILED, (reason,), owed=True)
            raise

    @property
    def past_types(self) -> frozenset[str] | None:
        """The types of the newest history; None where there is none, or an older one."""
        return self._past.types

    def invoke(
        self, call: Call, *, actor: str = "", why: str = "", measure: Callable[[], object] | None = None
    ) -> int:
        """Carry out a hypercall and return its result (see the call's own docstring).

        ``actor`` and ``why`` name the person behind a Domain-0 call and the reason, for the audit trail.
        ``measure`` is called when all is judged and recorded and nothing is left but the commit, which cannot
        fail: what is measured takes effect, and what is refused is not measured.
        Raises HypervisorDenied (against policy or privilege) or HypervisorUsageError, OSError where the call
        could not be recorded, and what ``measure`` raises; then nothing changed.
        """
        transition = self._permit(call, actor, why)
        if measure is not None:
            self._measure(call, measure, actor)
        self._commit(call, transition)
        return transition.result

    def take_back(self, call: DestroyDomain, *, actor: str, why: str) -> None:
        """End a domain whose launch has failed, also where that cannot be recorded at this moment.

        The record is owed then (:meth:`hypervisor.audit.AuditTrail.owe`): it comes before any other action.
        Raises like :meth:`invoke`.
        """
        self._commit(call, self._permit(call, actor, why, owed=True))

    def save(self, call: SaveDomain, *, actor: str = "", why: str = "") -> SavedDomain:
        """Carry out a save like :meth:`invoke`, and return the domain that has left the host."""
        transition = self._permit(call, actor, why)
        saved = saved_domain(self._state, call, self._memory)
        self._commit(call, transition)
        return saved

    def send(self, domid: int, port: int) -> None:
        """Signal the other end of a bound channel; raises NoSuchObjectError, BadStateError. Asks nothing."""
        self._memory.signal(*evtchn.peer(self._state, domid, port))

    def send_message(self, domid: int, owner: int, port: int, message: ArgoMessage) -> None:
        """Put a message into a ring of ``owner`` and tell it.

        The first message to a ring for anybody connects the sender, and only then is the policy asked; a
        message that does not get in connects nobody. Raises NoSuchObjectError, BadStateError (full),
        RingError, HypervisorDenied.
        """
        call, connected = ConnectRing(domid, owner, port), None
        ring = argo.route(self._state, domid, owner, port)
        if ring is None:
            connected = self._permit(call, "", "")
            ring = argo.route(connected.state, domid, owner, port)
            assert ring is not None
        ArgoWindow([FramePage(self._memory, mfn) for mfn in ring.mfns]).put(message)
        if connected is not None:
            self._commit(call, connected)
        self.raise_virq(owner, VirqLine(Virq.ARGO))

    def raise_virq(self, domid: int, line: VirqLine) -> None:
        """Signal a virtual interrupt to a domain that has bound it."""
        port = evtchn.virq_port(self._state.domain(domid), line)
        if port is not None:
            self._memory.signal(domid, port)

    def _permit(self, call: Call, actor: str, why: str, *, owed: bool = False) -> Transition:
        """Prepare a call and record it, so that nothing is left but to commit it."""
        row = HYPERCALLS[type(call)]
        try:
            transition = self._prepare(row, call)
            self._remember(call, transition)
        except HypervisorDenied as error:
            self._record(call, Outcome.DENIED, audit_text.reasons(error), actor)
            raise
        except HypervisorUsageError as error:
            self._record(call, Outcome.FAILED, ((error.code, str(error)),), actor)
            raise
        except Exception as error:  # of the history's store, or of its measurer
            self._record(call, Outcome.FAILED, (("history", str(error)),), actor)
            raise
        if row.caller is Caller.DOM0:
            # Before the commit: an action that cannot be recorded does not happen.
            self._record(call, Outcome.DONE, (("asked", why),) if why else (), actor, owed=owed)
            self._record_ended(call, transition, actor)
        return transition

    def _record_ended(self, call: Call, transition: Transition, actor: str) -> None:
        try:
            for first in range(0, len(transition.ended), MAX_REASONS):
                some = transition.ended[first : first + MAX_REASONS]
                self._record(call, Outcome.DONE, tuple(("with-it", each) for each in some), actor)
        except OSError as error:
            # The first record said that it would happen; it does not.
            self._record(call, Outcome.FAILED, (("not-recorded", str(error)),), actor, owed=True)
            raise

    def _measure(self, call: Call, measure: Callable[[], object], actor: str) -> None:
        try:
            measure()
        except BaseException as error:
            # The record said that it would happen; it did not.
            why = f"{type(error).__name__}: {error}"
            self._record(call, Outcome.FAILED, (("not-measured", why),), actor, owed=True)
            raise

    def judge(self, operation: str, requests: Iterable[Request]) -> None:
        """Put questions to the policy without acting, as a launch does first; refusals are recorded.

        Raises AccessDenied with every reason of every refusal, or Undecided.
        """
        try:
            self._require(operation, requests, self.decide)
        except HypervisorDenied as error:
            self._append("toolstack", operation, "", Outcome.DENIED, audit_text.reasons(error))
            raise

    def refuse(self, operation: str, error: HypervisorDenied) -> HypervisorDenied:
        """Record a refusal that another rule of the host came to, and return it for raising."""
        self._append("toolstack", operation, "", Outcome.DENIED, audit_text.reasons(error))
        return error

    def decide(self, request: Request) -> Decision:
        """Return the decision of the enforced policy, from the cache where it was taken before."""
        epoch = self._state.policy.epoch
        decision = self._cache.find(request, epoch)
        if decision is None:
            decision = self._engine.decide(self._past.asked(request))
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
        decide = self._newcomer(call.engine) if isinstance(call, ReplacePolicy) else self.decide
        self._require(row.xen, row.accesses(self._state, call), decide)
        return row.apply(self._state, call)

    def _newcomer(self, engine: PolicyEngine) -> Callable[[Request], Decision]:
        return lambda request: engine.decide(self._past.asked(request))

    def _remember(self, call: Call, transition: Transition) -> None:
        """Make past runs last before the call takes effect, where the policy counts them."""
        engine = call.engine if isinstance(call, ReplacePolicy) else self._engine
        if not engine.counts_past_runs:
            return
        after = transition.state
        guests = len(after.domains) > 1
        if guests if isinstance(call, ReplacePolicy) else brings_label(self._state, after):
            self._past.add(self._types(engine, after.domains.values()))

    def _types(self, engine: PolicyEngine, domains: Iterable[Domain]) -> frozenset[str]:
        """Return the Chinese Wall types of these domains, each counted once."""
        labels = {domain.label for domain in domains}
        return frozenset[str]().union(*(engine.label(label).chwall for label in labels))

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

    def _record(
        self,
        call: Call,
        outcome: Outcome,
        why: tuple[tuple[str, str], ...],
        actor: str,
        *,
        owed: bool = False,
    ) -> None:
        caller = self._state.domains.get(call.caller)
        who = (
            f"domain {call.caller}"
            if caller is None
            else f"domain {call.caller} {caller.name} ({caller.label})"
        )
        who = f"{actor} on {who}" if actor else who
        self._append(who, HYPERCALLS[type(call)].id, audit_text.text(call), outcome, why, owed=owed)

    def _append(
        self,
        who: str,
        action: str,
        what: str,
        outcome: Outcome,
        why: tuple[tuple[str, str], ...],
        *,
        owed: bool = False,
    ) -> None:
        record = self._trail.owe if owed else self._trail.append
        record(
            AuditEvent(
                time_ns=self._clock(),
                epoch=self._state.policy.epoch,
                who=who,
                action=action,
                what=what,
                outcome=outcome,
                why=why,
            )
        )
