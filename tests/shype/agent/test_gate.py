"""The gate before a front that somebody has taken over: what it may ask for, and what it never gets."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from attest.agent_documents import AgentRefusal, EvidenceRequest
from attest.attester import host_qualifying
from attest.evidence import Evidence
from attest.verifier.claims import candidate_roots
from shype import tls_key
from shype.agent import gate
from shype.agent.allow import AllowList
from shype.agent.clients import Clients
from shype.agent.frames import HEAD, Action, Outcome, frame
from shype.errors import AgentEndedError
from tests.shype.processes import Booted
from vtpm.tpm2.attestation import Attest

OURS = bytes(range(32))


def listed(name: str) -> tuple[ec.EllipticCurvePrivateKey, AllowList]:
    """A client's key, and the list with its certificate alone."""
    made = tls_key.make(name, tls_key.CLIENT, datetime.now(UTC), 30)
    key = load_pem_private_key(made.secret, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key, AllowList.decode(made.certificate)


AUDITOR, AUDITORS = listed("auditor")
ALL = Clients.of(AUDITORS, {})


@contextlib.contextmanager
def kept(folder: Path, clients: Clients = ALL, hello: bytes = OURS) -> Iterator[socket.socket]:
    """The front's end of the socket pair; the gate runs in a thread until it is closed."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    with ours, theirs:
        thread = threading.Thread(target=_keep, args=(theirs, folder, clients))
        thread.start()
        ours.sendall(frame(Action.HELLO, hello))
        yield ours
        ours.shutdown(socket.SHUT_RDWR)
        thread.join(20)
        assert not thread.is_alive()


def _keep(link: socket.socket, folder: Path, clients: Clients) -> None:
    with link:
        gate.keep(link, folder, clients, lambda _: None)


def answer(link: socket.socket) -> tuple[int, bytes]:
    kind, size = HEAD.unpack(link.recv(HEAD.size, socket.MSG_WAITALL))
    return kind, link.recv(size, socket.MSG_WAITALL) if size else b""


def refusal(link: socket.socket) -> str:
    kind, body = answer(link)
    assert kind == Outcome.REFUSED
    return AgentRefusal.decode(body).code


@pytest.mark.host
def test_evidence_is_bound_to_the_key_that_the_front_began_with(standing: Booted) -> None:
    """Whatever it says later, or puts into its questions."""
    nonce = os.urandom(32)
    with kept(standing.folder) as link:
        link.sendall(frame(Action.HELLO, bytes(32)))
        assert refusal(link) == "message-malformed"
        link.sendall(frame(Action.EVIDENCE, EvidenceRequest(nonce).encode()))
        kind, raw = answer(link)
    assert kind == Outcome.DONE
    evidence = Evidence.decode(raw)
    [root] = candidate_roots(evidence)
    assert Attest.decode(evidence.host.quote).extra_data == host_qualifying(nonce, root, OURS)


@pytest.mark.host
def test_a_question_with_a_channel_of_its_own_is_none(standing: Booted) -> None:
    request = EvidenceRequest(bytes(range(32))).encode().rstrip().removesuffix(b"}")
    with kept(standing.folder) as link:
        link.sendall(frame(Action.EVIDENCE, request + b',"channel":"AAAA"}'))
        assert refusal(link) == "message-malformed"


@pytest.mark.parametrize("kind", [4, 15, 16, 17, 255])
def test_another_kind_of_question_ends_it(kind: int, tmp_path: Path) -> None:
    """Power-off, launch, policies: there is no frame for these."""
    with kept(tmp_path) as link:
        link.sendall(HEAD.pack(kind, 0))
        assert link.recv(1) == b""


def test_a_question_too_large_ends_it_before_it_is_read(tmp_path: Path) -> None:
    with kept(tmp_path) as link:
        link.sendall(HEAD.pack(Action.EVIDENCE, 0xFFFFFFFF))
        assert link.recv(1) == b""


@pytest.mark.parametrize("hello", [b"", frame(Action.HELLO, b""), frame(Action.HELLO, bytes(31)),
                                   frame(Action.EVIDENCE, bytes(32))])  # fmt: skip
def test_a_front_that_does_not_begin(hello: bytes, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(hello)
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(AgentEndedError):
            gate.keep(theirs, tmp_path, ALL, lambda _: pytest.fail("it is not ready"))
