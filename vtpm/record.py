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

_CHECKS: Final[dict[str, canonical.Check]] = {
    "vid": canonical.vid,
    "domain": canonical.uuid,
    "label": canonical.text,
    "ste_types": canonical.types,
    "chwall_types": canonical.types,
    "policy_digest": canonical.sha256,
    "policy_version": canonical.text,
    "generation": canonical.counter,
}
_LISTS: Final = ("ste_types", "chwall_types")


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """Which vTPM, of which domain, with which label of which policy.

    ``vid`` is the vTPM's identifier (32 hexadecimal digits), ``domain`` a UUID with hyphens, the types are
    sorted, ``policy_digest`` is the SHA-256 of the policy file in hexadecimal, ``generation`` counts the
    labellings of this vTPM. Encoded: canonical JSON with these field names, at most 2048 bytes.
    Raises ``VtpmUsageError`` when built with other values.
    """

    vid: str
    domain: str
    label: str
    ste_types: tuple[str, ...]
    chwall_types: tuple[str, ...]
    policy_digest: str
    policy_version: str
    generation: int
    _encoded: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values: dict[str, Any] = {name: getattr(self, name) for name in _CHECKS}
        values |= {key: list(values[key]) for key in _LISTS}
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
        return canonical.made(cls, values, raw)

    def digest(self) -> bytes:
        """Return the SHA-256 of the record."""
        return hashlib.sha256(self.encode()).digest()

    def pcr17(self) -> bytes:
        """Return SHA-256 PCR 17 under this record: H(0^32 ‖ H(record)) (Part 1, 34.3)."""
        return extend(Alg.SHA256, bytes(32), self.digest())
