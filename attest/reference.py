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
from attest.errors import AttestInputError
from attest.ima.reference import FileReference
from attest.json_record import Fields

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
MAX_BUILD_ID: Final = 64
"""Bytes; GNU's build ids have 20."""
MAX_TEXT: Final = 1 << 17
_NAMES: Final = frozenset({"name", "version", "bank", "pcrs", "events", "hypervisor", "domains"})
_OPTIONAL: Final = frozenset({"origin", "ima"})
_EVENT: Final = frozenset({"pcr", "digest", "component", "what"})
_HYPERVISOR: Final = frozenset({"version", "commandline", "xsm_module", "xsm_mode", "build_id"})
_DOMAIN: Final = frozenset({"name", "label", "config_digest", "kernel", "ramdisk", "disks"})


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
class FlaskPolicy:
    """The FLASK policy that should be loaded: SHA-256 (hex), and the register that covers its file.

    ``pcr`` is 9 for a file that GRUB loads, 4 for a section of the unified image, None where none does.
    """

    sha256: str
    pcr: int | None


class LoadOptions(StrEnum):
    """What a unified image does with the words of a boot entry, which no register shows."""

    IGNORED = "ignored"
    TAKEN = "taken"


@dataclass(frozen=True, slots=True)
class HypervisorReference:
    """What the hypervisor should report of itself; None where any answer will do.

    Of the FLASK policy None says: whatever the boot registers cover. ``dom0_commandline`` is what the kernel
    of Domain-0 should say that it runs with. ``load_options`` is for a unified image; None where a loader
    starts Xen, or nobody has looked.
    """

    version: str | None
    commandline: str
    xsm_module: str
    xsm_mode: str
    build_id: str | None
    flask_policy: FlaskPolicy | None = None
    dom0_commandline: str | None = None
    load_options: LoadOptions | None = None


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
        document = canonical_json.decode(raw, "reference values", MAX_REFERENCE)
        top = Fields.document(document, SCHEMA, _NAMES, optional=_OPTIONAL, fail=_malformed)
        bank = top.word("bank", tuple(BANK_BYTES))
        found = cls(
            name=top.lines("name", MAX_TEXT),
            version=top.number("version", 53),
            bank=bank,
            pcrs=_pcrs(top, BANK_BYTES[bank]),
            events=tuple(_event(each, bank) for each in top.objects("events", MAX_EVENTS, _EVENT)),
            hypervisor=_hypervisor(top),
            domains=tuple(_domain(each) for each in top.objects("domains", MAX_DOMAINS, _DOMAIN)),
            origin=Origin(top.word("origin", tuple(Origin))) if "origin" in top.values else Origin.PREDICTED,
            ima=FileReference.of(top.values["ima"]) if "ima" in top.values else None,
        )
        _check(found)
        return found


def _malformed(message: str) -> ReferenceValuesError:
    return ReferenceValuesError(f"reference values: {message}")


def _pcrs(top: Fields, size: int) -> dict[int, bytes]:
    known = {str(pcr): pcr for pcr in PCRS}
    found = Fields.of(top.values["pcrs"], set(), optional=known.keys(), where="pcrs", fail=_malformed)
    return {known[name]: found.hex(name, size) for name in sorted(found.values)}


def _event(found: Fields, bank: str) -> ReferenceEvent:
    return ReferenceEvent(
        pcr=found.below("pcr", PCRS.stop),
        digest=found.hex("digest", BANK_BYTES[bank]),
        component=Component(found.word("component", tuple(Component))),
        what=found.lines("what", MAX_TEXT),
    )


