"""What every running host has and does: a policy, launched domains, a TPM, a runtime log, an audit trail."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, Generic, TypeVar

from acm import policyfile
from acm.history import History
from acm.policy import Policy
from acm.update import Update
from attest.evidence import Evidence
from attest.runtime_events import PolicyLoaded
from attest.runtime_log import RuntimeLog
from hypervisor import xlconfig
from hypervisor.attach import RelabelResource
from hypervisor.audit import AuditEvent, AuditTrail, Outcome
from hypervisor.guarded import GuardedHost
from hypervisor.hostconfig import HostDescription
from hypervisor.launch import LaunchedDomain, Launcher
from hypervisor.state import DOM0
from hypervisor.xlconfig import DomainConfig
from shype.errors import ShypeUsageError
from shype.host import past_runs, resource_labels
from shype.host.guests import Guests, MeasuredVtpm
from shype.host.tenants import Tenants
from shype.host.tpm import UsedTpm
from shype.host.update import NO_WISHES, Wishes, carry_out, what_is_left
from shype.report import Json

PCR_POLICY: Final = 12
PCR_DOMAINS: Final = 13
Xen = TypeVar("Xen", bound=GuardedHost)


class RunningHost(ABC, Generic[Xen]):
    """A host that is on. Nothing runs before a policy is loaded: without one there is nobody to ask."""

    shown_pcrs: ClassVar[tuple[int, ...]] = (*range(10), 12, 13)
    """What its status tells."""
    folder: Path
    description: HostDescription
    tpm: UsedTpm
    log: RuntimeLog
    trail: AuditTrail
    guests: Guests

    def __init__(self) -> None:
        self.xen: Xen | None = None
        self.launched: dict[str, LaunchedDomain] = {}
        self.tenants = Tenants()
        self._launcher: Launcher | None = None

    @abstractmethod
    def _new_xen(self, description: HostDescription, policy: Policy) -> Xen:
        """Return the hypervisor under its first policy; ``description`` has the labels of now."""

    @abstractmethod
    def _new_launcher(self, xen: Xen) -> Launcher:
        """Return what launches on it."""

    @abstractmethod
    def evidence(self, nonce: bytes, channel: bytes | None = None, tenant: str | None = None) -> Evidence:
        """Return evidence of this host and its domains for ``nonce``, bound to ``channel`` if given.

        For a ``tenant`` its own domains alone speak, and which domains were found stays with the operator;
        raises NoDomainError where it has none.
        """

    def _speaking(self, tenant: str | None) -> tuple[MeasuredVtpm, ...]:
        """Return the vTPMs that quote: all, or a tenant's. No other tenant pays for its question."""
        vtpms = tuple(self.guests.vtpms.values())
        if tenant is None:
            return vtpms
        own = self.tenants.vids(tenant, self.launched)
        return tuple(each for each in vtpms if each.vid in own)

    def more_status(self) -> Mapping[str, Json]:
        """Return what this kind of host adds to its status."""
        return {}

    def status_lines(self) -> Sequence[str]:
        """Return the same for a person."""
        return ()

    def pulse(self) -> float | None:
        """Do what is due between requests; return after how many seconds to do so again, None for never."""
        return None

    def load_policy(self, data: bytes, wishes: Wishes = NO_WISHES) -> tuple[int, Update | None]:
        """Measure an ACM policy and enforce it; return its epoch, and the update where it replaced another.

        The first policy opens the host. A later one is refused (UpdateRefused) while anything that lives
        disagrees with it and is not wished away; then nothing is measured, stopped, revoked or relabelled.
        """
        policy = policyfile.load(data)
        if self.xen is None:
            if wishes.stop or wishes.relabel:
                raise ShypeUsageError("no policy is loaded: nothing runs that could be stopped or relabelled")
            self.note("policy", f"first policy {policy.name} {policy.version} {policy.digest}")
            description = resource_labels.described(self.description, resource_labels.load(self.folder))
            xen = self._new_xen(description, policy)
            self._measure_policy(xen, policy)
            self.xen, self._launcher = xen, self._new_launcher(xen)
            return xen.state.policy.epoch, None
        xen = self.xen
        stopping = [self.domain(name) for name in wishes.stop]
        try:
            before = self._before(xen, policy)
            return carry_out(xen, self._launches(), stopping, policy=policy, wishes=wishes, before=before)
        finally:
            self.launched = what_is_left(xen, self.launched)
            self.tenants.keep(self.launched)

    def _before(self, xen: Xen, policy: Policy) -> Callable[[Update], object]:
        """Return what makes an update last and measures it, when nothing is left but to commit it."""

        def before(update: Update) -> None:
            with resource_labels.kept(self.folder, update):
                self._measure_policy(xen, policy)

        return before

    def _measure_policy(self, xen: Xen, policy: Policy) -> None:
        """Measure a policy before it takes effect; before it the history, where it counts past runs."""
        if policy.history:
            xen.monitor.measure_history()
        event = PolicyLoaded(policy.name, policy.version, policy.digest, policy.root)
        self.log.append(PCR_POLICY, event.encode())

    def _measure_history(self, history: History) -> object:
        return self.log.append(PCR_POLICY, past_runs.event(history))

    def relabel(self, identity: str, old: str, new: str, why: str) -> None:
        """Give a resource that nobody uses another label if it has the ``old`` one; it outlives a boot.

        Raises HypervisorDenied, HypervisorUsageError, OSError; then it keeps its label.
        """
        self.running().monitor.invoke(
            RelabelResource(DOM0, identity, old, new),
            actor="operator",
            why=why,
            measure=lambda: resource_labels.keep(self.folder, {identity: new}),
        )

    def running(self) -> Xen:
        """Return the hypervisor; raises ShypeUsageError before a policy is loaded."""
        if self.xen is None:
            raise ShypeUsageError("no policy is loaded: nothing may run; load one: shype policy load")
        return self.xen

    def launch(self, config: bytes, tenant: str | None = None) -> LaunchedDomain:
        """Launch a domain from its xl config; it is ``tenant``'s (default: its label)."""
        self.running()
        name = xlconfig.parse(config).name
        self._refuse_second(name)
        self.tenants.expect(name, tenant)
        try:
            self.launched[name] = self._launches().launch(config)
        finally:
            self.tenants.keep(self.launched)
        return self.launched[name]

    def dry_run(self, config: bytes) -> DomainConfig:
        """Tell whether a launch would be permitted now; raises what it would raise before it acts."""
        self.running()
        self._refuse_second(xlconfig.parse(config).name)
        return self._launches().dry_run(config)

    def _refuse_second(self, name: str) -> None:
        if name in self.launched:
            raise ShypeUsageError(f"a domain {name!r} runs already; stop it first: shype domain stop {name}")

    def stop(self, name: str) -> None:
        """End a domain; raises what kept it from ending, and then it is among the launched ones still."""
        domain = self.domain(name)
        try:
            self._launches().stop(domain)
        finally:
            self.launched = what_is_left(self.running(), self.launched)
            self.tenants.keep(self.launched)

    def domain(self, name: str) -> LaunchedDomain:
        """Return a running domain by name; raises ShypeUsageError."""
        found = self.launched.get(name)
        if found is None:
            raise ShypeUsageError(
                f"no domain {name!r} runs here; running: {', '.join(self.launched) or 'none'}"
            )
        return found

    def note(self, action: str, what: str, who: str = "operator", outcome: Outcome = Outcome.DONE) -> None:
        """Record what is no hypercall: an action that cannot be recorded does not happen."""
        self.trail.append(
            AuditEvent(
                time_ns=time.time_ns(),
                epoch=1 if self.xen is None else self.xen.state.policy.epoch,
                who=who,
                action=action,
                what=what,
                outcome=outcome,
                why=(),
            )
        )

    def _launches(self) -> Launcher:
        assert self._launcher is not None
        return self._launcher
