"""The boot chain against reference values: firmware, loader, Xen, dom0, by PCR 0-9.

With a firmware log the digests of its events are compared one by one, in order, and a difference is laid at
the component that the *reference* names for it; types and texts of the log's events are never used. Without a
log only register values can be compared, and a difference is laid at the register: nobody can say which of
its components it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from attest.appraisal import AppraisalProfile
from attest.eventlog.replay import VerifiedEvents
from attest.reasons import reason
from attest.reference import Component, ReferenceEvent, ReferenceValues
from attest.result import Reason

BOOT_PCRS: Final = range(10)
COMMANDS: Final = 8
FILES: Final = 9
_OWNER: Final = {4: Component.LOADER, COMMANDS: Component.LOADER, FILES: Component.XEN}
"""Where a difference of a whole register is told; all others are the firmware's."""
_MIXED: Final = {COMMANDS: "boot-commands-not-in-reference", FILES: "boot-files-not-in-reference"}
_LISTED: Final = 3
_ALIGNED: Final = 16


@dataclass(frozen=True, slots=True)
class Difference:
    """One measurement, or one register, that is not as in the reference values."""

    component: Component
    code: str
    what: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences, and the components that a register without a log leaves open."""

    differences: tuple[Difference, ...]
    open: frozenset[Component]

    def reasons(self, *codes: str) -> list[Reason]:
        """Return one reason for each of ``codes`` that some difference has."""
        found = {code: [one.what for one in self.differences if one.code == code] for code in codes}
        return [reason(code, _listed(whats)) for code, whats in found.items() if whats]

    def gaps(self, component: Component) -> list[Reason]:
        """Return the reasons why a component's registers could not be compared."""
        own = tuple(one for one in self.differences if one.component is component)
        return Comparison(own, self.open).reasons("reference-empty", "not-measured")


def compare(
    pcrs: Mapping[int, bytes],
    firmware: VerifiedEvents | None,
    reference: ReferenceValues,
    profile: AppraisalProfile,
) -> Comparison:
    """Compare the boot registers that the profile demands, in its bank, with the reference values.

    ``pcrs`` and ``firmware``, the events of a log, are verified.
    """
    differences: list[Difference] = []
    undecided: set[Component] = set()
    for pcr in sorted(profile.pcrs & set(BOOT_PCRS)):
        wanted = reference.pcrs.get(pcr) if reference.bank == profile.bank else None
        if wanted is None:
            what = f"no {profile.bank} value for PCR {pcr}"
            differences.append(Difference(_owner(pcr), "reference-empty", what))
        elif not any(pcrs[pcr]) and not _may_be_empty(pcr, wanted, reference):
            differences.append(Difference(_owner(pcr), "not-measured", f"PCR {pcr} was never extended"))
        elif pcrs[pcr] != wanted:
            events = tuple(event for event in reference.events if event.pcr == pcr)
            found = _of_pcr(pcr, pcrs[pcr], firmware, events)
            differences += found
            if any(one.code in _MIXED.values() for one in found):
                undecided |= {event.component for event in events} - {_owner(pcr)}
    return Comparison(tuple(differences), frozenset(undecided))


def _may_be_empty(pcr: int, wanted: bytes, reference: ReferenceValues) -> bool:
    """Tell whether a register may hold nothing: those of GRUB, where Xen is measured with the loader (PCR 4).

    Reference values of a host that measured nothing say nothing, whoever calls it good.
    """
    elsewhere = any(event.component is Component.XEN and event.pcr != pcr for event in reference.events)
    return pcr in _MIXED and not any(wanted) and elsewhere


def _of_pcr(
    pcr: int, value: bytes, firmware: VerifiedEvents | None, wanted: Sequence[ReferenceEvent]
) -> list[Difference]:
    """Say how a register that is not as expected differs."""
    if firmware is None or not wanted:
        parts = ", ".join(dict.fromkeys(str(event.component) for event in wanted)) or "no events known"
        return [_whole(pcr, f"PCR {pcr} ({parts}) is {value.hex()}")]
    return _of_events(firmware, pcr, wanted)


def _of_events(events: VerifiedEvents, pcr: int, wanted: Sequence[ReferenceEvent]) -> list[Difference]:
    """Compare the ordered digests of one register and lay each difference at the reference's component.

    As many as expected are compared place by place; else the two lists are aligned first.
    """
    have = [event.digest for event in events.of(pcr)]
    want = [event.digest for event in wanted]
    if len(have) == len(want):
        other = [event for event, digest in zip(wanted, have, strict=True) if event.digest != digest]
        found = [_difference(pcr, event.component, f"not {event.what}") for event in other]
        return found or [_whole(pcr, f"PCR {pcr} has another start value")]
    if len(have) > _ALIGNED * len(want):
        # Alignment costs the product of the lengths, and the attester chooses one of them.
        return [_whole(pcr, f"PCR {pcr}: {len(have)} measurements instead of {len(want)}")]
    return _aligned(pcr, wanted, want, have)


def _aligned(
    pcr: int, wanted: Sequence[ReferenceEvent], want: list[bytes], have: list[bytes]
) -> list[Difference]:
    """Return what is missing, at its component, and what there is more than expected."""
    found: list[Difference] = []
    for tag, i, j, a, b in SequenceMatcher(None, want, have, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        found += [_difference(pcr, event.component, f"not {event.what}") for event in wanted[i:j]]
        surplus = (b - a) - (j - i)
        if surplus > 0:
            component = wanted[j - 1].component if j > i else _owner(pcr)
            found.append(_difference(pcr, component, f"{surplus} measurements more"))
    return found


def _difference(pcr: int, component: Component, what: str) -> Difference:
    return Difference(component, _code(component, pcr), f"PCR {pcr}: {what}")


def _whole(pcr: int, what: str) -> Difference:
    """Return the difference of a register of which nobody can say what in it is other."""
    return Difference(_owner(pcr), _MIXED.get(pcr) or _code(_owner(pcr), pcr), what)


def _owner(pcr: int) -> Component:
    return _OWNER.get(pcr, Component.FIRMWARE)


def _code(component: Component, pcr: int) -> str:
    """Return the reason code for a component; in PCR 8 it is its command line, elsewhere its file."""
    if component is Component.XEN:
        return "xen-command-line-not-in-reference" if pcr == COMMANDS else "hypervisor-not-in-reference"
    if component is Component.DOM0:
        return "dom0-command-line-not-in-reference" if pcr == COMMANDS else "dom0-not-in-reference"
    return f"{component}-not-in-reference"


def _listed(whats: Sequence[str]) -> str:
    more = len(whats) - _LISTED
    return "; ".join(whats[:_LISTED]) + (f"; and {more} more" if more > 0 else "")
