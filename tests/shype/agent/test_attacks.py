"""Attacks between a verifier and a host, each on the real thing; numbers are rows of facts/attest.md 3.2."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attest.evidence import MAX_BYTES
from shype.host.socket import call
from shype.remote import link as remote_link
from tests.shype.agent.conftest import Agent, Party, Serve, codes
from tests.shype.agent.puppet import Act, Puppet, Reply, forward, puppet
from tests.shype.processes import Booted

if TYPE_CHECKING:
    from tests.shype.conftest import Operator

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def record() -> dict[str, bytes]:
    """The enrolment of the standing host, made by the first test that needs it."""
    return {}


@pytest.fixture
def enrolled(party: Party, record: dict[str, bytes], request: pytest.FixtureRequest) -> Party:
    """A party that knows the standing host."""
    if not record:
        done = party.verify(request.getfixturevalue("agent").url, "--enroll")
        assert done.exit == 0, done.out
        record["json"] = party.record.read_bytes()
        shutil.rmtree(party.folder / "anchors" / "standings")
        party.record.with_suffix(".clock").unlink()
    party.record.parent.mkdir(exist_ok=True)
    party.record.write_bytes(record["json"])
    return party


@pytest.fixture
def twin(short_tmp: Path, repository: Path) -> Path:
    """A host of the same name and description with a TPM of its own, switched off."""
    from shype.host import creation

    made = short_tmp / "twin"
    creation.create(made, (repository / "configs" / "hosts" / "embedded.yaml").read_bytes())
    return made


class TestRelay:
    """Somebody with a place on the host's list stands in between, with a TLS key of his own on our side."""

    def test_it_is_caught(self, enrolled: Party, agent: Agent) -> None:
        with puppet(forward(agent.port, enrolled.key())) as relay:
            outcome = enrolled.verify(relay.url)
        assert (outcome.exit, codes(outcome)) == (3, ["channel-mismatch"])
        assert [path for path, _ in relay.asked] == ["/v1/evidence"]
        assert agent.logged("evidence")[-1].split()[4] == "ok", "the host did answer, and was genuine"

    def test_it_is_caught_when_it_claims_its_own_key(self, enrolled: Party, agent: Agent) -> None:
        relayed = forward(agent.port, enrolled.key())
        own: list[bytes] = []

        def act(path: str, body: bytes) -> Reply | bytes:
            answer = relayed(path, body)
            assert not isinstance(answer, bytes)
            return answer[0], {"shype-channel": own[0].hex()}, answer[2]

        with puppet(act) as relay:
            own.append(relay.key)
            outcome = enrolled.verify(relay.url)
        assert (outcome.exit, codes(outcome)) == (3, ["nonce-mismatch"])

    def test_it_is_caught_while_it_enrols(self, party: Party, agent: Agent) -> None:
        """The TPM that it shows is the host's own; what it cannot get is a quote over its own connection."""
        with puppet(forward(agent.port, party.key())) as relay:
            outcome = party.verify(relay.url, "--enroll")
        assert (outcome.exit, codes(outcome)) == (3, ["channel-mismatch"])

    def test_without_a_place_on_the_list_it_gets_nothing(self, enrolled: Party, agent: Agent) -> None:
        enrolled.make_key("stranger")

        def act(path: str, body: bytes) -> Reply | bytes:
            with pytest.raises(OSError, match=r"."):
                forward(agent.port, enrolled.key("stranger"))(path, body)
            return b""

        with puppet(act) as relay:
            outcome = enrolled.verify(relay.url)
        assert (outcome.exit, codes(outcome)) == (4, ["host-refuses"])
        assert len(agent.logged("certificate-not-on-the-list")) == 1
        assert "evidence" not in agent.log[-1]

    def test_evidence_from_a_file_is_not_an_answer(self, enrolled: Party, standing: Booted) -> None:
        """Whoever gets the operator's own 'shype attest' to sign a nonce has no channel in it."""
        with puppet(host_that(standing, bound=False)) as relay:
            outcome = enrolled.verify(relay.url)
        assert (outcome.exit, codes(outcome)) == (3, ["channel-mismatch"])


