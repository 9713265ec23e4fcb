"""Who runs on one host and what has ever run there: the state behind the Chinese Wall, and how it changes.

A start, a resume or a migration is one transaction. All components decide first, in the policy's order; only
when none has denied does the next state exist, with the label among the running ones and its types in the
history. A refusal by any component, also by one that is asked after the Chinese Wall, leaves the state that
was there before: it is a value, and no other one was made.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from acm import engine
from acm.engine import Operation, Request
from acm.errors import RequestError
from acm.operations import RULES, Question

if TYPE_CHECKING:
    from acm.decision import Decision
    from acm.history import Anchor, History
    from acm.policy import Policy


@dataclass(frozen=True, slots=True)
class Admission:
    """The admission state of one host.

    ``domain0`` is the label of its Domain-0, ``running`` the labels of its guests, sorted, one entry a guest.
    ``history`` and ``anchor`` are needed where the policy counts past runs (``acm.history``); after an
    admission the anchor is that of the new history, which is for the caller to make durable first.
    """

    policy: Policy
    domain0: str
    running: tuple[str, ...] = ()
    history: History | None = None
    anchor: Anchor | None = None

    def admit(self, op: Operation, label: str) -> tuple[Decision, Admission]:
        """Decide a start, resume or migrate-in of ``label``; return the decision and the state after it.

        Raises LabelError, and RequestError (``not-an-admission`` for another operation).
        """
        if op not in RULES or RULES[op].question is not Question.ADMISSION:
            raise RequestError("not-an-admission", f"operation '{op}' does not bring a domain to a host")
        request = Request(op, label, self.domain0, self.running, self.history, self.anchor)
        decision = engine.decide(self.policy, request)
        return decision, self._with(label) if decision.permitted else self

    def leave(self, label: str) -> Admission:
        """Return the state after one domain of ``label`` has ended; what has run stays in the history.

        Raises RequestError (``not-running``).
        """
        running = list(self.running)
        name = self.policy.domain(label).name
        if name not in running:
            raise RequestError("not-running", f"no domain of label '{name}' runs here")
        running.remove(name)
        return replace(self, running=tuple(running))

    def _with(self, label: str) -> Admission:
        running = list(self.running)
        insort(running, self.policy.domain(label).name)
        if not self.policy.history or self.history is None:
            return replace(self, running=tuple(running))
        history = after_run(self.policy, self.history, label, self.domain0)
        anchor = self.anchor if history is self.history else history.anchor
        return replace(self, running=tuple(running), history=history, anchor=anchor)


def after_run(policy: Policy, history: History, label: str, domain0: str) -> History:
    """Return the history after a run of ``label`` on a host whose Domain-0 has the label ``domain0``.

    Raises LabelError, and RequestError (``history-full``), which a permitted admission rules out.
    """
    return history.with_run(policy.domain(label).chwall | policy.domain(domain0).chwall)
