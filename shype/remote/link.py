"""A connection to a host agent: TLS 1.3 with our client key, one question after the other.

Nothing is known of who answers. The agent's certificate is its own, and no name in it counts: what counts is
``channel``, the SHA-256 of the key (SubjectPublicKeyInfo) that this very connection was made with, which the
host's TPM has to have signed. All that comes back is bounded in size and time.
"""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import h11
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest.agent_documents import MAX_ANSWER, AgentRefusal
from shype.errors import ShypeInputError, ShypeUsageError
from shype.remote.client import Client

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 90.0
"""For a whole answer; a hardware TPM signs in a second, and others may ask too."""
MAX_HEAD: Final = 16 * 1024
MAX_INTERIM: Final = 8
"""Answers before the answer (1xx; RFC 9110, 15.2). An agent sends none, and a server without end could."""
CHUNK: Final = 1 << 16
DEFAULT_PORT: Final = 443
_NAME: Final = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
"""A name in ASCII or an address; what does not resolve is for the resolver to say."""
_OK: Final = 200


class QuietError(ShypeInputError):
    """Nobody answers, or not to the end."""

    code = "host-quiet"


class NotLetInError(ShypeInputError):
    """The agent does not talk to us."""

    code = "host-refuses"


class AnswerError(ShypeInputError):
    """What came back is no answer."""

    code = "answer-malformed"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent is."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """Read ``https://HOST[:PORT]``; raises ShypeUsageError."""
        wrong = ShypeUsageError(f"{url[:80]!a}: https://HOST:PORT is needed, without a path")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise wrong from None
        extra = (parts.username, parts.password, parts.query, parts.fragment, parts.path.strip("/"))
        if parts.scheme != "https" or not host or any(extra) or port == 0 or not _NAME.fullmatch(host):
            raise wrong
        return cls(host, port or DEFAULT_PORT)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with status 200, and the channel that the agent claims for it."""

    body: bytes
    claimed: bytes | None


class AgentLink:
    """One connection. Use it in a ``with`` block."""

    def __init__(self, place: Place, client: Client) -> None:
        """Connect as ``client``; raises QuietError, NotLetInError, AnswerError."""
        self._place = place
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._heard = False
        try:
            plain = socket.create_connection((place.host, place.port), CONNECT_SECONDS)
        except (OSError, UnicodeError) as error:
            what = getattr(error, "strerror", None) or str(error)
            raise QuietError(f"{place}: no connection: {what}") from None
        try:
            self._tls = client.context.wrap_socket(plain)
        except (OSError, ValueError) as error:
            plain.close()
            raise self._lost(error) from None
        try:
            self.channel = _spki_digest(self._tls.getpeercert(binary_form=True))
        except BaseException:
            self._tls.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tls.close()

    def ask(self, path: str, body: bytes | None, limit: int) -> Answer | AgentRefusal:
        """Send a question, POST with ``body`` or GET without; return an answer of ``limit`` bytes at most.

        Raises QuietError, NotLetInError, AnswerError, DocumentError.
        """
        try:
            status, headers, answer = self._exchange(path, body, limit)
        except h11.RemoteProtocolError as error:
            raise AnswerError(f"{self._place}: not HTTP: {error}") from None
        except (OSError, ValueError) as error:
            raise self._lost(error) from None
        if status != _OK:
            if len(answer) > MAX_ANSWER:
                raise AnswerError(f"{self._place}: status {status} with {len(answer)} bytes")
            return AgentRefusal.decode(answer)
        return Answer(answer, _claimed(headers))

    def _exchange(
        self, path: str, body: bytes | None, limit: int
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            raise QuietError(f"{self._place}: the agent has ended the connection")
        deadline = time.monotonic() + ANSWER_SECONDS
        self._tls.settimeout(ANSWER_SECONDS)
        self._tls.sendall(self._request(path, body))
        status, headers, found, interim = 0, list[tuple[bytes, bytes]](), bytearray(), 0
        while not isinstance(event := self._event(deadline), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status, headers = event.status_code, list(event.headers)
            elif isinstance(event, h11.Data):
                found += event.data
            elif (interim := interim + 1) > MAX_INTERIM:
                raise AnswerError(f"{self._place}: more than {MAX_INTERIM} interim answers")
            if len(found) > limit:
                raise AnswerError(f"{self._place}: an answer of more than {limit} bytes")
        return status, headers, bytes(found)

    def _event(self, deadline: float) -> object:
        """Return the next event of the answer; raises OSError at the end of the connection or of the time."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._tls.settimeout(left)
            received = self._tls.recv(CHUNK)
            if not received and not self._http.trailing_data[0]:
                raise ConnectionResetError("it ended before it answered")
            self._heard = True
            self._http.receive_data(received)
        if isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError("it ended before it answered")
        return event

    def _request(self, path: str, body: bytes | None) -> bytes:
        headers = [("host", str(self._place)), ("accept", "application/json")]
        if body is not None:
            headers += [("content-type", "application/json"), ("content-length", str(len(body)))]
        head = h11.Request(method="GET" if body is None else "POST", target=path, headers=headers)
        events = (head, h11.Data(data=body or b""), h11.EndOfMessage())
        return b"".join(self._http.send(event) or b"" for event in events)

    def _lost(self, error: Exception) -> ShypeInputError:
        """Say what an end means: before anything came, that TLS refused our key (RFC 8446, 4.4.2.4)."""
        if isinstance(error, TimeoutError):
            return QuietError(f"{self._place}: no answer in time")
        what = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        refused = isinstance(error, ConnectionError | ssl.SSLEOFError) or "ALERT" in str(what)
        if refused and not self._heard:
            advice = "is your certificate on its list (shype host serve --allow, --tenant)?"
            return NotLetInError(f"{self._place}: the agent ended the connection ({what}): {advice}")
        if "BAD_RECORD_MAC" in str(what):
            return AnswerError(f"{self._place}: the answer was altered on its way ({what})")
        return QuietError(f"{self._place}: the connection broke: {what}")


def _spki_digest(certificate: bytes | None) -> bytes:
    try:
        key = x509.load_der_x509_certificate(certificate or b"").public_key()
        return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    except Exception:  # noqa: BLE001 - cryptography raises many kinds for what is no certificate
        raise AnswerError("the agent's certificate cannot be read") from None


def _claimed(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    values = [value for name, value in headers if name == b"shype-channel"]
    try:
        return bytes.fromhex(values[0].decode("ascii")) if len(values) == 1 else None
    except ValueError:
        return None
