"""``shype host serve`` and ``shype verify https://…`` as they are meant: enrol, ask, judge, end."""

from __future__ import annotations

import base64
import json
import os
import resource
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attest.evidence import Evidence
from shype.agent.allow import AllowList
from shype.agent.confine import confine
from tests.schemas import validator
from tests.shype import processes
from tests.shype.agent.conftest import CLIENT, Agent, Party, Serve, codes
from tests.shype.agent.puppet import asked
from tests.shype.processes import Booted

if TYPE_CHECKING:
    from tests.shype.outcome import Shype

pytestmark = pytest.mark.host

A_NONCE = b'{"schema":"shype.evidence-request/1","nonce":"%b"}'
NO_CREDENTIAL = b'{"schema":"shype.credential-request/1","id_object":"AA==","encrypted_secret":"AA=="}'


def test_all_good_is_affirming(agent: Agent, party: Party) -> None:
    first = party.verify(agent.url, "--enroll")
    assert (first.exit, first.err) == (0, ""), first.out
    validator("verify-result").validate(first.document)
    assert [child["name"] for child in first.document["tree"]["children"]] == [
        *("platform", "firmware", "loader", "xen", "dom0", "acm-policy", "domain cola-web")
    ]
    again = party.verify(agent.url)
    assert (again.exit, again.document["verdict"], codes(again)) == (0, "affirming", [])
    assert party.status() == "good"
    assert [line.split()[2:5] for line in agent.log] == [
        [CLIENT, "endorsement", "ok"],
        [CLIENT, "activate", "ok"],
        [CLIENT, "evidence", "ok"],
        [CLIENT, "evidence", "ok"],
    ]


def test_the_default_profile_refuses_the_same_evidence_as_not_hardware(agent: Agent, party: Party) -> None:
    assert party.verify(agent.url, "--enroll").exit == 0
    refused = party.verify(agent.url, "--state", party.folder / "other", profile="default")
    assert (refused.exit, codes(refused)) == (1, ["software-tpm"])


def test_the_result_is_signed_for_whoever_relies_on_it(agent: Agent, party: Party) -> None:
    from tests.simulators.desk import KEY

    key, token = party.folder / "ear-key.pem", party.folder / "ear.jwt"
    key.write_bytes(KEY)
    assert party.verify(agent.url, "--enroll", "--ear", token, "--ear-key", key).exit == 0
    jwk = party.folder / "ear-key.jwk"
    jwk.write_text(party.shype("result", "jwk", key).out)
    read = party.shype("result", "verify", token, "--key", jwk, "--submod", "domain:cola-web", "--json")
    assert (read.exit, read.document["verdict"]) == (0, "affirming")


def test_what_nobody_answered_can_be_signed_too(party: Party, agent: Agent) -> None:
    """A relying party is told that nothing is known: the token says none, for a nonce as any other."""
    from tests.simulators.desk import KEY

    assert party.verify(agent.url, "--enroll").exit == 0
    key, token, jwk = (party.folder / name for name in ("ear-key.pem", "ear.jwt", "ear-key.jwk"))
    key.write_bytes(KEY)
    jwk.write_text(party.shype("result", "jwk", key).out)
    agent.end()
    assert party.verify(agent.url, "--ear", token, "--ear-key", key).exit == 4
    read = party.shype("result", "verify", token, "--key", jwk, "--json")
    assert (read.exit, read.document["verdict"]) == (4, "none")


def test_an_address_of_version_six(serve: Serve, standing: Booted, party: Party) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    agent = serve(standing.folder, party.listed(), "--listen", "[::1]:0")
    assert agent.url.startswith("https://[::1]:")
    assert party.verify(agent.url, "--enroll").exit == 0


