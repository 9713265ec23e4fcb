"""What strangers and clients can make an agent spend: little, and never the TPM before they are known."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shype import tls_key
from shype.agent import conversation, front, gate, journal
from tests.shype import processes
from tests.shype.agent.conftest import CLIENT, LOG_SECONDS, Agent, Party, Serve, codes, key_file
from tests.shype.agent.puppet import asked
from tests.shype.processes import Booted

if TYPE_CHECKING:
    from tests.shype.outcome import Shype

pytestmark = pytest.mark.host
DRIPS = 120
"""More than an agent waits for, on a busy machine too."""


def context(client: Path | None, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.maximum_version = newest
    if client is not None:
        made.load_cert_chain(client)
    return made


@contextlib.contextmanager
def connected(agent: Agent, client: Path) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", agent.port), 20) as plain,
        context(client).wrap_socket(plain) as link,
    ):
        yield link


def received(link: socket.socket) -> bytes:
    """All that comes until the end."""
    found = bytearray()
    with contextlib.suppress(OSError):
        while chunk := link.recv(1 << 16):
            found += chunk
    return bytes(found)


def tpm_work(agent: Agent) -> list[str]:
    return [line for line in agent.log if CLIENT in line.split() and "ok" in line.split()]


def evidence_request() -> bytes:
    return json.dumps({"schema": "shype.evidence-request/1", "nonce": os.urandom(32).hex()}).encode()


def lives(agent: Agent, client: Path) -> None:
    """It answers, without work for the TPM."""
    assert asked(agent.port, client, "/v1/nothing", b"")[0] == 404


@dataclass
class Besieged:
    """One agent for attacks that leave no trace but a line or two in its log.

    Those that use up the lines that strangers get in a minute take an agent of their own.
    """

    agent: Agent
    client: Path

    @contextlib.contextmanager
    def unharmed(self, why: str | None = None) -> Iterator[None]:
        """The TPM is not asked meanwhile, the log says ``why`` once, and the agent answers afterwards."""
        work, told = len(tpm_work(self.agent)), self._count(why)
        yield
        end = time.monotonic() + LOG_SECONDS
        while self._count(why) == told and why and time.monotonic() < end:
            time.sleep(0.02)
        assert self._count(why) == told + bool(why), self.agent.log[-3:]
        assert len(tpm_work(self.agent)) == work
        lives(self.agent, self.client)

    def _count(self, why: str | None) -> int:
        return sum(why in line.split() for line in self.agent.log)


@pytest.fixture(scope="module")
def besieged(standing: Booted) -> Iterator[Besieged]:
    with key_file(tls_key.CLIENT, CLIENT) as (path, key), tempfile.TemporaryDirectory() as room:
        allow = Path(room) / "allow.pem"
        allow.write_bytes(key.certificate)
        agent = Agent.start(standing.folder, allow, Path(room))
        yield Besieged(agent, path)
        assert agent.end() == 0
        assert not [line for line in agent.log if " defect " in line]


class TestWhoMayAsk:
    """Row 16: no certificate, an unknown one, and a server's one for a client's."""

    def refused(self, besieged: Besieged, client: Path | None, why: str) -> None:
        with besieged.unharmed(why), pytest.raises(OSError, match=r"."):
            asked(besieged.agent.port, client, "/v1/evidence", evidence_request())

    def test_nobody(self, besieged: Besieged) -> None:
        self.refused(besieged, None, "no-certificate")

    def test_a_stranger(self, besieged: Besieged) -> None:
        with key_file(tls_key.CLIENT, "stranger") as (path, _):
            self.refused(besieged, path, "certificate-not-on-the-list")

    def test_a_stranger_of_the_same_name(self, besieged: Besieged) -> None:
        with key_file(tls_key.CLIENT, CLIENT) as (path, _):
            self.refused(besieged, path, "certificate-not-on-the-list")

    def test_a_server_s_certificate(self, besieged: Besieged) -> None:
        with key_file(tls_key.SERVER, CLIENT) as (path, _):
            self.refused(besieged, path, "certificate-not-on-the-list")

    def test_a_server_s_certificate_does_not_get_on_the_list(
        self, standing: Booted, party: Party, shype_command: Shype
    ) -> None:
        with key_file(tls_key.SERVER, CLIENT) as (_, made):
            party.listed().write_bytes(made.certificate)
        words = ("host", "serve", standing.folder, "--listen", "127.0.0.1:0", "--allow", party.listed())
        outcome = shype_command(*words)
        assert (outcome.exit, "not a certificate for TLS clients" in outcome.line) == (3, True)

    def test_one_of_several_on_the_list(self, serve: Serve, standing: Booted, party: Party) -> None:
        party.make_key("second")
        both = party.folder / "both.pem"
        both.write_bytes(b"auditors\n" + party.listed().read_bytes() + party.listed("second").read_bytes())
        agent = serve(standing.folder, both)
        for name in (CLIENT, "second"):
            asked(agent.port, party.key(name), "/v1/endorsement", b"")
            assert len(agent.logged(name)) == 1

    def test_one_whose_time_is_over(self, serve: Serve, standing: Booted, party: Party) -> None:
        with key_file(tls_key.CLIENT, CLIENT, datetime.now(UTC) - timedelta(days=31)) as (path, made):
            party.listed().write_bytes(made.certificate)
            agent = serve(standing.folder, party.listed())
            with pytest.raises(OSError, match=r"."):
                asked(agent.port, path, "/v1/evidence", evidence_request())
            assert len(agent.logged("certificate-expired")) == 1

    def test_one_whose_clock_is_half_a_day_ahead(self, serve: Serve, standing: Booted, party: Party) -> None:
        """A machine whose clock shows local time, or has lost it: its key is on the list all the same."""
        with key_file(tls_key.CLIENT, CLIENT, datetime.now(UTC) + timedelta(hours=12)) as (path, made):
            party.listed().write_bytes(made.certificate)
            agent = serve(standing.folder, party.listed())
            status, _, _ = asked(agent.port, path, "/v1/endorsement", b"")
        assert status == 200

    def test_the_verifier_says_what_to_do(self, agent: Agent, party: Party) -> None:
        party.make_key("stranger")
        outcome = party.verify(agent.url, "--enroll", client="stranger")
        assert (outcome.exit, codes(outcome)) == (4, ["host-refuses"])
        assert "on its list" in outcome.document["reasons"][0]["detail"]

    def test_old_tls(self, besieged: Besieged) -> None:
        with (
            besieged.unharmed("no-tls"),
            socket.create_connection(("127.0.0.1", besieged.agent.port), 20) as plain,
            pytest.raises(ssl.SSLError),
        ):
            context(besieged.client, ssl.TLSVersion.TLSv1_2).wrap_socket(plain)

    def test_a_session_is_not_resumed(self, besieged: Besieged) -> None:
        """Every connection shows its certificate: there is no ticket that stands for one."""
        with connected(besieged.agent, besieged.client) as link:
            link.sendall(b"GET /v1/nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert received(link).startswith(b"HTTP/1.1 404")
            assert link.session is None or not link.session.has_ticket


GARBAGE = (
    b"",
    b"\x00" * 1000,
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\xff\xff" + b"\xff" * 70_000,
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    os.urandom(4096),
)


@pytest.mark.parametrize("raw", GARBAGE, ids=[str(each[:12])[2:-1] or "nothing" for each in GARBAGE])
def test_garbage_in_place_of_tls(besieged: Besieged, raw: bytes) -> None:
    with (
        besieged.unharmed(),
        socket.create_connection(("127.0.0.1", besieged.agent.port), 20) as plain,
    ):
        with contextlib.suppress(OSError):
            plain.sendall(raw)
            plain.shutdown(socket.SHUT_WR)
        received(plain)


POST = b"POST /v1/evidence HTTP/1.1\r\nhost: x\r\n"
GET = b"GET /v1/endorsement HTTP/1.1\r\nhost: x\r\n"
LENGTH, CHUNKED = b"content-length: ", b"transfer-encoding: chunked\r\n"
HTTP = {
    "garbage": (b"\x00\x01\x02\r\n\r\n", b"400"),
    "another protocol": (b"SSH-2.0-x\r\n\r\n", b"400"),
    "a head too large": (GET + b"a: b\r\n" * 3000, b"400"),
    "a target too long": (GET.replace(b"endorsement", b"x" * 20_000) + b"\r\n", b"400"),
    "a body too large": (POST + LENGTH + b"99999999\r\n\r\n", b"413"),
    "a body too large in chunks": (
        POST + CHUNKED + b"\r\n4000\r\n" + b"x" * 0x4000 + b"\r\n1\r\nx\r\n",
        b"413",
    ),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
    "HTTP/2 by its frames": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), b"400"),
    "HTTP/1.1 that calls itself 2": (GET.replace(b"1.1", b"2.0") + b"\r\n", b"400"),
    "HTTP/1.0": (GET.replace(b"1.1", b"1.0") + b"\r\n", b"400"),
    "a folded header": (POST + b"a: b\r\n c\r\n" + LENGTH + b"1\r\n\r\nx", b"400"),
    "a coding that is none": (POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", b"400"),
    "chunks twice": (POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n", b"400"),
    "a space before the colon": (POST + b"content-length : 1\r\n\r\nx", b"400"),
    "a length with a sign": (POST + LENGTH + b"+1\r\n\r\nx", b"400"),
    "a length of five thousand digits": (POST + LENGTH + b"0" * 5000 + b"1\r\n\r\nx", b"400"),
    "two hosts": (GET + b"host: y\r\n\r\n", b"400"),
    "a NUL in a header": (GET + b"a: b\x00c\r\n\r\n", b"400"),
    "two lengths": (POST + LENGTH + b"1\r\n" + LENGTH + b"2\r\n\r\nxx", b"400"),
    "a length that is none": (POST + LENGTH + b"-1\r\n\r\n", b"400"),
    "length and chunks": (POST + LENGTH + b"3\r\n" + CHUNKED + b"\r\n0\r\n\r\n", b"400"),
    "no host": (GET.replace(b"host: x\r\n", b"\r\n"), b"400"),
    "a body that GET has not": (GET + LENGTH + b"2\r\n\r\n{}", b"400"),
    "a path that climbs": (GET.replace(b"v1/", b"v1/../v1/") + b"\r\n", b"404"),
    "a whole URL": (GET.replace(b"/v1", b"https://x/v1") + b"\r\n", b"404"),
    "HEAD": (GET.replace(b"GET", b"HEAD") + b"\r\n", b"405"),
    "OPTIONS": (GET.replace(b"GET", b"OPTIONS") + b"\r\n", b"405"),
    "an upgrade": (GET + b"connection: upgrade\r\nupgrade: h2c\r\n" + LENGTH + b"1\r\n\r\nx", b"400"),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n", b"404"),
}


@pytest.mark.parametrize(("raw", "status"), HTTP.values(), ids=HTTP)
def test_what_is_no_request_of_ours(besieged: Besieged, raw: bytes, status: bytes) -> None:
    with besieged.unharmed(), connected(besieged.agent, besieged.client) as link:
        with contextlib.suppress(OSError):
            link.sendall(raw)
        answer = received(link)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
    assert b"connection: close" in answer.lower()


class TestSlowPeers:
    def test_a_handshake_that_does_not_come(self, besieged: Besieged) -> None:
        with (
            besieged.unharmed("handshake-too-slow"),
            socket.create_connection(("127.0.0.1", besieged.agent.port), 30) as plain,
        ):
            assert received(plain) == b""

    @pytest.mark.heavy
    def test_a_request_that_drips(self, agent: Agent, party: Party) -> None:
        """A byte now and then does not buy more time."""
        with connected(agent, party.key()) as link:
            link.sendall(b"POST /v1/evidence HTTP/1.1\r\n")
            for _ in range(DRIPS):
                if select.select([link], [], [], 0.5)[0]:
                    break
                link.sendall(b"a: b\r\n")
            answer = received(link)
        assert answer.startswith(b"HTTP/1.1 408")
        assert len(agent.logged("too-slow")) == 1

    def test_a_client_that_goes_away_leaves_the_next_its_own_answer(self, agent: Agent, party: Party) -> None:
        """An answer that nobody waits for is not given to whoever asks next."""
        for _ in range(3):
            with connected(agent, party.key()) as link:
                body = evidence_request()
                head = f"POST /v1/evidence HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
                link.sendall(head.encode() + body)
            assert asked(agent.port, party.key(), "/v1/endorsement", b"")[2].startswith(b"{\n")
        assert party.verify(agent.url, "--enroll").exit == 0


class TestManyAtOnce:
    @pytest.mark.heavy
    def test_a_hundred_connections(self, agent: Agent, party: Party) -> None:
        """The agent holds no more than its bound for one address, and serves on."""
        [half] = processes.children(agent.process.pid)
        most, over = [0], threading.Event()

        def watch() -> None:
            while not over.wait(0.02):
                held = [processes.link(half, f"fd/{fd.name}") for fd in _descriptors(half)]
                most[0] = max(most[0], sum(each.startswith("socket:") for each in held))

        watching, begun = threading.Thread(target=watch), time.monotonic()
        watching.start()
        try:
            with ThreadPoolExecutor(100) as crowd:
                answers = list(crowd.map(lambda _: _tried(agent, party), range(100)))
        finally:
            over.set()
            watching.join()
        assert most[0] <= front.OF_ONE_ADDRESS + 8
        assert set(answers) <= {200, 429, None}
        assert answers.count(200) >= 1
        assert len(tpm_work(agent)) <= gate.BURST + gate.PER_SECOND * (time.monotonic() - begun) + 1
        time.sleep(2)
        lives(agent, party.key())

    def test_one_stranger_does_not_keep_others_waiting(self, agent: Agent, party: Party) -> None:
        """He holds what he may, and nothing else comes of his hundred connections."""
        with contextlib.ExitStack() as held, Besieged(agent, party.key()).unharmed():
            for _ in range(100):
                link = socket.create_connection(("127.0.0.1", agent.port), 20, ("127.0.0.9", 0))
                held.enter_context(link)
            lives(agent, party.key())
            assert agent.logged("too-many-connections")

    def test_the_tpm_is_asked_only_so_often(self) -> None:
        now = [100.0]
        allowance = gate.Allowance(lambda: now[0])
        assert [allowance.take() for _ in range(gate.BURST + 5)] == [True] * gate.BURST + [False] * 5
        now[0] += 1 / gate.PER_SECOND
        assert [allowance.take() for _ in range(2)] == [True, False]
        now[0] += 1000
        assert sum(allowance.take() for _ in range(100)) == gate.BURST

    def test_strangers_do_not_fill_the_log(self, agent: Agent, party: Party) -> None:
        for _ in range(3 * journal.STRANGERS):
            with (
                socket.create_connection(("127.0.0.1", agent.port), 20) as plain,
                contextlib.suppress(OSError),
            ):
                plain.sendall(b"x" * 100)
                received(plain)
        lives(agent, party.key())
        assert agent.end() == 0
        told = [line for line in agent.log if " - connect " in line]
        assert journal.STRANGERS < len(told) <= 2 * journal.STRANGERS + 4, "the minute may have turned"
        counted = [int(line.split()[4]) for line in told if "more were refused" in line]
        assert len(told) - len(counted) + sum(counted) == 3 * journal.STRANGERS


def _descriptors(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return []


def _tried(agent: Agent, party: Party) -> int | None:
    """The status of one question for evidence; None where the connection was not served in time."""
    try:
        return asked(agent.port, party.key(), "/v1/evidence", evidence_request())[0]
    except OSError:
        return None


def test_what_is_refused_ends_the_connection(besieged: Besieged) -> None:
    question = b"GET /v1/nothing-here HTTP/1.1\r\nhost: x\r\n\r\n"
    with connected(besieged.agent, besieged.client) as link:
        with contextlib.suppress(OSError):
            link.sendall(question * 100)
        answer = received(link)
    assert answer.count(b"HTTP/1.1 404") == 1


def test_requests_of_one_connection_have_an_end(agent: Agent, party: Party) -> None:
    question = b"GET /v1/endorsement HTTP/1.1\r\nhost: x\r\n\r\n"
    with connected(agent, party.key()) as link:
        with contextlib.suppress(OSError):
            link.sendall(question * 100)
        answer = received(link)
    assert answer.count(b"HTTP/1.1 ") == conversation.MAX_REQUESTS
    assert answer.count(b"connection: close") == 1


def test_a_host_that_went_away_and_came_back(
    machine: Path, boot_files: Path, serve: Serve, party: Party
) -> None:
    with Booted.start(machine, boot_files):
        agent = serve(machine, party.listed())
        lives(agent, party.key())
    status, _, answer = asked(agent.port, party.key(), "/v1/endorsement", b"")
    assert (status, json.loads(answer)["code"]) == (503, "host-away")
    assert str(machine) not in answer.decode(), "paths of the host are no business of the network"
    outcome = party.verify(agent.url, "--enroll")
    assert (outcome.exit, codes(outcome)) == (4, ["host-quiet"])
    with Booted.start(machine, boot_files):
        lives(agent, party.key())
