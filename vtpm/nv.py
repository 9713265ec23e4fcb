"""Indices in the non-volatile memory of a TPM (Part 1, 37; Part 3, 31)."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from tpm2_pytss.constants import ESYS_TR, TPM2_NT, TPMA_NV
from tpm2_pytss.types import TPM2B_NV_PUBLIC

from vtpm.errors import ResponseError, VtpmUsageError
from vtpm.tcti import ChannelTcti, answers
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.wire import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vtpm.channel import CommandChannel

MAX_SIZE: Final = 2048
"""Bytes of one index in libtpms (MAX_NV_INDEX_SIZE)."""

_READ: Final = 512
"""Bytes of one read that every TPM takes (PC Client Profile, 4.5: TPM_PT_NV_BUFFER_MAX)."""

_WRITE: Final = 1024
"""Bytes of one write in libtpms (MAX_NV_BUFFER_SIZE); no other TPM lets us be its platform."""

_PUBLISHED: Final = int(
    TPMA_NV.PLATFORMCREATE
    | TPMA_NV.PPWRITE
    | TPMA_NV.WRITEDEFINE
    | TPMA_NV.PPREAD
    | TPMA_NV.OWNERREAD
    | TPMA_NV.AUTHREAD
    | TPMA_NV.NO_DA
)
_OWNED: Final = int(TPMA_NV.OWNERWRITE | TPMA_NV.OWNERREAD | TPMA_NV.AUTHREAD | TPMA_NV.NO_DA)
_KIND: Final = {False: int(TPMA_NV.WRITEALL), True: int(TPM2_NT.COUNTER) << 4}
COUNTER_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class Space:
    """An index of the TPM's owner: everybody may read it, who has the owner's authorisation may write it.

    Its password is empty, so that no failure to read it counts towards the TPM's lockout, and a lockout does
    not keep anybody from it. ``size`` bytes are written at once; a ``counter`` is a u64 that only grows.
    """

    index: int
    size: int = COUNTER_SIZE
    counter: bool = False

    def public(self, *, written: bool = False) -> bytes:
        """Return its TPMS_NV_PUBLIC (Part 2, 13.5)."""
        attributes = _OWNED | _KIND[self.counter] | (int(TPMA_NV.WRITTEN) if written else 0)
        return Writer().u32(self.index).u16(Alg.SHA256).u32(attributes).sized(b"").u16(self.size).done()


class Found(StrEnum):
    """What a TPM has under the handle of a ``Space``; ``FOREIGN`` is an index unlike it in anything."""

    ABSENT = "absent"
    FOREIGN = "foreign"
    UNWRITTEN = "unwritten"
    WRITTEN = "written"


class Nv:
    """The indices of one TPM; raises ``ResponseError`` and ``ProcessError`` as ``Tpm`` does."""

    def __init__(self, esapi: Any, tcti: ChannelTcti, channel: CommandChannel) -> None:  # noqa: ANN401 - untyped library
        self._esapi = esapi
        self._tcti = tcti
        self._channel = channel

    def read(self, index: int) -> bytes:
        """Return all of an index that anybody may read; ``ResponseError``, ``absent``, if it is not there."""
        with self._call(f"NV_Read {index:#x}"), self._opened(index) as handle:
            public, _ = self._esapi.nv_read_public(handle)
            size = int(public.nvPublic.dataSize)
            parts = bytearray()
            while len(parts) < size:
                part = self._esapi.nv_read(
                    handle, min(_READ, size - len(parts)), len(parts), auth_handle=handle
                )
                parts += bytes(part)
            return bytes(parts)

    def publish(self, index: int, data: bytes) -> None:
        """Put ``data`` where everybody can read it and nobody write; in place of what the platform put there.

        Needs the platform hierarchy: its password is empty after a start, or known to this object.
        """
        if not 0 < len(data) <= MAX_SIZE:
            raise VtpmUsageError(f"an NV index holds 1 to {MAX_SIZE} bytes, not {len(data)}")
        try:
            self._publish(index, data)
        except ResponseError as error:
            if error.code != "defined":
                raise
            self._remove(index)
            self._publish(index, data)

    def _publish(self, index: int, data: bytes) -> None:
        with self._call(f"NV_DefineSpace {index:#x}"):
            public = Writer().u32(index).u16(Alg.SHA256).u32(_PUBLISHED).sized(b"").u16(len(data)).done()
            wanted, _ = TPM2B_NV_PUBLIC.unmarshal(Writer().sized(public).done())
            handle = self._esapi.nv_define_space(None, wanted, auth_handle=ESYS_TR.PLATFORM)
            try:
                for start in range(0, len(data), _WRITE):
                    chunk = data[start : start + _WRITE]
                    self._esapi.nv_write(handle, chunk, start, auth_handle=ESYS_TR.PLATFORM)
                self._esapi.nv_write_lock(handle, auth_handle=ESYS_TR.PLATFORM)
            finally:
                self._esapi.tr_close(handle)

    def authorise_owner(self, authorisation: bytes) -> None:
        """Take the owner's authorisation, which is empty until somebody sets it; it is not tried here."""
        self._esapi.tr_set_auth(ESYS_TR.OWNER, authorisation)

    def find(self, space: Space) -> Found:
        """Tell what is under the handle of ``space``, by all of its public area."""
        try:
            with self._call(f"NV_ReadPublic {space.index:#x}"), self._opened(space.index) as handle:
                public, _ = self._esapi.nv_read_public(handle)
                found = public.marshal()[2:]
        except ResponseError as error:
            if error.code != "absent":
                raise
            return Found.ABSENT
        if found == space.public(written=True):
            return Found.WRITTEN
        return Found.UNWRITTEN if found == space.public() else Found.FOREIGN

    def define(self, space: Space) -> None:
        """Make an index of the owner, not written yet; ``ResponseError`` where the handle is in use."""
        with self._call(f"NV_DefineSpace {space.index:#x}"):
            wanted, _ = TPM2B_NV_PUBLIC.unmarshal(Writer().sized(space.public()).done())
            self._esapi.tr_close(self._esapi.nv_define_space(None, wanted, auth_handle=ESYS_TR.OWNER))

    def write(self, space: Space, data: bytes) -> None:
        """Write all of an index of the owner that is no counter."""
        with self._call(f"NV_Write {space.index:#x}"), self._opened(space.index) as handle:
            self._esapi.nv_write(handle, data, 0, auth_handle=ESYS_TR.OWNER)

    def increment(self, space: Space) -> None:
        """Add one to a counter of the owner.

        The first time it becomes one more than the highest count that this TPM has ever had in any counter,
        those that were taken away included (Part 3, 31.8).
        """
        with self._call(f"NV_Increment {space.index:#x}"), self._opened(space.index) as handle:
            self._esapi.nv_increment(handle, auth_handle=ESYS_TR.OWNER)

    def _remove(self, index: int) -> None:
        with self._call(f"NV_UndefineSpace {index:#x}"):
            handle = self._esapi.tr_from_tpmpublic(index)
            self._esapi.nv_undefine_space(handle, auth_handle=ESYS_TR.PLATFORM)

    @contextmanager
    def _opened(self, index: int) -> Iterator[Any]:
        handle = self._esapi.tr_from_tpmpublic(index)
        try:
            yield handle
        finally:
            self._esapi.tr_close(handle)

    @contextmanager
    def _call(self, what: str) -> Iterator[None]:
        with self._channel.lock, answers(self._tcti, what):
            yield