def host_that(host: Booted, *, bound: bool = True, alter: object = None) -> Act:
    """An agent whose front is the attacker's: it can bind to its own key, since the host is its own."""
    holder: list[Puppet] = []

    def act(_path: str, body: bytes) -> Reply:
        nonce = bytes.fromhex(json.loads(body)["nonce"])
        arguments = {"nonce": base64.b64encode(nonce).decode()}
        if bound:
            arguments["channel"] = base64.b64encode(holder[0].key).decode()
        document = call(host.folder, "attest", arguments).document
        assert isinstance(document, dict)
        evidence = base64.b64decode(str(document["evidence"]))
        return 200, {}, alter(evidence) if callable(alter) else evidence

    act.holder = holder  # type: ignore[attr-defined]
    return act


def altered(field: str) -> object:
    def alter(evidence: bytes) -> bytes:
        document = json.loads(evidence)
        raw = bytearray(base64.b64decode(document["host"][field]))
        raw[len(raw) // 2] ^= 1
        document["host"][field] = base64.b64encode(raw).decode()
        return json.dumps(document).encode()

    return alter


class TestAnswerAlteredOnTheWay:
    """By one that even has the TLS key that the host has signed: then the signature is what is left."""

    def test_unaltered_it_is_good(self, enrolled: Party, standing: Booted) -> None:
        act = host_that(standing)
        with puppet(act) as front:
            act.holder.append(front)  # type: ignore[attr-defined]
            assert enrolled.verify(front.url).exit == 0

    @pytest.mark.parametrize(
        ("field", "expected"),
        [
            ("quote", {"signature-invalid", "quote-malformed"}),
            ("signature", {"signature-invalid"}),
            ("runtime_log", {"runtime-log-mismatch", "runtime-log-malformed"}),
        ],
    )
    def test_altered_it_is_not(
        self, enrolled: Party, standing: Booted, field: str, expected: set[str]
    ) -> None:
        act = host_that(standing, alter=altered(field))
        with puppet(act) as front:
            act.holder.append(front)  # type: ignore[attr-defined]
            outcome = enrolled.verify(front.url)
        assert outcome.exit == 3
        assert set(codes(outcome)) <= expected
        assert codes(outcome)

    @pytest.mark.parametrize(
        "body", [b"", b"{}", b"null", b"\xff" * 100, b"[" * 100_000, b'{"schema":"shype.evidence/1"}']
    )
    def test_what_is_no_evidence(self, enrolled: Party, body: bytes) -> None:
        with puppet(lambda _path, _body: (200, {}, body)) as front:
            outcome = enrolled.verify(front.url)
        assert (outcome.exit, codes(outcome)) == (3, ["evidence-malformed"])


class TestRow21OldAnswersAndOthers:
    def test_an_old_answer_after_a_reboot(
        self, machine: Path, boot_files: Path, serve: Serve, party: Party, operator: Operator
    ) -> None:
        old: list[Reply] = []
        shutil.rmtree(party.folder / "anchors")
        (party.folder / "anchors").mkdir()
        for pem in (machine / "certificates").glob("*.pem"):
            shutil.copy(pem, party.folder / "anchors")
        with Booted.start(machine, boot_files) as host:
            operator.load_policy(host.folder)
            operator.launch(host.folder, "cola-web")
            agent = serve(host.folder, party.listed())
            assert party.verify(agent.url, "--enroll").exit == 0

            def record(path: str, body: bytes) -> Reply | bytes:
                answer = forward(agent.port, party.key())(path, body)
                assert not isinstance(answer, bytes)
                old.append(answer)
                return answer

            with puppet(record) as relay:
                party.verify(relay.url, "--state", party.folder / "elsewhere")
            agent.end()
        with Booted.start(machine, boot_files), puppet(lambda _path, _body: old[0]) as replayer:
            outcome = party.verify(replayer.url)
        assert (outcome.exit, codes(outcome)) == (3, ["nonce-mismatch"])

    def test_a_nonce_that_another_host_answers(
        self, twin: Path, boot_files: Path, enrolled: Party, serve: Serve
    ) -> None:
        """Another host under the same name, with another TPM: its key was never enrolled."""
        with Booted.start(twin, boot_files) as other:
            agent = serve(other.folder, enrolled.listed())
            outcome = enrolled.verify(agent.url)
        assert (outcome.exit, codes(outcome)) == (3, ["ak-not-enrolled"])

    def test_an_answer_under_another_name(self, enrolled: Party, standing: Booted) -> None:
        def renamed(evidence: bytes) -> bytes:
            return evidence.replace(b'"name":"embedded"', b'"name":"xen2"')

        act = host_that(standing, alter=renamed)
        with puppet(act) as front:
            act.holder.append(front)  # type: ignore[attr-defined]
            outcome = enrolled.verify(front.url)
        assert (outcome.exit, codes(outcome)) == (3, ["host-name-mismatch"])

    def test_every_question_has_a_nonce_of_its_own(self, enrolled: Party) -> None:
        with puppet(lambda _path, _body: (404, {}, b"")) as front:
            for _ in range(3):
                enrolled.verify(front.url)
        nonces = {json.loads(body)["nonce"] for _, body in front.asked}
        assert len(nonces) == 3
        assert all(len(nonce) == 64 for nonce in nonces)


class TestRows10To13Enrolment:
    def test_row_13_nothing_is_asked_before_enrolment(self, party: Party, agent: Agent) -> None:
        outcome = party.verify(agent.url)
        assert (outcome.exit, "not enrolled" in outcome.line) == (2, True)
        assert agent.log == []

    def test_row_10_another_tpm_under_a_known_name(
        self, twin: Path, boot_files: Path, enrolled: Party, serve: Serve
    ) -> None:
        """Both makers are trusted: what tells is that the name has a TPM already."""
        record = enrolled.record.read_bytes()
        for pem in (twin / "certificates").glob("*.pem"):
            shutil.copy(pem, enrolled.folder / "anchors" / f"twin-{pem.name}")
        with Booted.start(twin, boot_files) as other:
            agent = serve(other.folder, enrolled.listed())
            outcome = enrolled.verify(agent.url, "--enroll")
        assert (outcome.exit, codes(outcome)) == (1, ["host-has-other-tpm"])
        assert enrolled.record.read_bytes() == record
        assert enrolled.status() == "failed"
        assert [line.split()[3] for line in agent.log] == ["endorsement"], "no credential was made for it"

    def test_row_12_an_activation_answered_twice(self, party: Party, agent: Agent) -> None:
        """The answer to an earlier challenge is none to the next one."""
        kept: list[Reply] = []
        real = forward(agent.port, party.key())

        def act(path: str, body: bytes) -> Reply | bytes:
            if path == "/v1/activate" and kept:
                return kept[0]
            answer = real(path, body)
            if path == "/v1/activate":
                assert not isinstance(answer, bytes)
                kept.append(answer)
            return answer

        with puppet(act) as relay:
            party.verify(relay.url, "--enroll", "--state", party.folder / "elsewhere")
            party.record.unlink()
            outcome = party.verify(relay.url, "--enroll")
        assert (outcome.exit, codes(outcome)) == (1, ["enrolment-refused"])
        assert "challenge-response" in outcome.document["reasons"][0]["detail"]
        assert not party.record.exists()
        secret = json.loads(kept[0][2])["secret"]
        assert secret not in outcome.out + outcome.err

    def test_a_tpm_of_a_maker_whom_nobody_trusts(self, party: Party, agent: Agent) -> None:
        from tests.simulators.host import Ca

        for pem in (party.folder / "anchors").glob("*.pem"):
            pem.unlink()
        (party.folder / "anchors" / "maker.pem").write_bytes(Ca().pem())
        outcome = party.verify(agent.url, "--enroll")
        assert (outcome.exit, codes(outcome)) == (1, ["enrolment-refused"])
        assert not party.record.exists()

    @pytest.mark.parametrize("path", ["/v1/endorsement", "/v1/activate"])
    @pytest.mark.parametrize("body", [b"", b"{}", b"\x00", b'{"schema":"shype.endorsement-offer/1"}'])
    def test_what_is_no_answer(self, party: Party, agent: Agent, path: str, body: bytes) -> None:
        real = forward(agent.port, party.key())
        with puppet(lambda asked, sent: (200, {}, body) if asked == path else real(asked, sent)) as relay:
            outcome = party.verify(relay.url, "--enroll")
        assert (outcome.exit, codes(outcome)) == (3, ["answer-malformed"])
        assert not party.record.exists()


class TestRow73RegistersThatNeverStandStill:
    def test_after_some_rounds_it_is_held_against_the_host(self, enrolled: Party) -> None:
        body = b'{"schema":"shype.agent-refusal/1","code":"pcrs-moving","detail":"ask again"}'
        with puppet(lambda _path, _body: (503, {}, body)) as front:
            outcome = enrolled.verify(front.url)
        assert (outcome.exit, codes(outcome)) == (1, ["registers-never-still"])
        assert len({json.loads(sent)["nonce"] for _, sent in front.asked}) == 3

    def test_one_round_is_no_harm(self, enrolled: Party, standing: Booted) -> None:
        body = b'{"schema":"shype.agent-refusal/1","code":"pcrs-moving","detail":"ask again"}'
        act = host_that(standing)
        rounds: list[int] = []

        def once(path: str, sent: bytes) -> Reply | bytes:
            rounds.append(1)
            return (503, {}, body) if len(rounds) == 1 else act(path, sent)

        with puppet(once) as front:
            act.holder.append(front)  # type: ignore[attr-defined]
            assert enrolled.verify(front.url).exit == 0


class TestRow76AFailureIsNotForgotten:
    def test_by_silence_and_then_a_good_answer(self, enrolled: Party, agent: Agent) -> None:
        with puppet(forward(agent.port, enrolled.key())) as relay:
            assert enrolled.verify(relay.url).exit == 3
        assert enrolled.status() == "failed"
        quiet = enrolled.verify("https://127.0.0.1:1")
        assert (quiet.exit, codes(quiet)) == (1, ["host-quiet", "failed-before"])
        good = enrolled.verify(agent.url)
        assert (good.exit, codes(good)) == (1, ["failed-before"])
        assert "channel-mismatch" in good.document["reasons"][0]["detail"]
        shown = enrolled.shype("result", "standing", enrolled.folder / "anchors")
        assert (shown.exit, shown.out.split()[:3]) == (1, ["✗", "embedded:", "failed"])

    def test_until_a_person_says_why(self, enrolled: Party, agent: Agent) -> None:
        with puppet(forward(agent.port, enrolled.key())) as relay:
            enrolled.verify(relay.url)
        anchors = enrolled.folder / "anchors"
        assert enrolled.shype("result", "clear", anchors, "--host", "embedded", "--why", " ").exit == 2
        why = "the relay was our own test"
        cleared = enrolled.shype("result", "clear", anchors, "--host", "embedded", "--why", why, "--json")
        assert (cleared.exit, cleared.document["standing"]["cleared_why"]) == (0, why)
        assert enrolled.status() == "unknown", "it has to be asked anew"
        assert enrolled.verify(agent.url).exit == 0
        assert enrolled.status() == "good"
        again = enrolled.shype("result", "clear", anchors, "--host", "embedded", "--why", why)
        assert (again.exit, "no failure stands" in again.out, enrolled.status()) == (0, True, "good")

    def test_silence_alone_is_silence(self, enrolled: Party) -> None:
        quiet = enrolled.verify("https://127.0.0.1:1")
        assert (quiet.exit, codes(quiet)) == (4, ["host-quiet"])
        assert enrolled.status() == "silent"
        assert enrolled.shype("result", "standing", enrolled.folder / "anchors").exit == 4

    def test_a_verifier_that_dies_while_it_asks_leaves_a_question(
        self, enrolled: Party, agent: Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(remote_link.AgentLink, "ask", die)
        with pytest.raises(KeyboardInterrupt):
            enrolled.verify(agent.url)
        assert enrolled.status() == "silent"

    @pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b'{"schema": "shype.standing/1"}'])
    def test_a_record_that_is_broken_is_no_clean_slate(
        self, enrolled: Party, agent: Agent, raw: bytes
    ) -> None:
        assert enrolled.verify(agent.url).exit == 0
        (enrolled.folder / "anchors" / "standings" / "embedded.json").write_bytes(raw)
        outcome = enrolled.verify(agent.url)
        assert (outcome.exit, "standing" in outcome.line) == (3, True)


