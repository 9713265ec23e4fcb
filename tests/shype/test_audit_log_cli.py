"""``shype host audit-log``: what the host writes is what it reads, over boots, with its filters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from hypervisor.audit import AuditEvent
from hypervisor.audit import Outcome as Ended
from hypervisor.audit_file import AuditFile
from shype.host.embedded import EmbeddedHost
from shype.host.folder import AUDIT_LOG
from shype.host.past_runs import HISTORY

if TYPE_CHECKING:
    from tests.shype.outcome import Shype

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A host's folder with four records, one an hour."""
    with AuditFile(tmp_path / AUDIT_LOG) as file:
        trail = file.trail(0)
        for hour, outcome in enumerate((Ended.DONE, Ended.DENIED, Ended.FAILED, Ended.DENIED)):
            why = (("ste-no-shared-type", "no type in common"),)
            trail.append(
                AuditEvent(
                    time_ns=hour * HOUR_NS,
                    epoch=1,
                    who="alice",
                    action="H12",
                    what=f"hour {hour}",
                    outcome=outcome,
                    why=why if outcome is Ended.DENIED else (),
                )
            )
    return tmp_path


def whats(shype_command: Shype, *words: object) -> list[str]:
    outcome = shype_command("host", "audit-log", *words, "--json")
    assert outcome.exit == 0, outcome.err
    return [each["what"] for each in outcome.document["records"]]


def test_filters(folder: Path, shype_command: Shype) -> None:
    assert whats(shype_command, folder) == [f"hour {hour}" for hour in range(4)]
    assert whats(shype_command, folder, "--denied") == ["hour 1", "hour 3"]
    assert whats(shype_command, folder, "--since", "1970-01-01T02:00") == ["hour 2", "hour 3"]
    assert whats(shype_command, folder, "--since", "1970-01-01T03:30:00+02:00", "--denied") == ["hour 3"]
    assert whats(shype_command, folder, "--since", "2100-01-01") == []


@pytest.mark.parametrize("time", ["yesterday", "", "1970-13-01", "9" * 50, "1970-01-01T25:00", "0x10"])
def test_what_is_no_time_is_wrong_usage(time: str, folder: Path, shype_command: Shype) -> None:
    outcome = shype_command("host", "audit-log", folder, "--since", time)
    assert outcome.exit == 2
    assert "is no time such as" in outcome.err


def test_text_tells_when_who_what_and_why(folder: Path, shype_command: Shype) -> None:
    lines = shype_command("host", "audit-log", folder).out.splitlines()
    assert lines[1] == (
        "1970-01-01T01:00:00Z    1 denied  alice: H12 hour 1 ste-no-shared-type: no type in common"
    )


def test_a_torn_last_line_is_told_and_no_error(folder: Path, shype_command: Shype) -> None:
    with (folder / AUDIT_LOG).open("ab") as file:
        file.write(b'{"action":')
    outcome = shype_command("host", "audit-log", folder, "--json")
    assert (outcome.exit, len(outcome.document["records"]), outcome.document["cut_off"]) == (0, 4, 10)
    assert "cut off: 10 bytes" in shype_command("host", "audit-log", folder).out


def test_a_changed_line_is_found(folder: Path, shype_command: Shype) -> None:
    path = folder / AUDIT_LOG
    path.write_bytes(path.read_bytes().replace(b"hour 1", b"hour 9"))
    outcome = shype_command("host", "audit-log", folder)
    assert outcome.exit == 3
    assert "line 3" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_the_report_has_its_schema(folder: Path, shype_command: Shype, repository: Path) -> None:
    schema = json.loads((repository / "configs/schema/host-audit-log.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(shype_command("host", "audit-log", folder, "--json").document, schema)


@pytest.fixture
def policy(repository: Path) -> bytes:
    return (repository / "configs/policies/datacenter.yaml").read_bytes()


@pytest.fixture
def config(repository: Path) -> Callable[[str], bytes]:
    return lambda name: (repository / f"configs/hosts/{name}.cfg").read_bytes()


def refuse(host: EmbeddedHost, config: bytes) -> Any:
    from hypervisor.errors import HypervisorDenied

    with pytest.raises(HypervisorDenied) as denied:
        host.launch(config)
    return denied.value


@pytest.mark.host
def test_the_trail_of_a_host_goes_on_over_its_boots(
    machine: Path,
    boot_files: Path,
    policy: bytes,
    config: Callable[[str], bytes],
    shype_command: Shype,
) -> None:
    for _ in range(2):
        with EmbeddedHost(machine, boot_files) as host:
            host.load_policy(policy)
            host.launch(config("cola-web"))
            refuse(host, config("juice-web"))
        with (machine / AUDIT_LOG).open("ab") as file:
            file.write(b'{"torn')
    actions = [
        each["action"] for each in shype_command("host", "audit-log", machine, "--json").document["records"]
    ]
    assert actions.count("boot") == 2
    assert actions.count("policy") == 2
    assert actions.count("audit") == 1
    assert actions.count("H01") == 2
    denied = shype_command("host", "audit-log", machine, "--denied", "--json").document["records"]
    assert [each["why"][0][0] for each in denied] == ["chwall-conflict", "chwall-conflict"]


@pytest.mark.host
def test_a_wall_with_history_stands_over_boots_and_against_old_files(
    machine: Path, boot_files: Path, policy: bytes, config: Callable[[str], bytes]
) -> None:
    counting = policy.replace(b"chwall:\n", b"chwall:\n  history: true\n")
    assert counting != policy
    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(counting)
        before = (machine / HISTORY).read_bytes()
        host.launch(config("cola-web"))
    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(counting)
        assert refuse(host, config("juice-web")).code == "chwall-history"
    (machine / HISTORY).write_bytes(before)
    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(counting)
        assert refuse(host, config("juice-web")).code == "history-stale"
    (machine / HISTORY).unlink()
    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(counting)
        assert refuse(host, config("cola-web")).code == "history-missing"
