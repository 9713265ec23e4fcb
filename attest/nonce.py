"""Nonces: what makes an answer fresh (RFC 9334, 10.2). The bytes come from the caller's randomness.

Established by ``Nonce``: it is long enough, and looked at in constant time. ``check_source`` refuses a source
that is broken in a way that shows: constant, short, repeating, or counting. No test shows that a source is
good (CVE-2026-6420 was one that always gave the same).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from attest.errors import AttestUsageError

NONCE_SIZE: Final = 32
"""Bytes of a nonce that is made here; the least that a session takes."""
MAX_NONCE: Final = 64
"""Bytes of qualifying data that a TPM takes for certain (Part 2, 10.4.3: a digest of SHA-512)."""
DEFAULT_LIFETIME: Final = timedelta(minutes=5)
MAX_LIFETIME: Final = timedelta(days=1)

_DRAWS: Final = 64
_WORD: Final = 8


@dataclass(frozen=True, slots=True)
class Nonce:
    """A nonce and the time after which no answer to it counts."""

    value: bytes
    expires_at: datetime

    def __post_init__(self) -> None:
        problem = nonce_problem(self.value)
        if problem:
            raise AttestUsageError(f"nonce: {problem}", code="nonce-weak")

    def is_answered_by(self, given: bytes) -> bool:
        """Compare in constant time; the whole nonce counts."""
        return hmac.compare_digest(self.value, given)


def nonce_problem(value: bytes) -> str:
    """Return what shows that ``value`` is no nonce; empty where nothing does."""
    if not NONCE_SIZE <= len(value) <= MAX_NONCE:
        return f"{NONCE_SIZE} to {MAX_NONCE} random bytes are needed, not {len(value)}"
    words = _words(value)
    if len(set(value)) == 1 or len(set(words)) < len(words):
        return "it repeats itself: that is no randomness"
    return ""


def check_source(draw: Callable[[], bytes]) -> None:
    """Draw 64 nonces and raise AttestUsageError (``nonce-source``) unless all differ in every 8 bytes.

    A good source fails less than once in 2^50 times: 256 words of 64 bits make 2^15 pairs.
    """
    seen: set[bytes] = set()
    for _ in range(_DRAWS):
        value = draw()
        problem = nonce_problem(value)
        words = set(_words(value))
        if problem or words & seen:
            what = problem or "parts of it came before"
            raise AttestUsageError(
                f"the source of nonces is broken: {what}; nothing is sent", code="nonce-source"
            )
        seen |= words


def _words(value: bytes) -> list[bytes]:
    return [value[at : at + _WORD] for at in range(0, len(value) - _WORD + 1, _WORD)]