def test_each_message_fits_its_schema(agent: Agent, party: Party) -> None:
    nonce = os.urandom(32)
    request = {"schema": "shype.evidence-request/1", "nonce": nonce.hex()}
    validator("evidence-request").validate(request)
    status, _, offer = asked(agent.port, party.key(), "/v1/endorsement", b"")
    assert status == 200
    validator("endorsement-offer").validate(json.loads(offer))
    status, headers, evidence = asked(agent.port, party.key(), "/v1/evidence", json.dumps(request).encode())
    assert (status, headers["shype-channel"]) == (200, agent.key.hex())
    assert headers["cache-control"] == "no-store"
    validator("evidence").validate(json.loads(evidence))
    assert Evidence.decode(evidence).host.name == "embedded"


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/nothing", b"", (404, "no-such-resource")),
        ("/v1/status", b"", (404, "no-such-resource")),
        ("/v1/evidence", b"", (405, "method")),
        ("/v1/endorsement", b"{}", (405, "method")),
        ("/v1/evidence", b"{}", (400, "message-malformed")),
        ("/v1/evidence", A_NONCE % b"00", (400, "message-malformed")),
        ("/v1/evidence", A_NONCE % (b"0" * 130), (400, "message-malformed")),
        ("/v1/activate", NO_CREDENTIAL, (502, "host-refused")),
    ],
)  # fmt: skip
def test_what_is_not_answered(
    agent: Agent, party: Party, path: str, body: bytes, expected: tuple[int, str]
) -> None:
    found, _, answer = asked(agent.port, party.key(), path, body)
    document = json.loads(answer)
    validator("agent-refusal").validate(document)
    assert (found, document["code"]) == expected
    assert len(agent.logged(expected[1])) == 1


def test_what_the_host_says_of_its_trouble_stays_with_its_operator(
    serve: Serve, standing: Booted, party: Party
) -> None:
    agent = serve(standing.folder, party.listed())
    _, _, answer = asked(agent.port, party.key(), "/v1/activate", NO_CREDENTIAL)
    assert json.loads(answer)["detail"] == "the host could not do this; its operator finds out why"
    assert any(line.startswith("gate: host-refused: ") for line in agent.log)


def test_the_log_has_no_secret(agent: Agent, party: Party) -> None:
    """Neither what goes over the wire nor what is in the key's file."""
    assert party.verify(agent.url, "--enroll").exit == 0
    nonce = os.urandom(32)
    body = json.dumps({"schema": "shype.evidence-request/1", "nonce": nonce.hex()}).encode()
    _, _, evidence = asked(agent.port, party.key(), "/v1/evidence", body)
    text = agent.log_file.read_text()
    for secret in (nonce.hex(), base64.b64encode(nonce).decode(), json.loads(evidence)["host"]["quote"][:40]):
        assert secret not in text
    assert "PRIVATE" not in text
    assert all(len(line) < 120 for line in agent.log)


class TestItsTwoHalves:
    def test_the_network_never_meets_the_rights_of_root(self, agent: Agent) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root has rights to give up")
        [front] = processes.children(agent.process.pid)
        status = dict(
            line.split(":\t", 1)
            for line in processes.read(front, "status").decode().splitlines()
            if ":\t" in line
        )
        assert set(status["Uid"].split()) == {"65534"}
        assert status["Groups"].strip() == ""
        assert (status["NoNewPrivs"], status["CapEff"]) == ("1", "0" * 16)

    def test_a_user_with_fewer_descriptors_than_ours_may_serve(self) -> None:
        """A limit that only root may raise is one to live with, and no reason to end."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.geteuid() == 0:
                    os.setresuid(65534, 65534, 65534)
                resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
                confine(None)
                code = 0 if resource.getrlimit(resource.RLIMIT_NOFILE) == (64, 64) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def test_the_front_has_no_way_to_the_host(self, agent: Agent, standing: Booted) -> None:
        """Its descriptors are the log, the listener, the socket pair and its event loop's."""
        [front] = processes.children(agent.process.pid)
        held = [os.readlink(each) for each in Path(f"/proc/{front}/fd").iterdir()]  # noqa: PTH115 - no path
        assert not [each for each in held if str(standing.folder) in each or "/dev/tpm" in each]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_is_a_good_end(self, agent: Agent, number: signal.Signals) -> None:
        [front] = processes.children(agent.process.pid)
        agent.process.send_signal(number)
        out, _ = agent.process.communicate(timeout=20)
        assert (agent.process.returncode, out.strip()) == (0, "agent of embedded ended")
        assert processes.born(front) == 0

    def test_a_gate_that_is_killed_takes_the_front_with_it(self, agent: Agent) -> None:
        [front] = processes.children(agent.process.pid)
        family = {front: processes.born(front)}
        agent.process.kill()
        agent.process.wait()
        assert processes.left_after(5, family=family) == {}

    def test_a_front_that_is_killed_ends_the_agent_with_a_word(self, agent: Agent) -> None:
        [front] = processes.children(agent.process.pid)
        os.kill(front, signal.SIGKILL)
        agent.process.wait(20)
        assert agent.process.returncode == 3
        assert "network half ended" in agent.log[-1]


