"""The history of a Chinese Wall that counts past runs (:mod:`acm.history`), kept by the reference monitor.

A start under such a policy is decided by the newest history, and is made durable and measured before it takes
effect: a crash in between leaves a history that knows of a run that never was, which refuses too much and
never too little. Where the history is missing, or is not the one that its anchor names, the policy refuses
every start until an operator begins it anew. That forgets, so it is measured before it is made durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acm import history
from acm.history import refusal
from acm.operations import ADMISSIONS
from hypervisor.errors import BadStateError, Undecided

if TYPE_CHECKING:
    from acm.decision import Reason
    from acm.engine import Request
    from acm.history import Anchor, History
    from hypervisor.ports import HistoryMeasurer, HistoryStore


class PastRuns:
    """The newest history of a host, and where it is kept; without a store there is none."""

    def __init__(self, store: HistoryStore | None = None, measurer: HistoryMeasurer | None = None) -> None:
        self._store = store
        self._measurer = measurer
        self._measured: Anchor | None = None
        self.history: History | None = None
        self.anchor: Anchor | None = None
        self._load()

    @property
    def refusal(self) -> Reason | None:
        """Why no start may be decided by this history; None where it is the newest one."""
        return refusal(self.history, self.anchor)

    @property
    def types(self) -> frozenset[str] | None:
        """The types that have run; None where the history is missing or is not the newest one."""
        return self.history.types if self.history is not None and self.refusal is None else None

    def asked(self, request: Request) -> Request:
        """Return the request with the history beside it, where the question is one of admission."""
        if request.op not in ADMISSIONS:
            return request
        return request._replace(history=self.history, anchor=self.anchor)

    def add(self, types: frozenset[str]) -> None:
        """Make a run of these Chinese Wall types durable, and measure the history that counts from then on.

        Raises Undecided where the history is not the newest one, OSError of the store, and what the measurer
        raises; then the domain must not start.
        """
        refused = self.refusal
        if refused is not None or self.history is None or self._store is None:
            code, detail = (refused.code, refused.detail) if refused else ("history-missing", "no history")
            raise Undecided(code, f"past runs cannot be counted: {detail}")
        after = self.history.with_run(types)
        if after is not self.history:
            self._keep(self._store, after)
        if self._measured != self.anchor:
            self.measure()

    def measure(self) -> None:
        """Measure the history in force, as is done with every policy that counts it; raises of the measurer.

        There is nothing to be measured where it refuses every start.
        """
        if self.history is not None and self.refusal is None:
            self._measure(self.history)

    def begin(self, origin: bytes, types: frozenset[str]) -> History:
        """Forget all past runs, and begin with ``types``; ``origin`` are 32 fresh random bytes.

        Raises BadStateError (``no-history``), RequestError of :mod:`acm.errors`, and of measurer and store;
        then the old history is still in force.
        """
        if self._store is None:
            raise BadStateError("no-history", "this host keeps no history of past runs")
        begun = history.begin(origin, types)
        self._measure(begun)
        self._keep(self._store, begun)
        return begun

    def _measure(self, newest: History) -> None:
        self._measured = None
        if self._measurer is not None:
            self._measurer(newest)
        self._measured = newest.anchor

    def _keep(self, store: HistoryStore, newest: History) -> None:
        try:
            store.save(newest)
        except BaseException:
            self._load()  # what became of it is known to the store alone
            raise
        self.history, self.anchor = newest, newest.anchor

    def _load(self) -> None:
        self.history = self.anchor = None
        if self._store is not None:
            self.history, self.anchor = self._store.load()
