"""An oracle that decides by brute force, and random policies and questions for it.

It shares no code with ``acm``: it asks for each pair of types, conflict set and level in plain loops.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import yaml
from hypothesis import strategies as st

UNLABELED = "__UNLABELED__"
INACCESSIBLE = "__INACCESSIBLE__"

NAMES = ["a", "b", "c", "web", "no", "1.0", "hda (1)", "x.y-z", "SystemManagement", "_"]
LEVELS = ["public", "secret", "top secret"]
CATEGORIES = ["crypto", "nato"]

DIRECTIONS = {
    "share": "rw",
    "read": "r",
    "write": "w",
    "event-channel": "rw",
    "grant-map-read": "r",
    "grant-map-write": "rw",
    "grant-copy-from": "r",
    "grant-copy-to": "w",
    "grant-transfer": "w",
    "argo": "rw",
    "resource-read": "r",
    "resource-write": "rw",
    "vlan-attach": "rw",
}
"""Operation -> where bytes go as seen from the subject: r comes to it, w leaves it."""

ADMISSIONS = ["start", "resume", "migrate-in"]
OPERATIONS = [*DIRECTIONS, *ADMISSIONS, "authorize"]
ON_RESOURCES = {"read", "write", "resource-read", "resource-write", "vlan-attach"}
ON_DOMAINS = set(OPERATIONS) - {"resource-read", "resource-write", "vlan-attach"}

Point = tuple[str, list[str]]
"""A level and its categories."""


@dataclass
class Domain:
    """One domain label; ``low`` and ``high`` are None where there is no MLS."""

    ste: list[str]
    chwall: list[str]
    low: Point | None = None
    high: Point | None = None


@dataclass
class Model:
    """A policy as an outsider sees it: lists and dicts."""

    ste: list[str] | None
    chwall: list[str] | None
    levels: list[str] | None = None
    conflict_sets: dict[str, list[str]] = field(default_factory=dict)
    history: bool = False
    trusted: list[str] = field(default_factory=list)
    order: list[str] | None = None
    domains: dict[str, Domain] = field(default_factory=dict)
    resources: dict[str, tuple[str | None, Point | None]] = field(default_factory=dict)

    @property
    def components(self) -> list[str]:
        on = {"chwall": self.chwall, "ste": self.ste, "mls": self.levels}
        return self.order or [name for name, declared in on.items() if declared is not None]

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = {"format": "shype.policy/1", "name": "model", "version": "1.0"}
        found["bootstrap"] = next(iter(self.domains))
        if self.order is not None:
            found["enforce"] = self.order
        elif not self.components:
            found["enforce"] = "nothing"
        if self.ste is not None:
            found["ste"] = {"types": self.ste}
        if self.chwall is not None:
            found["chwall"] = {"types": self.chwall, "conflict_sets": self.conflict_sets}
            found["chwall"] |= {"history": True} if self.history else {}
        if self.levels is not None:
            found["mls"] = {"levels": self.levels, "categories": CATEGORIES, "trusted": self.trusted}
        found["domain_labels"] = {name: self._domain(one) for name, one in self.domains.items()}
        found["resource_labels"] = {
            name: ({"ste": held} if held is not None else {})
            | ({"mls": _point(level)} if level is not None else {})
            for name, (held, level) in self.resources.items()
        }
        return found

    def _domain(self, one: Domain) -> dict[str, Any]:
        found: dict[str, Any] = {"ste": one.ste} if self.ste is not None else {}
        found |= {"chwall": one.chwall} if self.chwall is not None else {}
        if one.low is not None and one.high is not None:
            found["mls"] = (
                _point(one.low) if one.low == one.high else {"low": _point(one.low), "high": _point(one.high)}
            )
        return found

    def as_yaml(self, *, flow: bool | None = None) -> bytes:
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        return yaml.dump(self.document(), Dumper=dumper, default_flow_style=flow, sort_keys=False).encode()

    def as_json(self) -> bytes:
        return json.dumps(self.document()).encode()


def _point(level: Point) -> Any:
    return {"level": level[0], "categories": level[1]} if level[1] else level[0]


@dataclass
class Question:
    """``target`` is ``vm:NAME`` or ``res:NAME``; ``past`` are the types in the history that is shown.

    ``anchor`` says how the history stands to the one expected: newest, older, other, none; ``past`` None
    shows none.
    """

    op: str
    subject: str
    target: str
    running: list[str]
    past: list[str] | None = None
    anchor: str = "none"


def conflicting(model: Model, one: list[str], other: list[str]) -> bool:
    """Whether some conflict set excludes a type of ``one`` and a type of ``other`` from each other."""
    for types in model.conflict_sets.values():
        for first in one:
            for second in other:
                if first != second and first in types and second in types:
                    return True
    return False


def expected(model: Model, asked: Question) -> str:
    """``usage`` where the running labels cannot run together, else ``permit`` or who denies.

    That is ``confined``, ``inaccessible`` or the first component in the policy's order that does.
    """
    walls = [_wall(model, label) for label in asked.running]
    if any(conflicting(model, one, other) for one in walls for other in walls):
        return "usage"
    if asked.target == f"res:{INACCESSIBLE}":
        return "inaccessible"
    if _confined(model, asked):
        return "confined"
    says = {"chwall": _chwall_permits, "ste": _ste_permits, "mls": _mls_permits}
    return next((name for name in model.components if not says[name](model, asked)), "permit")


def _confined(model: Model, asked: Question) -> bool:
    kind, _, name = asked.target.partition(":")
    if (asked.subject == UNLABELED) == (name == UNLABELED):
        return False
    labelled, kind = (name, kind) if asked.subject == UNLABELED else (asked.subject, "vm")
    return UNLABELED not in _ste(model, labelled, kind)


def _chwall_permits(model: Model, asked: Question) -> bool:
    if asked.op not in ADMISSIONS:
        return True
    if model.history and (asked.past is None or asked.anchor != "newest"):
        return False
    present = [_wall(model, label) for label in [*asked.running, asked.target.partition(":")[2]]]
    if model.history:
        present.append(asked.past or [])
    return not any(conflicting(model, _wall(model, asked.subject), wall) for wall in present)


def _ste_permits(model: Model, asked: Question) -> bool:
    kind, _, name = asked.target.partition(":")
    mine, theirs = _ste(model, asked.subject, "vm"), _ste(model, name, kind)
    if asked.op in ADMISSIONS:
        return all(held in theirs for held in mine)
    if asked.op == "authorize":
        return all(held in mine for held in theirs)
    return any(held in theirs for held in mine)


def _mls_permits(model: Model, asked: Question) -> bool:
    kind, _, name = asked.target.partition(":")
    if asked.subject == UNLABELED:
        return name == UNLABELED
    (low, high), (their_low, their_high) = _range(model, asked.subject, "vm"), _range(model, name, kind)
    if asked.op in ADMISSIONS:
        return _above(model, low, their_low) and _above(model, their_high, high)
    if asked.op == "authorize":
        return _above(model, their_low, low) and _above(model, high, their_high)
    way = DIRECTIONS[asked.op]
    return ("r" not in way or _above(model, high, their_low)) and (
        "w" not in way or _above(model, their_high, low)
    )


def _above(model: Model, upper: Point, lower: Point) -> bool:
    assert model.levels is not None
    if model.levels.index(upper[0]) < model.levels.index(lower[0]):
        return False
    return all(category in upper[1] for category in lower[1])


def _wall(model: Model, name: str) -> list[str]:
    return [] if name == UNLABELED else model.domains[name].chwall


def _ste(model: Model, name: str, kind: str) -> list[str]:
    if name == UNLABELED:
        return [UNLABELED]
    if kind == "vm":
        return model.domains[name].ste
    held = model.resources[name][0]
    return [] if held is None else [held]


def _range(model: Model, name: str, kind: str) -> tuple[Point, Point]:
    one = model.domains[name] if kind == "vm" else None
    low, high = (one.low, one.high) if one else (model.resources[name][1],) * 2
    assert low is not None
    assert high is not None
    return low, high


def subset(values: list[str], least: int, most: int = 5) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), unique=True, min_size=least, max_size=min(most, len(values)))


@st.composite
def models(draw: st.DrawFn, *, grants: bool = False) -> Model:
    """Small policies with every mix of components, dense enough that both verdicts are common.

    With ``grants`` some labels meet what has no label.
    """
    ste = draw(subset(NAMES[:5], 2) | subset(NAMES[:5], 2) | st.none())
    chwall = draw(subset(NAMES[2:8], 2) | subset(NAMES[2:8], 2) | st.none())
    model = Model(ste, chwall, draw(st.sampled_from([None, LEVELS, LEVELS[:2]])))
    if chwall:
        sets = draw(st.dictionaries(st.sampled_from(NAMES), subset(chwall, 2), min_size=1, max_size=3))
        model.conflict_sets.update(sets)
        model.history = draw(st.booleans())
    names = draw(subset(NAMES, 1))
    model.trusted = draw(subset(names, 0)) if model.levels else []
    for name in names:
        held = draw(subset(ste, 1)) if ste else []
        wall = _without_conflict(model, draw(subset(chwall, 0))) if chwall else []
        model.domains[name] = Domain(held, wall, *draw(_ranges(model, name)))
    _grant(model, draw(subset(names, 0, 2)) if grants else [])
    for name in draw(subset(NAMES, 0, 3)):
        level = draw(_points(model.levels)) if model.levels else None
        model.resources[name] = (draw(st.sampled_from(ste)) if ste is not None else None, level)
    if model.components:
        model.order = draw(st.none() | st.permutations(model.components))
    return model


def _grant(model: Model, names: list[str]) -> None:
    """Let some domains meet what has no label, where a policy can say so."""
    if model.ste is None or model.levels is not None or not names:
        return
    model.ste = [*model.ste, UNLABELED]
    for name in names:
        model.domains[name].ste.append(UNLABELED)


@st.composite
def _ranges(draw: st.DrawFn, model: Model, name: str) -> tuple[Point | None, Point | None]:
    if not model.levels:
        return None, None
    low = draw(_points(model.levels))
    if name not in model.trusted or draw(st.booleans()):
        return low, low
    above = st.sampled_from(model.levels[model.levels.index(low[0]) :])
    return low, (draw(above), sorted({*low[1], *draw(subset(CATEGORIES, 0))}))


def _points(levels: list[str]) -> st.SearchStrategy[Point]:
    return st.tuples(st.sampled_from(levels), subset(CATEGORIES, 0).map(sorted))


def _without_conflict(model: Model, wall: list[str]) -> list[str]:
    kept: list[str] = []
    for held in wall:
        if not conflicting(model, kept, [held]):
            kept.append(held)
    return kept


@st.composite
def questions(draw: st.DrawFn, operations: tuple[str, ...] = tuple(OPERATIONS)) -> tuple[Model, Question]:
    model = draw(models(grants=True))
    domains = [*model.domains, UNLABELED]
    op = draw(st.sampled_from(operations))
    targets = [f"vm:{name}" for name in domains] if op in ON_DOMAINS else []
    if op in ON_RESOURCES:
        targets += [f"res:{name}" for name in [*model.resources, UNLABELED, INACCESSIBLE]]
    running = draw(st.lists(st.sampled_from(domains), max_size=3 if op in ADMISSIONS else 1))
    past = draw(st.none() | subset(NAMES[2:8], 0) | subset(NAMES[2:8], 0)) if op in ADMISSIONS else None
    anchor = draw(st.sampled_from(["newest", "newest", "newest", "older", "other", "none"]))
    subject, target = draw(st.sampled_from(domains)), draw(st.sampled_from(targets))
    return model, Question(op, subject, target, running, past, anchor)
