"""What ``shype result standing`` and ``shype result clear`` do with the verifier's folder of standings."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from attest.standing import Standing, Status
from shype import standings
from shype.errors import ShypeUsageError
from shype.report import Exit, Json, Report

MARKS: Final = {
    Status.GOOD: "✓",
    Status.FAILED: "✗",
    Status.SILENT: "?",
    Status.STALE: "?",
    Status.UNKNOWN: "?",
}


def show(state: Path, now: datetime, host: str | None) -> Report:
    """Show the standings in a folder, of one host or all; the exit code is that of the worst."""
    found = [each for each in standings.known(state) if host in {None, each.host}]
    if not found:
        raise ShypeUsageError(f"{state}: no standing of {'any host' if host is None else ascii(host[:80])}")
    worst = {each.status(now) for each in found}
    code = Exit.OK if worst == {Status.GOOD} else Exit.INCONCLUSIVE
    if Status.FAILED in worst:
        code = Exit.REFUSED
    document: list[Json] = [_document(each, now) for each in found]
    return Report(code, {"standings": document}, "\n".join(_line(each, now) for each in found))


def clear(state: Path, host: str, why: str, now: datetime) -> Report:
    """Take the failure of a host away; raises ShypeUsageError where none is known, AttestUsageError."""
    if host not in {each.host for each in standings.known(state)}:
        raise ShypeUsageError(f"{state}: no standing of {host[:80]!a}")
    with standings.hold(state, host) as kept:
        failed = kept.standing.failed_at is not None
        if failed:
            kept.put(kept.standing.cleared(why, now))
        document: Json = {"standing": _document(kept.standing, now)}
    text = "cleared; ask it anew: shype verify https://…" if failed else "no failure stands"
    return Report(Exit.OK, document, f"{host}: {text}")


def _document(standing: Standing, now: datetime) -> Json:
    return {**standing.fields(), "status": str(standing.status(now))}


def _line(standing: Standing, now: datetime) -> str:
    status = standing.status(now)
    facts = {
        "until": standing.expires_at if status in {Status.GOOD, Status.STALE} else None,
        "since": standing.failed_at or standing.asked_at,
    }
    times = " ".join(f"{word} {at:%Y-%m-%d %H:%M:%SZ}" for word, at in facts.items() if at)
    return " ".join(
        part
        for part in (MARKS[status], f"{standing.host}:", status, times, ", ".join(standing.failures))
        if part
    )
