"""Xen's list of domains against ours: what has ended by itself, and what nobody launched here.

A domain is known by identifier, UUID and FLASK context together: one that took another UUID or context on
under a known number was not launched so. Whoever may create domains can choose all three; so a domain whose
CPU time is less than it was is another one. One that we destroyed may still be listed while it dies.
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
    """How Xen must list a domain of ours.

    ``context`` is None where Xen runs without FLASK, ``cpu_ns`` what the domain had used when last seen.
    """

    uuid: str
    context: str | None
    cpu_ns: int = 0

    def is_that(self, listed: DomainInfo) -> bool:
        """Tell whether a listed domain can be the one that was launched, its context aside."""
        return listed.uuid == self.uuid and listed.cpu_ns >= self.cpu_ns


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
    return listed is not None and ours.is_that(listed) and listed.state in (RunState.RUNNING, RunState.PAUSED)


def _known(listed: DomainInfo, ours: Launched | None, retired: Collection[tuple[int, str]]) -> bool:
    if ours is not None and ours.is_that(listed) and listed.label == ours.context:
        return True
    return listed.state is RunState.DYING and (listed.domid, listed.uuid) in retired
