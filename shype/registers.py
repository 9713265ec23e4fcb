"""Where PCR values come from: a profile, a prediction, reference values, evidence, or what a TPM shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from attest import canonical_json
from attest.errors import AttestInputError
from attest.eventlog.log import BANKS, EventLog
from attest.eventlog.read import parse
from attest.evidence import Evidence
from attest.predict import document, pcrread
from attest.predict import profile as pcr_profile
from attest.predict.explain import RegisterEvent, Registers
from attest.predict.prediction import PredictedEvent
from attest.reference import ReferenceValues
from shype import packaged
from shype.bootfiles import open_profile
from shype.files import read_regular

MAX_FILE: Final = document.MAX_BYTES
_PROFILE: Final = pcr_profile.SCHEMA.encode()


class Origin(StrEnum):
    """What a side is made of."""

    PROFILE = "profile"
    PREDICTION = "prediction"
    REFERENCE = "reference"
    EVIDENCE = "evidence"
    PCRREAD = "pcrread"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison; ``name`` is what it calls itself, or the file's name."""

    name: str
    origin: Origin
    registers: Registers


def load(given: str, root: Path | None) -> Side:
    """Read a side, told apart by its content; ``root`` is the boot folder for a profile.

    Raises ``OSError`` or ``ShypeUsageError`` for a file that is missing, ``AttestInputError`` for one that is
    broken. Nothing is verified: the values of evidence are what it claims.
    """
    path = packaged.find(given, "profiles")
    raw = read_regular(path, MAX_FILE)
    if raw.lstrip()[:1] == b"{":
        return _json(raw)
    if _PROFILE in raw:
        return _profile(given, root)
    return Side(path.name, Origin.PCRREAD, Registers(pcrread.decode(raw)))


def _profile(given: str, root: Path | None) -> Side:
    files = open_profile(given, root)
    prediction = files.predict()
    registers = Registers(prediction.pcrs, tuple(_predicted(prediction.events)))
    return Side(files.profile.name, Origin.PROFILE, registers)


def _json(raw: bytes) -> Side:
    top = canonical_json.decode(raw, "PCR values", MAX_FILE)
    schema = top.get("schema") if isinstance(top, dict) else None
    if schema == "shype.evidence/1":
        return _evidence(Evidence.decode(raw))
    if schema == "shype.reference/1":
        return _reference(ReferenceValues.decode(raw))
    found = document.decode(raw)
    registers = Registers(found.pcrs, tuple(_predicted(found.events)))
    return Side(found.profile, Origin.PREDICTION, registers)


def _predicted(events: Iterable[PredictedEvent]) -> Iterable[RegisterEvent]:
    return (
        RegisterEvent(event.pcr, dict(event.digests), event.component.value, event.what) for event in events
    )


def _reference(values: ReferenceValues) -> Side:
    events = tuple(
        RegisterEvent(event.pcr, {values.bank: event.digest}, event.component.value, event.what)
        for event in values.events
    )
    return Side(values.name, Origin.REFERENCE, Registers({values.bank: values.pcrs}, events))


def _evidence(evidence: Evidence) -> Side:
    host = evidence.host
    pcrs: dict[str, dict[int, bytes]] = {}
    for each in host.pcrs:
        pcrs.setdefault(each.alg, {})[each.index] = each.value
    logs = [host.runtime_log] if host.firmware_log is None else [host.firmware_log.log, host.runtime_log]
    events = [event for log in logs for event in _logged(log)]
    return Side(host.name, Origin.EVIDENCE, Registers(pcrs, tuple(events)))


def _logged(raw: bytes) -> Iterable[RegisterEvent]:
    """Return a log's events; none for a log that cannot be read, since the values still can be compared."""
    try:
        log = parse(raw)
    except AttestInputError:
        return ()
    return _events(log)


def _events(log: EventLog) -> Iterable[RegisterEvent]:
    for event in log.events:
        if event.extends:
            digests: Mapping[str, bytes] = {
                BANKS[alg][0]: digest for alg, digest in event.digests if alg in BANKS
            }
            yield RegisterEvent(event.pcr, digests, None, f"{event.untrusted_type} (entry {event.index})")
