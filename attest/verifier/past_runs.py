"""Histories of past runs: that the one behind a Chinese Wall which counts them is measured, and only grows.

Facts are the ``HistoryInForce`` events of PCR 12. A host measures its history right before every policy that
counts past runs, and again before each run that adds to it; the last one is in force. Where the history is
missing or old the host starts nothing, so an event that follows the policy (it was begun anew) is as good.

What this cannot see: that a history was begun anew in an earlier boot, whose PCR 12 is gone. The note names
the history, so that whoever remembers the name of an earlier appraisal sees that it is another one.
"""

from __future__ import annotations

from itertools import pairwise

from attest.reasons import reason
from attest.result import Reason
from attest.runtime_events import HistoryInForce, PolicyLoaded
from attest.verifier.claims import Appraised


def measured(subject: Appraised) -> list[Reason]:
    """Check that a history was measured since the policy before the last one, if the expected one counts."""
    policies = subject.claims.runtime.policies
    if not subject.expected.policy.history or not policies:
        return []  # nothing counts, or reported as policy-missing
    after = 0
    for event in subject.claims.runtime.pcr12:
        if isinstance(event, PolicyLoaded):
            after += 1
        elif isinstance(event, HistoryInForce) and after >= len(policies) - 1:
            return []
    return [reason("history-not-measured", "PCR 12 holds no history event for the last policy")]


def consistent(subject: Appraised) -> list[Reason]:
    """Check that every history grew out of the one before, or was begun anew."""
    for earlier, later in pairwise(_histories(subject)):
        if later.name != earlier.name:
            good = later.sequence == 0
        elif later.sequence == earlier.sequence:
            good = later.digest == earlier.digest
        else:
            good = later.sequence > earlier.sequence and later.digest != earlier.digest
        if not good:
            detail = f"{_text(later)} does not follow {_text(earlier)}"
            return [reason("history-inconsistent", detail)]
    return []


def notes(subject: Appraised) -> list[str]:
    """Return a line for the history in force, and one for each that was begun anew since the host's boot."""
    found = _histories(subject)
    if not found:
        return []
    anew = [later for earlier, later in pairwise(found) if later.name != earlier.name]
    lines = [f"history {each.name[:16]}… was begun anew: past runs before it are forgotten" for each in anew]
    return [*lines, f"history of past runs {_text(found[-1])}"]


def _histories(subject: Appraised) -> list[HistoryInForce]:
    return [event for event in subject.claims.runtime.pcr12 if isinstance(event, HistoryInForce)]


def _text(event: HistoryInForce) -> str:
    return f"{event.name[:16]}… number {event.sequence} SHA-256 {event.digest}"
