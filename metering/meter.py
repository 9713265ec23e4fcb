"""The meter: reads counters, writes records, has the log signed. The rim around ``Register`` and ``Log``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from metering.log import Log
from metering.record import SALT_BYTES, decode
from metering.register import Reading, Register, Setup, Time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from attest.signer import Signer


class CounterSource(Protocol):
    """Where counters come from: a model host, or Xen."""

    def snapshot(self) -> Sequence[Reading]:
        """Return a reading of every domain that exists, each UUID once."""
        ...


class Clock(Protocol):
    """The hypervisor's system time and the host's wall clock."""

    def now(self) -> Time:
        """Return both, read together."""
        ...


class Meter:
    """One meter over one log. Every method that returns has its records on disk."""

    def __init__(self, log: Log, register: Register, source: CounterSource, clock: Clock) -> None:
        """Use ``resume`` for a log that has records."""
        self._log = log
        self._register = register
        self._source = source
        self._clock = clock
        self._unwritten: list[bytes] = []

    @classmethod
    def resume(cls, folder: Path, origin: str, setup: Setup, source: CounterSource, clock: Clock) -> Meter:
        """Open the log in ``folder``, take up its chains, and write the GENESIS of this run.

        Raises StoreError, LockedError, MeteringUsageError (a boot or time before the last record's), OSError.
        """
        register = Register(setup, os.urandom)
        log = Log.open(
            folder, origin, lambda leaf, hashed: register.replay(decode(leaf[SALT_BYTES:]), hashed)
        )
        meter = cls(log, register, source, clock)
        try:
            meter._write(register.open(clock.now(), source.snapshot()))
        except BaseException:
            log.close()
            raise
        return meter

    @property
    def size(self) -> int:
        """How many records are on disk."""
        return self._log.size

    def tick(self) -> None:
        """Read all domains."""
        self._write(self._register.tick(self._clock.now(), self._source.snapshot()))

    def started(self, reading: Reading) -> None:
        """Take the first reading of a domain that was just created."""
        self._write(self._register.observe(self._clock.now(), reading))

    def changed(self, reading: Reading) -> None:
        """Take a reading of a domain whose memory or devices change now."""
        self._write(self._register.observe(self._clock.now(), reading))

    def stopped(self, reading: Reading) -> None:
        """Take the last reading of a domain, before it is destroyed."""
        self._write(self._register.stop(self._clock.now(), reading))

    def sign(self, signer: Signer) -> bytes:
        """Sign the log and return the published checkpoint, a C2SP signed note.

        A tree ends with a record of the meter, so that a reader sees how far it goes: if it does not, all
        domains are read first.
        """
        if not self._register.complete:
            self.tick()
        return self._log.sign(signer)

    def close(self, signer: Signer) -> bytes:
        """Read all domains, write CLOSE, sign, let go of the log, and return the checkpoint."""
        self._write(self._register.close(self._clock.now(), self._source.snapshot()))
        note = self._log.sign(signer)
        self._log.close()
        return note

    def abandon(self) -> None:
        """Let go of the log without a word, as a crash would."""
        self._log.close()

    def _write(self, leaves: list[bytes]) -> None:
        """Append; leaves that found no room wait, because those after them are chained to them."""
        self._unwritten += leaves
        self._log.append(self._unwritten)
        self._unwritten = []
