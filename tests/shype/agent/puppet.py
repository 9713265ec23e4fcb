"""A server that speaks TLS 1.3 and HTTP with a key of its own, and answers as an attacker wants."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h11

from shype import tls_key
from tests.shype.agent.conftest import key_file

Reply = tuple[int, dict[str, str], bytes]
Act = Callable[[str, bytes], "Reply | bytes"]
"""(path, body) to a reply, or to raw bytes after which the connection ends."""


@dataclass
class Puppet:
    port: int
    key: bytes
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@contextmanager
def puppet(act: Act) -> Iterator[Puppet]:
    with key_file(tls_key.SERVER) as (path, key), socket.create_server(("127.0.0.1", 0)) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        made = Puppet(server.getsockname()[1], key.spki_digest)
        over = threading.Event()
        server.settimeout(0.1)
        thread = threading.Thread(target=_serve, args=(server, context, act, made, over))
        thread.start()
        try:
            yield made
        finally:
            over.set()
            thread.join()


def _serve(
    server: socket.socket, context: ssl.SSLContext, act: Act, made: Puppet, over: threading.Event
) -> None:
    while not over.is_set():
        with contextlib.suppress(TimeoutError, OSError):
            plain, _ = server.accept()
            plain.settimeout(60)
            with context.wrap_socket(plain, server_side=True) as link:
                _talk(link, act, made)


def _talk(link: ssl.SSLSocket, act: Act, made: Puppet) -> None:
    talk = h11.Connection(h11.SERVER)
    path, body = "", bytearray()
    while True:
        event = talk.next_event()
        if event is h11.NEED_DATA:
            talk.receive_data(link.recv(1 << 16))
        elif isinstance(event, h11.Request):
            path, body = event.target.decode(), bytearray()
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            made.asked.append((path, bytes(body)))
            answer = act(path, bytes(body))
            if isinstance(answer, bytes):
                link.sendall(answer)
                return
            status, headers, content = answer
            fields = [("content-length", str(len(content))), *headers.items()]
            head = h11.Response(status_code=status, headers=fields)
            for each in (head, h11.Data(data=content), h11.EndOfMessage()):
                link.sendall(talk.send(each) or b"")
            talk.start_next_cycle()
        else:
            return


def forward(port: int, client: Path) -> Act:
    """Ask the real agent, as the owner of a client key, and pass its answer on."""

    def act(path: str, body: bytes) -> Reply:
        status, headers, content = asked(port, client, path, body)
        claimed = headers.get("shype-channel")
        return status, {} if claimed is None else {"shype-channel": claimed}, content

    return act


def asked(port: int, client: Path | None, path: str, body: bytes) -> Reply:
    """One exchange by another program's HTTP (http.client)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if client is not None:
        context.load_cert_chain(client)
    link = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
    with contextlib.closing(link):
        link.request("POST" if body else "GET", path, body=body or None)
        answer = link.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
