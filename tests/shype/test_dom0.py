"""The host object of a real Domain-0: goes on with the first act's log, and nothing runs behind its back.

A Xen in the shapes of its binding stands for the hypervisor (tests/simulators/xen.py), a swtpm is the TPM;
the lab has the real ones.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attest.errors import AttestInputError
from attest.eventlog.read import parse
from attest.eventlog.replay import verify_replay
from attest.evidence import Evidence
from attest.runtime_events import DomainFound, decode_event
from hypervisor.audit import read_trail
from hypervisor.errors import AccessDenied, StrangerRuns, XenError
from shype.errors import HostBusyError, ShypeUsageError
from tests.disclosure import named
from tests.schemas import validator
from tests.simulators.device import device
from tests.simulators.dom0 import IMA, Machine
from vtpm.tpm2.attestation import Attest, QuoteInfo
from vtpm.tpm2.constants import Alg

if TYPE_CHECKING:
    from shype.host.dom0 import Dom0Host
    from shype.host.service import Service
    from tests.shype.conftest import Operator
    from vtpm.swtpm import Swtpm

pytestmark = pytest.mark.host
NONCE = bytes(range(32))


@pytest.fixture
def machine(swtpm: Swtpm, short_tmp: Path, repository: Path) -> Machine:
    return Machine(swtpm, short_tmp, repository / "configs")


@pytest.fixture
def host(machine: Machine) -> Iterator[Dom0Host]:
    machine.first_act()
    with machine.host() as host:
        host.load_policy(machine.policy)
        yield host


@pytest.fixture
def service(host: Dom0Host) -> Service:
    from shype.host.service import Service

    return Service(host)


def events(evidence: Evidence) -> list[tuple[int, str, str]]:
    """What the quote proves by replay: PCR, type of the event, and what happened to a domain."""
    attested = Attest.decode(evidence.host.quote).attested
    assert isinstance(attested, QuoteInfo)
    values = {each.index: each.value for each in evidence.host.pcrs if each.index in (12, 13)}
    log = verify_replay(parse(evidence.host.runtime_log), values, Alg.SHA256)
    found = [(each.pcr, decode_event(each.measured or b"")) for each in log.events]
    return [(pcr, event.TYPE, str(getattr(event, "event", ""))) for pcr, event in found]


def test_evidence_goes_on_where_the_first_act_began(machine: Machine, host: Dom0Host) -> None:
    host.launch(machine.config("g1"))
    host.launch(machine.config("g2"))
    host.stop("g2")
    evidence = Evidence.decode(host.evidence(NONCE).encode())
    assert events(evidence) == [
        (12, "hypervisor", ""),
        (12, "policy", ""),
        (13, "domain", "launch"),
        (13, "domain", "launch"),
        (13, "domain", "stop"),
    ]
    assert {each.index for each in evidence.host.pcrs} == {*range(11), 12, 13}
    assert (evidence.host.ima_log, evidence.host.found, evidence.host.firmware_log) == (IMA, (), None)
    (domain,) = evidence.domains
    assert json.loads(domain.launch)["label"] == "cola-web"


def test_a_host_without_a_first_act_does_not_begin(machine: Machine) -> None:
    with pytest.raises(ShypeUsageError, match="firstact"):
        machine.host()


def test_a_log_that_does_not_explain_the_registers_is_refused(machine: Machine) -> None:
    machine.first_act()
    with device(machine.swtpm.channel.exchange) as raw:
        raw.extend(12, {Alg.SHA256: bytes(32)})
    with pytest.raises(AttestInputError, match="PCR 12 is not what the log"):
        machine.host()


@pytest.mark.usefixtures("host")
def test_one_process_at_a_time(machine: Machine) -> None:
    with pytest.raises(HostBusyError):
        machine.host()


def test_a_domain_behind_our_back_is_found_once_and_stays_found(machine: Machine, host: Dom0Host) -> None:
    stranger = machine.xen.stranger("miner")
    host.poll()
    host.poll()
    del machine.xen.guests[stranger.domid]
    evidence = host.evidence(NONCE)
    assert [event for event in events(evidence) if event[0] == 13] == [(13, "domain", "found")]
    (found,) = [DomainFound.decode(each) for each in evidence.host.found]
    assert (found.domid, found.uuid, found.name) == (stranger.domid, stranger.uuid, "miner")
    assert found.context == "system_u:system_r:domU_t"
    trail = read_trail((host.folder / "audit.log").read_bytes())
    assert [each.action for each in trail if each.action == "found"] == ["found"]


def test_evidence_polls_by_itself(machine: Machine, host: Dom0Host) -> None:
    """Nobody slips in between two polls and a quote."""
    machine.xen.stranger()
    assert (13, "domain", "found") in events(host.evidence(NONCE))


def test_a_stranger_of_before_the_policy_is_found(machine: Machine) -> None:
    machine.xen.stranger()
    machine.first_act()
    with machine.host() as host:
        assert events(host.evidence(NONCE))[1:] == [(13, "domain", "found")]


@pytest.mark.parametrize("name", ["", "x" * 1000, "\u202e\n"])
def test_no_name_keeps_a_domain_from_being_found(name: str, machine: Machine, host: Dom0Host) -> None:
    machine.xen.stranger(name)
    assert (13, "domain", "found") in events(host.evidence(NONCE))


def test_nothing_is_launched_beside_a_stranger(machine: Machine, host: Dom0Host) -> None:
    machine.xen.stranger()
    with pytest.raises(StrangerRuns):
        host.launch(machine.config("g1"))


def test_a_domain_that_ended_by_itself_is_measured_as_stopped(machine: Machine, host: Dom0Host) -> None:
    """And its competitor can start: nothing of it is left."""
    launched = host.launch(machine.config("g1"))
    with pytest.raises(AccessDenied, match="rivals"):
        host.launch(machine.config("g3"))
    machine.xen.guests[launched.domid].shutdown = 1
    host.launch(machine.config("g3"))
    assert list(host.launched) == ["g3"]
    assert launched.domid not in machine.xen.guests
    assert [event[2] for event in events(host.evidence(NONCE)) if event[0] == 13] == [
        "launch",
        "stop",
        "launch",
    ]


def test_a_domain_that_cannot_be_stopped_is_not_forgotten(machine: Machine, host: Dom0Host) -> None:
    """It runs on, so it is shown, vouched for, and can be stopped when Xen answers again."""
    host.launch(machine.config("g1"))
    machine.xen.fail_at = "destroy"
    with pytest.raises(XenError):
        host.stop("g1")
    assert list(host.launched) == ["g1"]
    evidence = host.evidence(NONCE)
    assert len(evidence.domains) == 1
    assert [event[2] for event in events(evidence) if event[0] == 13] == ["launch"]
    machine.xen.fail_at = None
    host.stop("g1")
    assert (host.launched, list(machine.xen.guests)) == ({}, [0])
    assert [event[2] for event in events(host.evidence(NONCE)) if event[0] == 13] == ["launch", "stop"]


def test_another_mode_of_flask_is_another_report(machine: Machine, host: Dom0Host) -> None:
    """``xl setenforce 0`` after the first act does not stay a secret."""
    machine.xen.enforcing = 0
    host.poll()
    assert [event[1] for event in events(host.evidence(NONCE))] == ["hypervisor", "policy", "hypervisor"]


def test_a_poll_that_fails_holds_back_evidence_and_is_told(
    machine: Machine, host: Dom0Host, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise machine.xen.Error(22, "Invalid argument")

    monkeypatch.setattr(machine.xen, "domain_getinfo", broken)
    assert host.pulse() > 0
    document = service.answer("status", {}).report.document
    assert isinstance(document, dict)
    assert "Invalid argument" in json.dumps(document["poll"])
    with pytest.raises(XenError):
        host.evidence(NONCE)
    monkeypatch.undo()
    host.evidence(NONCE)
    assert "Invalid" not in service.answer("status", {}).report.text


def test_a_found_domain_that_could_not_be_measured_is_measured_later(
    machine: Machine, host: Dom0Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.xen.stranger()
    monkeypatch.setattr(host, "_measure_domain", lambda _: (_ for _ in ()).throw(OSError(5, "TPM")))
    with pytest.raises(OSError, match="TPM"):
        host.evidence(NONCE)
    monkeypatch.undo()
    assert (13, "domain", "found") in events(host.evidence(NONCE))


def test_the_end_of_the_host_ends_its_domains(machine: Machine) -> None:
    machine.first_act()
    with machine.host() as host:
        host.load_policy(machine.policy)
        host.launch(machine.config("g1"))
    assert list(machine.xen.guests) == [0]
    with machine.host() as again:
        assert events(again.evidence(NONCE))[2:] == [(13, "domain", "launch"), (13, "domain", "stop")]


def test_domains_of_a_host_that_was_killed_are_strangers(machine: Machine) -> None:
    """Nobody knows any more what they were launched with: they are found, not vouched for."""
    machine.first_act()
    with machine.host() as host:
        host.load_policy(machine.policy)
        host.launch(machine.config("g1"))
        host.launched.clear()  # as if the process had ended without a chance
    with machine.host() as again:
        assert events(again.evidence(NONCE))[2:] == [(13, "domain", "launch"), (13, "domain", "found")]


def test_a_policy_update_stops_what_it_is_told_to(machine: Machine, host: Dom0Host) -> None:
    from shype.host.update import Wishes

    host.launch(machine.config("g1"))
    update = (machine.configs / "updates" / "datacenter-1.1.yaml").read_bytes()
    epoch, _ = host.load_policy(update, Wishes(stop=("g1",)))
    assert (epoch, list(machine.xen.guests), host.launched) == (2, [0], {})


def test_status_shows_policy_epoch_domains_labels_registers(
    machine: Machine, host: Dom0Host, service: Service
) -> None:
    launched = host.launch(machine.config("g1"))
    machine.xen.stranger("miner")
    host.poll()
    report = service.answer("status", {}).report
    validator("host-status").validate(report.document)
    document: Any = report.document
    assert document["policy"]["epoch"] == 1
    assert document["domains"] == [
        {"domid": launched.domid, "name": "g1", "label": "cola-web", "vid": launched.vid}
    ]
    assert [each["name"] for each in document["found"]] == ["miner"]
    assert document["xen"]["xsm_mode"] == "enforcing"
    assert set(document["pcrs"]["sha256"]) == {str(pcr) for pcr in (*range(11), 12, 13)}
    assert "FOUND domain 2" in report.text
    assert "epoch 1" in report.text


@pytest.mark.parametrize("verb", ["connect", "run", "sign"])
def test_what_only_a_model_can_do_is_not_known(verb: str, service: Service) -> None:
    reply = service.answer(verb, {"seconds": 1})
    assert reply.report.exit == 2
    assert "does not know" in (reply.error or "")


def test_the_verbs_of_the_socket_work(machine: Machine, service: Service) -> None:
    def ask(verb: str, **arguments: Any) -> Any:
        reply = service.answer(verb, arguments)
        assert reply.error is None, reply.error
        assert reply.report.exit == 0
        return reply.report.document

    encoded: Callable[[bytes], str] = lambda raw: base64.b64encode(raw).decode()  # noqa: E731
    assert ask("launch", config=encoded(machine.config("g1")))["label"] == "cola-web"
    assert set(ask("endorsement")["files"]) == {"ek.pub", "ek.crt", "ak.pub"}
    assert ask("attest", nonce=encoded(NONCE))["domains"] == 1
    assert [each["name"] for each in ask("state")["domains"]][-1] == "g1"
    ask("stop", name="g1")


def test_a_tenant_is_shown_its_own_domain_and_how_many_others_there_are(
    machine: Machine, host: Dom0Host, service: Service
) -> None:
    host.launch(machine.config("g1"), "cola")
    mine, other = host.launched["g1"], host.launch(machine.config("g2"))
    machine.xen.stranger("a-miner")
    evidence = host.evidence(NONCE, tenant="cola")
    assert [each.vid for each in evidence.domains] == [mine.vid]
    assert evidence.host.found == ()
    assert [event for pcr, _, event in events(evidence) if pcr == 13] == ["launch", "launch", "found"]
    words = {"bank-web", other.uuid, other.vid, other.config.digest, "a-miner"}
    assert named(evidence.encode(), words) == set()
    assert named(host.evidence(NONCE).encode(), words) == words
    label = host.evidence(NONCE, tenant=other.config.label)
    assert [each.vid for each in label.domains] == [other.vid]
    machine.xen.guests.pop(mine.domid)
    reply = service.answer("attest", {"nonce": base64.b64encode(NONCE).decode(), "tenant": "cola"})
    assert (reply.report.exit, reply.code) == (2, "no-domain"), "its domain ended by itself"
    assert reply.error == "no domain of tenant 'cola' runs on this host"


def test_a_host_that_serves_polls_between_requests(
    machine: Machine, host: Dom0Host, operator: Operator
) -> None:
    """And at once when it is due: an endless row of requests does not keep it from looking."""
    from shype.host import service

    with machine.serving(host, service.serve):
        assert operator.status(host.folder)["found"] == []
        machine.xen.stranger("miner")
        deadline = time.monotonic() + 30
        while not (found := operator.status(host.folder)["found"]):
            assert time.monotonic() < deadline, "no poll came"
        assert found[0]["name"] == "miner"
        assert operator.shype("host", "poweroff", host.folder, "--json").exit == 0


@pytest.mark.parametrize(
    ("words", "exit_code", "line"),
    [
        ((), 3, "no Xen runs under this system"),
        (("--owner-auth", "no-such-file"), 2, "no-such-file"),
        (("--poll", "0"), 2, "0.1 to 60"),
        (("--poll", "nan"), 2, "0.1 to 60"),
        (("--poll", "x"), 2, "0.1 to 60"),
    ],
)
def test_without_a_xen_the_command_says_so(
    words: tuple[str, ...], exit_code: int, line: str, operator: Operator, short_tmp: Path
) -> None:
    description = operator.configs / "lab" / "host.yaml"
    outcome = operator.shype(
        "host", "boot", short_tmp / "host", "--xen", description, "--boot", short_tmp, *words
    )
    assert outcome.exit == exit_code
    assert line in outcome.line


def test_a_toolstack_that_does_not_answer_is_known_at_once(machine: Machine) -> None:
    machine.first_act()
    machine.xen.fail_at = "list"
    with pytest.raises(XenError, match="list failed"):
        machine.host()
