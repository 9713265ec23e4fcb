"""Reference values ``shype.reference/1``: what a host should have measured, as the relying party holds it.

Canonical JSON; ``configs/schema/reference.schema.json`` has the fields. They come from a prediction
(``attest.predict``) on a machine that the relying party trusts, or from a golden host that it verified and
vouches for (``attest.verifier.golden``), never from the host that is judged. RFC 9334, 8.3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from attest import canonical_json
from attest.canonical_json import Json
from attest.errors import AttestInputError
from attest.ima.reference import FileReference

SCHEMA: Final = "shype.reference/1"
MAX_REFERENCE: Final = 32 << 20
MAX_EVENTS: Final = 1 << 15
MAX_DOMAINS: Final = 4096
MAX_DISKS: Final = 64
SHA256_BYTES: Final = 32
PCRS: Final = range(10)
"""Registers of firmware and loader that reference values speak of."""
BANK_BYTES: Final[Mapping[str, int]] = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
LOCALITIES: Final = (0, 3, 4)
"""PCR 0 starts with the locality of TPM2_Startup (TCG PFP, 10.4.5.3)."""
_HEX: Final = re.compile(r"(?:[0-9a-f]{2}){1,64}")
_MAX_TEXT: Final = 1 << 17


class ReferenceValuesError(AttestInputError):
    """Reference values that are not well-formed or contradict themselves; the message names the field."""

    code = "reference"


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
class HypervisorReference:
    """What the hypervisor should report of itself; None where any answer will do."""

    version: str | None
    commandline: str
    xsm_module: str
    xsm_mode: str
    build_id: str | None


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
                "hypervisor": asdict(self.hypervisor),
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
        top = _Object.of(canonical_json.decode(raw, "reference values", MAX_REFERENCE), "reference values")
        if top.take("schema") != SCHEMA:
            raise ReferenceValuesError(f"reference values: schema must be {SCHEMA}")
        bank = top.word("bank", tuple(BANK_BYTES))
        found = cls(
            name=top.text("name"),
            version=top.number("version", 1 << 53),
            bank=bank,
            pcrs=_pcrs(top.take("pcrs"), BANK_BYTES[bank]),
            events=tuple(_event(each, BANK_BYTES[bank]) for each in top.objects("events", MAX_EVENTS)),
            hypervisor=_hypervisor(_Object.of(top.take("hypervisor"), "hypervisor")),
            domains=tuple(_domain(each) for each in top.objects("domains", MAX_DOMAINS)),
            origin=Origin(top.word("origin", tuple(Origin)) if "origin" in top.fields else Origin.PREDICTED),
            ima=FileReference.of(top.take("ima")) if "ima" in top.fields else None,
        )
        top.finish()
        _check(found)
        return found


@dataclass(slots=True)
class _Object:
    """A JSON object whose fields are taken one by one; what is left over is refused."""

    where: str
    fields: dict[str, object]

    @classmethod
    def of(cls, value: object, where: str) -> _Object:
        if not isinstance(value, dict):
            raise ReferenceValuesError(f"{where}: must be an object")
        return cls(where, dict(value))

    def take(self, name: str) -> object:
        if name not in self.fields:
            raise ReferenceValuesError(f"{self.where}: field {name!r} is missing")
        return self.fields.pop(name)

    def finish(self) -> None:
        for name in self.fields:
            raise ReferenceValuesError(f"{self.where}: field {name[:40]!a} is not known")

    def refuse(self, name: str, rule: str) -> ReferenceValuesError:
        return ReferenceValuesError(f"{self.where}: field {name!r} must be {rule}")

    def text(self, name: str, *, empty: bool = False) -> str:
        value = self.take(name)
        if (
            not isinstance(value, str)
            or len(value) > _MAX_TEXT
            or not (value or empty)
            or _unprintable(value)
        ):
            raise self.refuse(name, "printable text")
        return value

    def text_or_null(self, name: str) -> str | None:
        return None if self._drop_null(name) else self.text(name)

    def number(self, name: str, end: int) -> int:
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < end:
            raise self.refuse(name, f"a whole number below {end}")
        return value

    def word(self, name: str, known: Sequence[str]) -> str:
        value = self.take(name)
        if not isinstance(value, str) or value not in known:
            raise self.refuse(name, f"one of {', '.join(known)}")
        return value

    def hexadecimal(self, name: str, size: int | None) -> str:
        value = self.take(name)
        if (
            not isinstance(value, str)
            or not _HEX.fullmatch(value)
            or len(value) // 2 != (size or len(value) // 2)
        ):
            raise self.refuse(name, f"{size or 'some'} bytes in lower-case hexadecimal")
        return value

    def hexadecimal_or_null(self, name: str, size: int | None) -> str | None:
        return None if self._drop_null(name) else self.hexadecimal(name, size)

    def items(self, name: str, most: int) -> list[object]:
        value = self.take(name)
        if not isinstance(value, list) or len(value) > most:
            raise self.refuse(name, f"a list of at most {most}")
        return value

    def objects(self, name: str, most: int) -> list[_Object]:
        return [_Object.of(each, f"{name} {index}") for index, each in enumerate(self.items(name, most))]

    def _drop_null(self, name: str) -> bool:
        return self.fields.get(name, 0) is None and self.fields.pop(name, 0) is None


def _unprintable(value: str) -> bool:
    return any(char < " " and char not in "\t\n" for char in value) or not _encodes(value)


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pcrs(value: object, size: int) -> dict[int, bytes]:
    found = _Object.of(value, "pcrs")
    known = {str(pcr): pcr for pcr in PCRS}
    for name in found.fields.keys() - known.keys():
        raise ReferenceValuesError(f"pcrs: {name[:40]!a} is no PCR from 0 to 9")
    return {known[name]: bytes.fromhex(found.hexadecimal(name, size)) for name in sorted(found.fields)}


def _event(found: _Object, size: int) -> ReferenceEvent:
    event = ReferenceEvent(
        pcr=found.number("pcr", PCRS.stop),
        digest=bytes.fromhex(found.hexadecimal("digest", size)),
        component=Component(found.word("component", tuple(Component))),
        what=found.text("what"),
    )
    found.finish()
    return event


def _hypervisor(found: _Object) -> HypervisorReference:
    hypervisor = HypervisorReference(
        version=found.text_or_null("version"),
        commandline=found.text("commandline", empty=True),
        xsm_module=found.text("xsm_module"),
        xsm_mode=found.text("xsm_mode"),
        build_id=found.hexadecimal_or_null("build_id", None),
    )
    found.finish()
    return hypervisor


def _domain(found: _Object) -> DomainReference:
    disks = found.items("disks", MAX_DISKS)
    if any(not isinstance(disk, str) or not disk or _unprintable(disk) for disk in disks):
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


def _replay(bank: str, start: int, digests: Sequence[bytes]) -> bytes:
    value = start.to_bytes(BANK_BYTES[bank], "big")
    for digest in digests:
        value = hashlib.new(bank, value + digest).digest()
    return value


def _event_json(event: ReferenceEvent) -> dict[str, Json]:
    return {**asdict(event), "digest": event.digest.hex()}
