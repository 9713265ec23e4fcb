"""Appraisal of a firmware log by types, order and digests: what a good log of a UEFI boot cannot be.

A log that replays may still lie about the types of its events. So nothing is looked up by type alone: an
event counts as what it claims only if its digest is of data that such an event must have, and well-known
events are found by their digest, whatever they are called.

Rules, by PC Client PFP 1.06, 3.3.4 (PCR usage) and 10.4 (events), with the PCRs of a verified quote:

1. no event's data are other than what its digest is of, where the type says they are;
2. no event has a type that firmware never extends, and none is EV_NO_ACTION with a digest;
3. PCR 0 to 7 have one separator each, of success, which is called one;
4. PCR 7 holds nothing but Secure Boot variables, authorities, those of devices (SPDM), its separator and
   known actions, each bound to its digest, and no variable goes by another type;
5. SecureBoot, PK, KEK, db and dbx are there, once, before the separator, by their vendors; no configuration
   stands behind the separator, and none is called an authority;
6. neither "UEFI Debug Mode" nor "DMA Protection Disabled" was measured.

Where 1, 2 or 4 finds something, the log says of an event what is not so (``UNTRUE``): it is no evidence. What
the other rules find is true, and bad.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from attest.eventlog.data import SHIM_TAIL, Rule, contradicts
from attest.eventlog.log import HASHES, Event, EventLog
from attest.eventlog.replay import VerifiedEvent, VerifiedEvents
from attest.eventlog.types import EventType
from attest.eventlog.variable import (
    GLOBAL,
    IMAGE_SECURITY,
    UefiVariable,
    decode_variable,
    encode_variable,
)

SECURE_BOOT_PCR: Final = 7
SEPARATED_PCRS: Final = range(8)

SUCCESS: Final = (bytes(4), b"\xff" * 4)
"""Data of a separator after a good start (PFP, EV_SEPARATOR)."""
FAILURE: Final = b"\x01\x00\x00\x00"
"""Data of a separator after an error: the digest of what failed may follow."""

BAD_ACTIONS: Final[dict[bytes, str]] = {
    b"UEFI Debug Mode": "debug-mode",
    b"DMA Protection Disabled": "dma-protection-disabled",
}
"""Actions that a good platform never measures -> code of the finding."""
_SPELLINGS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    lambda text: text,
    lambda text: text + b"\0",
    lambda text: text.decode().encode("utf-16-le"),
    lambda text: f"{text.decode()}\0".encode("utf-16-le"),
)
"""How firmware may write an action: the PFP has it without NUL, and not all read it so."""

REQUIRED: Final = MappingProxyType(
    {"SecureBoot": GLOBAL, "PK": GLOBAL, "KEK": GLOBAL, "db": IMAGE_SECURITY, "dbx": IMAGE_SECURITY}
)
"""Variables that PCR 7 must hold before its separator -> their vendor."""

_CONFIG: Final = EventType.EV_EFI_VARIABLE_DRIVER_CONFIG.name
_AUTHORITY: Final = EventType.EV_EFI_VARIABLE_AUTHORITY.name
_SEPARATOR: Final = EventType.EV_SEPARATOR.name
_ACTION: Final = EventType.EV_EFI_ACTION.name
_OF_DEVICES: Final = frozenset(
    {EventType.EV_EFI_SPDM_DEVICE_POLICY.name, EventType.EV_EFI_SPDM_DEVICE_AUTHORITY.name}
)
"""Events of PCR 7 that tell nothing of Secure Boot; rule 1 binds their data."""
_OF_VARIABLE: Final = {Rule.WHOLE: 0, Rule.SHIM_VARIABLE: SHIM_TAIL - 1}
"""Rule -> measured bytes behind the variable."""
_NEVER_EXTENDED: Final = frozenset({EventType.EV_UNUSED.name, EventType.EV_PREBOOT_CERT.name})
_NEVER_AUTHORITY: Final = frozenset({"SecureBoot", "PK", "KEK", "AuditMode", "DeployedMode", "SetupMode"})


UNTRUE: Final = frozenset({"data-mismatch", "no-action-digest", "event-type", "variable-unbound"})
"""Codes of findings that show a log to be a lie."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong: a stable ``code``, one line of ``detail``, in which PCR, and the event if it is one."""

    code: str
    detail: str
    pcr: int
    index: int | None = None


