"""What has ever run on a host: the memory of a Chinese Wall with history.

*Meaning.* The subject of Brewer and Nash's rule is here the host: a start brings a label's Chinese Wall types
to the host, and from then on they count as running for every conflict check, whether or not a domain holds
them still. So a host that has once run one side of a conflict set never runs another side of it, under any
later policy, until its history is begun anew. Domain-0's own types belong to the history as well.

- A history only grows. ``sequence`` counts the changes: it grows by one when a run adds types, and a run that
  adds none leaves the history as it is, so most starts write nothing.
- Types stay in the history by name when a policy no longer declares them.
- If a new policy sets two types against each other that have both run here, neither of them starts any more.
- What it does not say: which label or which customer it was, and what went on inside; and it binds one host,
  not the ways between hosts. Those are for STE and MLS.

*Trust.* A history is only worth its newest state. An :class:`Anchor`, sequence and digest, comes from where
an old one cannot be put back (a TPM's NV counter, the measured log). ``refusal`` says why a history must not
be used: missing, older than the anchor, or another one. Whoever keeps histories writes the new one, then
moves the anchor, and lets the domain run only after both.

*Bytes.* Canonical JSON, keys sorted, no blanks, ASCII::

    {"format":"shype.chwall-history/1","origin":HEX64,"sequence":N,"types":[sorted names]}

``origin`` is 32 random bytes, drawn when the history is begun. It tells two hosts' histories apart, and it
keeps whoever reads a digest in a log from guessing which types have run.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from acm.decision import Code, Reason
from acm.errors import HistoryError, RequestError
from acm.labels import is_name, is_reserved

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

FORMAT: Final = "shype.chwall-history/1"
ORIGIN_SIZE: Final = 32
"""Random bytes that name a history."""
MAX_TYPES: Final = 16384
"""Types that one history can hold: as many as one policy can declare."""
MAX_SIZE: Final = 2 << 20
"""Bytes of the longest encoding, with room to spare."""

_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Anchor:
    """Which history is the newest: its sequence number and its SHA-256 in hex."""

    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class History:
    """The Chinese Wall types that have run on a host; see the module for what that means.

    ``digest`` is SHA-256 of the canonical bytes, in hex: what is measured with the policy.
    """

    origin: str
    sequence: int
    types: frozenset[str]
    digest: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.encode()).hexdigest())

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        document = {
            "format": FORMAT,
            "origin": self.origin,
            "sequence": self.sequence,
            "types": sorted(self.types),
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")

    @property
    def name(self) -> str:
        """What others may know it by, in hex: SHA-256 of the origin, which itself keeps the digest secret."""
        return hashlib.sha256(bytes.fromhex(self.origin)).hexdigest()

    @property
    def anchor(self) -> Anchor:
        """What recognises this history as the newest."""
        return Anchor(self.sequence, self.digest)

    def has_room(self, types: AbstractSet[str]) -> bool:
        """Tell whether the history can take these types."""
        return len(self.types | types) <= MAX_TYPES

    def with_run(self, types: AbstractSet[str]) -> History:
        """Return the history after a run of these types; the same one where they have all run before.

        Raises RequestError (``history-full``).
        """
        if self.types >= types:
            return self
        if not self.has_room(types):
            raise RequestError("history-full", f"a history holds {MAX_TYPES} types at most: begin a new one")
        return History(self.origin, self.sequence + 1, self.types | types)


def begin(origin: bytes, types: AbstractSet[str] = frozenset()) -> History:
    """Begin a history with what runs now; ``origin`` are 32 fresh random bytes.

    To begin anew forgets all past runs: an act of administration, to be recorded and measured as such.
    Raises RequestError (``history-origin``, ``history-full``).
    """
    if len(origin) != ORIGIN_SIZE:
        raise RequestError("history-origin", f"the origin of a history is {ORIGIN_SIZE} random bytes")
    history = History(origin.hex(), 0, frozenset(types))
    if not history.has_room(frozenset()):
        raise RequestError("history-full", f"a history holds {MAX_TYPES} types at most")
    return history


def decode(raw: bytes) -> History:
    """Return the history in canonical bytes. Raises HistoryError; every byte is accounted for."""
    if len(raw) > MAX_SIZE:
        raise HistoryError("too-big", f"history: larger than {MAX_SIZE} bytes")
    try:
        document = json.loads(raw.decode("ascii"))
    except (ValueError, RecursionError):
        raise HistoryError("syntax", "history: not a JSON document in ASCII") from None
    history = _history(document)
    if history.encode() != raw:
        raise HistoryError("not-canonical", "history: not in the canonical form: the bytes were changed")
    return history


def refusal(history: History | None, anchor: Anchor | None) -> Reason | None:
    """Return why a start must not be decided by this history, or None if it is the newest one."""
    if history is None or anchor is None:
        missing = "the history of this host" if history is None else "what its newest history must be"
        return Reason(Code.HISTORY_MISSING, f"the policy counts past runs, and {missing} is not known")
    if history.sequence < anchor.sequence:
        detail = f"the history shown is number {history.sequence}, the newest is number {anchor.sequence}"
        return Reason(Code.HISTORY_STALE, detail)
    if history.anchor != anchor:
        detail = f"the history shown, number {history.sequence}, is not the one expected: {anchor.digest}"
        return Reason(Code.HISTORY_MISMATCH, detail)
    return None


def _history(document: Any) -> History:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(document, dict) or document.keys() != {"format", "origin", "sequence", "types"}:
        raise HistoryError("fields", "history: not exactly format, origin, sequence and types")
    if document["format"] != FORMAT:
        raise HistoryError("format", f"history: this program reads format '{FORMAT}' only")
    origin, sequence, types = (document[key] for key in ("origin", "sequence", "types"))
    if not isinstance(origin, str) or not _HEX.fullmatch(origin):
        raise HistoryError("origin", "history: origin is 64 lower-case hex digits")
    if not isinstance(types, list) or len(types) > MAX_TYPES:
        raise HistoryError("types", f"history: types is a list of {MAX_TYPES} names at most")
    for held in types:
        if not isinstance(held, str) or not is_name(held) or is_reserved(held):
            raise HistoryError("types", "history: types holds what is no name of a type")
    # Every change adds a type, so a higher number cannot have come about.
    if isinstance(sequence, bool) or not isinstance(sequence, int) or not 0 <= sequence <= len(types):
        raise HistoryError("sequence", "history: sequence is 0 to the number of types")
    return History(origin, sequence, frozenset(types))
