"""Multi-level security: ordered levels with categories, and in which directions information may move.

A *level* is a sensitivity (its rank in the policy's order, low to high) with a set of categories. One level
*dominates* another if its rank is not lower and it has every category of the other; two levels may be
incomparable. A label has a *range*, low to high. For an ordinary label both ends are the same level. Only a
label that the policy names as trusted may span more; it is trusted to keep its levels apart inside.

Rules of Bell and LaPadula (MTR-2997, 1976), with ranges as for their trusted subjects:

- information may flow from A to B if B's high dominates A's low;
- *no read up*: to read is a flow from object to subject; *no write down*: to write, from subject to object;
- to share is both, so two ordinary labels share only at one and the same level;
- *authorization*: a host may run a label if its Domain-0's range holds the whole range of the label, because
  Domain-0 builds the domain and serves all its devices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from acm.decision import Code, Decision, Reason, deny, permit

if TYPE_CHECKING:
    from acm.labels import Label


@dataclass(frozen=True, slots=True)
class Level:
    """A sensitivity, by ``rank`` (0 is the lowest) and ``name``, with a set of categories."""

    rank: int
    name: str
    categories: frozenset[str] = frozenset()

    def dominates(self, other: Level) -> bool:
        """Tell whether information at ``other`` may come to this level."""
        return self.rank >= other.rank and self.categories >= other.categories

    def __str__(self) -> str:
        return f"{self.name} {{{', '.join(sorted(self.categories))}}}" if self.categories else self.name


@dataclass(frozen=True, slots=True)
class Range:
    """What a label spans: ``high`` dominates ``low``; equal but for a trusted label.

    ``text`` says it in words; every reason needs them, so they are put together once.
    """

    low: Level
    high: Level
    text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = str(self.low) if self.is_point else f"{self.low} to {self.high}"
        object.__setattr__(self, "text", text)

    @property
    def is_point(self) -> bool:
        """Whether both ends are one level."""
        return self.low == self.high

    def holds(self, other: Range) -> bool:
        """Tell whether the whole of ``other`` lies within."""
        return other.low.dominates(self.low) and self.high.dominates(other.high)

    def __str__(self) -> str:
        return self.text


def point(level: Level) -> Range:
    """Return the range of a label at one level."""
    return Range(level, level)


def decide_flows(subject: Label, target: Label, *, reads: bool, writes: bool) -> Decision:
    """Decide whether information may flow to the subject (``reads``) and from it (``writes``).

    Every direction that fails is named. A label without a level is refused: no rule speaks for it.
    """
    if subject.mls is None or target.mls is None:
        return deny(_no_level(subject, target))
    good: list[Reason] = []
    bad: list[Reason] = []
    if reads:
        if subject.mls.high.dominates(target.mls.low):
            detail = f"{_placed(subject)} may read {_placed(target)}"
            good.append(Reason(Code.MLS_READ_DOWN, detail))
        else:
            why = _shortfall(subject.mls.high, target.mls.low)
            bad.append(Reason(Code.MLS_READ_UP, f"{_placed(subject)} must not read {_placed(target)}: {why}"))
    if writes:
        if target.mls.high.dominates(subject.mls.low):
            detail = f"{_placed(subject)} may write {_placed(target)}"
            good.append(Reason(Code.MLS_WRITE_UP, detail))
        else:
            why = _shortfall(target.mls.high, subject.mls.low)
            bad.append(
                Reason(Code.MLS_WRITE_DOWN, f"{_placed(subject)} must not write {_placed(target)}: {why}")
            )
    return deny(*bad) if bad else permit(*good)


def decide_authorization(domain0: Label, guest: Label) -> Decision:
    """Decide whether a host whose Domain-0 has the first label may run the second."""
    if domain0.mls is None or guest.mls is None:
        return deny(_no_level(domain0, guest))
    if domain0.mls.holds(guest.mls):
        detail = f"the range of Domain-0 {_placed(domain0)} holds {_placed(guest)}"
        return permit(Reason(Code.MLS_AUTHORIZED, detail))
    why = "; ".join(
        _shortfall(upper, lower)
        for upper, lower in ((domain0.mls.high, guest.mls.high), (guest.mls.low, domain0.mls.low))
        if not upper.dominates(lower)
    )
    detail = f"Domain-0 {_placed(domain0)} may not run {_placed(guest)}: {why}"
    return deny(Reason(Code.MLS_NOT_AUTHORIZED, detail))


def _placed(label: Label) -> str:
    return f"'{label.name}' ({'no level' if label.mls is None else label.mls.text})"


def _shortfall(upper: Level, lower: Level) -> str:
    """Say what keeps ``upper`` from dominating ``lower``."""
    found = []
    if upper.rank < lower.rank:
        found.append(f"level '{upper.name}' is below '{lower.name}'")
    if missing := lower.categories - upper.categories:
        names = ", ".join(f"'{name}'" for name in sorted(missing))
        found.append(f"{upper} lacks {'category' if len(missing) == 1 else 'categories'} {names}")
    return " and ".join(found)


def _no_level(one: Label, other: Label) -> Reason:
    names = " and ".join(f"'{label.name}'" for label in (one, other) if label.mls is None)
    return Reason(Code.MLS_NO_LEVEL, f"{names}: no level, so nothing may flow")