@dataclass(frozen=True, slots=True)
class FirmwareState:
    """What the proved events say of the firmware.

    ``secure_boot``, ``variables`` (name -> value, those before the separator of PCR 7) and ``authorities``
    are facts only where nothing was found in PCR 7: with a finding there, they are None and empty.
    """

    findings: tuple[Finding, ...]
    secure_boot: bool | None
    variables: Mapping[str, bytes] = field(repr=False)
    authorities: tuple[UefiVariable, ...] = field(repr=False)

    @property
    def is_good(self) -> bool:
        """Whether nothing was found; Secure Boot may be off."""
        return not self.findings


class _Proof:
    """The proved events, once, by register, and the digests that well-known data have in their bank."""

    def __init__(self, proved: VerifiedEvents) -> None:
        hash_ = HASHES[proved.alg]
        self.events = proved.events
        self.by_pcr: dict[int, list[VerifiedEvent]] = {pcr: [] for pcr in proved.pcrs}
        for event in self.events:
            self.by_pcr[event.pcr].append(event)
        self.separators = frozenset(hash_(data).digest() for data in SUCCESS)
        self.actions = {
            hash_(spelt(text)).digest(): (code, text)
            for text, code in BAD_ACTIONS.items()
            for spelt in _SPELLINGS
        }
        switched = (encode_variable(GLOBAL, "SecureBoot", value) for value in (b"", b"\x00", b"\x01"))
        self.secure_boot = frozenset(hash_(data).digest() for data in switched)

    def is_separator(self, event: VerifiedEvent) -> bool:
        """Tell whether the digest is that of a separator; outside of PCR 7 other events may have it too."""
        by_name = event.untrusted_type == _SEPARATOR or event.pcr == SECURE_BOOT_PCR
        return by_name and event.digest in self.separators


def appraise_firmware(log: EventLog, proved: VerifiedEvents) -> FirmwareState:
    """Apply the rules to a log of which ``proved`` was verified, for the PCRs that it has."""
    proof = _Proof(proved)
    pcr7 = proof.by_pcr.get(SECURE_BOOT_PCR, [])
    policy = tuple(_secure_boot(pcr7, proof)) if pcr7 else ()
    found = (*_claims(log, proved), *_separators(proof), *_actions(proof), *policy)
    if not pcr7 or any(finding.pcr == SECURE_BOOT_PCR for finding in found):
        return FirmwareState(found, None, MappingProxyType({}), ())
    variables = {each.name: each.value for each in _variables(pcr7, _CONFIG)}
    enabled = variables["SecureBoot"] == b"\x01"
    return FirmwareState(found, enabled, MappingProxyType(variables), tuple(_variables(pcr7, _AUTHORITY)))


def _claims(log: EventLog, proved: VerifiedEvents) -> Iterator[Finding]:
    """Rules 1 and 2."""
    for event in log.events:
        if event.pcr not in proved.pcrs:
            continue
        if not event.extends:
            if any(any(digest) for _, digest in event.digests):
                yield _finding("no-action-digest", event, "has a digest that is not extended")
        else:
            if contradicts(event):
                yield _finding("data-mismatch", event, "has data that its digest is not of")
            if event.untrusted_type in _NEVER_EXTENDED:
                yield _finding("event-type", event, "has a type that firmware never extends")


def _separators(proof: _Proof) -> Iterator[Finding]:
    """Rule 3."""
    for pcr in SEPARATED_PCRS:
        if pcr not in proof.by_pcr:
            continue
        found = [event for event in proof.by_pcr[pcr] if proof.is_separator(event)]
        if not found:
            yield Finding("separator-missing", f"PCR {pcr} has no separator", pcr)
        for event in found[1:]:
            yield _finding("separator-twice", event, "is a second separator")
        for event in proof.by_pcr[pcr]:
            yield from _separator(event, proof)


def _separator(event: VerifiedEvent, proof: _Proof) -> Iterator[Finding]:
    if event.untrusted_type == _SEPARATOR and event.untrusted_data.startswith(FAILURE):
        yield _finding("separator-error", event, "is a separator of an error")
    elif proof.is_separator(event) != (event.untrusted_type == _SEPARATOR):
        yield _finding("event-type", event, "is a separator under another name, or none under its name")


