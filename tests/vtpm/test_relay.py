"""tpm2-tools on the TPM that we hold: they work, and they take nothing from us."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import pytest

from vtpm.errors import VtpmUsageError
from vtpm.relay import Relay
from vtpm.tpm2.attestation import Attest
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.credential import credential_file, make_credential, read_credential_file
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.public import Public
from vtpm.tpm2.signature import Signature, verify
from vtpm.tpm2.wire import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Host

pytestmark = pytest.mark.host

PCRS = PcrSelection.of(Alg.SHA256, [0, 17])
PCR_READ = bytes.fromhex("8001000000140000017e00000001000b03000001")
GET_TRANSIENT = bytes.fromhex("8001000000160000017a000000018000000000000010")


def primary(count: int) -> list[bytes]:
    """Commands that make ``count`` different primary keys in the null hierarchy."""
    made = []
    for number in range(count):
        public = Writer().u16(Alg.ECC).u16(Alg.SHA256).u32(0x00040072).sized(b"").u16(Alg.NULL).u16(Alg.ECDSA)
        public.u16(Alg.SHA256).u16(3).u16(Alg.NULL).sized(number.to_bytes(1, "big")).sized(b"")
        body = Writer().u32(0x40000007).u32(9).u32(0x40000009).sized(b"").u8(0).sized(b"")
        body.sized(Writer().sized(b"").sized(b"").done()).sized(public.done()).sized(b"").u32(0)
        raw = body.done()
        made.append(Writer().u16(0x8002).u32(10 + len(raw)).u32(0x131).raw(raw).done())
    return made


def plain(code: int, body: bytes) -> bytes:
    return Writer().u16(0x8001).u32(10 + len(body)).u32(code).raw(body).done()


def code_of(response: bytes) -> int:
    return int.from_bytes(response[6:10], "big")


class Client:
    """A client that speaks raw bytes."""

    def __init__(self, path: Path) -> None:
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.stream.settimeout(10)
        try:
            self.stream.connect(str(path))
        except OSError:
            self.stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def is_dropped(self, sent: bytes) -> bool:
        """Send something and tell whether the relay closes instead of answering."""
        try:
            self.stream.sendall(sent)
            return self.stream.recv(10) == b""
        except ConnectionError:
            return True

    def exchange(self, command: bytes) -> bytes:
        self.stream.sendall(command)
        response = self.stream.recv(4096)
        while len(response) < 10 or len(response) < int.from_bytes(response[2:6], "big"):
            part = self.stream.recv(4096)
            assert part, "closed"
            response += part
        return response


@pytest.fixture
def socket_path(host: Host, private: Path) -> Iterator[Path]:
    path = private / "relay" / "tpm.sock"
    with Relay(host.swtpm.channel, path):
        yield path


@pytest.fixture
def tool(socket_path: Path, tmp_path: Path, repository: Path) -> Callable[..., str]:
    environment = dict(os.environ, PYTHONPATH=str(repository))
    environment["TPM2TOOLS_TCTI"] = f"cmd:{sys.executable} -m vtpm.relay {socket_path}"

    def run(*command: str) -> str:
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    return run


@pytest.mark.tools
def test_tpm2_tools_read_create_and_quote(host: Host, tool: Callable[..., str], tmp_path: Path) -> None:
    read = tool("tpm2_pcrread", "sha256:0,17")
    assert host.tpm.pcr_read(PCRS)[1].hex().upper() in read
    tool("tpm2_createek", "-G", "ecc", "-c", "ek.ctx", "-u", "ek.pub")
    tool(
        *("tpm2_createak", "-C", "ek.ctx", "-c", "ak.ctx", "-u", "ak.pub", "-n", "ak.name"),
        *("-G", "ecc", "-g", "sha256", "-s", "ecdsa"),
    )
    tool(
        "tpm2_quote", "-c", "ak.ctx", "-l", "sha256:0,17", "-q", "abcd", "-m", "quote.msg", "-s", "quote.sig"
    )
    ak = Public.decode_sized((tmp_path / "ak.pub").read_bytes())
    assert ak.name() == (tmp_path / "ak.name").read_bytes()
    message = (tmp_path / "quote.msg").read_bytes()
    verify(ak, Signature.decode((tmp_path / "quote.sig").read_bytes()), message)
    assert Attest.decode(message).extra_data == b"\xab\xcd"

    # The enrolment of a foreign verifier: four processes that share a session.
    ek = Public.decode_sized((tmp_path / "ek.pub").read_bytes())
    credential = make_credential(ek, ak.name(), b"secret", seed=os.urandom(64))
    (tmp_path / "credential").write_bytes(credential_file(*credential))
    tool("tpm2_startauthsession", "--policy-session", "-S", "session.ctx")
    tool("tpm2_policysecret", "-S", "session.ctx", "-c", "e")
    tool(
        *("tpm2_activatecredential", "-c", "ak.ctx", "-C", "ek.ctx", "-i", "credential", "-o", "opened"),
        *("-P", "session:session.ctx"),
    )
    assert (tmp_path / "opened").read_bytes() == b"secret"
    tool("tpm2_flushcontext", "session.ctx")
    host.tpm.quote(host.tpm.create_ak(), b"", PCRS)


@pytest.mark.tools
def test_a_credential_of_tpm2_makecredential_is_opened_here(
    host: Host, tool: Callable[..., str], tmp_path: Path
) -> None:
    ek, ak = host.tpm.create_ek(), host.tpm.create_ak()
    (tmp_path / "ek.pub").write_bytes(ek.public.encode_sized())
    (tmp_path / "secret").write_bytes(b"from tpm2-tools")
    tool("tpm2_makecredential", "-u", "ek.pub", "-s", "secret", "-n", ak.name.hex(), "-o", "made")
    made = read_credential_file((tmp_path / "made").read_bytes())
    assert host.tpm.activate_credential(ak, ek, *made) == b"from tpm2-tools"


def test_a_client_that_hoards_objects_and_sessions_does_not_starve_us(host: Host, socket_path: Path) -> None:
    ak = host.tpm.create_ak()
    start_session = plain(
        0x176,
        Writer().u32(0x40000007).u32(0x40000007).sized(bytes(16)).sized(b"").u8(1).u16(0x10).u16(0x0B).done(),
    )
    with Client(socket_path) as client:
        handles = []
        for command in primary(6):
            response = client.exchange(command)
            assert code_of(response) == 0
            handles.append(response[10:14])
            assert code_of(client.exchange(start_session)) == 0
            host.tpm.quote(ak, b"", PCRS)
        assert len(set(handles)) == 6
        listed = client.exchange(GET_TRANSIENT)
        assert [listed[i : i + 4] for i in range(19, len(listed), 4)] == handles
        names = {client.exchange(plain(0x173, handle))[10:] for handle in handles}
        assert len(names) == 6
        assert code_of(client.exchange(plain(0x165, handles[0]))) == 0
        assert code_of(client.exchange(plain(0x173, handles[0]))) != 0
    with Client(socket_path) as client:
        assert client.exchange(GET_TRANSIENT)[15:19] == bytes(4)
        assert code_of(client.exchange(plain(0x173, handles[1]))) != 0
    saved = bytes.fromhex("8001000000160000017a000000010300000000000040")
    loaded = bytes.fromhex("8001000000160000017a000000010200000000000040")
    for question in (saved, loaded):
        assert host.swtpm.channel.exchange(question)[15:19] == bytes(4)


def test_threads_of_ours_and_a_client_use_the_tpm_at_once(host: Host, socket_path: Path) -> None:
    ak = host.tpm.create_ak()

    def quote(number: int) -> None:
        raw, signature = host.tpm.quote(ak, number.to_bytes(2, "big"), PCRS)
        verify(ak.public, Signature.decode(signature), raw)
        assert Attest.decode(raw).extra_data == number.to_bytes(2, "big")

    with Client(socket_path) as client, ThreadPoolExecutor(3) as pool:
        pending = [pool.submit(quote, number) for number in range(30)]
        handles = [client.exchange(command)[10:14] for command in primary(8)]
        assert [code_of(client.exchange(plain(0x173, handle))) for handle in handles] == [0] * 8
        for each in pending:
            each.result()


def test_a_client_has_at_most_64_objects(host: Host, socket_path: Path) -> None:
    with Client(socket_path) as client:
        first, *_ = primary(1)
        codes = [code_of(client.exchange(first)) for _ in range(66)]
    assert codes == [0] * 64 + [0x902] * 2
    host.tpm.create_ak()


def test_a_sequence_object_keeps_its_state_while_it_is_out(host: Host, socket_path: Path) -> None:
    password = Writer().u32(9).u32(0x40000009).sized(b"").u8(0).sized(b"").done()

    def with_password(code: int, handle: bytes, body: bytes) -> bytes:
        raw = handle + password + body
        return Writer().u16(0x8002).u32(10 + len(raw)).u32(code).raw(raw).done()

    with Client(socket_path) as client:
        started = client.exchange(plain(0x186, Writer().sized(b"").u16(Alg.SHA256).done()))
        handle = started[10:14]
        assert code_of(client.exchange(with_password(0x15C, handle, Writer().sized(b"abc").done()))) == 0
        host.tpm.create_ak()
        done = client.exchange(with_password(0x13E, handle, Writer().sized(b"def").u32(0x40000007).done()))
        assert done[16:48] == Alg.SHA256.digest(b"abcdef")
        assert client.exchange(GET_TRANSIENT)[15:19] == bytes(4)


def test_garbage_from_clients_ends_at_the_relay_or_gets_an_error_code(host: Host, socket_path: Path) -> None:
    for raw in (
        b"GET / HTTP/1.1\r\n\r\n",
        bytes.fromhex("8001000000000000017e"),
        bytes.fromhex("80010000ffff0000017e"),
    ):
        with Client(socket_path) as client:
            assert client.is_dropped(raw)
    with Client(socket_path) as client:
        for command in (
            bytes.fromhex("80010000000a00000000"),
            bytes.fromhex("80020000000a00000131"),
            bytes.fromhex("80020000000e00000131ffffffff"),
            bytes.fromhex("8002000000120000013140000001ffffffff"),
            bytes.fromhex("80010000000a00000165"),
            bytes.fromhex("80010000000e0000016580800000"),
            bytes.fromhex("80010000000e0000016202000000"),
        ):
            assert code_of(client.exchange(command)) != 0
        assert code_of(client.exchange(PCR_READ)) == 0
    host.tpm.pcr_read(PCRS)


def test_a_client_that_stops_in_the_middle_does_not_hold_the_tpm(
    host: Host, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vtpm.relay._WHOLE_COMMAND_SECONDS", 600.0)
    with Client(socket_path) as client:
        client.stream.sendall(PCR_READ[:12])
        host.tpm.pcr_read(PCRS)
        assert code_of(client.exchange(PCR_READ[12:])) == 0, "the relay waited for the rest all the while"


def test_an_idle_client_makes_room_for_one_that_waits(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vtpm.relay._IDLE_MILLISECONDS", 50)
    with Client(socket_path) as idle:
        assert code_of(idle.exchange(PCR_READ)) == 0
        with Client(socket_path) as waiting:
            assert code_of(waiting.exchange(PCR_READ)) == 0
        assert idle.is_dropped(PCR_READ)


def test_the_socket_is_ours_alone(host: Host, private: Path, socket_path: Path) -> None:
    assert socket_path.stat().st_mode & 0o777 == 0o600
    assert socket_path.parent.stat().st_mode & 0o777 == 0o700
    open_folder = private / "open"
    open_folder.mkdir()
    open_folder.chmod(0o755)
    with pytest.raises(VtpmUsageError) as caught:
        Relay(host.swtpm.channel, open_folder / "tpm.sock")
    assert caught.value.code == "open-folder"


def test_a_path_that_cannot_be_used_is_refused(host: Host, private: Path) -> None:
    folder = private / "relay"
    folder.mkdir(mode=0o700)
    (folder / "file").write_text("")
    for path in (folder / "file", folder / ("x" * 108)):
        with pytest.raises(VtpmUsageError):
            Relay(host.swtpm.channel, path)


def test_stopping_removes_the_socket_and_a_stale_one_is_replaced(host: Host, private: Path) -> None:
    path = private / "relay" / "tpm.sock"
    relay = Relay(host.swtpm.channel, path)
    relay.stop()
    relay.stop()
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with Relay(host.swtpm.channel, path), Client(path) as client:
        assert code_of(client.exchange(PCR_READ)) == 0


def test_the_relay_ends_with_the_tpm(host: Host, socket_path: Path) -> None:
    with Client(socket_path) as client:
        os.kill(host.swtpm.pid, 9)
        assert client.is_dropped(PCR_READ)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            Client(socket_path).stream.close()
        except ConnectionRefusedError:
            return
        time.sleep(0.02)
    pytest.fail("the relay still listens")


def test_the_program_needs_the_standard_library_only(repository: Path) -> None:
    code = (
        "import sys; sys.argv = ['relay']\n"
        "import runpy\n"
        "try: runpy.run_module('vtpm.relay', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 2\n"
        "assert not {'cryptography', 'tpm2_pytss', 'hashlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=repository, stderr=subprocess.DEVNULL)


def test_the_program_says_in_one_line_what_is_wrong(tmp_path: Path, repository: Path) -> None:
    for arguments in ([], [str(tmp_path / "none")]):
        done = subprocess.run(
            [sys.executable, "-m", "vtpm.relay", *arguments],
            cwd=repository,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
