"""Decisions that were taken before, so that a warm bind costs one look-up.

The key holds the label pair, the operation and the policy epoch: a relabelled domain or resource has another
key, and a new policy another epoch. Xen 3.x keyed its cache by domain identifier and forgot to flush it on
relabel, so a permit outlived the label that it was given for.

Only one epoch is kept: a question of another one finds nothing, and the first decision of a new one drops all
others. A question is its own key: a tuple of operation, subject, object and what else it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from acm.engine import Request
from acm.operations import ADMISSIONS

if TYPE_CHECKING:
    from acm.decision import Decision

LIMIT: Final = 65536
"""Entries; at the limit the cache starts anew."""


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What the cache did since it was made: questions answered from it, questions put to the engine."""

    hits: int
    misses: int
    entries: int


class DecisionCache:
    """Permits and denials of everything but admissions."""

    __slots__ = ("_decisions", "_epoch", "_hits", "_misses")

    def __init__(self) -> None:
        self._decisions: dict[Request, Decision] = {}
        self._epoch = 0
        self._hits = 0
        self._misses = 0

    @property
    def counts(self) -> CacheCounts:
        """The counts so far; admissions are misses."""
        return CacheCounts(self._hits, self._misses, len(self._decisions))

    def find(self, request: Request, epoch: int) -> Decision | None:
        """Return the decision taken for this request in this epoch, if there is one."""
        if epoch == self._epoch:
            found = self._decisions.get(request)
            if found is not None:
                self._hits += 1
                return found
        self._misses += 1
        return None

    def keep(self, request: Request, epoch: int, decision: Decision) -> None:
        """Remember a decision; admissions and requests with a running set are not kept."""
        if request.op in ADMISSIONS or request.running:
            return
        if epoch != self._epoch or len(self._decisions) >= LIMIT:
            self._decisions.clear()
            self._epoch = epoch
        self._decisions[request] = decision

    def clear(self) -> None:
        """Forget every decision; the counts go on."""
        self._decisions.clear()
