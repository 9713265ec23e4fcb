"""The label record of a vTPM: what the domain may be, measured into PCR 17 of its own vTPM."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from vtpm import canonical
from vtpm.errors import VtpmUsageError
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import extend

LABEL_PCR: Final = 17
"""Only locality 4 resets it; a guest, at locality 0, cannot write it (PC Client TPM Profile, 4.6)."""

NO_LABEL: Final = b"\xff" * 32
"""PCR 17 of a vTPM that nobody has labelled since it started."""

_LISTS: Final = ("ste_types", "chwall_types")
_LEVEL_CHECKS: Final[dict[str, canonical.Check]] = {"level": canonical.text, "categories": canonical.types}


@dataclass(frozen=True, slots=True)
class RecordedLevel:
    """A level of the policy with its sorted categories."""

    level: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordedRange:
    """The levels that the label spans; both ends are the same unless the policy names it as ``trusted``."""

    low: RecordedLevel
    high: RecordedLevel
    trusted: bool


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """Which vTPM, of which domain, with which label of which policy.

    ``vid`` is the vTPM's identifier (32 hexadecimal digits), ``domain`` a UUID with hyphens, the types are
    sorted, ``mls`` is None where the policy does not enforce MLS, ``policy_digest`` is the SHA-256 of the
    policy file in hexadecimal, ``generation`` counts the labellings of this vTPM. Encoded: canonical JSON
    with these field names, at most 2048 bytes. Raises ``VtpmUsageError`` when built with other values.
    """

    vid: str
    domain: str
    label: str
    ste_types: tuple[str, ...]
    chwall_types: tuple[str, ...]
    mls: RecordedRange | None
    policy_digest: str
    policy_version: str
    generation: int

    _encoded: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values: dict[str, Any] = {name: getattr(self, name) for name in _CHECKS}
        values |= {key: list(values[key]) for key in _LISTS}
        values["mls"] = None if self.mls is None else _range_values(self.mls)
        problem = canonical.problem_of(values, _CHECKS)
        if problem:
            raise VtpmUsageError(f"label record: {problem}")
        encoded = canonical.encode(values)
        if len(encoded) > canonical.MAX_RECORD:
            raise VtpmUsageError(f"label record: {len(encoded)} bytes are more than {canonical.MAX_RECORD}")
        object.__setattr__(self, "_encoded", encoded)

    def encode(self) -> bytes:
        """Return the canonical JSON."""
        return self._encoded

    @classmethod
    def decode(cls, raw: bytes) -> LabelRecord:
        """Read canonical JSON; raises ``RecordError`` for anything that ``encode`` would not write."""
        values: dict[str, Any] = {**canonical.decode(raw, "label record", _CHECKS)}
        values |= {key: tuple(values[key]) for key in _LISTS}
        values["mls"] = None if values["mls"] is None else _range(values["mls"])
        return canonical.made(cls, values, raw)

    def digest(self) -> bytes:
        """Return the SHA-256 of the record."""
        return hashlib.sha256(self.encode()).digest()

    def pcr17(self) -> bytes:
        """Return SHA-256 PCR 17 under this record: H(0^32 ‖ H(record)) (Part 1, 34.3)."""
        return extend(Alg.SHA256, bytes(32), self.digest())


def _range_values(mls: RecordedRange) -> dict[str, Any]:
    ends = {"low": mls.low, "high": mls.high}
    values = {name: {"level": end.level, "categories": list(end.categories)} for name, end in ends.items()}
    return {**values, "trusted": mls.trusted}


def _range(values: dict[str, Any]) -> RecordedRange:
    low, high = (
        RecordedLevel(values[end]["level"], tuple(values[end]["categories"])) for end in ("low", "high")
    )
    return RecordedRange(low, high, values["trusted"])


def _mls(value: object) -> str | None:
    """Admit null, or a range in which only a trusted label spans more than one level."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return "must be null or a range of levels"
    problem = canonical.problem_of(value, {"low": _level, "high": _level, "trusted": canonical.truth})
    if problem is None and value["low"] != value["high"] and not value["trusted"]:
        problem = "'low' and 'high' differ, and the label is not trusted"
    return problem and f"must be a range of levels: {problem}"


def _level(value: object) -> str | None:
    if not isinstance(value, dict):
        return "must be a level with its categories"
    problem = canonical.problem_of(value, _LEVEL_CHECKS)
    return problem and f"must be a level with its categories: {problem}"


_CHECKS: Final[dict[str, canonical.Check]] = {
    "vid": canonical.vid,
    "domain": canonical.uuid,
    "label": canonical.text,
    "ste_types": canonical.types,
    "chwall_types": canonical.types,
    "mls": _mls,
    "policy_digest": canonical.sha256,
    "policy_version": canonical.text,
    "generation": canonical.counter,
}
