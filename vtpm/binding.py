"""The binding of a vTPM to its host: extended into the host's PCRs before the domain runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from vtpm import canonical
from vtpm.errors import VtpmUsageError

_CHECKS: Final[dict[str, canonical.Check]] = {
    "vid": canonical.vid,
    "generation": canonical.counter,
    "record_digest": canonical.sha256,
    "vak_name": canonical.name,
    "vek_name": canonical.name,
    "ak_name": canonical.name,
    "reset_count": canonical.counter,
}


@dataclass(frozen=True, slots=True)
class Binding:
    """Which vTPM keys belong to which record, on which host, since which start of its TPM.

    ``vid`` and ``generation`` are those of the label record, ``record_digest`` is its SHA-256; ``vak_name``
    and ``vek_name`` are the Names of the vTPM's attestation and endorsement key, ``ak_name`` that of the
    host's attestation key; ``reset_count`` is the host TPM's resetCount. All but the numbers are hexadecimal.
    Raises ``VtpmUsageError`` when built with other values.
    """

    vid: str
    generation: int
    record_digest: str
    vak_name: str
    vek_name: str
    ak_name: str
    reset_count: int
    _encoded: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in _CHECKS}
        problem = canonical.problem_of(values, _CHECKS)
        if problem:
            raise VtpmUsageError(f"binding: {problem}")
        object.__setattr__(self, "_encoded", canonical.encode(values))

    def encode(self) -> bytes:
        """Return the canonical JSON."""
        return self._encoded

    @classmethod
    def decode(cls, raw: bytes) -> Binding:
        """Read canonical JSON; raises ``RecordError`` for anything that ``encode`` would not write."""
        return canonical.made(cls, canonical.decode(raw, "binding", _CHECKS), raw)

    def digest(self) -> bytes:
        """Return the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.encode()).digest()
