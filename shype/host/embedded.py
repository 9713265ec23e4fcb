"""The embedded host: measured boot, policy, guests with vTPMs, evidence and usage records, on a Xen model.

PCR 0-9 come from ``attest.boot`` (a recorded firmware, GRUB's rules, real boot files), PCR 12 and 13 from the
runtime log. Nothing runs before a policy is loaded: without one there is nobody to ask.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from acm.policy import Policy
from attest.attester import Logs, attest
from attest.boot.multiboot2 import BootResult, boot
from attest.evidence import Evidence, FirmwareLog
from attest.runtime_events import HypervisorReport
from attest.runtime_log import RuntimeLog
from hypervisor import hostconfig
from hypervisor.audit_file import AuditFile
from hypervisor.folder import FolderSource
from hypervisor.host import XenHost
from hypervisor.hostconfig import HostDescription
from hypervisor.launch import Launcher
from metering.key import host_id, key_id
from metering.meter import Meter
from metering.platform_key import make_platform_key
from metering.register import Setup
from shype import packaged
from shype.errors import ShypeUsageError
from shype.files import write
from shype.host import past_runs
from shype.host.creation import DESCRIPTION
from shype.host.folder import AUDIT_LOG, VTPMS, owned
from shype.host.guests import Guests, new_manager
from shype.host.running import PCR_DOMAINS, PCR_POLICY, RunningHost
from shype.host.tpm import BANKS, HostTpm
from shype.host.usage import LaunchMeter, Usage, Workload
from shype.report import Json
from vtpm.tpm2.constants import Alg

USAGE: Final = "usage"
METER_KEY: Final = "meter-key.json"
RUNTIME_LOG: Final = "runtime.log"
RECORDING: Final = "recordings/ovmf-2022.11-q35.bin"
"""The firmware that the embedded host replays; evidence names it."""
XEN_VERSION: Final = "4.17"
MAX_BOOT_FILE: Final = 512 << 20
SECOND: Final = 1_000_000_000
TICK_NS: Final = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Boot:
    """What this boot started with."""

    measured: BootResult
    recording: str


class EmbeddedHost(RunningHost[XenHost]):
    """A host that is switched on. Use it in a ``with`` block; its end is power-off."""

    def __init__(self, folder: Path, boot_folder: Path) -> None:
        """Power on and boot from the files in ``boot_folder``.

        Raises HostBusyError when it is on already, BootError where the boot files do not boot, OSError,
        errors of the TPM.
        """
        super().__init__()
        self.folder = folder
        self.description = hostconfig.parse(_read(folder / DESCRIPTION, "make it with: shype host init"))
        self._files = FolderSource(boot_folder)
        self._ends = contextlib.ExitStack()
        try:
            self._ends.enter_context(owned(folder))
            self.trail = self._ends.enter_context(AuditFile(folder / AUDIT_LOG)).trail(time.time_ns())
            self.note("boot", f"host {self.description.name} is switched on")
            self._power_on()
        except BaseException:
            self._ends.close()
            raise

    def _power_on(self) -> None:
        recording = (packaged.ROOT / RECORDING).read_bytes()
        measured = boot(recording, lambda path: self._files.read(path.lstrip("/"), MAX_BOOT_FILE), BANKS)
        self.boot = Boot(measured, Path(RECORDING).name)
        self.tpm: HostTpm = self._ends.enter_context(HostTpm(self.folder))
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
            dom0_commandline=self.boot.measured.dom0_commandline,
        )

    def _start_services(self) -> None:
        append: Callable[[bytes], object] = lambda event: self.log.append(PCR_DOMAINS, event)  # noqa: E731
        manager = new_manager(self.folder / VTPMS, self.description.name)
        resets = self.tpm.tpm.clock().reset_count
        self.guests = Guests(manager, self.tpm.ak.name, resets, append)
        self._ends.callback(self.guests.close)
        self.meter_key, bundle = make_platform_key(self.tpm.tpm, self.tpm.ak)
        self.usage = Usage(self.guests, self.tenants)
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

    def more_status(self) -> Mapping[str, Json]:
        """Tell where tpm2-tools reach the TPM."""
        return {"tpm_socket": str(self.tpm.socket)}

    def _new_xen(self, description: HostDescription, policy: Policy) -> XenHost:
        return XenHost(
            description,
            policy,
            trail=self.trail,
            clock=time.time_ns,
            history=past_runs.open_store(self.folder, self.tpm.tpm.nv, self.note),
            measure_history=self._measure_history,
        )

    def _new_launcher(self, xen: XenHost) -> Launcher:
        self.usage.host = xen
        vids: Callable[[str], str] = lambda domain: next(  # noqa: E731
            vid for vid, each in self.guests.vtpms.items() if each.vtpm.record.domain == domain
        )
        return Launcher(
            xen,
            files=self._files,
            measurer=self.guests,
            vtpms=self.guests,
            meter=LaunchMeter(self.meter, self.usage, vids),
            new_uuid=lambda: str(uuid.uuid4()),
        )

    def run(self, seconds: int, workload: Workload) -> None:
        """Let ``seconds`` of system time pass under a workload, with a reading every tick."""
        xen = self.running()
        for _ in range(seconds):
            for domain in self.launched.values():
                workload.step(xen, domain, SECOND)
            xen.run(SECOND)
            if xen.now_ns % TICK_NS == 0:
                self.meter.tick()

    def evidence(self, nonce: bytes, channel: bytes | None = None, tenant: str | None = None) -> Evidence:
        """Return evidence of this host; see ``RunningHost.evidence``."""
        firmware = FirmwareLog(
            f"recorded:{self.boot.recording} with this host's loader", self.boot.measured.event_log
        )
        return attest(
            nonce,
            self.description.name,
            self.tpm.quoting(),
            self._speaking(tenant),
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
