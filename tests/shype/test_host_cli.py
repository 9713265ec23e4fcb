"""``shype host`` and ``policy load``: power, crashes, reboots, and what a second policy may change."""

from __future__ import annotations

import base64
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attest.eventlog.cel import parse_cel
from attest.evidence import Evidence
from attest.runtime_events import PolicyLoaded, decode_event
from metering.log import read_leaves
from metering.record import SALT_BYTES, Kind, decode
from shype.host.socket import call
from tests.shype.processes import Booted, left_after

if TYPE_CHECKING:
    from tests.shype.conftest import Operator
    from tests.shype.outcome import Shype

pytestmark = pytest.mark.host

GUEST = "cola-web"


def records(folder: Path) -> list[Any]:
    return [decode(leaf[SALT_BYTES:]) for leaf in read_leaves(folder / "usage")]


class TestInit:
    def test_makes_a_private_folder_once(self, short_tmp: Path, operator: Operator) -> None:
        folder = short_tmp / "host"
        made = operator.shype("host", "init", folder, "--json")
        assert made.exit == 0, made.err
        assert operator.checked("host-init", made)["host"] == "embedded"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        again = operator.shype("host", "init", folder)
        assert (again.exit, again.out) == (2, "")
        assert "File exists" in again.line

    def test_a_broken_description_leaves_nothing(self, short_tmp: Path, shype_command: Shype) -> None:
        (short_tmp / "host.yaml").write_text("format: shype.host/1\n")
        outcome = shype_command("host", "init", short_tmp / "host", "--description", short_tmp / "host.yaml")
        assert (outcome.exit, outcome.out) == (3, "")
        assert outcome.line
        assert not (short_tmp / "host").exists()

    def test_without_the_tpm_s_maker_leaves_nothing(
        self, short_tmp: Path, shype_command: Shype, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(short_tmp))
        outcome = shype_command("host", "init", short_tmp / "host")
        assert (outcome.exit, outcome.out) == (3, "")
        assert "swtpm" in outcome.line
        assert not (short_tmp / "host").exists()