def _actions(proof: _Proof) -> Iterator[Finding]:
    """Rule 6; an action is what has the digest of one."""
    for event in proof.events:
        if event.digest in proof.actions:
            code, text = proof.actions[event.digest]
            yield _finding(code, event, f"says {text.decode()!a}")


def _secure_boot(events: Sequence[VerifiedEvent], proof: _Proof) -> Iterator[Finding]:
    """Rules 4 and 5."""
    behind = False
    configured: list[UefiVariable] = []
    for event in events:
        if proof.is_separator(event):
            behind = True
        elif event.untrusted_type in {_CONFIG, _AUTHORITY}:
            variable = _variable(event)
            if variable is None:
                yield _finding("variable-unbound", event, "is no variable that its digest is of")
                continue
            if event.untrusted_type == _CONFIG and not behind:
                configured.append(variable)
            yield from _place(event, variable, behind=behind)
        elif _hides_variable(event, proof):
            yield _finding("event-type", event, "is a variable under another name")
        elif event.untrusted_type not in _OF_DEVICES and not _is_known_action(event, proof):
            yield _misplaced(event)
    yield from _configuration(configured)


def _misplaced(event: VerifiedEvent) -> Finding:
    """Tell what is not measured into PCR 7; where the log does not show what it was, it may be a variable."""
    if event.measured is None:
        return _finding("event-unbound", event, "has no place in PCR 7, and not the data that were measured")
    return _finding("event-misplaced", event, "has no place in PCR 7")


def _hides_variable(event: VerifiedEvent, proof: _Proof) -> bool:
    """Tell whether the digest is of a Secure Boot variable, whatever the event is called.

    The log may have put other data beside it; those of ``SecureBoot`` itself can be guessed.
    """
    variable = decode_variable(event.measured) if event.measured is not None else None
    return event.digest in proof.secure_boot or (variable is not None and variable.name in REQUIRED)


def _place(event: VerifiedEvent, variable: UefiVariable, *, behind: bool) -> Iterator[Finding]:
    if event.untrusted_type == _CONFIG and behind:
        yield _finding("variable-after-separator", event, f"sets {variable.name!a} behind the separator")
    if event.untrusted_type == _AUTHORITY and variable.name in _NEVER_AUTHORITY:
        yield _finding("event-type", event, f"calls {variable.name!a} an authority")


def _configuration(configured: Sequence[UefiVariable]) -> Iterator[Finding]:
    counts = Counter(variable.name for variable in configured)
    for name in REQUIRED:
        if not counts[name]:
            yield _of_pcr7("variable-missing", f"PCR 7 has no {name} before its separator")
    for name, count in counts.items():
        if count > 1:
            yield _of_pcr7("variable-twice", f"PCR 7 has {name!a} {count} times")
    for variable in configured:
        if REQUIRED.get(variable.name, variable.vendor) != variable.vendor:
            yield _of_pcr7("variable-vendor", f"{variable.name} is by {variable.vendor}, not by UEFI")
        if variable.name == "SecureBoot" and variable.value not in {b"\x00", b"\x01"}:
            shown = variable.value[:8].hex() or "empty"
            yield _of_pcr7("variable-value", f"SecureBoot is {shown}, not 00 or 01")


def _is_known_action(event: VerifiedEvent, proof: _Proof) -> bool:
    """Tell whether this is an action of rule 6, which has its own finding."""
    return event.untrusted_type == _ACTION and event.digest in proof.actions


def _variables(events: Sequence[VerifiedEvent], kind: str) -> Iterator[UefiVariable]:
    for event in events:
        variable = _variable(event) if event.untrusted_type == kind else None
        if variable is not None:
            yield variable


def _variable(event: VerifiedEvent) -> UefiVariable | None:
    """Return the variable that the digest is of, all of it."""
    if event.measured is None or event.rule not in _OF_VARIABLE:
        return None
    return decode_variable(event.measured[: len(event.measured) - _OF_VARIABLE[event.rule]])


def _finding(code: str, event: Event | VerifiedEvent, what: str) -> Finding:
    detail = f"event {event.index} (PCR {event.pcr}, {event.untrusted_type}) {what}"
    return Finding(code, detail, event.pcr, event.index)


def _of_pcr7(code: str, detail: str) -> Finding:
    return Finding(code, detail, SECURE_BOOT_PCR)
