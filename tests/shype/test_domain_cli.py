"""``shype domain`` against a host in a process of its own: what it does, and what a failure leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metering.log import read_leaves
from metering.record import SALT_BYTES, Kind, decode
from tests.shype.processes import Booted

if TYPE_CHECKING:
    from tests.shype.conftest import Operator

pytestmark = pytest.mark.host

GUEST, SECOND, STRANGER = "cola-web", "cola-db", "bank-web"


def test_launch_connect_run_stop(serving: Booted, operator: Operator) -> None:
    folder = serving.folder
    assert operator.checked("domain-launch", operator.launch(folder, SECOND))["verdict"] == "permit"
    connected = operator.checked("domain-connect", operator.domain(folder, "connect", GUEST, SECOND))
    assert connected["bytes"] > 0
    assert operator.checked("domain-run", operator.domain(folder, "run", 120))["now_ns"] == 120 * 10**9
    before = operator.status(folder)
    assert [each["name"] for each in before["domains"]] == [GUEST, SECOND]
    assert len(serving.swtpms) == 3
    assert operator.checked("domain-stop", operator.domain(folder, "stop", SECOND))["verdict"] == "permit"
    after = operator.status(folder)
    assert [each["name"] for each in after["domains"]] == [GUEST]
    assert after["pcrs"]["sha256"]["13"] != before["pcrs"]["sha256"]["13"], "a stop is measured"
    assert len(serving.swtpms) == 2


def test_denied_connections_leave_no_ports(machine: Path, boot_files: Path, operator: Operator) -> None:
    from shype.host.embedded import EmbeddedHost
    from shype.host.model_verbs import service as service_of

    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(operator.policy.read_bytes())
        for name in (GUEST, SECOND, STRANGER):
            host.launch(operator.config(name).read_bytes())
        domains = host.running().state.domains
        before = {domid: (set(each.ports), set(each.mappings)) for domid, each in domains.items()}
        service = service_of(host)
        assert service.answer("connect", {"from": GUEST, "to": STRANGER}).report.exit == 1
        assert service.answer("connect", {"from": GUEST, "to": SECOND}).report.exit == 0
        assert {domid: (set(each.ports), set(each.mappings)) for domid, each in domains.items()} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stop", "nobody"), "no domain 'nobody' runs here; running: cola-web"),
        (("connect", "nobody", GUEST), "no domain 'nobody'"),
        (("run", "0"), "1 to 86400"),
        (("run", "86401"), "1 to 86400"),
        (("run", "x"), "invalid int value"),
        (("launch", "CONFIG"), "runs already"),
    ],
)
def test_wrong_usage(standing: Booted, operator: Operator, words: tuple[str, ...], said: str) -> None:
    resolved = [operator.config(GUEST) if word == "CONFIG" else word for word in words]
    outcome = operator.domain(standing.folder, *resolved)
    assert outcome.exit == 2
    assert said in outcome.line


def test_before_a_policy_nothing_may_run(booted: Booted, operator: Operator) -> None:
    for words in (
        ("launch", operator.config(GUEST)),
        ("stop", GUEST),
        ("connect", GUEST, SECOND),
        ("run", 1),
    ):
        outcome = operator.domain(booted.folder, *words)
        assert outcome.exit == 2
        assert outcome.line
    assert operator.status(booted.folder)["policy"] is None


@pytest.mark.parametrize(
    ("change", "exit_code"),
    [
        (('kernel = "vmlinuz"', 'kernel = "nowhere"'), 2),
        (('ramdisk = "initrd.img"', 'ramdisk = "nowhere"'), 2),
        (('kernel = "vmlinuz"', 'kernel = "../../../etc/passwd"'), 3),
        (("target=uuid:", "target=uuid:0"), 1),
        (("label=cola-db", "label=cola-dbx"), 1),
        (("policy=datacenter", "policy=other"), 1),
        (("memory = 256", "memory = 1"), 2),
        (('type = "pv"', 'type = "pv'), 3),
    ],
)
def test_a_launch_that_fails_changes_nothing(
    standing: Booted, operator: Operator, tmp_path: Path, change: tuple[str, str], exit_code: int
) -> None:
    folder = standing.folder
    text = operator.config(SECOND).read_text()
    assert change[0] in text
    broken = tmp_path / "broken.cfg"
    broken.write_text(text.replace(*change))
    before = operator.status(folder), list(read_leaves(folder / "usage")), standing.swtpms
    outcome = operator.launch(folder, broken, "--tenant", "thief")
    assert outcome.exit == exit_code, outcome.err
    assert (operator.status(folder), list(read_leaves(folder / "usage")), standing.swtpms) == before
    assert len(list((folder / "vtpm").iterdir())) == 1


def test_who_pays_is_forgotten_with_a_failed_launch_and_at_a_stop(
    machine: Path, boot_files: Path, operator: Operator
) -> None:
    from hypervisor.errors import HypervisorDenied
    from shype.host.embedded import EmbeddedHost

    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(operator.policy.read_bytes())
        with pytest.raises(HypervisorDenied):
            host.launch(operator.config("cola-reports").read_bytes(), "thief")
        assert host.tenants.of("cola-reports", "its-label") == "its-label"
        host.launch(operator.config(GUEST).read_bytes(), "cola")
        host.stop(GUEST)
        host.launch(operator.config(GUEST).read_bytes())
    records = [decode(leaf[SALT_BYTES:]) for leaf in read_leaves(machine / "usage")]
    paid = [getattr(record, "tenant", None) for record in records if record.kind is Kind.START]
    assert paid[-2:] == ["cola", GUEST], "without a tenant the label pays"
    assert "thief" not in paid


def test_a_stop_that_fails_half_way_leaves_no_ghost(
    machine: Path, boot_files: Path, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of a stop is taken, so the name is free again although one of them failed."""
    from shype.host.embedded import EmbeddedHost
    from shype.host.usage import Workload

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(operator.policy.read_bytes())
        host.launch(operator.config(GUEST).read_bytes())
        with monkeypatch.context() as patch:
            patch.setattr(host.meter, "stopped", full)
            with pytest.raises(OSError, match="No space"):
                host.stop(GUEST)
        assert (host.launched, host.guests.vtpms) == ({}, {})
        host.run(60, Workload())
        host.launch(operator.config(GUEST).read_bytes())


