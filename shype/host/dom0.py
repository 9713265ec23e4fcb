"""The host object of a real Domain-0: Xen's domains, the machine's TPM, dom0's measurement list.

The boot was measured by firmware and loader, what Xen runs with by the first act (:mod:`shype.firstact`),
whose runtime log goes on here. A poll compares what Xen lists and says with what was launched and measured:
a domain that nobody launched is measured as found, one that ended by itself as stopped, and another report of
Xen than the first act's as a second report. No evidence leaves without such a comparison just before it.

Guests get a vTPM that speaks for them in evidence; it is not attached to them yet. Nothing is metered yet.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from acm.policy import Policy
from acm.update import Update
from attest.attester import Logs, attest
from attest.errors import AttestInputError
from attest.evidence import MAX_IMA, Evidence
from attest.runtime_events import SALT_SIZE, DomainFound, HypervisorReport
from attest.runtime_log import RuntimeLog
from hypervisor import hostconfig
from hypervisor.audit import Outcome
from hypervisor.audit_file import AuditFile
from hypervisor.errors import XenError
from hypervisor.folder import FolderSource
from hypervisor.hostconfig import HostDescription
from hypervisor.launch import LaunchedDomain, Launcher
from hypervisor.state import DOM0
from hypervisor.toolstack import DomainInfo
from hypervisor.xen.driver import XenDriver
from hypervisor.xen.host import GuardedXen
from hypervisor.xen.survey import survey
from hypervisor.xlconfig import DomainConfig
from shype.errors import ShypeUsageError
from shype.firstact import LOG, hypervisor_report
from shype.host import past_runs
from shype.host.folder import AUDIT_LOG, VTPMS, owned
from shype.host.guests import Guests, new_manager
from shype.host.owner_anchor import OwnerAnchor
from shype.host.running import PCR_DOMAINS, PCR_POLICY, RunningHost
from shype.host.tpm import DeviceTpm
from shype.host.update import NO_WISHES, Wishes
from shype.report import Json
from vtpm.channel import CommandChannel
from vtpm.private import private_folder
from vtpm.rawdevice import RawDevice

DEVICE: Final = Path("/dev/tpmrm0")
IMA_LIST: Final = Path("/sys/kernel/security/ima/binary_runtime_measurements")
POLL_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Dom0:
    """Where a Domain-0 has what a host needs.

    ``images`` holds the guests' kernels and ramdisks, ``log`` is the first act's, ``ima`` the kernel's list,
    which evidence holds if it is there. ``driver`` makes the driver from the FLASK contexts of labels,
    ``tpm`` opens the TPM, whose owner's authorisation is ``owner``.
    """

    images: Path
    log: Path = LOG
    ima: Path = IMA_LIST
    poll_seconds: float = POLL_SECONDS
    driver: Callable[[Mapping[str, str]], XenDriver] = XenDriver.here
    tpm: Callable[[], contextlib.AbstractContextManager[CommandChannel]] = field(
        default=lambda: RawDevice.open(DEVICE)
    )
    owner: bytes = field(default=b"", repr=False)


class Dom0Host(RunningHost[GuardedXen]):
    """The host of this Domain-0. Use it in a ``with`` block; at its end the domains that it launched end."""

    shown_pcrs: ClassVar[tuple[int, ...]] = (*range(11), 12, 13)

    def __init__(self, folder: Path, description: bytes, dom0: Dom0) -> None:
        """Take over from the first act; ``folder`` is made if it is missing.

        Raises HostBusyError, HostConfigError, XenError, JournalError where log and registers do not fit,
        ShypeUsageError where no first act was, OSError, errors of the TPM.
        """
        super().__init__()
        self.folder = folder
        self.description = hostconfig.parse(description)
        self._dom0 = dom0
        self._ends = contextlib.ExitStack()
        self._found: dict[tuple[int, str, str | None], DomainFound] = {}
        self._due = 0.0
        self._failed: str | None = None
        private_folder(folder)
        try:
            self._ends.enter_context(owned(folder))
            self.trail = self._ends.enter_context(AuditFile(folder / AUDIT_LOG)).trail(time.time_ns())
            self.note("boot", f"host {self.description.name} begins in Domain-0")
            self._take_over()
        except BaseException:
            self._ends.close()
            raise

    def _take_over(self) -> None:
        self._driver = self._dom0.driver(self.description.flask)
        self._driver.name(DOM0)  # a toolstack that does not answer is known now, not at the first launch
        channel = self._ends.enter_context(self._dom0.tpm())
        self.tpm = self._ends.enter_context(DeviceTpm(channel, self._dom0.owner))
        self.log = self._ends.enter_context(RuntimeLog(self._dom0.log, self.tpm.extend, self.tpm.read))
        self._reported = self._first_report()
        manager = new_manager(self.folder / VTPMS, self.description.name)
        resets = self.tpm.tpm.clock().reset_count
        self.guests = Guests(manager, self.tpm.ak.name, resets, self._measure_domain)
        self._ends.callback(self.guests.close)
        self.poll()

    def _first_report(self) -> HypervisorReport:
        events = self.log.events()
        with contextlib.suppress(AttestInputError):
            if events and events[0].pcr == PCR_POLICY:
                return HypervisorReport.decode(events[0].untrusted_data)
        raise ShypeUsageError(
            f"{self._dom0.log}: PCR {PCR_POLICY} does not begin with Xen's report: run python3 -m"
            " shype.firstact from the measured ramdisk"
        )

    def _measure_domain(self, event: bytes) -> object:
        return self.log.append(PCR_DOMAINS, event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._ends:
            for name in tuple(self.launched):
                self._ends.callback(self.stop, name)

    def poll(self) -> None:
        """Compare Xen with what was launched and measured; measure every difference, once.

        Raises XenError, errors of TPM and log; what could not be measured is tried again by the next poll.
        """
        # Dom0's own line stands once, from the first act: nothing can alter it while the kernel runs.
        report = hypervisor_report(self._driver.report(), self._reported.dom0_commandline)
        if report != self._reported:
            self.note(
                "report", f"Xen reports otherwise than before: {report.xsm_mode}", "host", Outcome.FAILED
            )
            self.log.append(PCR_POLICY, report.encode())
            self._reported = report
        compared = self.xen.survey() if self.xen is not None else survey(self._driver.domains(), {}, ())
        for info in compared.found:
            if (info.domid, info.uuid, info.label) not in self._found:
                self._measure_found(info)
        ended = [name for name, each in self.launched.items() if each.domid in compared.ended]
        for name in ended:
            self.note("ended", f"domain {self.launched[name].domid} {name} ended by itself", "host")
            super().stop(name)
        self._failed = None

    def _measure_found(self, info: DomainInfo) -> None:
        name = None
        with contextlib.suppress(XenError):  # no name may keep a domain from being measured
            name = self._driver.name(info.domid) or None
        event = DomainFound.listed(info.domid, info.uuid, name, info.label, secrets.token_bytes(SALT_SIZE))
        what = f"domain {event.domid} {event.uuid} {event.name} {event.context} was not launched here"
        self.note("found", what, "host", Outcome.FAILED)
        self._measure_domain(event.measured().encode())
        self._found[info.domid, info.uuid, info.label] = event

    def pulse(self) -> float:
        """Poll when it is due. A poll that fails is told by status, and holds back all evidence."""
        if time.monotonic() >= self._due:
            try:
                self.poll()
            except Exception as error:  # noqa: BLE001 - whatever it is, status and evidence tell of it
                self._failed = f"{type(error).__name__}: {error}"
            self._due = time.monotonic() + self._dom0.poll_seconds
        return max(self._due - time.monotonic(), 0.001)

    def more_status(self) -> Mapping[str, Json]:
        """Tell what Xen says of itself, which strangers were found, and whether the last poll failed."""
        report = self._reported
        return {
            "xen": {
                "version": report.version,
                "xsm_module": report.xsm_module,
                "xsm_mode": report.xsm_mode,
                "commandline": report.commandline,
            },
            "found": [
                {"domid": each.domid, "uuid": each.uuid, "name": each.name, "context": each.context}
                for each in self._found.values()
            ],
            "poll": {"seconds": self._dom0.poll_seconds, "failed": self._failed},
        }

    def status_lines(self) -> Sequence[str]:
        """Tell the same to a person."""
        report = self._reported
        lines = [f"Xen {report.version}, {report.xsm_module} {report.xsm_mode}"]
        lines += [
            f"FOUND domain {each.domid} {each.uuid} {each.name or '-'} {each.context or '-'}: not ours"
            for each in self._found.values()
        ]
        return [*lines, *([f"POLL FAILS: {self._failed}"] if self._failed else [])]

    def load_policy(self, data: bytes, wishes: Wishes = NO_WISHES) -> tuple[int, Update | None]:
        """Measure an ACM policy and enforce it, on what runs at this moment."""
        self.poll()
        return super().load_policy(data, wishes)

    def launch(self, config: bytes, tenant: str | None = None) -> LaunchedDomain:
        """Launch a domain beside what runs at this moment; nothing is metered, so ``tenant`` pays nothing."""
        self.poll()
        return super().launch(config, tenant)

    def dry_run(self, config: bytes) -> DomainConfig:
        """Tell whether a launch would be permitted beside what runs at this moment."""
        self.poll()
        return super().dry_run(config)

    def evidence(self, nonce: bytes, channel: bytes | None = None, tenant: str | None = None) -> Evidence:
        """Return evidence of this host, as Xen has it at this moment; see ``RunningHost.evidence``."""
        self.poll()
        vtpms = self._speaking(tenant)
        found = tuple(event.encode() for event in self._found.values()) if tenant is None else ()
        logs = Logs(self.log.cel(), None, self._ima_reader(), found)
        return attest(nonce, self.description.name, self.tpm.quoting(), vtpms, logs, channel=channel)

    def _ima_reader(self) -> Callable[[], bytes] | None:
        path = self._dom0.ima
        return (lambda: _measurement_list(path)) if path.exists() else None

    def _new_xen(self, description: HostDescription, policy: Policy) -> GuardedXen:
        return GuardedXen(
            description,
            policy,
            self._driver,
            trail=self.trail,
            clock=time.time_ns,
            history=past_runs.kept(self.folder, OwnerAnchor(self.tpm.tpm.nv)),
            measure_history=self._measure_history,
        )

    def _new_launcher(self, xen: GuardedXen) -> Launcher:
        return Launcher(
            xen,
            files=FolderSource(self._dom0.images),
            measurer=self.guests,
            vtpms=self.guests,
            meter=None,
            new_uuid=lambda: str(uuid.uuid4()),
        )


def _measurement_list(path: Path) -> bytes:
    """Return the kernel's list; one byte more than evidence holds tells that it is too long."""
    with path.open("rb") as file:
        return file.read(MAX_IMA + 1)
