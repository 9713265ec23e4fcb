"""What a kernel extends into a PCR for an entry of its measurement list.

Source: Linux, security/integrity/ima/ima_queue.c and ima_crypto.c. For each bank the digest is that of the
template data by the bank's own hash (Linux 5.8 and later), and FF..FF for a violation. Before 5.8 every bank
was extended with the SHA-1 digest, filled up with zeros: what is then proved rests on SHA-1.
"""

from __future__ import annotations

from attest.eventlog.log import BANKS, HASHES, Event
from vtpm.tpm2.constants import Alg


def extended(listed: Alg, digest: bytes, data: bytes, alg: Alg) -> bytes:
    """Return what is extended into bank ``alg`` for an entry with ``digest`` of the list's bank."""
    if not any(digest):
        return b"\xff" * BANKS[alg][1]
    return digest if alg is listed else HASHES[alg](data).digest()


def event_digest(event: Event, alg: int) -> bytes | None:
    """Return what is extended into bank ``alg`` for an event of a list; None for a bank of no known hash."""
    (listed, digest), *_ = event.digests
    return extended(listed, digest, event.untrusted_data, Alg(alg)) if alg in HASHES else None


def padded_digest(event: Event, alg: int) -> bytes | None:
    """Return what a kernel before 5.8 extends for an event of a SHA-1 list."""
    (listed, digest), *_ = event.digests
    if listed is not Alg.SHA1 or alg not in BANKS:
        return None
    measured = digest if any(digest) else b"\xff" * len(digest)
    return measured.ljust(BANKS[Alg(alg)][1], b"\0")
