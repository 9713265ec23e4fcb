"""Simple Type Enforcement: who may share with whom, and what a host may run.

Rules of sHype/ACM (``acm_simple_type_enforcement_hooks.c`` of Xen 3.x):

- *sharing*: two sides may share if they hold a type in common. The rule is symmetric and has no direction,
  so it is the same for event channels, grants, disks and VLANs, for reading and for writing.
- *authorization*: a host may run a label if its Domain-0 holds every STE type of that label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acm.decision import Code, Decision, Reason, deny, permit

if TYPE_CHECKING:
    from acm.labels import Label


def decide_sharing(subject: Label, target: Label) -> Decision:
    """Decide whether two labels may exchange anything."""
    shared = subject.ste & target.ste
    if shared:
        detail = f"'{subject.name}' and '{target.name}' both hold {_types(shared)}"
        return permit(Reason(Code.STE_SHARED_TYPE, detail))
    detail = (
        f"'{subject.name}' holds {_types(subject.ste)}, '{target.name}' holds {_types(target.ste)}: "
        "no STE type in common"
    )
    return deny(Reason(Code.STE_NO_SHARED_TYPE, detail))


def decide_authorization(domain0: Label, guest: Label) -> Decision:
    """Decide whether a host whose Domain-0 has the first label may run the second.

    A guest without STE types is refused: it shares nothing with Domain-0, and the superset test would be
    true of nothing.
    """
    missing = guest.ste - domain0.ste
    if guest.ste and not missing:
        detail = f"Domain-0 '{domain0.name}' holds every type of '{guest.name}': {_types(guest.ste)}"
        return permit(Reason(Code.STE_AUTHORIZED, detail))
    lacks = f"lacks {_types(missing)}" if missing else "has no STE type in common with it"
    detail = f"Domain-0 '{domain0.name}' may not run '{guest.name}': it {lacks}"
    return deny(Reason(Code.STE_NOT_AUTHORIZED, detail))


def _types(types: frozenset[str]) -> str:
    if not types:
        return "no STE type"
    names = "', '".join(sorted(types))
    return f"STE type '{names}'" if len(types) == 1 else f"STE types '{names}'"
