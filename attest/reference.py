"""Reference values ``shype.reference/1``: what a host should have measured, as the relying party holds it.

Canonical JSON; ``configs/schema/reference.schema.json`` has the fields. They come from a prediction
(``attest.predict``) on a machine that the relying party trusts, or from a golden host that it verified and
vouches for (``attest.verifier.golden``), never from the host that is judged. RFC 9334, 8.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from attest import canonical_json
from attest.canonical_json import Json
from attest.ima.reference import FileReference
from attest.reference_fields import Fields, ReferenceValuesError, unprintable

SCHEMA: Final = "shype.reference/1"
MAX_REFERENCE: Final = 32 << 20
MAX_EVENTS: Final = 1 << 15
MAX_DOMAINS: Final = 4096
MAX_DISKS: Final = 64
SHA256_BYTES: Final = 32
PCRS: Final = range(10)
"""Registers of firmware and loader that reference values speak of."""
BANK_BYTES: Final[Mapping[str, int]] = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
IMAGE_PCR: Final = 4
FILES_PCR: Final = 9
LOCALITIES: Final = (0, 3, 4)
"""PCR 0 starts with the locality of TPM2_Startup (TCG PFP, 10.4.5.3)."""


class Component(StrEnum):
    """The part of the boot chain that a measurement tells about."""

    FIRMWARE = "firmware"
    LOADER = "loader"
    XEN = "xen"
    DOM0 = "dom0"


class Origin(StrEnum):
    """Where reference values come from."""

    PREDICTED = "predicted"
    """Boot files."""
    GOLDEN = "golden"
    """What a host had measured, which the relying party calls good."""


@dataclass(frozen=True, slots=True)
class ReferenceEvent:
    """One expected extend; ``what`` is for people: GRUB's begin with ``command``, ``file``, ``arguments``."""

    pcr: int
    digest: bytes
    component: Component
    what: str


@dataclass(frozen=True, slots=True)
class FlaskPolicy:
    """The FLASK policy that should be loaded: SHA-256 (hex), and the register that covers its file.

    ``pcr`` is 9 for a file that GRUB loads, 4 for a section of the unified image, None where none does.
    """

    sha256: str
    pcr: int | None


@dataclass(frozen=True, slots=True)
class HypervisorReference:
    """What the hypervisor should report of itself; None where any answer will do.

    Of the FLASK policy None says: whatever the boot registers cover. ``dom0_commandline`` is what the kernel
    of Domain-0 should say that it runs with.
    """

    version: str | None
    commandline: str
    xsm_module: str
    xsm_mode: str
    build_id: str | None
    flask_policy: FlaskPolicy | None = None
    dom0_commandline: str | None = None


@dataclass(frozen=True, slots=True)
class DomainReference:
    """A domain that may run: SHA-256 (hex) of its config's bytes, kernel and ramdisk; disks by identity.

    ``disks`` are written as they are measured: ``VDEV MODE IDENTITY``.
    """

    name: str
    label: str
    config_digest: str
    kernel: str | None
    ramdisk: str | None
    disks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReferenceValues:
    """Expected PCR values of one bank, the events behind them, the hypervisor's report and the domains.

    ``version`` grows with every issue, so that an older set can be told from a newer one. ``ima`` are the
    files of dom0's user land; None says nothing about it.
    """

    name: str
    version: int
    bank: str
    pcrs: Mapping[int, bytes]
    events: tuple[ReferenceEvent, ...]
    hypervisor: HypervisorReference
    domains: tuple[DomainReference, ...]
    origin: Origin = Origin.PREDICTED
    ima: FileReference | None = None

    def domain(self, name: str) -> DomainReference | None:
        """Return the reference values of the domain of this name; None if there are none."""
        return next((domain for domain in self.domains if domain.name == name), None)

    def encode(self) -> bytes:
        """Return the canonical JSON."""
        return canonical_json.encode(
            {
                "schema": SCHEMA,
                "name": self.name,
                "version": self.version,
                "bank": self.bank,
                "pcrs": {str(pcr): value.hex() for pcr, value in self.pcrs.items()},
                "events": [_event_json(event) for event in self.events],
                "hypervisor": _hypervisor_json(self.hypervisor),
                "domains": [asdict(domain) for domain in self.domains],
                "origin": self.origin.value,
                **({} if self.ima is None else {"ima": self.ima.document()}),
            }
        )

    @classmethod
    def decode(cls, raw: bytes) -> ReferenceValues:
        """Read reference values, in any JSON layout; raises ``AttestInputError``.

        The events of a register, where there are any, must replay to its value.
        """
        top = Fields.of(canonical_json.decode(raw, "reference values", MAX_REFERENCE), "reference values")
        if top.take("schema") != SCHEMA:
            raise ReferenceValuesError(f"reference values: schema must be {SCHEMA}")
        bank = top.word("bank", tuple(BANK_BYTES))
        found = cls(
            name=top.text("name"),
            version=top.number("version", 1 << 53),
            bank=bank,
            pcrs=_pcrs(top.take("pcrs"), BANK_BYTES[bank]),
            events=tuple(_event(each, BANK_BYTES[bank]) for each in top.objects("events", MAX_EVENTS)),
            hypervisor=_hypervisor(Fields.of(top.take("hypervisor"), "hypervisor")),
            domains=tuple(_domain(each) for each in top.objects("domains", MAX_DOMAINS)),
            origin=Origin(top.word("origin", tuple(Origin)) if "origin" in top.fields else Origin.PREDICTED),
            ima=FileReference.of(top.take("ima")) if "ima" in top.fields else None,
        )
        top.finish()
        _check(found)
        return found


