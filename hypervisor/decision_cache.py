"""Decisions that were taken before, so that a warm bind costs one look-up.

The key holds the label pair, the operation and the policy epoch: a relabelled domain or resource has another
key, and a new policy another epoch. Xen 3.x keyed its cache by domain identifier and forgot to flush it on
relabel, so a permit outlived the label that it was given for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acm.engine import Operation, Request

if TYPE_CHECKING:
    from acm.decision import Decision

LIMIT: Final = 65536
"""Entries; at the limit the cache starts anew."""

_Key = tuple[Operation, str, str | None, int]


class DecisionCache:
    """Permits and denials of everything but starts: a start depends on who runs."""

    def __init__(self) -> None:
        self._decisions: dict[_Key, Decision] = {}

    def find(self, request: Request, epoch: int) -> Decision | None:
        """Return the decision taken for this request in this epoch, if there is one."""
        return self._decisions.get((request.op, request.subject, request.object, epoch))

    def keep(self, request: Request, epoch: int, decision: Decision) -> None:
        """Remember a decision; starts and requests with a running set are not kept."""
        if request.op is Operation.START or request.running:
            return
        if len(self._decisions) >= LIMIT:
            self._decisions.clear()
        self._decisions[request.op, request.subject, request.object, epoch] = decision

    def clear(self) -> None:
        """Forget everything."""
        self._decisions.clear()
