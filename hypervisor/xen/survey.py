"""Xen's list of domains against ours: what has ended by itself, and what nobody launched here.

A domain is known by identifier, UUID and FLASK context together: one that took another UUID or context on
under a known number was not launched so. One that we destroyed may still be listed while it dies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypervisor.state import DOM0
from hypervisor.toolstack import RunState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hypervisor.toolstack import DomainInfo


@dataclass(frozen=True, slots=True)
class Launched:
    """How Xen must list a domain of ours; ``context`` is None where Xen runs without FLASK."""

    uuid: str
    context: str | None


@dataclass(frozen=True, slots=True)
class Survey:
    """``ended`` are identifiers of ours that do not run any more, ``found`` what was not launched here."""

    ended: tuple[int, ...]
    found: tuple[DomainInfo, ...]


def survey(
    listed: Sequence[DomainInfo], ours: Mapping[int, Launched], retired: Collection[tuple[int, str]]
) -> Survey:
    """Compare; ``retired`` are identifier and UUID of those that we destroyed. Domain-0 is passed over."""
    guests = {each.domid: each for each in listed if each.domid != DOM0}
    return Survey(
        ended=tuple(sorted(domid for domid, one in ours.items() if not _lives(guests.get(domid), one))),
        found=tuple(each for each in guests.values() if not _known(each, ours.get(each.domid), retired)),
    )


def _lives(listed: DomainInfo | None, ours: Launched) -> bool:
    return (
        listed is not None
        and listed.uuid == ours.uuid
        and listed.state in (RunState.RUNNING, RunState.PAUSED)
    )


def _known(listed: DomainInfo, ours: Launched | None, retired: Collection[tuple[int, str]]) -> bool:
    if ours is not None and (listed.uuid, listed.label) == (ours.uuid, ours.context):
        return True
    return listed.state is RunState.DYING and (listed.domid, listed.uuid) in retired
