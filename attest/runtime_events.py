"""Events of the runtime log: what Xen runs with, which policies and histories count, which domains run.

The digest that goes into the PCR is SHA-256 of exactly the bytes that ``encode`` returns: canonical JSON of
the fields of the class and a ``type``. Decoding refuses every other encoding of the same event.

A domain's launch is committed to, not told: a ``DomainCommitment`` holds the SHA-256 of a ``DomainLaunch``,
whose 32 random bytes of salt keep the label and the disks of a neighbour from being guessed. The launch
itself is shown only to whom it concerns. So is a ``DomainFound``: every tenant sees that there is a domain
that nobody launched, and only the operator which one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, Self

from attest import canonical_json
from attest.canonical_json import JsonError
from attest.errors import AttestInputError, AttestUsageError
from vtpm import canonical

MAX_EVENT: Final = 16384
"""Bytes of one encoded event."""

SALT_SIZE: Final = 32
"""Random bytes in a DomainLaunch."""

_MAX_COMMANDLINE: Final = 8192
_DOMID_END: Final = 0x7FF0
"""DOMID_FIRST_RESERVED (Xen, public/xen.h): what stands for no domain of its own begins here."""
_MAX_DISKS: Final = 64
_MAX_DISK: Final = 512
_BUILD_ID: Final = re.compile(r"(?:[0-9a-f]{2}){1,64}")

_Check = Callable[[object], str | None]


class RuntimeEventError(AttestInputError):
    """Bytes that are no runtime event. ``code``: ``size``, ``json``, ``canonical``, ``type`` or ``field``."""

    code = "field"


class DomainEvent(StrEnum):
    """What happened to a domain."""

    LAUNCH = "launch"
    STOP = "stop"
    FOUND = "found"
    """It runs, and nobody launched it through us."""


class _Record:
    """Encoding and decoding of a frozen dataclass whose fields are those of ``CHECKS``."""

    __slots__ = ("_encoded",)
    TYPE: ClassVar[str]
    CHECKS: ClassVar[Mapping[str, _Check]]
    READ: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    """Fields that are not kept as JSON has them."""
    _encoded: bytes

    def __post_init__(self) -> None:
        values: dict[str, Any] = {name: getattr(self, name) for name in self.CHECKS}
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        problem = canonical.problem_of(values, self.CHECKS)
        encoded = b"" if problem else canonical_json.encode({"type": self.TYPE, **values})
        if len(encoded) > MAX_EVENT:
            problem = f"more than {MAX_EVENT} bytes"
        if problem:
            raise AttestUsageError(f"{self.TYPE} event: {problem}", code="field")
        object.__setattr__(self, "_encoded", encoded)

    def encode(self) -> bytes:
        """Return the exact bytes that are hashed."""
        return self._encoded

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read what ``encode`` wrote; raises RuntimeEventError for anything else."""
        return cls.of(_object(raw), raw)

    @classmethod
    def of(cls, values: dict[str, Any], raw: bytes) -> Self:
        """Make an event of the fields that were read from canonical bytes; raises as ``decode`` does."""
        if values.pop("type", None) != cls.TYPE:
            raise RuntimeEventError(f"runtime event: type is not {cls.TYPE!r}", code="type")
        problem = canonical.problem_of(values, cls.CHECKS)
        if problem:
            raise RuntimeEventError(f"{cls.TYPE} event: {problem}")
        return canonical.made(cls, {name: cls.READ.get(name, _same)(v) for name, v in values.items()}, raw)


def _same(value: object) -> object:
    return value


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = canonical_json.decode_canonical(raw, "runtime event", MAX_EVENT)
    except JsonError as error:
        raise RuntimeEventError(str(error), code=error.code) from None
    if not isinstance(value, dict):
        raise RuntimeEventError("runtime event: not a JSON object", code="json")
    return value


