"""The embedded host: measured boot, policy, guests with vTPMs, evidence and usage records, on a Xen model.

PCR 0-9 come from ``attest.boot`` (a recorded firmware, GRUB's rules, real boot files), PCR 12 and 13 from the
runtime log. Nothing runs before a policy is loaded: without one there is nobody to ask.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from acm import policyfile
from acm.policy import Policy
from acm.update import Update
from attest.attester import Logs, attest
from attest.boot.multiboot2 import BootResult, boot
from attest.evidence import Evidence, FirmwareLog
from attest.runtime_events import HypervisorReport, PolicyLoaded
from attest.runtime_log import RuntimeLog
from hypervisor import hostconfig, xlconfig
from hypervisor.attach import RelabelResource
from hypervisor.audit import Outcome
from hypervisor.audit_file import AuditFile
from hypervisor.folder import FolderSource
from hypervisor.host import XenHost
from hypervisor.launch import LaunchedDomain, Launcher
from hypervisor.state import DOM0
from hypervisor.xlconfig import DomainConfig
from metering.key import host_id, key_id
from metering.meter import Meter
from metering.platform_key import make_platform_key
from metering.record import tenant_bytes
from metering.register import Setup
from shype import packaged
from shype.errors import HostBusyError, ShypeUsageError
from shype.files import write
from shype.host import past_runs, resource_labels
from shype.host.creation import DESCRIPTION
from shype.host.guests import Guests, vtpm_authority
from shype.host.tpm import BANKS, HostTpm
from shype.host.update import NO_WISHES, Wishes, carry_out, what_is_left
from shype.host.usage import LaunchMeter, Usage, Workload
from vtpm.key import Key
from vtpm.tpm2.constants import Alg
from vtpm.vtpm_manager import VtpmManager

USAGE: Final = "usage"
METER_KEY: Final = "meter-key.json"
AUDIT_LOG: Final = "audit.log"
RUNTIME_LOG: Final = "runtime.log"
LOCK: Final = "host.lock"
RECORDING: Final = "recordings/ovmf-2022.11-q35.bin"
"""The firmware that the embedded host replays; evidence names it."""
XEN_VERSION: Final = "4.17"
PCR_POLICY: Final = 12
PCR_DOMAINS: Final = 13
MAX_BOOT_FILE: Final = 512 << 20
SECOND: Final = 1_000_000_000
TICK_NS: Final = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Boot:
    """What this boot started with."""

    measured: BootResult
    recording: str


class EmbeddedHost:
    """A host that is switched on. Use it in a ``with`` block; its end is power-off."""

    def __init__(self, folder: Path, boot_folder: Path) -> None:
        """Power on and boot from the files in ``boot_folder``.

        Raises HostBusyError when it is on already, BootError where the boot files do not boot, OSError,
        errors of the TPM.
        """
        self.folder = folder
        self.description = hostconfig.parse(_read(folder / DESCRIPTION, "make it with: shype host init"))
        self._files = FolderSource(boot_folder)
        self._ends = contextlib.ExitStack()
        self.xen: XenHost | None = None
        self.launched: dict[str, LaunchedDomain] = {}
        self._launcher: Launcher | None = None
        try:
            self._own()
            self.trail = self._ends.enter_context(AuditFile(folder / AUDIT_LOG)).trail(time.time_ns())
            self._note("boot", f"host {self.description.name} is switched on")
            self._power_on()
        except BaseException:
            self._ends.close()
            raise

    def _own(self) -> None:
        """Hold the folder before anything in it is touched: no TPM survives two users."""
        lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._ends.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostBusyError(
                f"{self.folder}: this host is on already; switch it off: shype host poweroff {self.folder}"
            ) from None

    def _power_on(self) -> None:
        recording = (packaged.ROOT / RECORDING).read_bytes()
        measured = boot(recording, lambda path: self._files.read(path.lstrip("/"), MAX_BOOT_FILE), BANKS)
        self.boot = Boot(measured, Path(RECORDING).name)
        self.tpm = self._ends.enter_context(HostTpm(self.folder))
        for event in measured.measurements:
            self.tpm.extend(event.pcr, {Alg.from_name(bank): value for bank, value in event.digests.items()})
        self.tpm.tpm.lock_platform()
        self.log = self._ends.enter_context(
            RuntimeLog(self.folder / RUNTIME_LOG, self.tpm.extend, self.tpm.read)
        )
        self.log.append(PCR_POLICY, self._report().encode())
        self._start_services()

    def _report(self) -> HypervisorReport:
        return HypervisorReport(
            version=XEN_VERSION,
            build_id=self.boot.measured.build_id,
            commandline=self.boot.measured.xen_commandline,
            xsm_module="acm",
            xsm_mode="enforcing",
            flask_policy=None,
        )

    def _start_services(self) -> None:
        append: Callable[[bytes], object] = lambda event: self.log.append(PCR_DOMAINS, event)  # noqa: E731
        shutil.rmtree(self.folder / "vtpm", ignore_errors=True)
        manager = VtpmManager(self.folder / "vtpm", os.urandom(32), vtpm_authority(self.description.name))
        resets = self.tpm.tpm.clock().reset_count
        self.guests = Guests(manager, self.tpm.ak.name, resets, append)
        self._ends.callback(self.guests.close)
        self.meter_key, bundle = make_platform_key(self.tpm.tpm, self.tpm.ak)
        self.usage = Usage(self.guests)
        setup = Setup(
            host=host_id(self.tpm.ak.name),
            epoch=resets,
            key=key_id(self.meter_key.spki()),
            pcpus=self.description.pcpus,
            period_ns=TICK_NS,
        )
        self.meter = Meter.resume(
            self.folder / USAGE, f"shype/{self.description.name}", setup, self.usage, self.usage
        )
        self._ends.callback(self.meter.abandon)
        write(self.folder / USAGE / METER_KEY, bundle.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def load_policy(self, data: bytes, wishes: Wishes = NO_WISHES) -> tuple[int, Update | None]:
        """Measure an ACM policy and enforce it; return its epoch, and the update where it replaced another.

        The first policy opens the host. A later one is refused (UpdateRefused) while anything that lives
        disagrees with it and is not wished away; then nothing is measured, stopped, revoked or relabelled.
        """
        policy = policyfile.load(data)
        if self.xen is None:
            if wishes.stop or wishes.relabel:
                raise ShypeUsageError("no policy is loaded: nothing runs that could be stopped or relabelled")
            self._note("policy", f"first policy {policy.name} {policy.version} {policy.digest}")
            xen = XenHost(
                resource_labels.described(self.description, resource_labels.load(self.folder)),
                policy,
                trail=self.trail,
                clock=time.time_ns,
                history=past_runs.open_store(self.folder, self.tpm.tpm.nv, self._note),
                measure_history=lambda history: self.log.append(PCR_POLICY, past_runs.event(history)),
            )
            self._measure_policy(xen, policy)
            self._open(xen)
            return xen.state.policy.epoch, None
        xen = self.xen
        stopping = [self.domain(name) for name in wishes.stop]
        assert self._launcher is not None
        try:
            before = self._before(xen, policy)
            return carry_out(xen, self._launcher, stopping, policy=policy, wishes=wishes, before=before)
        finally:
            self.launched = what_is_left(xen, self.launched)
            for name in self.usage.tenants.keys() - self.launched.keys():
                del self.usage.tenants[name]

    def _before(self, xen: XenHost, policy: Policy) -> Callable[[Update], object]:
        """Return what makes an update last and measures it, when nothing is left but to commit it."""

        def before(update: Update) -> None:
            with resource_labels.kept(self.folder, update):
                self._measure_policy(xen, policy)

        return before

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

    def _measure_policy(self, xen: XenHost, policy: Policy) -> None:
        """Measure a policy before it takes effect; before it the history, where it counts past runs."""
        if policy.history:
            xen.monitor.measure_history()
        event = PolicyLoaded(policy.name, policy.version, policy.digest, policy.root)
        self.log.append(PCR_POLICY, event.encode())

    def _open(self, xen: XenHost) -> None:
        self.xen = self.usage.host = xen
        vids: Callable[[str], str] = lambda domain: next(  # noqa: E731
            vid for vid, each in self.guests.vtpms.items() if each.vtpm.record.domain == domain
        )
        self._launcher = Launcher(
            xen,
            files=self._files,
            measurer=self.guests,
            vtpms=self.guests,
            meter=LaunchMeter(self.meter, self.usage, vids),
            new_uuid=lambda: str(uuid.uuid4()),
        )

    def _note(self, action: str, what: str) -> None:
        """Record what is no hypercall: an action that cannot be recorded does not happen."""
        self.trail.append(
            time_ns=time.time_ns(),
            epoch=1,
            who="operator",
            action=action,
            what=what,
            outcome=Outcome.DONE,
            why=(),
        )

    def running(self) -> XenHost:
        """Return the hypervisor; raises ShypeUsageError before a policy is loaded."""
        if self.xen is None:
            raise ShypeUsageError("no policy is loaded: nothing may run; load one: shype policy load")
        return self.xen

    def launch(self, config: bytes, tenant: str | None = None) -> LaunchedDomain:
        """Launch a domain from its xl config; ``tenant`` pays for it (default: its label)."""
        self.running()
        assert self._launcher is not None
        name = xlconfig.parse(config).name
        self._refuse_second(name)
        if tenant is not None:
            self.usage.tenants[name] = tenant_bytes(tenant).rstrip(b"\0").decode()
        try:
            self.launched[name] = self._launcher.launch(config)
        except BaseException:
            self.usage.tenants.pop(name, None)
            raise
        return self.launched[name]

    def dry_run(self, config: bytes) -> DomainConfig:
        """Tell whether a launch would be permitted now; raises what it would raise before it acts."""
        self.running()
        assert self._launcher is not None
        self._refuse_second(xlconfig.parse(config).name)
        return self._launcher.dry_run(config)

    def _refuse_second(self, name: str) -> None:
        if name in self.launched:
            raise ShypeUsageError(f"a domain {name!r} runs already; stop it first: shype domain stop {name}")

    def stop(self, name: str) -> None:
        """End a domain."""
        domain = self.domain(name)
        assert self._launcher is not None
        try:
            self._launcher.stop(domain)  # takes every step, also when one of them fails
        finally:
            del self.launched[name]
            self.usage.tenants.pop(name, None)

    def domain(self, name: str) -> LaunchedDomain:
        """Return a running domain by name; raises ShypeUsageError."""
        found = self.launched.get(name)
        if found is None:
            raise ShypeUsageError(
                f"no domain {name!r} runs here; running: {', '.join(self.launched) or 'none'}"
            )
        return found

    def run(self, seconds: int, workload: Workload) -> None:
        """Let ``seconds`` of system time pass under a workload, with a reading every tick."""
        xen = self.running()
        for _ in range(seconds):
            for domain in self.launched.values():
                workload.step(xen, domain, SECOND)
            xen.run(SECOND)
            if xen.now_ns % TICK_NS == 0:
                self.meter.tick()

    def evidence(self, nonce: bytes, ak: Key | None = None, channel: bytes | None = None) -> Evidence:
        """Return evidence of this host and all its domains for ``nonce``, bound to ``channel`` if given."""
        firmware = FirmwareLog(
            f"recorded:{self.boot.recording} with this host's loader", self.boot.measured.event_log
        )
        return attest(
            nonce,
            self.description.name,
            self.tpm.quoting(ak),
            tuple(self.guests.vtpms.values()),
            Logs(self.log.cel(), firmware),
            channel=channel,
        )

    def checkpoint(self) -> bytes:
        """Sign the usage log with the key that only this platform state has; return the checkpoint."""
        return self.meter.sign(self.meter_key)


def _read(path: Path, advice: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ShypeUsageError(f"{path.parent}: holds no host; {advice} {path.parent}") from None
