"""A small resource manager: a client of the TPM leaves nothing loaded between two of its commands.

After each command its transient objects and sessions are saved and taken out, before the next one that names
them they are put back (Part 1, 30; the same idea as Linux's /dev/tpmrm0). So neither a client that holds a
key nor one that forgets to flush takes a slot from anybody else, and what it leaves behind is forgotten with
it.

Objects get handles of our own while they are out; sessions keep theirs. A session whose context the client
has saved itself (``tpm2_startauthsession``) outlives the connection, up to 8 of them, the oldest going
first. A session that lies so long that it would stop the TPM's context counter is flushed. An audit session
does not stay exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vtpm.channel import HEADER, Channel
from vtpm.tpm2.constants import Command
from vtpm.tpm2.wire import Writer

_NO_SESSIONS: Final = 0x8001
_SESSIONS: Final = 0x8002
_TRANSIENT: Final = 0x80
_SESSION_TYPES: Final = frozenset({0x02, 0x03})
_FIRST_VIRTUAL: Final = 0x80800000
_MAX_OBJECTS: Final = 64
_MAX_KEPT: Final = 8
_RC_SUCCESS: Final = 0
_RC_OBJECT_MEMORY: Final = 0x902
_CAP_HANDLES: Final = 1
_CAP_COMMANDS: Final = 2
_CAP_PROPERTIES: Final = 6
_PT_CONTEXT_GAP_MAX: Final = 0x114
_COMMANDS_AT_ONCE: Final = 128
_LIST: Final = HEADER + 9
"""Where the list of a GetCapability response begins: after moreData, capability and count."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How many handles a command takes, and whether its response begins with one (TPMA_CC; Part 2, 8.9)."""

    handles: int
    makes_handle: bool


class Sessions:
    """All sessions that clients of one TPM have begun: handle and sequence number of the last saved context.

    ``kept`` are those whose context lies in a file of a client that is gone.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sequences: dict[int, int] = {}
        self._kept: list[int] = []
        response = channel.exchange(_capability(_CAP_PROPERTIES, _PT_CONTEXT_GAP_MAX, 1))
        self._patience = int.from_bytes(response[_LIST + 4 : _LIST + 8], "big") // 2

    def saved(self, handle: int, context: bytes) -> None:
        """Note a saved TPMS_CONTEXT (it begins with UINT64 sequence); flush sessions too far behind it."""
        newest = self._sequences[handle] = int.from_bytes(context[:8], "big")
        for other, sequence in list(self._sequences.items()):
            if newest - sequence > self._patience:
                self.end(other)

    def loaded(self, handle: int) -> None:
        """Note that a client has loaded a context from its file: the session is no longer a kept one."""
        if handle in self._kept:
            self._kept.remove(handle)

    def keep(self, handle: int) -> None:
        """Keep a session beyond its connection; the oldest is flushed when there are too many."""
        if handle in self._sequences:
            self._kept.append(handle)
        while len(self._kept) > _MAX_KEPT:
            self.end(self._kept[0])

    def forget(self, handle: int) -> None:
        """Note that a session is gone."""
        self._sequences.pop(handle, None)
        self.loaded(handle)

    def end(self, handle: int) -> None:
        """Flush one session."""
        self.forget(handle)
        _flush(self._channel, handle)

    def close(self) -> None:
        """Flush all sessions."""
        for handle in list(self._sequences):
            self.end(handle)


class Client:
    """What one client has in the TPM; both methods raise ``ProcessError`` if the TPM is gone."""

    def __init__(self, channel: Channel, shapes: dict[int, Shape], sessions: Sessions) -> None:
        self._channel = channel
        self._shapes = shapes
        self._known = sessions
        self._objects: dict[int, bytes] = {}
        self._sessions: dict[int, bytes | None] = {}
        self._next = _FIRST_VIRTUAL

    def exchange(self, command: bytes) -> bytes:
        """Send a client's whole command with its objects and sessions put back, return the response."""
        with self._channel.lock:
            own = self._answer_ourselves(command)
            return self._forward(command) if own is None else own

    def close(self) -> None:
        """Flush what the client leaves behind."""
        with self._channel.lock:
            for handle, context in self._sessions.items():
                if context is None:
                    self._known.keep(handle)
                else:
                    self._known.end(handle)
            self._sessions.clear()
            self._objects.clear()

    def _answer_ourselves(self, command: bytes) -> bytes | None:
        """Answer what the TPM cannot know: our handles."""
        code, words = _code(command), _words(command)
        if code == Command.FLUSH_CONTEXT and words and self._objects.pop(words[0], None) is not None:
            return _response(_RC_SUCCESS)
        asked = code == Command.GET_CAPABILITY and len(words) == 3 and words[0] == _CAP_HANDLES  # noqa: PLR2004
        if not asked or words[1] >> 24 != _TRANSIENT:
            return None
        found = sorted(handle for handle in self._objects if handle >= words[1])
        body = Writer().u8(len(found) > words[2]).u32(_CAP_HANDLES).u32(len(found[: words[2]]))
        for handle in found[: words[2]]:
            body.u32(handle)
        return _response(_RC_SUCCESS, body.done())

    def _forward(self, command: bytes) -> bytes:
        shape = self._shapes.get(_code(command), Shape(0, makes_handle=False))
        inside: dict[int, int] = {}
        response = b""
        try:
            refusal, rewritten = self._put_back(command, shape, inside)
            if refusal is not None:
                return refusal
            response = self._channel.exchange(rewritten)
            if _code(response) != _RC_SUCCESS:
                return response
            if _code(command) == Command.FLUSH_CONTEXT:
                self._flushed(_words(command)[0])
            return self._take_new(response) if shape.makes_handle else response
        finally:
            self._take_out(inside, command, response)

    def _put_back(self, command: bytes, shape: Shape, inside: dict[int, int]) -> tuple[bytes | None, bytes]:
        """Load what the command names into ``inside``; return the TPM's refusal, if any, and the command."""
        rewritten = bytearray(command)
        for place in _handle_places(command, shape):
            handle = int.from_bytes(command[place : place + 4], "big")
            context = self._objects.get(handle) or self._sessions.get(handle)
            if context is None:
                continue
            if handle not in inside:
                response = self._channel.exchange(_command(Command.CONTEXT_LOAD, context))
                if _code(response) != _RC_SUCCESS:
                    return response, command
                inside[handle] = _words(response)[0]
            rewritten[place : place + 4] = inside[handle].to_bytes(4, "big")
        return None, bytes(rewritten)

    def _take_out(self, inside: dict[int, int], command: bytes, response: bytes) -> None:
        by_client = _code(command) == Command.CONTEXT_SAVE and response[6:HEADER] == bytes(4)
        for handle, real in inside.items():
            if handle in self._objects:
                context = self._save(real)
                if context is None:
                    del self._objects[handle]
                else:
                    self._objects[handle] = context
            elif by_client:
                self._known.saved(handle, response[HEADER:])
                self._sessions[handle] = None
            else:
                self._save_session(handle)

    def _take_new(self, response: bytes) -> bytes:
        handle = _words(response)[0]
        if handle >> 24 in _SESSION_TYPES:
            self._known.loaded(handle)
            self._save_session(handle)
        if handle >> 24 != _TRANSIENT:
            return response
        if len(self._objects) >= _MAX_OBJECTS:
            _flush(self._channel, handle)
            return _response(_RC_OBJECT_MEMORY)
        context = self._save(handle)
        if context is None:
            return _response(_RC_OBJECT_MEMORY)
        virtual, self._next = self._next, self._next + 1
        self._objects[virtual] = context
        return response[:HEADER] + virtual.to_bytes(4, "big") + response[HEADER + 4 :]

    def _save(self, handle: int) -> bytes | None:
        """Save an object and take it out; None if the command before has ended it."""
        response = self._channel.exchange(_command(Command.CONTEXT_SAVE, handle.to_bytes(4, "big")))
        if _code(response) != _RC_SUCCESS:
            return None
        _flush(self._channel, handle)
        return response[HEADER:]

    def _save_session(self, handle: int) -> None:
        # Saving takes a session out by itself; it fails if the command before has ended the session.
        response = self._channel.exchange(_command(Command.CONTEXT_SAVE, handle.to_bytes(4, "big")))
        if _code(response) != _RC_SUCCESS:
            self._flushed(handle)
            return
        self._sessions[handle] = response[HEADER:]
        self._known.saved(handle, response[HEADER:])

    def _flushed(self, handle: int) -> None:
        self._sessions.pop(handle, None)
        self._known.forget(handle)


