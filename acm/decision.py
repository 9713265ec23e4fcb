"""The answer of a policy: a value with reasons, because a refusal is an expected answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """The two answers."""

    PERMIT = "permit"
    DENY = "deny"


class Code(StrEnum):
    """Stable codes of reasons. Users and tests branch on them, never on the detail."""

    UNLABELED_CONFINED = "unlabeled-confined"
    """Deny: one side has no label, the other has one."""
    RESOURCE_INACCESSIBLE = "resource-inaccessible"
    """Deny: the resource is for nobody."""
    CHWALL_CONFLICT = "chwall-conflict"
    """Deny: a running label holds another type of one of the subject's conflict sets."""
    CHWALL_HISTORY = "chwall-history"
    """Deny: another type of one of the subject's conflict sets has run on this host in the past."""
    CHWALL_SELF_CONFLICT = "chwall-self-conflict"
    """Deny: the subject itself holds two types of one conflict set, so it can never run."""
    CHWALL_CLEAR = "chwall-clear"
    """Permit: no conflict set stands against the subject."""
    STE_SHARED_TYPE = "ste-shared-type"
    """Permit: both sides hold a type."""
    STE_NO_SHARED_TYPE = "ste-no-shared-type"
    """Deny: no type is held by both sides."""
    STE_AUTHORIZED = "ste-authorized"
    """Permit: the host's Domain-0 holds every type of the label."""
    STE_NOT_AUTHORIZED = "ste-not-authorized"
    """Deny: Domain-0 lacks types of the label."""
    MLS_READ_DOWN = "mls-read-down"
    """Permit: the subject's level dominates the object's."""
    MLS_READ_UP = "mls-read-up"
    """Deny: the subject would learn what is above it."""
    MLS_WRITE_UP = "mls-write-up"
    """Permit: the object's level dominates the subject's."""
    MLS_WRITE_DOWN = "mls-write-down"
    """Deny: what the subject knows would come to a level below it."""
    MLS_AUTHORIZED = "mls-authorized"
    """Permit: the range of the host's Domain-0 holds the label's."""
    MLS_NOT_AUTHORIZED = "mls-not-authorized"
    """Deny: part of the label's range lies outside that of Domain-0."""
    MLS_NO_LEVEL = "mls-no-level"
    """Deny: a label without a level under a policy that enforces MLS."""
    HISTORY_MISSING = "history-missing"
    """Deny: the policy counts past runs, and they, or what tells their newest state, are not known."""
    HISTORY_STALE = "history-stale"
    """Deny: the history shown is older than the one that is expected."""
    HISTORY_MISMATCH = "history-mismatch"
    """Deny: the history shown is another one than the one that is expected."""
    HISTORY_FULL = "history-full"
    """Deny: the history cannot take the types of one more label."""
    NOT_MEDIATED = "not-mediated"
    """Permit: no component of this policy has a say in this operation."""
    UNKNOWN_OPERATION = "unknown-operation"
    """Deny: an operation that no rule describes."""
    POLICY_MISMATCH = "policy-mismatch"
    """Deny: a domain config that is written for another policy."""
    RESOURCE_UNKNOWN = "resource-unknown"
    """Deny: a domain config that names a disk or VLAN that the host does not have."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: a stable code and one sentence that names labels, types and conflict sets."""

    code: Code
    detail: str


class Decision:
    """A verdict and its reasons; there is always at least one. A value: compared by both.

    Not a dataclass: a hook asks for many verdicts for each reason that anybody reads, so a subclass puts its
    reasons together when they are asked for (``acm.decider``).
    """

    __slots__ = ("_reasons", "permitted")
    permitted: Final[bool]

    def __init__(self, verdict: Verdict, reasons: tuple[Reason, ...]) -> None:
        if not reasons:
            raise ValueError("a decision without a reason")
        self.permitted = verdict is Verdict.PERMIT
        self._reasons = reasons

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why; of a denial, every reason of the first component that denies."""
        return self._reasons

    @property
    def verdict(self) -> Verdict:
        """Permit or deny."""
        return Verdict.PERMIT if self.permitted else Verdict.DENY

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Decision):
            return NotImplemented
        return self.permitted is other.permitted and self.reasons == other.reasons

    def __hash__(self) -> int:
        return hash((self.permitted, self.reasons))

    def __repr__(self) -> str:
        return f"Decision({self.verdict!r}, {self.reasons!r})"


def permit(*reasons: Reason) -> Decision:
    """Return a permit for these reasons."""
    return Decision(Verdict.PERMIT, reasons)


def deny(*reasons: Reason) -> Decision:
    """Return a denial for these reasons."""
    return Decision(Verdict.DENY, reasons)