def _commandline(value: object) -> str | None:
    good = isinstance(value, str) and len(value) <= _MAX_COMMANDLINE and (value.isprintable() or not value)
    return None if good else f"must be at most {_MAX_COMMANDLINE} printable characters"


def _commandline_or_null(value: object) -> str | None:
    return None if value is None else _commandline(value)


def _build_id(value: object) -> str | None:
    good = value is None or (isinstance(value, str) and _BUILD_ID.fullmatch(value) is not None)
    return None if good else "must be null or at most 128 lower-case hexadecimal digits"


def _sha256_or_null(value: object) -> str | None:
    return None if value is None else canonical.sha256(value)


def _domid(value: object) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _DOMID_END
    return None if good else f"must be a number below {_DOMID_END}"


def _text_or_null(value: object) -> str | None:
    return None if value is None else canonical.text(value)


def _disks(value: object) -> str | None:
    good = isinstance(value, list) and len(value) <= _MAX_DISKS and all(map(_is_disk, value))
    return None if good else f"must be a list of at most {_MAX_DISKS} printable names of disks"


def _is_disk(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_DISK and value.isprintable()


def _domain_event(value: object) -> str | None:
    return None if value in tuple(DomainEvent) else f"must be one of {', '.join(DomainEvent)}"


@dataclass(frozen=True, slots=True)
class HypervisorReport(_Record):
    """What Xen says of itself, before anything else is measured in this PCR.

    ``version`` as Xen prints it, ``build_id`` in hexadecimal, ``commandline`` as Xen parsed it,
    ``xsm_module`` and ``xsm_mode`` (enforcing, permissive, disabled), ``flask_policy`` the SHA-256 of the
    loaded policy; None where the hypervisor does not say it, as Xen 4.17 does not. ``dom0_commandline`` is
    what Domain-0's kernel runs with, as that kernel says itself; None where nobody read it.
    """

    TYPE: ClassVar[str] = "hypervisor"
    CHECKS: ClassVar[Mapping[str, _Check]] = {
        "version": canonical.text,
        "build_id": _build_id,
        "commandline": _commandline,
        "xsm_module": canonical.text,
        "xsm_mode": canonical.text,
        "flask_policy": _sha256_or_null,
        "dom0_commandline": _commandline_or_null,
    }

    version: str
    build_id: str | None
    commandline: str
    xsm_module: str
    xsm_mode: str
    flask_policy: str | None
    dom0_commandline: str | None


@dataclass(frozen=True, slots=True)
class PolicyLoaded(_Record):
    """An ACM policy takes effect: SHA-256 ``digest`` of the exact file bytes, and its Merkle ``root``."""

    TYPE: ClassVar[str] = "policy"
    CHECKS: ClassVar[Mapping[str, _Check]] = {
        "name": canonical.text,
        "version": canonical.text,
        "digest": canonical.sha256,
        "root": canonical.sha256,
    }

    name: str
    version: str
    digest: str
    root: str


@dataclass(frozen=True, slots=True)
class HistoryInForce(_Record):
    """A history of past runs counts from here on (``acm.history``): its ``sequence`` and SHA-256 ``digest``.

    ``name`` is the SHA-256 of its origin: the same as long as the history grows, another one when it was
    begun anew. Neither tells which types have run.
    """

    TYPE: ClassVar[str] = "history"
    CHECKS: ClassVar[Mapping[str, _Check]] = {
        "name": canonical.sha256,
        "sequence": canonical.counter,
        "digest": canonical.sha256,
    }

    name: str
    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class DomainCommitment(_Record):
    """A domain starts, stops or is found.

    ``commitment`` is that of its DomainLaunch where it starts and stops, of a DomainFound where it is found.
    """

    TYPE: ClassVar[str] = "domain"
    CHECKS: ClassVar[Mapping[str, _Check]] = {"event": _domain_event, "commitment": canonical.sha256}
    READ: ClassVar[Mapping[str, Callable[[Any], Any]]] = {"event": DomainEvent}

    event: DomainEvent
    commitment: str


@dataclass(frozen=True, slots=True)
class DomainLaunch(_Record):
    """What a commitment commits to: one launch of one domain. Shown to its owner, never put into the log.

    ``vid`` is the vTPM's identifier (32 hexadecimal digits), ``uuid`` the domain's; ``config_digest``,
    ``kernel``, ``ramdisk``, ``policy_digest`` and ``binding_digest`` are SHA-256 in hexadecimal; ``disks``
    name the disks; ``salt`` is 32 random bytes in hexadecimal, used once.
    """

    TYPE: ClassVar[str] = "domain-launch"
    CHECKS: ClassVar[Mapping[str, _Check]] = {
        "vid": canonical.vid,
        "name": canonical.text,
        "uuid": canonical.uuid,
        "label": canonical.text,
        "config_digest": canonical.sha256,
        "kernel": _sha256_or_null,
        "ramdisk": _sha256_or_null,
        "disks": _disks,
        "policy_digest": canonical.sha256,
        "binding_digest": canonical.sha256,
        "salt": canonical.sha256,
    }
    READ: ClassVar[Mapping[str, Callable[[Any], Any]]] = {"disks": tuple}

    vid: str
    name: str
    uuid: str
    label: str
    config_digest: str
    kernel: str | None
    ramdisk: str | None
    disks: tuple[str, ...]
    policy_digest: str
    binding_digest: str
    salt: str

    def commitment(self) -> str:
        """Return the SHA-256 of the encoding, in hexadecimal."""
        return hashlib.sha256(self.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class DomainFound(_Record):
    """A domain that runs and that nobody launched through us, as Xen lists it. Shown to the operator.

    ``uuid`` is the domain's; ``name`` and ``context`` (its FLASK context) are Xen's words for it, null where
    it has none; ``salt`` is 32 random bytes in hexadecimal, used once. It is measured before anything else is
    done about the domain, and stays true until the host's next reset: that the domain has ended since is no
    event.
    """

    TYPE: ClassVar[str] = "domain-found"
    CHECKS: ClassVar[Mapping[str, _Check]] = {
        "domid": _domid,
        "uuid": canonical.uuid,
        "name": _text_or_null,
        "context": _text_or_null,
        "salt": canonical.sha256,
    }

    domid: int
    uuid: str
    name: str | None
    context: str | None
    salt: str

    @classmethod
    def listed(cls, domid: int, uuid: str, name: str | None, context: str | None, salt: bytes) -> DomainFound:
        """Return the event for what Xen lists: texts are cut to 128 characters, ``?`` for unprintable ones.

        Whoever starts a domain chooses its name, and no name may keep it from being measured.
        """
        return cls(domid, uuid, _shown(name), _shown(context), salt.hex())

    def commitment(self) -> str:
        """Return the SHA-256 of the encoding, in hexadecimal."""
        return hashlib.sha256(self.encode()).hexdigest()

    def measured(self) -> DomainCommitment:
        """Return the event that goes into PCR 13."""
        return DomainCommitment(DomainEvent.FOUND, self.commitment())


def _shown(text: str | None) -> str | None:
    kept = (char if char.isprintable() else "?" for char in (text or "")[: canonical.MAX_TEXT])
    return "".join(kept) or None


RuntimeEvent = HypervisorReport | PolicyLoaded | HistoryInForce | DomainCommitment

_TYPES: Final[dict[str, type[RuntimeEvent]]] = {
    kind.TYPE: kind for kind in (HypervisorReport, PolicyLoaded, HistoryInForce, DomainCommitment)
}


def decode_event(raw: bytes) -> RuntimeEvent:
    """Read any event of the log by its ``type``; raises RuntimeEventError."""
    values = _object(raw)
    kind = values.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise RuntimeEventError(f"runtime event: type must be one of {', '.join(_TYPES)}", code="type")
    return _TYPES[kind].of(values, raw)