def shapes_of(channel: Channel) -> dict[int, Shape]:
    """Ask the TPM for the shapes of all its commands (TPML_CCA); raises ``ProcessError``."""
    found: dict[int, Shape] = {}
    first, more = 0, True
    while more:
        response = channel.exchange(_capability(_CAP_COMMANDS, first, _COMMANDS_AT_ONCE))
        listed = response[_LIST:]
        for start in range(0, len(listed), 4):
            attributes = int.from_bytes(listed[start : start + 4], "big")
            code = attributes & 0x2000FFFF
            found[code] = Shape(attributes >> 25 & 7, bool(attributes >> 28 & 1))
            first = code + 1
        more = bool(listed) and response[HEADER] != 0
    return found


def _handle_places(command: bytes, shape: Shape) -> list[int]:
    """Return where the command has handles: its handle area, then its authorisations (Part 1, 18)."""
    after = HEADER + 4 * shape.handles
    places = list(range(HEADER, after, 4))
    if int.from_bytes(command[:2], "big") == _SESSIONS:
        end = after + 4 + int.from_bytes(command[after : after + 4], "big")
        place = after + 4
        while place < min(end, len(command)):
            places.append(place)
            nonce = int.from_bytes(command[place + 4 : place + 6], "big")
            place += 4 + 2 + nonce + 1
            place += 2 + int.from_bytes(command[place : place + 2], "big")
    return [place for place in places if place + 4 <= len(command)]


def _code(message: bytes) -> int:
    return int.from_bytes(message[6:HEADER], "big")


def _words(message: bytes) -> list[int]:
    """Return the UINT32s after the header."""
    whole = len(message) - len(message[HEADER:]) % 4
    return [int.from_bytes(message[place : place + 4], "big") for place in range(HEADER, whole, 4)]


def _command(code: Command, body: bytes) -> bytes:
    return Writer().u16(_NO_SESSIONS).u32(HEADER + len(body)).u32(code).raw(body).done()


def _capability(capability: int, first: int, count: int) -> bytes:
    return _command(Command.GET_CAPABILITY, Writer().u32(capability).u32(first).u32(count).done())


def _response(code: int, body: bytes = b"") -> bytes:
    return Writer().u16(_NO_SESSIONS).u32(HEADER + len(body)).u32(code).raw(body).done()


def _flush(channel: Channel, handle: int) -> None:
    channel.exchange(_command(Command.FLUSH_CONTEXT, handle.to_bytes(4, "big")))