def _pcrs(value: object, size: int) -> dict[int, bytes]:
    found = Fields.of(value, "pcrs")
    known = {str(pcr): pcr for pcr in PCRS}
    for name in found.fields.keys() - known.keys():
        raise ReferenceValuesError(f"pcrs: {name[:40]!a} is no PCR from 0 to 9")
    return {known[name]: bytes.fromhex(found.hexadecimal(name, size)) for name in sorted(found.fields)}


def _event(found: Fields, size: int) -> ReferenceEvent:
    event = ReferenceEvent(
        pcr=found.number("pcr", PCRS.stop),
        digest=bytes.fromhex(found.hexadecimal("digest", size)),
        component=Component(found.word("component", tuple(Component))),
        what=found.text("what"),
    )
    found.finish()
    return event


def _hypervisor(found: Fields) -> HypervisorReference:
    hypervisor = HypervisorReference(
        version=found.text_or_null("version"),
        commandline=found.text("commandline", empty=True),
        xsm_module=found.text("xsm_module"),
        xsm_mode=found.text("xsm_mode"),
        build_id=found.hexadecimal_or_null("build_id", None),
        flask_policy=_flask(found) if "flask_policy" in found.fields else None,
        dom0_commandline=found.text("dom0_commandline", empty=True)
        if "dom0_commandline" in found.fields
        else None,
    )
    found.finish()
    return hypervisor


def _flask(found: Fields) -> FlaskPolicy:
    own = Fields.of(found.take("flask_policy"), "flask_policy")
    policy = FlaskPolicy(own.hexadecimal("sha256", SHA256_BYTES), own.number_or_null("pcr", PCRS.stop))
    own.finish()
    return policy


def _domain(found: Fields) -> DomainReference:
    disks = found.items("disks", MAX_DISKS)
    if any(not isinstance(disk, str) or not disk or unprintable(disk) for disk in disks):
        raise found.refuse("disks", "a list of texts")
    domain = DomainReference(
        name=found.text("name"),
        label=found.text("label"),
        config_digest=found.hexadecimal("config_digest", SHA256_BYTES),
        kernel=found.hexadecimal_or_null("kernel", SHA256_BYTES),
        ramdisk=found.hexadecimal_or_null("ramdisk", SHA256_BYTES),
        disks=tuple(str(disk) for disk in disks),
    )
    found.finish()
    return domain


def _check(values: ReferenceValues) -> None:
    """Refuse two domains of one name, and events that do not explain a register's value."""
    names = [domain.name for domain in values.domains]
    if len(set(names)) != len(names):
        raise ReferenceValuesError("domains: two have the same name")
    for pcr in {event.pcr for event in values.events}:
        digests = [event.digest for event in values.events if event.pcr == pcr]
        starts = LOCALITIES if pcr == 0 else LOCALITIES[:1]
        if values.pcrs.get(pcr) not in [_replay(values.bank, start, digests) for start in starts]:
            raise ReferenceValuesError(f"events: those of PCR {pcr} do not replay to its value")

    _check_flask(values)


def _check_flask(values: ReferenceValues) -> None:
    """Refuse a FLASK policy whose register has no value, or whose file is none of those that GRUB loads."""
    policy = values.hypervisor.flask_policy
    if policy is None or policy.pcr is None:
        return
    if policy.pcr not in {IMAGE_PCR, FILES_PCR} or policy.pcr not in values.pcrs:
        raise ReferenceValuesError("flask_policy: pcr must be 4 or 9, and have a value")
    files = [event.digest.hex() for event in values.events if event.pcr == FILES_PCR]
    if policy.pcr == FILES_PCR and values.bank == "sha256" and policy.sha256 not in files:
        raise ReferenceValuesError("flask_policy: no event of PCR 9 is of this file")


def _replay(bank: str, start: int, digests: Sequence[bytes]) -> bytes:
    value = start.to_bytes(BANK_BYTES[bank], "big")
    for digest in digests:
        value = hashlib.new(bank, value + digest).digest()
    return value


def _hypervisor_json(hypervisor: HypervisorReference) -> dict[str, Json]:
    fields = asdict(hypervisor)
    silent = [name for name in ("flask_policy", "dom0_commandline") if fields[name] is None]
    return {name: value for name, value in fields.items() if name not in silent}


def _event_json(event: ReferenceEvent) -> dict[str, Json]:
    return {**asdict(event), "digest": event.digest.hex()}