class TestUsage:
    @pytest.mark.parametrize(
        "listen", ["", ":8443", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:x"]
    )
    def test_an_address_that_is_none(
        self, standing: Booted, party: Party, shype_command: Shype, listen: str
    ) -> None:
        outcome = shype_command(
            "host", "serve", standing.folder, "--listen", listen, "--allow", party.listed()
        )
        assert (outcome.exit, outcome.out) == (2, "")
        assert "ADDRESS:PORT" in outcome.line

    def test_no_host_runs_there(self, party: Party, shype_command: Shype, short_tmp: Path) -> None:
        outcome = shype_command(
            "host", "serve", short_tmp, "--listen", "127.0.0.1:0", "--allow", party.listed()
        )
        assert (outcome.exit, outcome.out) == (2, "")
        assert "no host runs here" in outcome.line

    @pytest.mark.parametrize("user", ["nosuchuser", "root"])
    def test_root_becomes_somebody_and_not_itself(
        self, standing: Booted, party: Party, shype_command: Shype, user: str
    ) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can become somebody")
        words: list[Any] = ["host", "serve", standing.folder, "--listen", "127.0.0.1:0"]
        outcome = shype_command(*words, "--allow", party.listed(), "--user", user)
        assert (outcome.exit, outcome.out) == (2, "")
        assert f"--user {user}" in outcome.line

    def test_a_port_that_is_taken(
        self, agent: Agent, standing: Booted, party: Party, shype_command: Shype
    ) -> None:
        words: list[Any] = ["host", "serve", standing.folder, "--listen", f"127.0.0.1:{agent.port}"]
        outcome = shype_command(*words, "--allow", party.listed())
        assert (outcome.exit, outcome.out) == (2, "")
        assert "in use" in outcome.line

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("http://127.0.0.1:1", "https://HOST:PORT"),
            ("https://127.0.0.1:1/path", "https://HOST:PORT"),
            ("https://me:secret@127.0.0.1:1", "https://HOST:PORT"),
            ("https://", "https://HOST:PORT"),
            ("https://127.0.0.1:0", "https://HOST:PORT"),
            ("https://h\u00f6st:1", "https://HOST:PORT"),
            ("https://\udcff:1", "https://HOST:PORT"),
            ("https://[::1", "https://HOST:PORT"),
            ("https://127.0.0.1:99999", "https://HOST:PORT"),
        ],
    )
    def test_a_url_that_is_none(self, party: Party, url: str, words: str) -> None:
        outcome = party.verify(url)
        assert outcome.exit == 2
        assert words in outcome.line

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (("--nonce", "00" * 32), "--nonce"),
            (("--enroll", "--enrolment", "x"), "--enroll"),
            ((), "not enrolled"),
        ],
    )
    def test_options_that_do_not_go_together(self, party: Party, more: tuple[str, ...], words: str) -> None:
        outcome = party.verify("https://127.0.0.1:1", *more)
        assert outcome.exit == 2
        assert words in outcome.line

    def test_a_client_key(self, party: Party) -> None:
        assert party.key().stat().st_mode & 0o777 == 0o600
        assert b"PRIVATE KEY" not in party.listed().read_bytes()
        assert list(AllowList.decode(party.listed().read_bytes()).names.values()) == [CLIENT]

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (("--name", "a b"), "--name"),
            (("--name", "x" * 65), "--name"),
            (("--name", "\u0430"), "--name"),
            (("--days", "0"), "--days"),
            (("--days", "99999"), "--days"),
        ],
    )
    def test_a_client_key_that_cannot_be_made(
        self, tmp_path: Path, shype_command: Shype, more: tuple[str, str], words: str
    ) -> None:
        files = ("-o", tmp_path / "key", "--certificate", tmp_path / "crt")
        outcome = shype_command("enroll", "client-key", "--name", "auditor", *files, *more)
        assert (outcome.exit, words in outcome.line) == (2, True)
        assert list(tmp_path.iterdir()) == []

    def test_a_key_that_others_can_read(self, party: Party) -> None:
        party.key().chmod(0o640)
        outcome = party.verify("https://127.0.0.1:1", "--enroll")
        assert (outcome.exit, "chmod 600" in outcome.line) == (2, True)

    def test_a_key_that_is_none(self, party: Party) -> None:
        party.key().write_bytes(party.listed().read_bytes())
        outcome = party.verify("https://127.0.0.1:1", "--enroll")
        assert (outcome.exit, "client-key" in outcome.line) == (2, True)
        assert not (party.folder / "anchors" / "standings" / "embedded.json").exists(), "nothing was asked"
