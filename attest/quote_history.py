"""What authentic quotes of one TPM have said of its clock, and what a later one may say (Part 1, 36).

Clock and counters only go on. A quote that contradicts an earlier one is not by a TPM that lived on: its
state was restored, or the quote is an old one. Rules, for a quote after another of the same TPM:

1. resetCount does not fall, nor restartCount within one resetCount (36.5, 36.6);
2. the clock does not fall, unless the TPM lost power since and says that it doubts it (36.3: safe = NO, and a
   resetCount that rose); within one boot, what was safe stays safe;
3. the firmware is the one that the TPM was enrolled with (Part 2, 10.12.8: firmwareVersion);
4. the TPM was not resumed or restarted since the host's first quote of this reset (36.6: restartCount). PCRs
   may have been lost and extended anew then, and no log tells (CVE-2018-6622); a reset clears it.

3 and 4 stay broken until the host is enrolled again, or reset: one bad quote cannot be outwaited. Not
established: that nothing happened before the first quote.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from attest.errors import AttestInputError
from attest.json_record import Fields, encode, stamp
from vtpm.tpm2.attestation import ClockInfo
from vtpm.tpm2.fields import name_problem

if TYPE_CHECKING:
    from attest.enrolment import Enrolment

SCHEMA: Final = "shype.quote-history/1"
MAX_FILE: Final = 4096
_NAMES: Final = {
    *("ek_name", "enrolled_at", "firmware_version", "clock", "reset_count", "restart_count", "safe"),
    "first_restart_count",
}


class QuoteHistoryError(AttestInputError):
    """A record of earlier quotes that is none."""

    code = "quote-history-malformed"


@dataclass(frozen=True, slots=True)
class Told:
    """What one authentic quote says of its TPM."""

    clock: ClockInfo
    firmware_version: int

    def contradicts(self, before: Told) -> str:
        """Return how this goes back behind ``before`` (rules 1 and 2); empty where it goes on."""
        now, then = self.clock, before.clock
        boots = (now.reset_count, now.restart_count), (then.reset_count, then.restart_count)
        if boots[0] < boots[1]:
            return f"reset and restart count: {boots[0]} now, {boots[1]} in an earlier quote"
        doubted = not now.safe and now.reset_count > then.reset_count
        if now.clock < then.clock and not doubted:
            return f"clock: {now.clock} ms now, {then.clock} ms in an earlier quote"
        if boots[0] == boots[1] and then.safe and not now.safe:
            return "the clock was safe in an earlier quote of this boot, and is not now"
        return ""

    def firmware_changed(self, before: Told) -> str:
        """Return how rule 3 is broken; empty where it holds."""
        was, now = before.firmware_version, self.firmware_version
        return "" if was == now else f"firmware {now:#018x} now, {was:#018x} before"

    def resumed(self, reset_count: int, first_restart_count: int) -> str:
        """Return how rule 4 is broken; empty where it holds."""
        now = self.clock
        if now.reset_count != reset_count or now.restart_count <= first_restart_count:
            return ""
        return f"restartCount is {now.restart_count}, and was {first_restart_count} earlier in this reset"


@dataclass(frozen=True, slots=True)
class QuoteHistory:
    """The last authentic quote of one enrolled TPM.

    ``told.firmware_version`` is the one of the first quote since ``enrolled_at``; ``told.clock.clock`` the
    highest. ``first_restart_count`` is that of the first quote with this resetCount.
    """

    ek_name: bytes
    enrolled_at: datetime
    told: Told
    first_restart_count: int

    @classmethod
    def begin(cls, enrolment: Enrolment, told: Told) -> Self:
        """Return the history of a TPM that is quoted for the first time."""
        return cls(enrolment.ek_name, enrolment.time, told, told.clock.restart_count)

    def is_of(self, enrolment: Enrolment) -> bool:
        """Tell whether it is of the TPM that was enrolled."""
        return self.ek_name == enrolment.ek_name

    def follows(self, enrolment: Enrolment, told: Told) -> Self:
        """Return the history after another authentic quote, which does not contradict it."""
        before, now = self.told.clock, told.clock
        same_reset = now.reset_count == before.reset_count
        kept = self.told.firmware_version if enrolment.time <= self.enrolled_at else told.firmware_version
        highest = max(before.clock, now.clock)
        return type(self)(
            self.ek_name,
            enrolment.time,
            Told(ClockInfo(highest, now.reset_count, now.restart_count, now.safe), kept),
            self.first_restart_count if same_reset else now.restart_count,
        )

    def firmware_changed(self, enrolment: Enrolment | None, told: Told) -> str:
        """Return how rule 3 is broken; empty where it holds."""
        if enrolment is not None and enrolment.time > self.enrolled_at:
            return ""
        return told.firmware_changed(self.told)

    def resumed(self, told: Told) -> str:
        """Return how rule 4 is broken; empty where it holds."""
        return told.resumed(self.told.clock.reset_count, self.first_restart_count)

    def encode(self) -> bytes:
        """Return the JSON document ``shype.quote-history/1``."""
        clock = self.told.clock
        return encode(
            {
                "schema": SCHEMA,
                "ek_name": self.ek_name.hex(),
                "enrolled_at": stamp(self.enrolled_at),
                "firmware_version": self.told.firmware_version,
                "clock": clock.clock,
                "reset_count": clock.reset_count,
                "restart_count": clock.restart_count,
                "safe": clock.safe,
                "first_restart_count": self.first_restart_count,
            }
        )

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read what ``encode`` wrote; raises QuoteHistoryError."""
        fields = Fields.decode(raw, SCHEMA, _NAMES, limit=MAX_FILE, fail=_malformed)
        clock = ClockInfo(
            fields.number("clock", 64),
            fields.number("reset_count", 32),
            fields.number("restart_count", 32),
            fields.flag("safe"),
        )
        ek_name, first = fields.hex("ek_name"), fields.number("first_restart_count", 32)
        if name_problem(ek_name) or first > clock.restart_count:
            raise _malformed("ek_name is no Name, or first_restart_count is above restart_count")
        told = Told(clock, fields.number("firmware_version", 64))
        return cls(ek_name, fields.time("enrolled_at"), told, first)


def after(history: QuoteHistory | None, enrolment: Enrolment, told: Told) -> QuoteHistory:
    """Return the history to be kept after an authentic quote."""
    if history is None or not history.is_of(enrolment):
        return QuoteHistory.begin(enrolment, told)
    return history.follows(enrolment, told)


def _malformed(message: str) -> QuoteHistoryError:
    return QuoteHistoryError(f"quote history: {message}; take the file away to begin anew")
