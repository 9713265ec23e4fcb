"""Updates of the policy on a running host: what the operator wants, and how it is told what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from acm import whatif
from acm.mending import mend
from acm.policy import Policy
from acm.update import Amendment, Update
from acm.violations import sharing_text
from hypervisor.errors import UpdateRefused
from hypervisor.guarded import GuardedHost
from hypervisor.launch import LaunchedDomain, Launcher
from shype.errors import ShypeUsageError
from shype.report import Exit, Json, Report


@dataclass(frozen=True, slots=True)
class Wishes:
    """What may be done together with an update; nothing of it happens if the update is refused.

    ``revoke`` ends all sharing that the new policy does not permit. ``stop`` names domains that are to end,
    ``relabel`` leads from a resource's identity to a label of the new policy.
    """

    revoke: bool = False
    stop: tuple[str, ...] = ()
    relabel: Mapping[str, str] = field(default_factory=dict)


NO_WISHES: Final = Wishes()
"""Refuse whatever breaks anything."""


def carry_out(
    xen: GuardedHost,
    launcher: Launcher,
    stopping: Sequence[LaunchedDomain],
    *,
    policy: Policy,
    wishes: Wishes,
    before: Callable[[Update], object],
) -> tuple[int, Update]:
    """Replace the policy in force, with what is wished for; return the epoch and the update.

    Judged first, without effect; then measured by ``before``, which is given the update, and committed.
    Raises UpdateRefused and UpdateError, and what ``before`` raises; then nothing has happened.
    """
    amendment = Amendment(frozenset(each.domid for each in stopping), relabel=wishes.relabel)
    update = xen.judge_policy(policy, amendment, revoke=wishes.revoke)

    def act() -> int:
        return xen.enforce(update, actor="operator", why="shype policy load", measure=lambda: before(update))

    return launcher.retire(stopping, act), update


def what_is_left(xen: GuardedHost, launched: Mapping[str, LaunchedDomain]) -> dict[str, LaunchedDomain]:
    """Return the domains that still run, each with the devices that it still has."""
    left = {}
    for name, each in launched.items():
        here = xen.state.domains.get(each.domid)
        if here is not None and here.uuid == each.uuid:
            disks = tuple(one for one in each.disks if xen.is_connected(each.domid, one))
            vifs = tuple(one for one in each.vifs if xen.is_connected(each.domid, one))
            left[name] = replace(each, disks=disks, vifs=vifs)
    return left


def wishes_of(arguments: Mapping[str, Json]) -> Wishes:
    """Read the wishes in a request; raises ShypeUsageError."""
    revoke, stop = arguments.get("revoke", False), arguments.get("stop", [])
    relabel = arguments.get("relabel", {})
    if not isinstance(revoke, bool):
        raise ShypeUsageError("revoke: true or false is needed")
    if not isinstance(stop, list) or not all(isinstance(each, str) for each in stop):
        raise ShypeUsageError("stop: a list of names of domains is needed")
    if not isinstance(relabel, dict) or not all(isinstance(each, str) for each in relabel.values()):
        raise ShypeUsageError("relabel: identities of resources with their new labels are needed")
    return Wishes(revoke, tuple(dict.fromkeys(stop)), relabel)


def done(update: Update | None, epoch: int, document: Mapping[str, Json]) -> Report:
    """Report an update that took effect; ``document`` says which policy is in force."""
    lines = [
        f"policy {document['name']} {document['version']} measured into PCR 12, in force (epoch {epoch})",
        f"digest {document['digest']}",
        f"root   {document['root']}",
    ]
    ended: list[str] = []
    if update is not None:
        amendment = update.amendment
        ended += [f"stopped {update.live.domain(each).name}" for each in sorted(amendment.stop)]
        ended += [f"relabelled {one} as {label}" for one, label in sorted(amendment.relabel.items())]
        ended += sorted(f"revoked {sharing_text(each)}" for each in amendment.end)
    return Report(
        Exit.OK,
        {"verdict": "permit", **document, "epoch": epoch, "done": ended},
        "\n".join(lines + ended),
    )


def refused(error: UpdateRefused) -> Report:
    """Report an update that was refused: everything that breaks, and what mends it."""
    update = error.update
    reasons = [{"code": one.code, "detail": one.detail} for one in update.lineage]
    reasons += [{"code": str(one.code), "detail": str(one)} for one in update.violations]
    found = mend(update) if update.violations else None
    answer = whatif.mend_document(update, found) if update.violations else None
    document: Json = {
        "verdict": "deny",
        "reasons": reasons,
        "violations": [each.document() for each in update.violations],
        "mend": answer,
    }
    lines = [f"  {one['code']}: {one['detail']}" for one in reasons[: len(update.lineage)]]
    if update.violations:
        lines += whatif.update_lines(update, found)
    return Report(Exit.REFUSED, document, "\n".join(["deny", *lines]))
