"""A prediction as JSON: what ``shype pcrs predict --json`` prints (``pcrs-predict.schema.json``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from attest import canonical_json
from attest.canonical_json import Json
from attest.errors import AttestInputError
from attest.predict.prediction import PredictedEvent, Prediction
from attest.reference import BANK_BYTES, PCRS, Component

MAX_BYTES: Final = 32 << 20
MAX_EVENTS: Final = 1 << 15
_MAX_TEXT: Final = 1 << 17
_HEX: Final = re.compile(r"(?:[0-9a-f]{2}){20,64}")


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
    top = canonical_json.decode(raw, "prediction", MAX_BYTES)
    fields = _fields(top, "prediction", ("profile", "bank", "pcrs", "events", "xen_commandline"))
    pcrs = fields["pcrs"]
    if not isinstance(pcrs, dict) or not pcrs:
        raise PredictionDocumentError("prediction: pcrs: must be an object with a bank")
    events = fields["events"]
    if not isinstance(events, list) or len(events) > MAX_EVENTS:
        raise PredictionDocumentError(f"prediction: events: must be a list of at most {MAX_EVENTS}")
    return Predicted(
        _text(fields["profile"], "profile"),
        {bank: _values(values, bank) for bank, values in pcrs.items()},
        tuple(_event(each, f"events[{place}]") for place, each in enumerate(events)),
    )


def _event_document(event: PredictedEvent, bank: str) -> Json:
    return {
        "pcr": event.pcr,
        "digest": event.digest(bank).hex(),
        "digests": {name: digest.hex() for name, digest in event.digests},
        "component": event.component.value,
        "what": event.what,
    }


def _fields(value: object, where: str, names: Sequence[str]) -> dict[str, object]:
    if not isinstance(value, dict) or set(value) != set(names):
        raise PredictionDocumentError(f"{where}: must be an object with the fields {', '.join(names)}")
    return value


def _values(value: object, bank: str) -> dict[int, bytes]:
    known = {str(pcr): pcr for pcr in PCRS}
    if bank not in BANK_BYTES or not isinstance(value, dict) or not value.keys() <= known.keys():
        raise PredictionDocumentError(f"prediction: pcrs: {bank[:20]!a}: no bank with PCR 0 to 9")
    return {known[pcr]: _digest(digest, bank, f"pcrs.{bank}.{pcr}") for pcr, digest in value.items()}


def _event(value: object, where: str) -> PredictedEvent:
    fields = _fields(value, where, ("pcr", "digest", "digests", "component", "what"))
    pcr, digests, component = fields["pcr"], fields["digests"], fields["component"]
    if isinstance(pcr, bool) or not isinstance(pcr, int) or pcr not in PCRS:
        raise PredictionDocumentError(f"{where}: pcr: must be a number from 0 to 9")
    if not isinstance(digests, dict) or not digests.keys() <= BANK_BYTES.keys():
        raise PredictionDocumentError(f"{where}: digests: must be an object of banks")
    if not isinstance(component, str) or component not in set(Component):
        raise PredictionDocumentError(f"{where}: component: must be one of {', '.join(Component)}")
    found = tuple((bank, _digest(digest, bank, f"{where}.digests")) for bank, digest in digests.items())
    return PredictedEvent(pcr, found, Component(component), _text(fields["what"], where))


def _digest(value: object, bank: str, where: str) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value) or len(value) != 2 * BANK_BYTES[bank]:
        raise PredictionDocumentError(f"{where}: must be {BANK_BYTES[bank]} bytes in hexadecimal")
    return bytes.fromhex(value)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
        raise PredictionDocumentError(f"{where}: must be a text of at most {_MAX_TEXT} characters")
    return value
