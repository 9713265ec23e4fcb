"""The front: the half of an agent that faces the network. It reads TLS and HTTP, and asks the gate.

It holds the TLS key and nothing else: no path to the host, no TPM, no right to start anything. Bounds are on
all that a peer can make it spend: connections at a time, seconds for a handshake and for a request, bytes,
requests of one connection. At the bound a peer waits in the kernel's queue; one address has its own bound.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections import Counter
from contextlib import suppress
from typing import Final

from attest.agent_documents import AgentRefusal
from shype.agent.allow import AllowList
from shype.agent.conversation import Conversation
from shype.agent.frames import HEAD, MAX_ANSWER, Action, Outcome, frame
from shype.agent.identity import Identity
from shype.agent.journal import Journal

CONNECTIONS: Final = 32
OF_ONE_ADDRESS: Final = 8
"""Connections at a time: one stranger does not keep all others waiting."""
HANDSHAKE_SECONDS: Final = 5.0
GATE_SECONDS: Final = 60.0
"""For the gate to come to a question, and answer it."""
FAREWELL_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 0.1
READ_AHEAD: Final = 1 << 16
_DATES: Final = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


class Courier:
    """Carries questions to the gate, one at a time, and answers back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[bytes | AgentRefusal]] = set()
        self._answers: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def listen(self) -> None:
        """Read answers until the gate ends."""
        try:
            while True:
                kind, size = HEAD.unpack(await self._reader.readexactly(HEAD.size))
                if size > MAX_ANSWER:
                    return
                self._answers.put_nowait((kind, await self._reader.readexactly(size)))
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            self.gone.set()

    async def ask(self, action: Action, body: bytes) -> bytes | AgentRefusal:
        """Return the gate's answer; a refusal where others are asking for too long."""
        task = asyncio.ensure_future(self._exchange(action, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(GATE_SECONDS):
                # A client that goes away does not take the question back: its answer must not meet the next.
                return await asyncio.shield(task)
        except TimeoutError:
            return AgentRefusal("busy", "others are asking this host; try again later")

    async def _exchange(self, action: Action, body: bytes) -> bytes | AgentRefusal:
        async with self._turn:
            self._writer.write(frame(action, body))
            kind, answer = await self._answers.get()
        return answer if kind == Outcome.DONE else AgentRefusal.decode(answer)


class Front:
    """Accepts connections of allowed clients until it is told to stop."""

    def __init__(
        self, listener: socket.socket, identity: Identity, allowed: AllowList, journal: Journal
    ) -> None:
        self._listener = listener
        self._identity, self._allowed, self._journal = identity, allowed, journal
        self._open: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._peers: Counter[str] = Counter()

    async def run(self, link: socket.socket) -> None:
        """Serve until SIGTERM, SIGINT or the end of the gate, which is at the other end of ``link``."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)  # a peer's end is no news
        reader, writer = await asyncio.open_connection(sock=link, limit=READ_AHEAD)
        courier = Courier(reader, writer)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, courier.gone.set)
        writer.write(frame(Action.HELLO, self._identity.spki_digest))
        self._listener.setblocking(False)  # noqa: FBT003 - positional in socket
        tasks = [asyncio.ensure_future(courier.listen()), asyncio.ensure_future(self._accept(courier))]
        await courier.gone.wait()
        self._listener.close()
        for task in (*tasks, *self._open):
            task.cancel()
        await asyncio.wait({*tasks, *self._open}, timeout=FAREWELL_SECONDS)
        self._journal.tell_untold()

    async def _accept(self, courier: Courier) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._slots.acquire()
            try:
                connection, address = await loop.sock_accept(self._listener)
            except OSError:
                self._slots.release()
                await asyncio.sleep(PAUSE_SECONDS)  # out of descriptors, or a peer gone before we came
                continue
            host, peer = str(address[0]), f"{address[0]}:{address[1]}"
            if self._peers[host] >= OF_ONE_ADDRESS:
                connection.close()
                self._slots.release()
                self._journal.stranger(peer, "too-many-connections")
                continue
            self._peers[host] += 1
            task = asyncio.ensure_future(self._serve(connection, peer, courier))
            self._open.add(task)
            task.add_done_callback(lambda done, host=host: self._closed(done, host))  # type: ignore[misc]

    def _closed(self, task: asyncio.Task[None], host: str) -> None:
        self._open.discard(task)
        self._slots.release()
        self._peers[host] -= 1
        if not self._peers[host]:
            del self._peers[host]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._journal.defect(error)

    async def _serve(self, connection: socket.socket, peer: str, courier: Courier) -> None:
        reader = asyncio.StreamReader(limit=READ_AHEAD)
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._identity.context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=FAREWELL_SECONDS,
            )
        except (OSError, ssl.SSLError) as error:
            connection.close()
            self._journal.stranger(peer, _why(error))
            return
        try:
            tls = transport.get_extra_info("ssl_object")
            client = self._allowed.name_of(tls.getpeercert(binary_form=True))
            if client is None:
                self._journal.stranger(peer, "unknown-certificate")
                return
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            await self._converse(reader, writer, peer, client, courier)
        finally:
            transport.close()
            await asyncio.sleep(0)

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: str,
        client: str,
        courier: Courier,
    ) -> None:
        log = lambda what, outcome, taken: self._journal.request(peer, client, what, outcome, taken)  # noqa: E731
        conversation = Conversation(reader, writer, courier.ask, log, self._identity.spki_digest)
        try:
            await conversation.hold()
        except (OSError, TimeoutError):
            self._journal.request(peer, client, "-", "gone", 0)
            writer.transport.abort()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                writer.close()
                await writer.wait_closed()


def _why(error: Exception) -> str:
    """Return one of a few words for why a handshake failed: nothing of the peer's goes into the log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate-expired" if error.verify_code in _DATES else "certificate-not-on-the-list"
    if isinstance(error, ssl.SSLError) and error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "no-certificate"
    if isinstance(error, ConnectionAbortedError):  # as asyncio says that its handshake took too long
        return "handshake-too-slow"
    return "no-tls" if isinstance(error, ssl.SSLError) else "gone"
