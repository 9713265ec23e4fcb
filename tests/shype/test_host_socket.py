"""The socket of a running host: who may open it, and what it drops without harm."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acm import yamltree
from shype.errors import ShypeUsageError
from shype.host.socket import MAX_REQUEST, NAME, call
from tests.shype.processes import Booted

if TYPE_CHECKING:
    from tests.shype.conftest import Operator
    from tests.shype.outcome import Shype

pytestmark = pytest.mark.host

GUEST = "cola-web"
OFF = b'{"verb": "poweroff", "arguments": {}}'
GARBAGE = (
    b"",
    b"\n",
    b"\x00\xff\xfe garbage\n",
    b"not json\n",
    b"[]\n",
    b"null\n",
    b'"status"\n',
    b'{"verb": "poweroff"}\n',
    b'{"verb": "poweroff", "arguments": []}\n',
    b'{"verb": "poweroff", "arguments": null}\n',
    b'{"verb": ["poweroff"], "arguments": {}}\n',
    b'{"verb": "poweroff", "arguments": {}, "more": 1}\n',
    b'{"verb": "status", "verb": "poweroff", "arguments": {}}\n',
    b'{"verb": "poweroff", "arguments": {"a": NaN}}\n',
    b'{"verb": "poweroff", "arguments": {"a": ' + b"9" * 5000 + b"}}\n",
    b'{"verb": "poweroff", "arguments": ' + b"[" * 100_000 + b"\n",
    OFF,
    OFF + b"\n" + OFF + b"\n",
    OFF.replace(b"{}", b'{"x": "' + b"x" * MAX_REQUEST + b'"}') + b"\n",
    b"x" * (3 * MAX_REQUEST),
)


def dialled(folder: Path) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(20)
    link.connect(str(folder / NAME))
    return link


def exchange(folder: Path, request: bytes) -> bytes:
    with dialled(folder) as link:
        try:
            link.sendall(request)
            link.shutdown(socket.SHUT_WR)
            return link.recv(1 << 16)
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_nobody_else_may_open_it(standing: Booted) -> None:
    assert stat.S_IMODE(standing.folder.stat().st_mode) == 0o700
    for name in (NAME, "tpm.sock"):
        found = (standing.folder / name).stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600


@pytest.mark.parametrize("request_", GARBAGE, ids=[str(each[:60])[2:-1] or "nothing" for each in GARBAGE])
def test_garbage_is_dropped_and_the_host_lives_on(
    standing: Booted, operator: Operator, request_: bytes
) -> None:
    assert exchange(standing.folder, request_) == b""
    assert operator.status(standing.folder)["host"] == "embedded"


def test_a_request_too_large_is_named_by_the_caller(standing: Booted) -> None:
    with pytest.raises(ShypeUsageError, match="too large a request"):
        call(standing.folder, "launch", {"config": "x" * MAX_REQUEST})


def test_a_client_that_drips_or_hangs_up_keeps_nobody_waiting(standing: Booted) -> None:
    """Five seconds are all that one request gets, however its bytes come."""
    with dialled(standing.folder) as gone:
        gone.sendall(b'{"verb": "status", "arguments": {}}\n')
    with dialled(standing.folder) as slow:
        over = threading.Event()
        dripping = threading.Thread(target=_drip, args=(slow, over))
        dripping.start()
        try:
            assert call(standing.folder, "status", {}, seconds=120).document["host"] == "embedded"
            with contextlib.suppress(ConnectionError):
                assert slow.recv(1) == b"", "it was hung up on"
        finally:
            over.set()
            dripping.join()


def _drip(link: socket.socket, over: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while not over.wait(0.2):
            link.sendall(b" ")


def test_an_unknown_verb(standing: Booted) -> None:
    with pytest.raises(ShypeUsageError, match="does not know 'format'") as caught:
        call(standing.folder, "format", {})
    assert caught.value.code == "verb"


@pytest.mark.parametrize(
    "said", [b"", b"\n", b"[]\n", b'{"exit": 0}\n', b'{"exit": 77, "error": null, "code": ""}\n', b"\xff\n"]
)
def test_what_is_no_reply(short_tmp: Path, shype_command: Shype, said: bytes) -> None:
    """Something else than a host listens in the folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(short_tmp / NAME))
        server.listen()

        def serve() -> None:
            link, _ = server.accept()
            with link:
                link.recv(1 << 16)
                link.sendall(said)

        serving = threading.Thread(target=serve)
        serving.start()
        outcome = shype_command("host", "status", short_tmp)
        serving.join()
    assert (outcome.exit, outcome.out) == (3, "")
    assert outcome.line


def test_a_stale_socket_is_no_host(short_tmp: Path, shype_command: Shype) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(short_tmp / NAME))
    outcome = shype_command("host", "status", short_tmp)
    assert outcome.exit == 2
    assert "no host runs here" in outcome.line


@pytest.fixture(scope="module")
def hosts(made_host: Path, boot_files: Path, repository: Path) -> Iterator[list[Any]]:
    """In this process: a host without policy, and one with a guest."""
    from shype.host.embedded import EmbeddedHost

    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as folder:
        places = [Path(shutil.copytree(made_host, Path(folder) / name)) for name in ("bare", "full")]
        with EmbeddedHost(places[0], boot_files) as bare, EmbeddedHost(places[1], boot_files) as full:
            full.load_policy((repository / "configs/policies/datacenter.yaml").read_bytes())
            full.launch((repository / f"configs/hosts/{GUEST}.cfg").read_bytes())
            yield [bare, full]


VERBS = (
    *("status", "endorsement", "activate", "load-policy", "launch", "stop", "connect", "run"),
    *("attest", "sign", "nothing"),
)
NAMES = ("policy", "config", "tenant", "name", "from", "to", "nonce", "id_object", "encrypted_secret")
TEXTS = st.sampled_from([GUEST, "Domain-0", "", "\0", "\ud800", "x" * 5000]) | st.text(max_size=40)
ENCODED = st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode())
VALUES = st.none() | st.booleans() | st.integers(-2, 3) | TEXTS | ENCODED | st.lists(TEXTS, max_size=2)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    which=st.integers(0, 1),
    verb=st.sampled_from(VERBS),
    arguments=st.dictionaries(st.sampled_from((*NAMES, "seconds")), VALUES),
)
def test_whatever_the_arguments_are(
    hosts: list[Any], which: int, verb: str, arguments: dict[str, Any]
) -> None:
    """A report or one line, never the end of the host."""
    from shype.host.model_verbs import service

    reply = service(hosts[which]).answer(verb, arguments)
    assert reply.report.exit in range(4)
    assert reply.error is None or reply.error


def test_the_largest_policy_fits_into_a_request() -> None:
    assert len(base64.b64encode(bytes(yamltree.MAX_SIZE))) + 65536 <= MAX_REQUEST