class TestPower:
    def test_boot_status_poweroff(self, booted: Booted, operator: Operator) -> None:
        assert booted.greeting.startswith("host embedded is up: ")
        document = operator.checked("host-status", operator.shype("host", "status", booted.folder, "--json"))
        assert (document["policy"], document["domains"]) == (None, [])
        assert set(document["pcrs"]["sha256"]) == {str(pcr) for pcr in (*range(10), 12, 13)}
        assert operator.shype("host", "poweroff", booted.folder).exit == 0
        assert booted.process.wait(20) == 0
        gone = operator.shype("host", "status", booted.folder)
        assert gone.exit == 2
        assert "no host runs here" in gone.line

    def test_nothing_runs_here(self, machine: Path, short_tmp: Path, shype_command: Shype) -> None:
        for folder in (machine, short_tmp / "nowhere"):
            for words in (("host", "status", folder), ("host", "poweroff", folder)):
                outcome = shype_command(*words)
                assert (outcome.exit, outcome.out) == (2, "")
                assert "no host runs here" in outcome.line

    def test_boot_of_a_folder_that_is_no_host(
        self, short_tmp: Path, boot_files: Path, shype_command: Shype
    ) -> None:
        outcome = shype_command("host", "boot", short_tmp, "--boot", boot_files)
        assert outcome.exit == 2
        assert "shype host init" in outcome.line
        assert list(short_tmp.iterdir()) == []

    def test_boot_without_boot_files(self, machine: Path, short_tmp: Path, shype_command: Shype) -> None:
        outcome = shype_command("host", "boot", machine, "--boot", short_tmp)
        assert outcome.exit == 2
        assert "No such file" in outcome.line

    def test_a_second_boot_is_refused_and_harms_nothing(
        self, serving: Booted, boot_files: Path, operator: Operator
    ) -> None:
        """Two users of one TPM state would destroy it, so the second stops before it touches anything."""
        folder = serving.folder
        before = operator.status(folder), sorted(path.name for path in folder.rglob("*"))
        outcome = operator.shype("host", "boot", folder, "--boot", boot_files)
        assert (outcome.exit, outcome.out) == (2, "")
        assert "is on already" in outcome.line
        assert (operator.status(folder), sorted(path.name for path in folder.rglob("*"))) == before
        assert operator.domain(folder, "run", 60).exit == 0
        assert operator.shype("meter", "sign", "--host", folder).exit == 0

    @pytest.mark.tools
    def test_tpm2_tools_still_reach_the_tpm_after_a_refused_boot(
        self, booted: Booted, boot_files: Path, operator: Operator
    ) -> None:
        assert operator.shype("host", "boot", booted.folder, "--boot", boot_files).exit == 2
        relay = f"cmd:{sys.executable} -m vtpm.relay {booted.folder}/tpm.sock"
        read = subprocess.run(
            ["tpm2_pcrread", "sha256:0"],
            env={**os.environ, "TPM2TOOLS_TCTI": relay},
            capture_output=True,
            text=True,
            check=True,
        )
        shown = read.stdout.split("0x")[1].strip().lower()
        assert shown == operator.status(booted.folder)["pcrs"]["sha256"]["0"]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_is_poweroff(self, serving: Booted, number: signal.Signals) -> None:
        assert len(serving.swtpms) == 2, "one TPM, one vTPM"
        serving.process.send_signal(number)
        out, err = serving.process.communicate(timeout=20)
        assert (serving.process.returncode, out.decode().strip(), err) == (0, "host embedded is off", b"")
        assert left_after(2, serving.folder) == {}
        assert {path.name for path in serving.folder.iterdir() if path.is_socket()} == set()
        assert list((serving.folder / "vtpm").iterdir()) == []

    def test_a_signal_does_not_cut_an_operation(self, serving: Booted) -> None:
        """The host ends after it has answered."""
        folder = serving.folder
        command = [sys.executable, "-m", "shype.main", "domain", "run", "600", "--host", str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
            before = len(list(read_leaves(folder / "usage")))
            while len(list(read_leaves(folder / "usage"))) == before:
                time.sleep(0.01)
            serving.process.terminate()
            out, _ = client.communicate(timeout=60)
        assert client.returncode == 0
        assert out.startswith(b"600 s have passed")
        assert serving.process.wait(20) == 0

    def test_a_crash_takes_the_tpms_with_it(
        self, serving: Booted, boot_files: Path, operator: Operator
    ) -> None:
        assert serving.swtpms
        serving.process.kill()
        serving.process.wait()
        assert left_after(5, serving.folder) == {}
        with Booted.start(serving.folder, boot_files) as again:
            document = operator.status(again.folder)
            assert (document["policy"], document["domains"]) == (None, [])
            assert list((again.folder / "vtpm").iterdir()) == []


class TestPolicies:
    def test_an_update_is_refused_while_a_domain_violates_it(
        self, serving: Booted, operator: Operator, tmp_path: Path
    ) -> None:
        """Refused or not: the last policy in PCR 12 is the one in force."""
        folder = serving.folder
        in_force = operator.status(folder)["policy"]
        newer = 'version: "1.1"\nfrom: {name: datacenter, version: "1.0"}'
        update = tmp_path / "update.yaml"
        text = operator.policy.read_text().replace('version: "1.0"', newer)
        update.write_text(text.replace(f"\n  {GUEST}:\n", "\n  cola-shop:\n"))
        refused = operator.load_policy(folder, update)
        assert (refused.exit, refused.document["verdict"]) == (1, "deny"), refused.err
        assert any(GUEST in each["detail"] for each in refused.document["reasons"])
        assert operator.status(folder)["policy"] == in_force
        assert policy_events(folder)[-1].digest == in_force["digest"]
        assert operator.domain(folder, "stop", GUEST).exit == 0
        loaded = operator.load_policy(folder, update)
        assert loaded.exit == 0, loaded.out
        document = operator.checked("policy-load", loaded)
        assert (document["version"], document["epoch"]) == ("1.1", in_force["epoch"] + 1)
        assert policy_events(folder)[-1].digest == document["digest"]
        assert operator.status(folder)["policy"]["digest"] == document["digest"]

    def test_the_same_policy_again(self, serving: Booted, operator: Operator) -> None:
        digest = operator.status(serving.folder)["policy"]["digest"]
        operator.load_policy(serving.folder)
        assert operator.status(serving.folder)["policy"]["digest"] == digest
        assert policy_events(serving.folder)[-1].digest == digest

    def test_a_broken_policy_is_not_measured(
        self, standing: Booted, operator: Operator, tmp_path: Path
    ) -> None:
        before = operator.status(standing.folder)
        (tmp_path / "broken.yaml").write_bytes(operator.policy.read_bytes() + b"conflict: [\n")
        outcome = operator.load_policy(standing.folder, tmp_path / "broken.yaml")
        assert outcome.exit == 3
        assert outcome.line
        assert operator.status(standing.folder) == before


def policy_events(folder: Path) -> list[PolicyLoaded]:
    """The policies in the runtime log, as evidence shows them."""
    document = call(folder, "attest", {"nonce": base64.b64encode(bytes(32)).decode()}).document
    assert isinstance(document, dict)
    evidence = Evidence.decode(base64.b64decode(str(document["evidence"])))
    events = parse_cel(evidence.host.runtime_log).events
    found = [decode_event(event.untrusted_data) for event in events if event.pcr == 12]
    return [each for each in found if isinstance(each, PolicyLoaded)]


class TestReboot:
    def test_the_key_stays_and_the_bill_goes_on(
        self, machine: Path, boot_files: Path, operator: Operator, tmp_path: Path
    ) -> None:
        """Over a clean power-off, then over a crash; the audit follows the log over both."""
        keys, epochs = [], []
        for ending in ("poweroff", "crash", "poweroff"):
            with Booted.start(machine, boot_files) as host:
                _work_for_a_while(operator, machine)
                assert operator.shype("host", "endorsement", machine, "-o", tmp_path / "ek").exit == 0
                keys.append((tmp_path / "ek" / "ak.pub").read_bytes())
                if ending == "crash":
                    host.process.kill()
            epochs.append(records(machine)[-1].epoch)
        assert len(set(keys)) == 1
        assert epochs == sorted(set(epochs)), "each boot is an epoch of its own"
        assert sum(record.kind is Kind.GENESIS for record in records(machine)) == 3

        exported = operator.shype("meter", "export", machine / "usage", "-o", tmp_path / "bill")
        assert exported.exit == 0, exported.err
        with Booted.start(machine, boot_files):
            for words in _enrolment(operator, machine, boot_files, tmp_path):
                outcome = operator.shype(*words)
                assert outcome.exit == 0, outcome.err
        trust = ("--enrolment", tmp_path / "enrolment.json", "--reference", tmp_path / "reference.json")
        audited = operator.shype("audit", tmp_path / "bill", *trust, "--json")
        assert (audited.exit, audited.document["verdict"]) == (0, "affirming"), audited.out
        [total] = [each for each in audited.document["totals"] if each["tenant"] == "cola"]
        assert total["incarnations"] == 3
        assert int(total["cpu_ns"]) > 0


def _work_for_a_while(operator: Operator, host: Path) -> None:
    assert operator.load_policy(host).exit == 0
    assert operator.launch(host, GUEST, "--tenant", "cola").exit == 0
    assert operator.domain(host, "run", 180).exit == 0
    assert operator.shype("meter", "sign", "--host", host).exit == 0


def _enrolment(operator: Operator, host: Path, boot: Path, out: Path) -> Iterator[tuple[object, ...]]:
    """Yield the commands by which a registrar enrols the host, and an auditor predicts its registers."""
    ek = out / "ek"
    yield (
        *("enroll", "challenge", "--host", "embedded", "--ek-certificate", ek / "ek.crt", "--ek"),
        *(ek / "ek.pub", "--ak", ek / "ak.pub", "--ca", host / "certificates"),
        *("--state", out / "registrar", "-o", out / "challenge"),
    )
    yield "host", "activate", host, "--challenge", out / "challenge", "-o", out / "response"
    yield (
        *("enroll", "complete", "--host", "embedded", "--response", out / "response"),
        *("--state", out / "registrar", "-o", out / "enrolment.json"),
    )
    yield (
        *("pcrs", "reference", "embedded", "--root", boot, "--images", boot, "--host"),
        *(operator.configs / "hosts" / "embedded.yaml", "-o", out / "reference.json"),
    )
