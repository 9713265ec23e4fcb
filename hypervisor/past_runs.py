"""The history of a Chinese Wall that counts past runs (:mod:`acm.history`), kept by the reference monitor.

A start under such a policy is decided by the newest history, and is made durable before it takes effect: a
crash in between leaves a history that knows of a run that never was, which refuses too much and never too
little. Where the history is missing, or is not the one that its anchor names, the policy refuses every start.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from acm.history import refusal
from hypervisor.decision_cache import ADMISSIONS
from hypervisor.errors import Undecided

if TYPE_CHECKING:
    from acm.engine import Request
    from acm.history import Anchor, History
    from hypervisor.ports import HistoryStore


class PastRuns:
    """The newest history of a host, and where it is kept; without a store there is none."""

    def __init__(self, store: HistoryStore | None = None) -> None:
        self._store = store
        self.history: History | None = None
        self.anchor: Anchor | None = None
        if store is not None:
            self.history, self.anchor = store.load()

    @property
    def types(self) -> frozenset[str] | None:
        """The types that have run; None where the history is missing or is not the newest one."""
        if self.history is None or refusal(self.history, self.anchor) is not None:
            return None
        return self.history.types

    def asked(self, request: Request) -> Request:
        """Return the request with the history beside it, where the question is one of admission."""
        if request.op not in ADMISSIONS:
            return request
        return replace(request, history=self.history, anchor=self.anchor)

    def add(self, types: frozenset[str]) -> None:
        """Make a run of these Chinese Wall types durable.

        Raises Undecided where the history is not the newest one, OSError of the store; then nothing changes.
        """
        refused = refusal(self.history, self.anchor)
        if refused is not None or self.history is None or self._store is None:
            code, detail = (refused.code, refused.detail) if refused else ("history-missing", "no history")
            raise Undecided(code, f"past runs cannot be counted: {detail}")
        after = self.history.with_run(types)
        if after is not self.history:
            self._store.save(after)
            self.history, self.anchor = after, after.anchor
