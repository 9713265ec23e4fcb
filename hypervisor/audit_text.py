"""A hypercall, and why one was refused, in the words of the audit trail."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from acm.update import Amendment
from hypervisor.errors import AccessDenied, UpdateRefused
from hypervisor.savectl import SavedDomain

if TYPE_CHECKING:
    from hypervisor.errors import HypervisorDenied
    from hypervisor.hypercalls import Call


def reasons(error: HypervisorDenied) -> tuple[tuple[str, str], ...]:
    """Return every reason of a refusal as (code, detail)."""
    if isinstance(error, AccessDenied):
        return tuple((str(reason.code), reason.detail) for reason in error.decision.reasons)
    if isinstance(error, UpdateRefused):
        lineage = tuple((one.code, one.detail) for one in error.update.lineage)
        return lineage + tuple((str(one.code), str(one)) for one in error.update.violations)
    return ((error.code, str(error)),)


def text(call: Call) -> str:
    """Return a call with its arguments; of bytes and frames only how many, of a policy nothing."""
    shown = [
        f"{each.name}={_brief(getattr(call, each.name))}"
        for each in fields(call)
        if each.name not in ("caller", "engine", "past_types")
    ]
    return f"{type(call).__name__}({', '.join(shown)})"


def _brief(value: object) -> str:
    match value:
        case bytes():
            return f"{len(value)} bytes"
        case tuple():
            return f"{len(value)} frames"
        case SavedDomain():
            return f"{value.name} ({value.label})"
        case Amendment():
            done = f"{len(value.stop)} stopped, {len(value.end)} revoked, {len(value.relabel)} relabelled"
            return f"({done})"
    return str(value)
