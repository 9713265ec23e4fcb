"""The history of past runs on a host: kept in folder and TPM, measured into PCR 12, and shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from acm.history import ORIGIN_SIZE, History
from attest.runtime_events import HistoryInForce
from hypervisor.guarded import GuardedHost
from hypervisor.history_store import AnchorKeeper, FileHistoryStore
from shype.host.anchor import TpmAnchor
from shype.report import Exit, Json, Report
from vtpm.nv import Nv

HISTORY: Final = "history"


def kept(folder: Path, anchors: AnchorKeeper) -> FileHistoryStore:
    """Return the store of past runs in a host's folder, as it is."""
    return FileHistoryStore(folder / HISTORY, anchors)


def open_store(folder: Path, nv: Nv, note: Callable[[str, str], None]) -> FileHistoryStore:
    """Return the store of past runs of an embedded host; one that has neither history nor anchor begins one.

    Such a host is new: its own platform authority alone can take the anchor away. ``note`` records that it
    begins a history, before it does.
    """
    store = kept(folder, TpmAnchor(nv))
    if store.load() == (None, None):
        note("history", "a history of past runs is begun: this host has none")
        store.begin(os.urandom(ORIGIN_SIZE))
    return store


def event(history: History) -> bytes:
    """Return what is measured of a history: its name, how often it has changed, and its digest."""
    return HistoryInForce(history.name, history.sequence, history.digest).encode()


def shown(xen: GuardedHost) -> Report:
    """Report the history of past runs and whether it may be used; DENY where it refuses every start."""
    history, refused = xen.monitor.past_runs, xen.monitor.past_refusal
    counts = xen.monitor.engine.counts_past_runs
    denied = counts and refused is not None
    reasons: list[Json] = []
    if refused is not None:
        reasons.append({"code": str(refused.code), "detail": refused.detail})
    document: dict[str, Json] = {
        "verdict": "deny" if denied else "permit",
        "reasons": reasons,
        "counts": counts,
        "history": None if history is None else _document(history),
    }
    lines = ["past runs count" if counts else "the policy does not count past runs"]
    if history is not None:
        lines.append(f"history {history.name}\nnumber  {history.sequence}\ndigest  {history.digest}")
        lines.append(f"have run: {', '.join(sorted(history.types)) or 'no types'}")
    if refused is not None:
        lines.append(f"{refused.code}: {refused.detail}")
    if denied:
        lines.append("nothing starts here before it is begun anew: shype host begin-history")
    return Report(Exit.REFUSED if denied else Exit.OK, document, "\n".join(lines))


def begun(xen: GuardedHost, why: str) -> Report:
    """Begin the history anew, on behalf of the operator; report the new one."""
    history = xen.monitor.begin_history(os.urandom(ORIGIN_SIZE), actor="operator", why=why)
    text = (
        f"history {history.name} begun, measured into PCR 12; past runs are forgotten\n"
        f"digest  {history.digest}\nruns now: {', '.join(sorted(history.types)) or 'no types'}"
    )
    return Report(Exit.OK, {"verdict": "permit", "history": _document(history)}, text)


def _document(history: History) -> dict[str, Json]:
    return {
        "name": history.name,
        "sequence": history.sequence,
        "digest": history.digest,
        "types": [*sorted(history.types)],
    }
