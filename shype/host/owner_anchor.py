"""Where a real machine's newest history of past runs is known by: a counter and two slots of the TPM's owner.

Firmware locks the platform hierarchy before a Domain-0 runs. So the indices are the owner's: a counter,
and two slots of 48 bytes, big-endian: the count that this record is for u64, sequence of the history u64, its
SHA-256. The record for the counter's count is in force. The next one is written for the count after it, and
comes into force with TPM2_NV_Increment, so a crash leaves the one or the other.

An owner can take indices away and make them anew. Then the counter begins above every count that this TPM has
ever had (Part 3, 31.8), so no record of before comes into force again: there is no anchor until a history is
begun. What is not exactly as it is made here is no anchor either.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from acm.history import Anchor
from shype.host.anchor import RECORD
from vtpm.errors import ProcessError, ResponseError
from vtpm.nv import Found, Nv, Space

COUNTER: Final = Space(0x0180_5348, counter=True)
SLOTS: Final = (Space(0x0180_5349, RECORD.size), Space(0x0180_534A, RECORD.size))
"""In the range of the TPM's owner (TCG Registry of Reserved TPM 2.0 Handles, 2.2)."""
_COUNT: Final = struct.Struct(">Q")


class OwnerAnchor:
    """Fits :class:`hypervisor.history_store.AnchorKeeper`; raises OSError where the TPM fails."""

    def __init__(self, nv: Nv) -> None:
        self._nv = nv
        self._known: Anchor | None = None

    def read(self) -> Anchor | None:
        """Return the anchor in force, None where there is none. Needs no authorisation."""
        with _told("read"):
            self._known = self._newest()[2]
        return self._known

    def write(self, anchor: Anchor) -> None:
        """Make this the newest anchor; needs the owner's authorisation.

        Only a history that begins (sequence 0) makes the indices. Any other one follows the anchor that was
        read or written here last: a host that runs mends nothing that was changed under its hands (OSError).
        """
        with _told("written"):
            if anchor.sequence == 0:
                self._make()
            count, slot, newest = self._newest()
            if anchor.sequence != 0 and (newest is None or newest != self._known):
                raise _failed("the history's anchor is gone, or is another one than this host knows")
            other = next(each for each in SLOTS if each != slot)
            self._nv.write(other, RECORD.pack(count + 1, anchor.sequence, bytes.fromhex(anchor.digest)))
            self._nv.increment(COUNTER)
            if self._newest()[2] != anchor:
                raise _failed("the history's anchor is not in force: somebody else counts here")
            self._known = anchor

    def _make(self) -> None:
        """Make what is missing; OSError for an index of somebody else, which stays."""
        for space in (COUNTER, *SLOTS):
            found = self._nv.find(space)
            if found is Found.FOREIGN:
                advice = f"look at it, then take it away: tpm2_nvundefine -C o {space.index:#x}"
                raise _failed(f"NV index {space.index:#x} of the TPM is not as this host makes it; {advice}")
            if found is Found.ABSENT:
                self._nv.define(space)
        if self._read(COUNTER) is None:
            self._nv.increment(COUNTER)

    def _newest(self) -> tuple[int, Space | None, Anchor | None]:
        """Return the count, 0 for none; the slot whose record is for it; and the anchor there."""
        raw = self._read(COUNTER)
        if raw is None:
            return 0, None, None
        (count,) = _COUNT.unpack(raw)
        for slot in SLOTS:
            record = self._read(slot)
            if record is None:
                continue
            wanted, sequence, digest = RECORD.unpack(record)
            if wanted == count:
                return count, slot, Anchor(sequence, digest.hex())
        return count, None, None

    def _read(self, space: Space) -> bytes | None:
        """Return what an index of ours holds; None where it is not there, not ours, or was never written."""
        return self._nv.read(space.index) if self._nv.find(space) is Found.WRITTEN else None


def _failed(what: str) -> OSError:
    return OSError(errno.EIO, what)


@contextmanager
def _told(done: str) -> Iterator[None]:
    try:
        yield
    except (ResponseError, ProcessError) as error:
        advice = "; give the owner's authorisation: shype host boot --owner-auth FILE"
        refused = isinstance(error, ResponseError) and error.code == "auth"
        raise _failed(f"the history's anchor cannot be {done}: {error}{advice if refused else ''}") from error
