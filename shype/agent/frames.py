"""What the two processes of an agent say to each other over their socket pair.

A frame is 1 byte of kind, 4 bytes of length (big-endian) and so many bytes. The front asks with a kind of
``Action``, the gate answers with one of ``Outcome``; the front's first frame is ``HELLO`` with the SHA-256 of
its TLS key. One question is open at a time.
"""

from __future__ import annotations

import socket
import struct
from enum import IntEnum
from typing import Final

from attest.agent_documents import MAX_REQUEST
from attest.evidence import MAX_BYTES

HEAD: Final = struct.Struct(">BI")
MAX_ANSWER: Final = MAX_BYTES


class Action(IntEnum):
    """What the front asks for: three things, and nothing else that a host can do."""

    HELLO = 0
    ENDORSEMENT = 1
    ACTIVATE = 2
    EVIDENCE = 3


class Outcome(IntEnum):
    """How the gate answers: a document, or an ``AgentRefusal``."""

    DONE = 16
    REFUSED = 17


def frame(kind: IntEnum, body: bytes) -> bytes:
    """Return the bytes of a frame."""
    return HEAD.pack(kind, len(body)) + body


def receive(link: socket.socket) -> tuple[Action, bytes] | None:
    """Return the next question; None at the end, and for bytes that are no question: then nothing follows."""
    head = _exactly(link, HEAD.size)
    if head is None:
        return None
    kind, size = HEAD.unpack(head)
    if kind not in Action.__members__.values() or size > MAX_REQUEST:
        return None
    body = _exactly(link, size)
    return None if body is None else (Action(kind), body)


def _exactly(link: socket.socket, size: int) -> bytes | None:
    found = bytearray()
    while len(found) < size:
        chunk = link.recv(size - len(found))
        if not chunk:
            return None
        found += chunk
    return bytes(found)
