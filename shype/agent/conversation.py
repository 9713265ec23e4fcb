"""HTTP/1.1 with one client that TLS has let in: a few requests, each small, each in time (RFC 9112).

h11 reads the protocol; what it does not know is how long to wait and how much to take, which stands here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import h11

from attest.agent_documents import MAX_REQUEST, AgentRefusal
from shype.agent.frames import Action

HTTP: Final = b"1.1"
MAX_HEAD: Final = 8 * 1024
"""Bytes of a request line and its headers."""
MAX_REQUESTS: Final = 16
READ_SECONDS: Final = 10.0
"""For a whole request, however its bytes come; also how long a connection may idle."""
WRITE_SECONDS: Final = 30.0
CHANNEL: Final = "shype-channel"
"""Response header: the SHA-256 of the TLS key that the host signed, in hexadecimal; a claim, no proof."""

ROUTES: Final = {
    b"/v1/endorsement": (b"GET", Action.ENDORSEMENT),
    b"/v1/activate": (b"POST", Action.ACTIVATE),
    b"/v1/evidence": (b"POST", Action.EVIDENCE),
}
STATUS: Final = {
    "message-malformed": 400,
    "not-signed": 403,
    "no-such-resource": 404,
    "no-domain": 404,
    "method": 405,
    "too-slow": 408,
    "too-large": 413,
    "busy": 429,
    "host-refused": 502,
    "host-away": 503,
    "pcrs-moving": 503,
}
"""Code of a refusal -> HTTP status; the code is what a client goes by."""

Ask = Callable[[Action, bytes], Awaitable[bytes | AgentRefusal]]
Log = Callable[[str, str, int], None]
"""What was asked, how it ended, milliseconds."""


class _Refused(Exception):  # noqa: N818 - not an error: an answer
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.refusal = AgentRefusal(code, detail)


@dataclass(slots=True)
class _Request:
    """What is known of a request so far."""

    action: Action | None = None
    body: bytes = b""
    wants_no_body: bool = False
    """HEAD: the answer is its headers (RFC 9110, 9.3.2)."""

    @property
    def word(self) -> str:
        return "-" if self.action is None else self.action.name.lower()


class Conversation:
    """One connection; ``ask`` reaches the host, ``log`` is told of each request."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: Ask, log: Log, channel: bytes
    ) -> None:
        self._reader, self._writer = reader, writer
        self._ask, self._log = ask, log
        self._channel = channel
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def hold(self) -> None:
        """Answer requests until the client ends, errs, or has asked enough."""
        for number in range(1, MAX_REQUESTS + 1):
            if not await self._one(last=number == MAX_REQUESTS) or self._http.our_state is not h11.DONE:
                return
            if self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _one(self, *, last: bool) -> bool:
        """Take and answer one request; False where none came."""
        request, begun = _Request(), time.monotonic()
        answer: bytes | AgentRefusal
        try:
            async with asyncio.timeout(READ_SECONDS):
                if not await self._receive(request):
                    return False
            assert request.action is not None
            answer = await self._ask(request.action, request.body)
        except _Refused as refused:
            answer = refused.refusal
        except h11.RemoteProtocolError:
            answer = AgentRefusal("message-malformed", "not a request of HTTP/1.1, or its head is too large")
        except TimeoutError:
            if self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
                return False  # it idles: nothing was asked
            answer = AgentRefusal("too-slow", f"a request has {READ_SECONDS:.0f} seconds to arrive")
        outcome = answer.code if isinstance(answer, AgentRefusal) else "ok"
        await self._send(answer, request, close=last or outcome not in _GOES_ON)
        self._log(request.word, outcome, int((time.monotonic() - begun) * 1000))
        return True

    async def _receive(self, request: _Request) -> bool:
        """Read head and body; False at the end of the connection."""
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(1 << 14))
            elif isinstance(event, h11.Request):
                request.wants_no_body = event.method == b"HEAD"
                request.action = _route(event)
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_REQUEST:
                    raise _Refused("too-large", f"a request's body has at most {MAX_REQUEST} bytes")
            elif isinstance(event, h11.EndOfMessage):
                request.body = bytes(body)
                return True
            else:
                return False

    async def _send(self, answer: bytes | AgentRefusal, request: _Request, *, close: bool) -> None:
        status, body = 200, b""
        if isinstance(answer, AgentRefusal):
            status, body = STATUS.get(answer.code, 500), answer.encode()
        else:
            body = answer
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
        ]
        if request.action is Action.EVIDENCE and status == 200:  # noqa: PLR2004 - RFC 9110, 15.3.1
            headers.append((CHANNEL, self._channel.hex()))
        if close:
            headers.append(("connection", "close"))
        if status == 405:  # noqa: PLR2004 - RFC 9110, 15.5.6 asks for Allow
            headers.append(("allow", "GET, POST"))
        response = h11.Response(status_code=status, headers=headers)
        content = h11.Data(data=b"" if request.wants_no_body else body)
        for event in (response, content, h11.EndOfMessage()):
            self._writer.write(self._http.send(event) or b"")
        async with asyncio.timeout(WRITE_SECONDS):
            await self._writer.drain()


_GOES_ON: Final = frozenset({"ok", "busy", "pcrs-moving", "no-domain", "host-refused", "host-away"})
"""Outcomes after which the client may ask again on the same connection."""


def _route(head: h11.Request) -> Action:
    if head.http_version != HTTP:
        raise _Refused("message-malformed", "an agent speaks HTTP/1.1 alone")
    found = ROUTES.get(head.target)
    if found is None:
        raise _Refused("no-such-resource", "an agent has endorsement, activate and evidence under /v1/")
    if head.method != found[0]:
        raise _Refused("method", f"this resource is for {found[0].decode()}")
    lengths = [int(value) for name, value in head.headers if name == b"content-length"]
    if any(length > MAX_REQUEST for length in lengths):
        raise _Refused("too-large", f"a request's body has at most {MAX_REQUEST} bytes")
    if found[1] is Action.ENDORSEMENT and any(lengths):
        raise _Refused("message-malformed", "this request has no body")
    return found[1]
