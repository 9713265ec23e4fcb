"""What a host agent and who asks it read of each other, and of their own files."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from attest import agent_documents as documents
from attest.agent_documents import AgentRefusal
from attest.standing import Standing
from shype import standings, tls_key
from shype.agent import gate
from shype.agent.allow import AllowList
from shype.agent.clients import Clients
from shype.agent.conversation import Conversation
from shype.agent.frames import Action, frame
from shype.agent.gate import Gate
from shype.remote.client import Client
from shype.remote.link import AgentLink, Place
from tests.parsers.parser import Parser, good
from tests.shype.agent.puppet import puppet

_NOWHERE: Final = Path("/nonexistent")
_OFFER: Final = documents.EndorsementOffer("xen1.example", b"ek", b"certificate", b"ak").encode()
_CREDENTIAL: Final = documents.CredentialRequest(b"\x00\x01x", b"\x00\x01y").encode()
_NONCE: Final = documents.EvidenceRequest(bytes(range(32))).encode()
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nshype-channel: 00ff\r\ncontent-length: 2\r\n\r\n{}"
_QUESTION: Final = (
    b"POST /v1/evidence HTTP/1.1\r\nhost: xen1\r\ncontent-length: %d\r\n\r\n" % len(_NONCE) + _NONCE
)


@cache
def _key() -> tls_key.TlsKey:
    return tls_key.make("auditor", tls_key.CLIENT, datetime.now(UTC), 30)


_SIGNER: Final = ec.generate_private_key(ec.SECP256R1())


def _verified(raw: bytes) -> None:
    tls_key.is_signed_by(_SIGNER.public_key(), b"x", raw)


def _clients() -> Clients:
    return Clients.of(AllowList.decode(_key().certificate), {})


def _conversation(raw: bytes) -> None:
    """A client that TLS has let in sends these bytes, and no more."""
    asyncio.run(_held(raw))


async def _held(raw: bytes) -> None:
    ours, theirs = socket.socketpair()
    reader = asyncio.StreamReader()
    reader.feed_data(raw)
    reader.feed_eof()
    _, writer = await asyncio.open_connection(sock=ours)

    async def ask(action: Action, body: bytes) -> bytes | AgentRefusal:
        return frame(action, body)

    with contextlib.closing(theirs), contextlib.suppress(OSError):
        await Conversation(reader, writer, ask, lambda *_: None, bytes(32)).hold()
    writer.transport.abort()


def _asked(raw: bytes) -> None:
    """The front sends the gate these bytes; no host is there."""
    opened = Gate(_NOWHERE, bytes(32), _clients())
    for action in Action:
        opened.answer(action, raw)


def _kept(raw: bytes) -> None:
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        theirs.sendall(raw[: 1 << 16])
        theirs.shutdown(socket.SHUT_WR)
        gate.keep(ours, _NOWHERE, _clients(), lambda _channel: None)


def _client_key(raw: bytes) -> None:
    with _room() as room:
        Client.load(_file(room, raw))


def _answered(raw: bytes) -> None:
    with (
        _room() as room,
        puppet(lambda _path, _body: raw) as server,
        AgentLink(Place("127.0.0.1", server.port), Client.load(_file(room, _key().secret))) as link,
    ):
        link.ask("/v1/evidence", _NONCE, 1 << 20)


def _file(room: Path, raw: bytes) -> Path:
    path = room / "client.pem"
    path.touch(mode=0o600)
    path.write_bytes(raw)
    return path


@contextlib.contextmanager
def _room() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as room:
        yield Path(room)


def _standing(raw: bytes) -> None:
    with _room() as room:
        (room / "standings").mkdir()
        (room / "standings" / "xen1.example.json").write_bytes(raw)
        standings.known(room)
        with standings.hold(room, "xen1.example"):
            pass


def _standings() -> list[bytes]:
    return [good("anchors/standings/xen1.example.json"), Standing("xen1.example").encode()]


PARSERS: Final = (
    Parser(
        "attest.agent_documents:EndorsementOffer.decode",
        lambda: [_OFFER],
        documents.EndorsementOffer.decode,
    ),
    Parser(
        "attest.agent_documents:CredentialRequest.decode",
        lambda: [_CREDENTIAL],
        documents.CredentialRequest.decode,
    ),
    Parser(
        "attest.agent_documents:CredentialAnswer.decode",
        lambda: [documents.CredentialAnswer(bytes(32)).encode()],
        documents.CredentialAnswer.decode,
    ),
    Parser(
        "attest.agent_documents:EvidenceRequest.decode",
        lambda: [_NONCE, documents.EvidenceRequest(bytes(32), bytes(70)).encode()],
        documents.EvidenceRequest.decode,
    ),
    Parser(
        "attest.agent_documents:AgentRefusal.decode",
        lambda: [AgentRefusal("busy", "later").encode()],
        AgentRefusal.decode,
    ),
    Parser("attest.standing:Standing.decode", _standings, Standing.decode),
    Parser("shype.agent.allow:AllowList.decode", lambda: [_key().certificate], AllowList.decode),
    Parser("shype.agent.conversation:Conversation.__init__", lambda: [_QUESTION], _conversation),
    Parser("shype.agent.gate:Gate.answer", lambda: [_NONCE, _CREDENTIAL], _asked),
    Parser(
        "shype.agent.gate:keep",
        lambda: [frame(Action.HELLO, bytes(32)) + frame(Action.EVIDENCE, _NONCE)],
        _kept,
    ),
    Parser("shype.tls_key:is_signed_by", lambda: [tls_key.sign(_SIGNER, b"x")], _verified),
    Parser("shype.remote.client:Client.load", lambda: [_key().secret], _client_key),
    Parser("shype.remote.link:AgentLink.ask", lambda: [_ANSWER], _answered),
    Parser("shype.standings:hold", _standings, _standing, files=True),
    Parser("shype.standings:known", _standings, _standing, files=True),
)

NOT_PARSERS: Final = {
    "attest.agent_documents:EvidenceRequest.to_sign": "puts bytes together that a client signs",
    "attest.verifier.claims:Expectation.*": "hashes a root",
    "shype.agent.allow:AllowList.name_of": "hashes what it is given",
    "shype.agent.clients:Clients.tenant_of": "passes a signature on to shype.tls_key",
    "shype.agent.frames:frame": "writes",
    "shype.agent.front:Courier.ask": "passes bytes on; the gate reads them",
    "shype.agent.serve:serve": "a folder whose socket shype.host.socket reads",
    "shype.remote.client:Client.question": "writes",
    "shype.tls_key:sign": "writes",
    "shype.standingreport:*": "reads by shype.standings",
}