def _hypervisor(top: Fields) -> HypervisorReference:
    found = Fields.of(
        top.values["hypervisor"],
        _HYPERVISOR,
        optional={"flask_policy", "dom0_commandline", "load_options"},
        where="hypervisor",
        fail=_malformed,
    )
    said = "dom0_commandline" in found.values
    return HypervisorReference(
        version=found.or_null("version", lambda name: found.lines(name, MAX_TEXT)),
        commandline=found.lines("commandline", MAX_TEXT, empty=True),
        xsm_module=found.lines("xsm_module", MAX_TEXT),
        xsm_mode=found.lines("xsm_mode", MAX_TEXT),
        build_id=found.or_null("build_id", lambda name: _build_id(found, name)),
        flask_policy=_flask(found) if "flask_policy" in found.values else None,
        dom0_commandline=found.lines("dom0_commandline", MAX_TEXT, empty=True) if said else None,
        load_options=LoadOptions(found.word("load_options", tuple(LoadOptions)))
        if "load_options" in found.values
        else None,
    )


def _build_id(found: Fields, name: str) -> str:
    value = found.hex(name)
    if len(value) > MAX_BUILD_ID:
        raise found.refuse(name, f"has more than {MAX_BUILD_ID} bytes")
    return value.hex()


def _flask(found: Fields) -> FlaskPolicy:
    own = found.object("flask_policy", {"sha256", "pcr"})
    return FlaskPolicy(_sha256(own, "sha256"), own.or_null("pcr", lambda name: own.below(name, PCRS.stop)))


def _domain(found: Fields) -> DomainReference:
    return DomainReference(
        name=found.lines("name", MAX_TEXT),
        label=found.lines("label", MAX_TEXT),
        config_digest=_sha256(found, "config_digest"),
        kernel=found.or_null("kernel", lambda name: _sha256(found, name)),
        ramdisk=found.or_null("ramdisk", lambda name: _sha256(found, name)),
        disks=found.each("disks", MAX_DISKS, lambda each, name: each.lines(name, MAX_TEXT)),
    )


def _sha256(found: Fields, name: str) -> str:
    return found.hex(name, SHA256_BYTES).hex()


def _check(values: ReferenceValues) -> None:
    """Refuse two domains of one name, and events that do not explain a register's value."""
    names = [domain.name for domain in values.domains]
    if len(set(names)) != len(names):
        raise _malformed("domains: two have the same name")
    for pcr in {event.pcr for event in values.events}:
        digests = [event.digest for event in values.events if event.pcr == pcr]
        starts = LOCALITIES if pcr == 0 else LOCALITIES[:1]
        if values.pcrs.get(pcr) not in [_replay(values.bank, start, digests) for start in starts]:
            raise _malformed(f"events: those of PCR {pcr} do not replay to its value")

    _check_flask(values)


def _check_flask(values: ReferenceValues) -> None:
    """Refuse a FLASK policy whose register has no value, or whose file is none of those that GRUB loads."""
    policy = values.hypervisor.flask_policy
    if policy is None or policy.pcr is None:
        return
    if policy.pcr not in {IMAGE_PCR, FILES_PCR} or policy.pcr not in values.pcrs:
        raise _malformed("flask_policy: pcr must be 4 or 9, and have a value")
    files = [event.digest.hex() for event in values.events if event.pcr == FILES_PCR]
    if policy.pcr == FILES_PCR and values.bank == "sha256" and policy.sha256 not in files:
        raise _malformed("flask_policy: no event of PCR 9 is of this file")


def _replay(bank: str, start: int, digests: Sequence[bytes]) -> bytes:
    value = start.to_bytes(BANK_BYTES[bank], "big")
    for digest in digests:
        value = hashlib.new(bank, value + digest).digest()
    return value


def _hypervisor_json(hypervisor: HypervisorReference) -> dict[str, Json]:
    fields = asdict(hypervisor)
    optional = ("flask_policy", "dom0_commandline", "load_options")
    silent = [name for name in optional if fields[name] is None]
    return {name: value for name, value in fields.items() if name not in silent}


def _event_json(event: ReferenceEvent) -> dict[str, Json]:
    return {**asdict(event), "digest": event.digest.hex()}