class TestDryRun:
    def test_tells_that_a_launch_would_be_permitted_and_does_nothing(
        self, standing: Booted, operator: Operator
    ) -> None:
        before = operator.status(standing.folder)
        outcome = operator.launch(standing.folder, SECOND, "--dry-run")
        document = operator.checked("domain-launch", outcome)
        assert (outcome.exit, document["verdict"], document["dry_run"]) == (0, "permit", True)
        assert operator.status(standing.folder) == before

    def test_tells_what_would_be_refused(self, standing: Booted, operator: Operator) -> None:
        before = operator.status(standing.folder)
        outcome = operator.launch(standing.folder, "juice-web", "--dry-run")
        document = operator.checked("domain-launch", outcome)
        assert (outcome.exit, document["reasons"][0]["code"]) == (1, "chwall-conflict")
        assert operator.status(standing.folder) == before
        again = operator.launch(standing.folder, GUEST, "--dry-run")
        assert (again.exit, "runs already" in again.line) == (2, True)

    def test_reads_the_files_as_a_launch_does(
        self, standing: Booted, operator: Operator, tmp_path: Path
    ) -> None:
        config = tmp_path / "lost.cfg"
        text = operator.config(SECOND).read_text()
        config.write_text(text.replace('kernel = "vmlinuz"', 'kernel = "nowhere"'))
        outcome = operator.launch(standing.folder, config, "--dry-run")
        assert outcome.exit == 2
        assert "nowhere" in outcome.line
