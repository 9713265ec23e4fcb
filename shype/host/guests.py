"""Launches measured into PCR 13, and one labelled vTPM for each domain: the hypervisor's ports, fitted."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from acm.mls import Range
from attest.runtime_events import SALT_SIZE, DomainCommitment, DomainEvent, DomainLaunch
from hypervisor.ports import LaunchMeasurement, VtpmOrder
from vtpm.binding import Binding
from vtpm.ek_certificate import EkIssuer, Validity, self_signed
from vtpm.record import LabelRecord, RecordedLevel, RecordedRange
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.vtpm_manager import Vtpm, VtpmManager

ROOT_KEY_BYTES: Final = 32
VTPM_CA_LIFE: Final = timedelta(days=3650)

Append = Callable[[bytes], object]
"""Measures the bytes of one domain event."""


def recorded(mls: Range | None, *, trusted: bool) -> RecordedRange | None:
    """Return the range of a label as it stands in the label record."""
    if mls is None:
        return None
    low, high = (RecordedLevel(end.name, tuple(sorted(end.categories))) for end in (mls.low, mls.high))
    return RecordedRange(low, high, trusted)


@dataclass(slots=True)
class MeasuredVtpm:
    """A domain's vTPM with what was measured about it, in the shape that ``attest.attester`` asks for."""

    vtpm: Vtpm
    binding_record: Binding
    launch: bytes = b""
    operations: int = 0

    @property
    def vid(self) -> str:
        """The vTPM's identity."""
        return self.vtpm.record.vid

    @property
    def record(self) -> bytes:
        """The label record in PCR 17."""
        return self.vtpm.record.encode()

    @property
    def binding(self) -> bytes:
        """The binding of record, keys and host."""
        return self.binding_record.encode()

    def quote(self, qualifying: bytes, selection: PcrSelection) -> tuple[bytes, bytes]:
        """Return (TPMS_ATTEST, TPMT_SIGNATURE) under the domain's label."""
        self.operations += 1
        return self.vtpm.quote(qualifying, selection)

    def pcr_read(self, selection: PcrSelection) -> tuple[bytes, ...]:
        """Return PCR values in the order of ``selection.pairs()``."""
        self.operations += 1
        return self.vtpm.pcr_read(selection)

    def ak_public(self) -> bytes:
        """Return the vTPM's attestation key, TPMT_PUBLIC."""
        return self.vtpm.ak.public.encode()


@dataclass(slots=True)
class Guests:
    """The vTPMs of a host, by vid: the hypervisor's ``VtpmProvider`` and ``Measurer``.

    ``ak_name`` is the Name of the host's attestation key, which every vTPM is bound to.
    """

    manager: VtpmManager
    ak_name: bytes
    reset_count: int
    append: Append
    vtpms: dict[str, MeasuredVtpm] = field(default_factory=dict)

    def create(self, order: VtpmOrder) -> str:
        """Make a vTPM under the ordered label; return the digest of its binding to this host and boot."""
        record = LabelRecord(
            vid=order.vid,
            domain=order.domain,
            label=order.label,
            ste_types=order.ste_types,
            chwall_types=order.chwall_types,
            mls=recorded(order.mls, trusted=order.trusted),
            policy_digest=order.policy_digest,
            policy_version=order.policy_version,
            generation=1,
        )
        vtpm = self.manager.create(record)
        binding = vtpm.binding(self.ak_name, self.reset_count)
        self.vtpms[order.vid] = MeasuredVtpm(vtpm, binding)
        return binding.digest().hex()

    def destroy(self, vid: str) -> None:
        """End a vTPM and wipe its state."""
        self.vtpms.pop(vid).vtpm.destroy()

    def measure_launch(self, launch: LaunchMeasurement) -> None:
        """Extend a salted commitment to the launch; the opening stays with the domain."""
        opened = DomainLaunch(
            vid=launch.vid,
            name=launch.name,
            uuid=launch.uuid,
            label=launch.label,
            config_digest=launch.config_digest,
            kernel=launch.kernel,
            ramdisk=launch.ramdisk,
            disks=launch.disks,
            policy_digest=launch.policy_digest,
            binding_digest=launch.binding_digest,
            salt=secrets.token_hex(SALT_SIZE),
        )
        self.append(DomainCommitment(DomainEvent.LAUNCH, opened.commitment()).encode())
        self.vtpms[launch.vid].launch = opened.encode()

    def measure_stop(self, launch: LaunchMeasurement) -> None:
        """Extend the end of a measured launch."""
        opened = DomainLaunch.decode(self.vtpms[launch.vid].launch)
        self.append(DomainCommitment(DomainEvent.STOP, opened.commitment()).encode())

    def close(self) -> None:
        """End all vTPMs and wipe their states: a host without power runs no guest."""
        while self.vtpms:
            self.vtpms.popitem()[1].vtpm.destroy()


def new_manager(folder: Path, host: str) -> VtpmManager:
    """Return the manager of a host that begins; states that an earlier one left have lost their key."""
    shutil.rmtree(folder, ignore_errors=True)
    return VtpmManager(folder, secrets.token_bytes(ROOT_KEY_BYTES), vtpm_authority(host))


def vtpm_authority(name: str) -> EkIssuer:
    """Make the authority that certifies the vTPMs of one boot."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    validity = Validity(now - timedelta(minutes=5), now + VTPM_CA_LIFE)
    return EkIssuer(
        key,
        self_signed(key, f"vTPM manager of {name}", serial=x509.random_serial_number(), validity=validity),
    )
