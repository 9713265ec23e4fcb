"""Where the newest history of past runs is known by: two indices in the NV memory of the host's TPM.

48 bytes each, big-endian: how often an anchor was written u64, sequence of the history u64, its SHA-256. The
one that was written later counts; the other one is written next, so a crash leaves one of them whole. Anybody
may read them. Only the platform hierarchy can write them, and its password is random after boot.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from acm.history import Anchor
from vtpm.errors import ProcessError, ResponseError
from vtpm.nv import Nv

INDICES: Final = (0x0140_5348, 0x0140_5349)
"""In the range that the platform's manufacturer owns (TCG Registry of Reserved TPM 2.0 Handles, 2.2)."""
NV_UNINITIALIZED: Final = 0x14A
"""TPM_RC_NV_UNINITIALIZED: the index is there and was never written (Part 2, 6.6.3)."""
RECORD: Final = struct.Struct(">QQ32s")
"""Of an anchor: a count, the sequence of the history, its SHA-256."""


class TpmAnchor:
    """Fits :class:`hypervisor.history_store.AnchorKeeper`."""

    def __init__(self, nv: Nv) -> None:
        self._nv = nv

    def read(self) -> Anchor | None:
        """Return the newest anchor, None where there is none; raises OSError where the TPM fails."""
        return self._newest()[2]

    def write(self, anchor: Anchor) -> None:
        """Make this the newest anchor; raises OSError where the TPM fails."""
        count, newest, _ = self._newest()
        index = next(each for each in INDICES if each != newest)
        data = RECORD.pack(count + 1, anchor.sequence, bytes.fromhex(anchor.digest))
        try:
            self._nv.publish(index, data)
        except (ResponseError, ProcessError) as error:
            raise OSError(errno.EIO, f"the history's anchor cannot be written: {error}") from error

    def _newest(self) -> tuple[int, int | None, Anchor | None]:
        """Return how often an anchor was written, the index of the last one, and it."""
        found: tuple[int, int | None, Anchor | None] = (0, None, None)
        for index in INDICES:
            raw = self._raw(index)
            if raw is None or len(raw) != RECORD.size:
                continue
            count, sequence, digest = RECORD.unpack(raw)
            if count > found[0]:
                found = (count, index, Anchor(sequence, digest.hex()))
        return found

    def _raw(self, index: int) -> bytes | None:
        try:
            return self._nv.read(index)
        except ResponseError as error:
            if error.code == "absent" or error.response == NV_UNINITIALIZED:
                return None
            raise OSError(errno.EIO, f"the history's anchor cannot be read: {error}") from error
