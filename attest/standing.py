"""How a host stood when it was last asked, so that a failure does not get lost and a good verdict gets old.

Rules, for whoever asks a host again and again:

1. a failure stays until a person clears it and says why: neither silence nor a later good answer does;
2. a good verdict holds until its time is over, whether or not the verifier lives to see that;
3. a question is written down before it is asked: one that was never judged counts as silence;
4. silence is no failure and no pass.

A failure is an answer that was judged contraindicated or not authentic. An attacker on the way can cause one
and so make a person look; he can as well cut the line, which nobody clears.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from attest.canonical_json import Json
from attest.errors import AttestInputError, AttestUsageError
from attest.json_record import Fields, encode, stamp
from attest.result import Verdict

SCHEMA: Final = "shype.standing/1"
MAX_FILE: Final = 16 * 1024
MAX_WHY: Final = 400
MAX_CODES: Final = 64
_NAMES: Final = {
    *("host", "verdict", "good", "judged_at", "expires_at", "failed_at", "failures", "asked_at"),
    *("cleared_at", "cleared_why"),
}
_FAILURES: Final = frozenset({Verdict.CONTRAINDICATED, Verdict.NONE})


class StandingError(AttestInputError):
    """A record of a standing is not one."""

    code = "standing-malformed"


class Status(StrEnum):
    """What can be said of a host now."""

    GOOD = "good"
    FAILED = "failed"
    """It failed, and nobody has cleared it."""
    SILENT = "silent"
    """It was asked, and nothing came that could be judged."""
    STALE = "stale"
    """The last verdict was good, for a time that is over."""
    UNKNOWN = "unknown"
    """It was never judged good or bad."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is remembered of a host. Times are UTC with whole seconds.

    ``verdict`` and ``good`` are those of the last judgement: ``good`` is whether its profile lets it pass.
    ``failures`` are the reason codes of the failure that stands. ``asked_at`` is the first question since the
    last judgement.
    """

    host: str
    verdict: Verdict | None = None
    good: bool = False
    judged_at: datetime | None = None
    expires_at: datetime | None = None
    failed_at: datetime | None = None
    failures: tuple[str, ...] = ()
    asked_at: datetime | None = None
    cleared_at: datetime | None = None
    cleared_why: str | None = None

    def asked(self, now: datetime) -> Self:
        """Return the standing when a question goes out."""
        return self if self.asked_at else replace(self, asked_at=_whole(now))

    def judged(
        self, verdict: Verdict, codes: tuple[str, ...], *, good: bool, now: datetime, lifetime: timedelta
    ) -> Self:
        """Return the standing after an answer was judged; a failure that stood before stands on."""
        at = _whole(now)
        after = replace(
            self, verdict=verdict, good=good, judged_at=at, expires_at=at + lifetime, asked_at=None
        )
        if verdict not in _FAILURES:
            return after
        known = (*self.failures, *(code for code in codes if code not in self.failures))
        return replace(after, failed_at=self.failed_at or at, failures=known[:MAX_CODES])

    def cleared(self, why: str, now: datetime) -> Self:
        """Return the standing after a person has cleared its failure; the host has to be asked anew."""
        if self.failed_at is None:
            raise AttestUsageError(f"{self.host}: no failure stands that could be cleared", code="no-failure")
        if not why.strip() or len(why) > MAX_WHY or not why.isprintable():
            raise AttestUsageError(f"say in one line, of at most {MAX_WHY} characters, why", code="why")
        return replace(
            self,
            failed_at=None,
            failures=(),
            verdict=None,
            good=False,
            judged_at=None,
            expires_at=None,
            cleared_at=_whole(now),
            cleared_why=why,
        )

    def status(self, now: datetime) -> Status:
        """Return what can be said at ``now``."""
        if self.failed_at is not None:
            return Status.FAILED
        if self.asked_at is not None:
            return Status.SILENT
        if self.judged_at is None or self.expires_at is None or not self.good:
            return Status.UNKNOWN
        return Status.GOOD if self.judged_at <= now < self.expires_at else Status.STALE

    def fields(self) -> dict[str, Json]:
        """Return the JSON fields; null for what is not known."""
        return {
            "host": self.host,
            "verdict": None if self.verdict is None else str(self.verdict),
            "good": self.good,
            "judged_at": _time(self.judged_at),
            "expires_at": _time(self.expires_at),
            "failed_at": _time(self.failed_at),
            "failures": list(self.failures),
            "asked_at": _time(self.asked_at),
            "cleared_at": _time(self.cleared_at),
            "cleared_why": self.cleared_why,
        }

    def encode(self) -> bytes:
        """Return the JSON document ``shype.standing/1``."""
        return encode({"schema": SCHEMA, **self.fields()})

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read what ``encode`` wrote; raises StandingError."""
        fields = Fields.decode(raw, SCHEMA, _NAMES, limit=MAX_FILE, fail=_malformed)
        made = cls(
            host=fields.host("host"),
            verdict=fields.or_null("verdict", lambda name: Verdict(fields.word(name, tuple(Verdict)))),
            good=fields.flag("good"),
            failures=fields.each("failures", MAX_CODES, Fields.text),
            cleared_why=fields.or_null("cleared_why", fields.text),
            **{
                name: fields.or_null(name, fields.time)
                for name in ("judged_at", "expires_at", "failed_at", "asked_at", "cleared_at")
            },
        )
        if (made.failed_at is None) != (not made.failures):
            raise _malformed("a failure has a time and reasons, or there is none")
        if made.good and (made.verdict not in {Verdict.AFFIRMING, Verdict.WARNING} or not made.judged_at):
            raise _malformed("a verdict is good that is not")
        return made


def _time(moment: datetime | None) -> Json:
    return None if moment is None else stamp(moment)


def _whole(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _malformed(message: str) -> StandingError:
    return StandingError(f"standing: {message}")
