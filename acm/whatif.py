"""What an update would do, as the JSON document and the text of ``shype policy diff``.

The document's schema is ``configs/schema/policy-diff.schema.json``. Without a state only the policies are
compared: ``verdict``, ``violations`` and ``mend`` are null then. With one, the verdict is what the reference
monitor of that host would say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from acm.errors import UpdateError
from acm.livestate import ArgoRing, Attachment, Channel, GrantMapping
from acm.mending import IMPOSSIBLE, Mend, mend
from acm.policydiff import PolicyDiff, compare
from acm.update import Update, judge
from acm.violations import sharing_document, sharing_text

if TYPE_CHECKING:
    from acm.livestate import LiveState, Sharing
    from acm.policy import Policy
    from acm.policydiff import DecisionChange, LabelsDiff
    from acm.violations import Why

MAX_LINES: Final = 40
"""Lines of one list in the text; the document has all."""
MAX_OPTIONS: Final = 12
"""Stops and relabels up to which the text shows the command that carries them out."""

VERBS: Final = {Channel: "close", GrantMapping: "unmap", ArgoRing: "unregister", Attachment: "detach"}
"""What ending something that is bound is called."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Two policies compared; with a state also the update judged, and its mend where something breaks."""

    old: Policy
    new: Policy
    diff: PolicyDiff
    update: Update | None
    mend: Mend | None

    @property
    def holds(self) -> bool:
        """Whether nothing is known that stands against the update."""
        return self.update is None or self.update.holds


def ask(old: Policy, new: Policy, live: LiveState | None) -> WhatIf:
    """Return what an update from ``old`` to ``new`` would do, on a host where one is given.

    Raises UpdateError (``state-policy``) where the state is not that of a host under the old policy.
    """
    if live is None:
        return WhatIf(old, new, compare(old, new), None, None)
    here = live.policy
    if (here.name, here.version) != (old.name, old.version) or here.digest not in {None, old.digest}:
        found = f"'{here.name}' {here.version} ({(here.digest or '?')[:16]})"
        wanted = f"'{old.name}' {old.version} ({old.digest[:16]})"
        raise UpdateError("state-policy", f"the state is that of a host under {found}, not under {wanted}")
    update = judge(new, live)
    return WhatIf(old, new, compare(old, new), update, mend(update) if update.violations else None)


def document(answer: WhatIf) -> dict[str, Any]:
    """Return the JSON document."""
    diff, update = answer.diff, answer.update
    return {
        "old": _identity(answer.old),
        "new": _identity(answer.new),
        "lineage": _whys(diff.lineage),
        "changes": [
            {"what": what, "gained": list(gained), "lost": list(lost)} for what, gained, lost in diff.sections
        ],
        "domain_labels": _labels(diff.domains),
        "resource_labels": _labels(diff.resources),
        "decisions": {
            "permitted": diff.permitted,
            "denied": diff.denied,
            "changes": [_decision(one) for one in diff.decisions],
        },
        "verdict": None if update is None else "permit" if update.holds else "deny",
        "violations": None if update is None else [each.document() for each in update.violations],
        "mend": None if update is None or not update.violations else mend_document(update, answer.mend),
    }


def mend_document(update: Update, found: Mend | None) -> dict[str, Any]:
    """Return the JSON of a mend, or of the statement that there is none.

    What the update's own amendment does stands in neither its actions nor its costs.
    """
    if found is None:
        return {"possible": False, "why": IMPOSSIBLE}
    return {
        "possible": True,
        "optimal": found.optimal,
        "stops": found.cost.stops,
        "others": found.cost.others,
        "bound": {"stops": found.bound.stops, "others": found.bound.others},
        "actions": _actions(update, found),
    }


def _actions(update: Update, found: Mend) -> list[dict[str, Any]]:
    """Return what a mend does, one action after the other: stops, relabels, revocations."""
    live, amendment = update.live, found.amendment
    listed: list[dict[str, Any]] = []
    for domid in sorted(amendment.stop):
        domain = live.domain(domid)
        listed.append({"action": "stop", "domid": domid, "name": domain.name, "label": domain.label})
    for identity, label in sorted(amendment.relabel.items()):
        old = live.resource(identity).label
        listed.append({"action": "relabel", "resource": identity, "from": old, "to": label})
    listed += [
        {"action": VERBS[type(each)], "sharing": sharing_document(each)} for each in _ordered(amendment.end)
    ]
    return listed