class TestWhatAServerMayDoToUs:
    """Row 40: whatever comes back is bounded."""

    def test_an_endless_body(self, enrolled: Party) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n"
        with puppet(lambda _path, _body: head + b"x" * (MAX_BYTES + 1)) as front:
            outcome = enrolled.verify(front.url)
        assert (outcome.exit, codes(outcome)) == (3, ["answer-malformed"])
        assert "more than" in outcome.document["reasons"][0]["detail"]

    @pytest.mark.parametrize(
        "raw",
        [
            b"\x00" * 1000,
            b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nxxxxx",
            b"SSH-2.0-OpenSSH\r\n",
        ],
    )
    def test_what_is_no_http(self, enrolled: Party, raw: bytes) -> None:
        with puppet(lambda _path, _body: raw) as front:
            outcome = enrolled.verify(front.url)
        assert (outcome.exit, codes(outcome)) == (3, ["answer-malformed"])

    @pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"])
    def test_an_end_in_the_middle(self, enrolled: Party, raw: bytes) -> None:
        with puppet(lambda _path, _body: raw) as front:
            outcome = enrolled.verify(front.url)
        assert outcome.exit in {3, 4}
        assert set(codes(outcome)) <= {"host-refuses", "host-quiet", "answer-malformed"}

    def test_a_server_that_does_not_answer(self, enrolled: Party, monkeypatch: pytest.MonkeyPatch) -> None:
        import threading

        monkeypatch.setattr(remote_link, "ANSWER_SECONDS", 0.5)
        over = threading.Event()

        def wait(_path: str, _body: bytes) -> bytes:
            over.wait(10)
            return b""

        with puppet(wait) as front:
            outcome = enrolled.verify(front.url)
            over.set()
        assert (outcome.exit, codes(outcome)) == (4, ["host-quiet"])

    def test_a_server_that_drips(self, enrolled: Party, monkeypatch: pytest.MonkeyPatch) -> None:
        """The time is for the whole answer, not for each byte of it."""
        monkeypatch.setattr(remote_link, "ANSWER_SECONDS", 0.0)
        with puppet(lambda _path, _body: (200, {}, b"x" * 1000)) as front:
            outcome = enrolled.verify(front.url)
        assert (outcome.exit, codes(outcome)) == (4, ["host-quiet"])

    def test_interim_answers_without_end(self, enrolled: Party) -> None:
        """None of them is the answer, each is well-formed and small, and each may be followed by another."""
        interim = b"HTTP/1.1 102 Processing\r\n\r\n"
        with puppet(lambda _path, _body: interim * (remote_link.MAX_INTERIM + 1)) as front:
            outcome = enrolled.verify(front.url)
        assert (outcome.exit, codes(outcome)) == (3, ["answer-malformed"])
        assert "interim" in outcome.document["reasons"][0]["detail"]

    def test_a_few_interim_answers_are_passed_over(self, enrolled: Party, standing: Booted) -> None:
        act = host_that(standing)
        with puppet(act) as front:
            act.holder.append(front)  # type: ignore[attr-defined]

            def late(path: str, body: bytes) -> bytes:
                _, _, evidence = act(path, body)
                head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(evidence)
                return b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + head + evidence

            with puppet(late) as patient:
                act.holder[0] = patient  # type: ignore[attr-defined]
                outcome = enrolled.verify(patient.url)
        assert outcome.exit == 0, outcome.out

    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (301, {"location": "https://127.0.0.1:1/v1/evidence"}),
            (307, {"location": "/v1/evidence"}),
            (200, {"content-encoding": "gzip"}),
            (206, {"content-range": "bytes 0-1/2"}),
        ],
        ids=["redirect", "redirect to itself", "compressed", "a part"],
    )
    def test_an_answer_of_another_kind_is_not_followed(
        self, enrolled: Party, status: int, headers: dict[str, str]
    ) -> None:
        packed = gzip.compress(b'{"schema": "shype.evidence/1"}')
        with puppet(lambda _path, _body: (status, headers, packed)) as front:
            outcome = enrolled.verify(front.url)
        assert outcome.exit == 3, outcome.out
        assert len(front.asked) == 1

    def test_two_documents_in_one_answer(self, enrolled: Party, standing: Booted) -> None:
        act = host_that(standing, alter=lambda evidence: evidence + evidence)
        with puppet(act) as front:
            act.holder.append(front)  # type: ignore[attr-defined]
            outcome = enrolled.verify(front.url)
        assert outcome.exit == 3, outcome.out


def test_a_proxy_in_the_environment_is_not_asked(
    enrolled: Party, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host is asked over a connection of one's own: what stands in between would be a relay."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.0)
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trap.getsockname()[1]}")
        outcome = enrolled.verify(agent.url)
        with pytest.raises(BlockingIOError):
            trap.accept()
    assert outcome.exit == 0, outcome.out
