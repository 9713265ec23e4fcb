"""The result tree of an appraisal: what was judged, how, and why.

A verdict is a tier of EAR (draft-ietf-rats-ear, AR4SI section 3.2) or ``inconclusive``, which EAR calls
``none`` as well: evidence that is false and evidence that is missing are different things to a person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from attest.canonical_json import Json
from attest.errors import AttestUsageError
from attest.quote_history import Told


class Verdict(StrEnum):
    """How good a part of the platform is; the order of the members is the order of trust, best first."""

    AFFIRMING = "affirming"
    """Everything that was asked for was checked and holds."""
    WARNING = "warning"
    """Authentic, and something that the profile wants to be told about."""
    INCONCLUSIVE = "inconclusive"
    """Something needed is missing, stale or not evaluated: never a pass."""
    CONTRAINDICATED = "contraindicated"
    """Authentic, and against policy."""
    NONE = "none"
    """Not authentic or not well-formed: no claim was read."""

    @property
    def rank(self) -> int:
        """0 is the best."""
        return _ORDER.index(self)

    @property
    def ear(self) -> str:
        """The word of EAR: affirming, warning, contraindicated or none."""
        return "none" if self is Verdict.INCONCLUSIVE else self.value


_ORDER = tuple(Verdict)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the worst of ``verdicts``; affirming for none at all, so pass every one that counts."""
    return max(verdicts, key=_ORDER.index, default=Verdict.AFFIRMING)


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is wrong: a stable ``code``, a ``detail`` of one line, the best verdict it allows."""

    code: str
    detail: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Node:
    """One part of a platform with its verdict, which is never better than a reason or a child of it.

    ``notes`` are facts worth showing that do not change the verdict.
    """

    name: str
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    children: tuple[Node, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.verdict.rank < _worst_below(self.reasons, self.children).rank:
            raise AttestUsageError(f"node {self.name!r} would be better than its parts", code="verdict-order")

    @classmethod
    def judge(
        cls,
        name: str,
        reasons: Sequence[Reason] = (),
        children: Sequence[Node] = (),
        notes: Sequence[str] = (),
    ) -> Node:
        """Return the node whose verdict is the worst of its reasons and children."""
        return cls(name, _worst_below(reasons, children), tuple(reasons), tuple(children), tuple(notes))

    def walk(self, path: str = "") -> Iterator[tuple[str, Node]]:
        """Yield ``(path, node)`` for this node and all below it; a path joins names by " / "."""
        here = f"{path} / {self.name}" if path else self.name
        yield here, self
        for child in self.children:
            yield from child.walk(here)


def _worst_below(reasons: Sequence[Reason], children: Sequence[Node]) -> Verdict:
    return worst([reason.verdict for reason in reasons] + [child.verdict for child in children])


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an appraisal: the tree, and the names of what was appraised by what.

    ``policy_ids`` name the inputs of the appraisal (profile, reference values, ACM policy) by digest.
    """

    root: Node
    nonce: bytes = b""
    policy_ids: tuple[str, ...] = ()
    told: Told | None = None
    """What the host's quote says of its TPM; None unless the platform is authentic."""

    @property
    def verdict(self) -> Verdict:
        """The verdict over everything."""
        return self.root.verdict

    def reasons(self) -> tuple[tuple[str, Reason], ...]:
        """Return all reasons with the path of the node that each belongs to, top down."""
        return tuple((path, reason) for path, node in self.root.walk() for reason in node.reasons)


def document(node: Node) -> dict[str, Json]:
    """Return a node and all below it as JSON values; ``verdict`` in EAR's words, ``outcome`` in ours."""
    return {
        "name": node.name,
        "verdict": node.verdict.ear,
        "outcome": str(node.verdict),
        "reasons": [{"code": one.code, "detail": one.detail} for one in node.reasons],
        "notes": list(node.notes),
        "children": [document(child) for child in node.children],
    }
