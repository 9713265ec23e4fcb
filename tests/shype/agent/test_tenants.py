"""An agent with clients of several tenants: each gets its own part, whatever it, or the front, says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attest.agent_documents import AgentRefusal, EvidenceRequest
from attest.evidence import Evidence
from attest.runtime_events import DomainLaunch
from shype import tls_key
from shype.agent.allow import MAX_CLIENTS, AllowList
from shype.agent.clients import Clients
from shype.agent.frames import Action, Outcome, frame
from shype.errors import ShypeUsageError
from shype.remote.client import Client
from tests.disclosure import named
from tests.schemas import validator
from tests.shype.agent.conftest import CLIENT, Agent, Party, Serve, codes
from tests.shype.agent.puppet import asked, forward, puppet
from tests.shype.agent.test_gate import ALL, OURS, answer, kept, listed, refusal

if TYPE_CHECKING:
    from tests.shype.conftest import Operator, Rented
    from tests.shype.outcome import Shype
    from tests.shype.processes import Booted

pytestmark = pytest.mark.host
AUDITOR, AUDITORS = listed("auditor")
COLA, COLAS = listed("cola")
BANK, BANKS = listed("bank")
JUICE, JUICES = listed("juice")
SHARED = Clients.of(AUDITORS, {"cola": COLAS, "bank-web": BANKS, "juice": JUICES})


def names(raw: bytes) -> list[str]:
    return [DomainLaunch.decode(each.launch).name for each in Evidence.decode(raw).domains]


def signed(key: Any, channel: bytes = OURS, nonce: bytes | None = None) -> bytes:
    asks = EvidenceRequest(nonce or os.urandom(32))
    return EvidenceRequest(asks.nonce, tls_key.sign(key, asks.to_sign(channel))).encode()


class TestTheGate:
    """It reads frames of a front that somebody has taken over, and knows clients by what they have signed."""

    @pytest.mark.parametrize(
        ("key", "shown"),
        [
            (AUDITOR, ["cola-web", "bank-web", "cola-db"]),
            (COLA, ["cola-web", "cola-db"]),
            (BANK, ["bank-web"]),
        ],
        ids=("auditor", "cola", "bank"),
    )
    def test_gives_each_client_its_part(self, rented: Rented, key: Any, shown: list[str]) -> None:
        with kept(rented.folder, SHARED) as link:
            link.sendall(frame(Action.EVIDENCE, signed(key)))
            kind, raw = answer(link)
        assert (kind, names(raw)) == (Outcome.DONE, shown)

    @pytest.mark.parametrize(
        "question",
        [
            EvidenceRequest(bytes(32)).encode(),
            EvidenceRequest(bytes(32), b"\x30\x00").encode(),
            EvidenceRequest(bytes(32), bytes(70)).encode(),
            signed(listed("stranger")[0]),
            signed(COLA, channel=bytes(32)),
            signed(COLA, nonce=bytes(32)).replace(b"00" * 32, b"00" * 31 + b"01"),
        ],
        ids=("unsigned", "no signature", "zeros", "a stranger's", "for another agent", "for another nonce"),
    )
    def test_refuses_what_no_client_has_signed(self, rented: Rented, question: bytes) -> None:
        """So a front that is taken over gets nothing by itself, neither the whole nor a part."""
        with kept(rented.folder, SHARED) as link:
            link.sendall(frame(Action.EVIDENCE, question))
            assert refusal(link) == "not-signed"

    def test_takes_no_word_of_the_front_for_the_tenant(self, rented: Rented) -> None:
        for more in (b',"tenant":"bank-web"}', b',"client":"bank"}'):
            with kept(rented.folder, SHARED) as link:
                link.sendall(frame(Action.EVIDENCE, signed(COLA).rstrip().removesuffix(b"}") + more))
                assert refusal(link) == "message-malformed"

    def test_tells_a_tenant_without_a_domain_that_and_no_more(self, rented: Rented) -> None:
        with kept(rented.folder, SHARED) as link:
            link.sendall(frame(Action.EVIDENCE, signed(JUICE)))
            kind, raw = answer(link)
        assert kind == Outcome.REFUSED
        told = AgentRefusal.decode(raw)
        assert (told.code, told.detail) == ("no-domain", "no domain of yours runs on this host")

    def test_of_one_tenant_alone_has_no_other_part_to_give(self, rented: Rented) -> None:
        with kept(rented.folder, Clients.of(None, {"cola": COLAS})) as link:
            for key in (AUDITOR, BANK):
                link.sendall(frame(Action.EVIDENCE, signed(key)))
                assert refusal(link) == "not-signed"

    def test_asks_for_no_signature_where_everybody_sees_the_whole(self, rented: Rented) -> None:
        with kept(rented.folder, ALL) as link:
            link.sendall(frame(Action.EVIDENCE, EvidenceRequest(os.urandom(32)).encode()))
            kind, raw = answer(link)
        assert (kind, len(names(raw))) == (Outcome.DONE, 3)


class TestListsThatDoNotGoTogether:
    @pytest.mark.parametrize(
        ("allowed", "tenants"),
        [
            (COLAS, {"cola": COLAS}),
            (AUDITORS, {"cola": COLAS, "bank-web": COLAS}),
            (AUDITORS, {"cola": listed("auditor")[1]}),
            (None, {}),
        ],
        ids=("a certificate in --allow too", "one of two tenants", "a name twice", "nobody"),
    )
    def test_are_wrong_usage(self, allowed: AllowList | None, tenants: dict[str, AllowList]) -> None:
        with pytest.raises(ShypeUsageError, match="--allow, --tenant: "):
            Clients.of(allowed, tenants)

    def test_one_key_under_two_names(self) -> None:
        from tests.shype.agent.test_allow import certificate

        first, second = (AllowList.decode(certificate(name)) for name in ("a", "b"))
        with pytest.raises(ShypeUsageError, match="client b "):
            Clients.of(first, {"cola": second})

    def test_more_clients_than_an_agent_has_in_all(self) -> None:
        lists = {f"t{i}": listed(f"c{i}")[1] for i in range(MAX_CLIENTS)}
        assert len(Clients.of(None, lists).listed.names) == MAX_CLIENTS
        with pytest.raises(ShypeUsageError, match="at most"):
            Clients.of(AUDITORS, lists)

    @pytest.mark.parametrize(
        ("words", "line"),
        [
            (("--allow", "auditor.crt", "--tenant", "cola=auditor.crt"), "on two lists"),
            (("--tenant", "cola=auditor.crt", "--tenant", "bank=auditor.crt"), "on two lists"),
            (("--tenant", "cola=auditor.crt", "--tenant", "cola=auditor.crt"), "given twice"),
            ((), "who may ask"),
            (("--tenant", "cola"), "T=FILE"),
            (("--tenant", "=auditor.crt"), "T=FILE"),
            (("--tenant", "cola="), "T=FILE"),
            (("--tenant", "cola=no-such-file"), "no-such-file"),
        ],
    )
    def test_the_command_says_so(
        self,
        party: Party,
        shype_command: Shype,
        monkeypatch: pytest.MonkeyPatch,
        words: tuple[str, ...],
        line: str,
    ) -> None:
        monkeypatch.chdir(party.folder)
        outcome = shype_command("host", "serve", party.folder, "--listen", "127.0.0.1:0", *words)
        assert (outcome.exit, outcome.out) == (2, "")
        assert line in outcome.line

    def test_the_file_that_is_no_list_is_named(self, party: Party, shype_command: Shype) -> None:
        good, bad = party.listed(), party.folder / "bad.crt"
        bad.write_bytes(b"cola\n")
        words = ("host", "serve", party.folder, "--listen", "127.0.0.1:0", "--allow", good)
        outcome = shype_command(*words, "--tenant", f"cola={bad}")
        assert (outcome.exit, f"{bad}: allow list: " in outcome.line) == (3, True)


@pytest.fixture
def tenants(party: Party) -> Party:
    """A party with the keys of several; its reference values know cola-web alone."""
    for name in ("cola", "bank", "juice"):
        party.make_key(name)
    return party


@pytest.fixture
def shared(serve: Serve, rented: Rented, tenants: Party) -> Agent:
    return serve(
        rented.folder,
        tenants.listed(),
        *("--tenant", f"cola={tenants.listed('cola')}", "--tenant", f"bank-web={tenants.listed('bank')}"),
        *("--tenant", f"juice={tenants.listed('juice')}"),
    )


class TestTheCommands:
    def test_a_tenant_judges_its_own_domain_and_learns_how_many_others_run(
        self, shared: Agent, tenants: Party
    ) -> None:
        """Enrolment is as everybody's; its second domain is shown, and is not asked for."""
        outcome = tenants.verify(shared.url, "--enroll", "--domain", "cola-web", client="cola")
        assert (outcome.exit, codes(outcome)) == (0, []), outcome.out
        children = outcome.document["tree"]["children"]
        assert [each["name"] for each in children if each["name"].startswith("domain")] == ["domain cola-web"]
        [platform] = [each for each in children if each["name"] == "platform"]
        assert platform["notes"][-1].endswith("domains running 3, 2 of them not judged")
        assert [line.split()[2:5] for line in shared.log][-1] == ["cola", "evidence", "ok"]

    def test_another_tenant_s_domain_is_missing(self, shared: Agent, tenants: Party) -> None:
        """What its own reference values name is not shown to the bank: not judged, and not affirmed."""
        outcome = tenants.verify(shared.url, "--enroll", "--domain", "cola-web", client="bank")
        assert (outcome.exit, codes(outcome)) == (4, ["domain-missing"])

    def test_a_tenant_without_a_domain_is_refused(self, shared: Agent, tenants: Party) -> None:
        outcome = tenants.verify(shared.url, "--enroll", client="juice")
        assert (outcome.exit, codes(outcome)) == (4, ["host-refuses"])
        assert "no domain of yours runs on this host" in outcome.out
        assert len(shared.logged("no-domain")) == 1

    def test_each_client_gets_its_part_by_another_program_too(
        self, shared: Agent, tenants: Party, rented: Rented
    ) -> None:
        words = rented.words("bank-web")
        for client, shown in ((CLIENT, 3), ("cola", 2), ("bank", 1)):
            question = Client.load(tenants.key(client)).question(os.urandom(32), shared.key)
            validator("evidence-request").validate(json.loads(question))
            status, _, raw = asked(shared.port, tenants.key(client), "/v1/evidence", question)
            assert (status, len(names(raw))) == (200, shown)
            assert named(raw, words) == (set() if client == "cola" else words)

    def test_a_question_that_is_not_signed(self, shared: Agent, tenants: Party) -> None:
        for client in (CLIENT, "cola"):
            unsigned = EvidenceRequest(os.urandom(32)).encode()
            status, _, raw = asked(shared.port, tenants.key(client), "/v1/evidence", unsigned)
            assert (status, json.loads(raw)["code"]) == (403, "not-signed")
            validator("agent-refusal").validate(json.loads(raw))

    def test_a_question_that_was_meant_for_somebody_in_between(self, shared: Agent, tenants: Party) -> None:
        """The bank relays what cola asks it: signed for the bank's key, it opens nothing here."""
        with puppet(forward(shared.port, tenants.key("bank"))) as relay:
            outcome = tenants.verify(relay.url, "--enroll", "--domain", "cola-web", client="cola")
        assert (outcome.exit, codes(outcome)) == (4, ["host-refuses"])
        assert "does somebody stand between?" in outcome.out

    def test_a_file_for_a_tenant_is_judged_alike(
        self, shared: Agent, tenants: Party, rented: Rented, shype_command: Shype, tmp_path: Path
    ) -> None:
        assert tenants.verify(shared.url, "--enroll", "--domain", "cola-web", client="cola").exit == 0
        nonce, file = os.urandom(32).hex(), tmp_path / "own.json"
        words = ("attest", "--host", rented.folder, "--nonce", nonce, "--tenant", "cola", "-o", file)
        assert shype_command(*words).exit == 0
        judge = [
            *("verify", file, "--nonce", nonce, "--policy", tenants.policy, "--profile", "embedded"),
            *("--reference", tenants.folder / "reference.json", "--anchors", tenants.folder / "anchors"),
        ]
        outcome = shype_command(*judge, "--domain", "cola-web", "--json")
        assert (outcome.exit, outcome.document["verdict"]) == (0, "affirming")
        missing = shype_command(*judge, "--domain", "bank-web", "--json")
        assert (missing.exit, codes(missing)) == (4, ["domain-missing"])
        whole = shype_command(*judge, "--json")
        assert (whole.exit, codes(whole)) == (1, ["domain-not-in-reference"]), (
            "its second domain is shown too"
        )


def test_a_domain_that_is_destroyed_between_two_questions(
    serve: Serve, serving: Booted, party: Party, operator: Operator
) -> None:
    for pem in (serving.folder / "certificates").glob("*.pem"):
        assert (party.folder / "anchors" / pem.name).read_bytes() == pem.read_bytes()
    agent = serve(serving.folder, party.listed(), "--allow", str(_another(party)), "--tenant",
                  f"cola={party.listed()}")  # fmt: skip
    assert party.verify(agent.url, "--enroll").exit == 0
    assert operator.domain(serving.folder, "stop", "cola-web").exit == 0
    outcome = party.verify(agent.url)
    assert (outcome.exit, codes(outcome)) == (4, ["host-refuses"])
    assert operator.launch(serving.folder, "cola-web", "--tenant", "pepsi").exit == 0
    outcome = party.verify(agent.url)
    assert (outcome.exit, codes(outcome)) == (4, ["host-refuses"]), "the same domain, and another's now"


def _another(party: Party) -> Path:
    party.make_key("another")
    return party.listed("another")
