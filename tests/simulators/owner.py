"""Whoever owns a TPM, or may do what its owner may: with commands of the library, past our own code.

``firmware_ends`` is what a firmware does with the TPM before it starts a loader.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tpm2_pytss.constants import ESYS_TR, TPM2_CAP, TPM2_PT, TPMA_NV
from tpm2_pytss.ESAPI import ESAPI
from tpm2_pytss.types import TPM2B_NV_PUBLIC, TPMS_NV_PUBLIC

from vtpm.channel import CommandChannel
from vtpm.nv import Space
from vtpm.tcti import ChannelTcti
from vtpm.tpm2.constants import Alg

FOREIGN: Final = int(TPMA_NV.OWNERWRITE | TPMA_NV.OWNERREAD | TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE)


class Owner:
    """Knows the owner's authorisation, empty at first."""

    def __init__(self, channel: CommandChannel, authorisation: bytes = b"") -> None:
        self.esapi: Any = ESAPI(ChannelTcti(channel))
        self.esapi.tr_set_auth(ESYS_TR.OWNER, authorisation)

    def undefine(self, space: Space) -> None:
        self.esapi.nv_undefine_space(self.esapi.tr_from_tpmpublic(space.index))

    def define(self, space: Space, *, like: bytes | None = None) -> None:
        """Make the very index that a host makes, or one with another public area."""
        public = like if like is not None else space.public()
        wanted, _ = TPM2B_NV_PUBLIC.unmarshal(len(public).to_bytes(2, "big") + public)
        self.esapi.tr_close(self.esapi.nv_define_space(None, wanted))

    def read(self, space: Space) -> bytes:
        handle = self.esapi.tr_from_tpmpublic(space.index)
        return bytes(self.esapi.nv_read(handle, space.size, 0, auth_handle=ESYS_TR.OWNER))

    def write(self, space: Space, data: bytes) -> None:
        handle = self.esapi.tr_from_tpmpublic(space.index)
        self.esapi.nv_write(handle, data, 0, auth_handle=ESYS_TR.OWNER)

    def increment(self, space: Space) -> None:
        self.esapi.nv_increment(self.esapi.tr_from_tpmpublic(space.index), auth_handle=ESYS_TR.OWNER)

    def change(self, authorisation: bytes) -> None:
        self.esapi.hierarchy_change_auth(ESYS_TR.OWNER, authorisation)

    def clear(self) -> None:
        """Send TPM2_Clear by the lockout authorisation, which is empty here as on most machines."""
        self.esapi.clear(ESYS_TR.LOCKOUT)

    def switch_off(self) -> None:
        """Disable the owner's own hierarchy until the next reset."""
        self.esapi.hierarchy_control(ESYS_TR.OWNER, ESYS_TR.OWNER, state=False)

    def lock_out(self, index: int) -> None:
        """Bring the TPM into its lockout: one wrong password for an index of one's own is too much."""
        self.esapi.dictionary_attack_parameters(1, 1000, 1000)
        public = TPMS_NV_PUBLIC(nvIndex=index, nameAlg=int(Alg.SHA256), attributes=FOREIGN, dataSize=8)
        handle = self.esapi.nv_define_space(b"secret", TPM2B_NV_PUBLIC(nvPublic=public))
        self.esapi.tr_set_auth(handle, b"wrong")
        for _ in range(2):  # the first one after a start only tells the TPM to remember
            try:
                self.esapi.nv_write(handle, bytes(8), 0, auth_handle=handle)
            except Exception as error:  # noqa: BLE001 - the library's own class, which has no common root
                failure = error
        assert "lockout" in str(failure).lower(), failure

    @property
    def failures(self) -> int:
        """How many failed authorisations the TPM counts towards its lockout."""
        _, data = self.esapi.get_capability(TPM2_CAP.TPM_PROPERTIES, TPM2_PT.LOCKOUT_COUNTER, 1)
        return int(data.data.tpmProperties[0].value)

    def close(self) -> None:
        self.esapi.close()


@contextmanager
def owner_of(channel: CommandChannel, authorisation: bytes = b"") -> Iterator[Owner]:
    """Be the owner for a while."""
    owner = Owner(channel, authorisation)
    try:
        yield owner
    finally:
        owner.close()


def firmware_ends(channel: CommandChannel) -> None:
    """Disable the platform hierarchy until the next reset (TPM2_HierarchyControl, Part 3, 24.2)."""
    with owner_of(channel) as firmware:
        firmware.esapi.hierarchy_control(ESYS_TR.PLATFORM, ESYS_TR.PLATFORM, state=False)
