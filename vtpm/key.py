"""A primary key of a TPM, as a value: it can be made again from its template, and is not kept loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vtpm.tpm2.constants import Hierarchy
    from vtpm.tpm2.pcrs import PcrSelection
    from vtpm.tpm2.public import Public


@dataclass(frozen=True, slots=True)
class Creation:
    """What the TPM said when it made the key (Part 2, 15): data, its digest, a ticket over digest and Name.

    ``data`` is a TPMS_CREATION_DATA, ``ticket`` a TPMT_TK_CREATION.
    """

    data: bytes
    digest: bytes
    ticket: bytes


@dataclass(frozen=True, slots=True)
class Key:
    """A primary key: public part, template, hierarchy, and the PCRs that its policy names, if any."""

    public: Public
    template: Public
    hierarchy: Hierarchy
    policy: PcrSelection | None
    creation: Creation

    @property
    def name(self) -> bytes:
        """Return the Name of the key."""
        return self.public.name()