def text(answer: WhatIf) -> str:
    """Return what a person reads."""
    diff = answer.diff
    lines = [f"lineage     {one.code}: {one.detail}" for one in diff.lineage]
    for what, gained, lost in diff.sections:
        lines += [f"{what:<14} - {one}" for one in lost] + [f"{what:<14} + {one}" for one in gained]
    lines += _label_lines("domain label", diff.domains) + _label_lines("resource label", diff.resources)
    lines.append(f"decisions: {diff.permitted} permitted now, {diff.denied} denied now")
    shown = [
        f"  now {'permit' if one.permitted else 'deny'}: {one.op} {one.subject} {one.object}"
        for one in diff.decisions
    ]
    lines += _first(shown, diff.permitted + diff.denied)
    return "\n".join(lines if answer.update is None else lines + update_lines(answer.update, answer.mend))


def update_lines(update: Update, found: Mend | None) -> list[str]:
    """Return the lines that say what an update breaks and what mends it."""
    if not update.violations:
        return ["breaks nothing that lives" + ("" if update.holds else ", and is refused for its lineage")]
    lines = [f"breaks {len(update.violations)} of what lives:"]
    lines += _first([f"  {each}" for each in update.violations], len(update.violations))
    if found is None:
        return [*lines, f"no mend: {IMPOSSIBLE}"]
    cost, bound = found.cost, found.bound
    how = "the smallest" if found.optimal else f"not proved smallest: {bound.stops} stops at least are needed"
    lines.append(f"mend: {cost.stops} stops, {cost.others} other actions ({how}):")
    done = [f"  stop {update.live.domain(each).name}" for each in sorted(found.amendment.stop)]
    done += [f"  relabel {one} as {label}" for one, label in sorted(found.amendment.relabel.items())]
    done += [f"  {VERBS[type(each)]} {sharing_text(each)}" for each in _ordered(found.amendment.end)]
    return lines + _first(done, len(done)) + _command(update, found)


def _command(update: Update, found: Mend) -> list[str]:
    """Return the options of ``shype policy load`` that carry out everything, where they fit on a line."""
    amendment = update.amendment | found.amendment
    options = [f"--stop '{update.live.domain(each).name}'" for each in sorted(amendment.stop)]
    options += [f"--relabel '{one}={label}'" for one, label in sorted(amendment.relabel.items())]
    options += ["--revoke"] if amendment.end else []
    if len(options) > MAX_OPTIONS:
        return []
    return [f"with it: shype policy load NEW --host HOSTDIR {' '.join(options)}"]


def _decision(one: DecisionChange) -> dict[str, str]:
    now = "permit" if one.permitted else "deny"
    return {"op": str(one.op), "subject": one.subject, "object": one.object, "now": now}


def _ordered(sharings: frozenset[Sharing]) -> list[Sharing]:
    order = list(VERBS)
    return sorted(sharings, key=lambda each: (order.index(type(each)), sharing_text(each)))


def _identity(policy: Policy) -> dict[str, Any]:
    return {"name": policy.name, "version": policy.version, "digest": policy.digest}


def _whys(found: tuple[Why, ...]) -> list[dict[str, str]]:
    return [{"code": one.code, "detail": one.detail} for one in found]


def _labels(diff: LabelsDiff) -> dict[str, Any]:
    return {
        "added": list(diff.added),
        "removed": list(diff.removed),
        "changed": [one.document() for one in diff.changed],
    }


def _label_lines(kind: str, diff: LabelsDiff) -> list[str]:
    lines = [f"{kind:<14} - {name}" for name in diff.removed] + [
        f"{kind:<14} + {name}" for name in diff.added
    ]
    for one in diff.changed:
        renamed = f" (was {one.before})" if one.before != one.name else ""
        parts = [f"-{each}" for each in one.lost] + [f"+{each}" for each in one.gained]
        lines.append(f"{kind:<14} ~ {one.name}{renamed}: {', '.join(parts) or 'renamed'}")
    return lines


def _first(lines: list[str], count: int) -> list[str]:
    left = count - min(len(lines), MAX_LINES)
    return lines[:MAX_LINES] + ([f"  and {left} more (--json has them)"] if left else [])
