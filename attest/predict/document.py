"""A prediction as JSON: what ``shype pcrs predict --json`` prints (``pcrs-predict.schema.json``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from attest import canonical_json
from attest.canonical_json import Json
from attest.errors import AttestInputError
from attest.json_record import Fields
from attest.predict.prediction import PredictedEvent, Prediction
from attest.reference import BANK_BYTES, PCRS, Component

MAX_BYTES: Final = 32 << 20
MAX_EVENTS: Final = 1 << 15
_MAX_TEXT: Final = 1 << 17
_NAMES: Final = frozenset({"profile", "bank", "pcrs", "events", "xen_commandline"})
_EVENT: Final = frozenset({"pcr", "digest", "digests", "component", "what"})


class PredictionDocumentError(AttestInputError):
    """A document that is no prediction; the message names the field."""

    code = "prediction"


@dataclass(frozen=True, slots=True)
class Predicted:
    """A prediction that was read again: the profile's name, values by bank and PCR, and the events."""

    profile: str
    pcrs: Mapping[str, Mapping[int, bytes]]
    events: tuple[PredictedEvent, ...]


def document(profile: str, banks: Sequence[str], prediction: Prediction) -> Json:
    """Return the document; ``banks`` begins with the main one."""
    return {
        "profile": profile,
        "bank": banks[0],
        "pcrs": {
            bank: {str(pcr): value.hex() for pcr, value in prediction.pcrs[bank].items()} for bank in banks
        },
        "events": [_event_document(event, banks[0]) for event in prediction.events],
        "xen_commandline": prediction.xen.arguments,
    }


def decode(raw: bytes) -> Predicted:
    """Read a document strictly; raises ``AttestInputError``."""
    top = Fields.of(canonical_json.decode(raw, "prediction", MAX_BYTES), _NAMES, fail=_malformed)
    pcrs = Fields.of(top.values["pcrs"], set(), optional=BANK_BYTES.keys(), where="pcrs", fail=_malformed)
    if not pcrs.values:
        raise top.refuse("pcrs", "has no bank")
    return Predicted(
        top.lines("profile", _MAX_TEXT),
        {bank: _values(pcrs, bank) for bank in pcrs.values},
        tuple(_event(each) for each in top.objects("events", MAX_EVENTS, _EVENT)),
    )


def _event_document(event: PredictedEvent, bank: str) -> Json:
    return {
        "pcr": event.pcr,
        "digest": event.digest(bank).hex(),
        "digests": {name: digest.hex() for name, digest in event.digests},
        "component": event.component.value,
        "what": event.what,
    }


def _values(pcrs: Fields, bank: str) -> dict[int, bytes]:
    known = {str(pcr): pcr for pcr in PCRS}
    found = Fields.of(pcrs.values[bank], set(), optional=known.keys(), where=f"pcrs.{bank}", fail=_malformed)
    return {known[name]: found.hex(name, BANK_BYTES[bank]) for name in found.values}


def _event(found: Fields) -> PredictedEvent:
    where = f"{found.where}.digests"
    shown = found.values["digests"]
    digests = Fields.of(shown, set(), optional=BANK_BYTES.keys(), where=where, fail=_malformed)
    return PredictedEvent(
        found.below("pcr", PCRS.stop),
        tuple((bank, digests.hex(bank, BANK_BYTES[bank])) for bank in digests.values),
        Component(found.word("component", tuple(Component))),
        found.lines("what", _MAX_TEXT),
    )


def _malformed(message: str) -> PredictionDocumentError:
    return PredictionDocumentError(f"prediction: {message}")
