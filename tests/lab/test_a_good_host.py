"""One boot by GRUB with FLASK enforcing: the good host, then what makes it bad while it runs, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import Prepared, Shelf, note_boot
from tests.lab.live import HOST, LiveHost, altering, booted, table, wait_for_agent
from tests.lab.machine import Tpm
from tests.lab.parts import Parts
from tests.lab.variants import PCRS

pytestmark = [pytest.mark.lab, pytest.mark.heavy]
NONCE = hashlib.sha256(b"a nonce of the lab").digest()


@pytest.fixture(scope="module")
def good(prepared: Shelf) -> Prepared:
    return prepared["flask"]


@pytest.fixture(scope="module")
def host(parts: Parts, work: Path, tpm: Tpm, good: Prepared) -> Iterator[LiveHost]:
    with booted(work / "flask", good.folder, parts, tpm, work / "desk") as running:
        wait_for_agent(running)
        yield running


@pytest.mark.smoke
def test_registers_are_as_predicted(host: LiveHost, good: Prepared) -> None:
    read = note_boot("GRUB with FLASK", host, good.reference.pcrs)
    print("\n" + table(good.reference.pcrs, read))
    assert {pcr: read[pcr] for pcr in PCRS} == dict(good.reference.pcrs)


@pytest.mark.smoke
def test_flask_enforces_and_labels_dom0(host: LiveHost) -> None:
    assert host.shell.run("flask-getenforce").output.strip() == "Enforcing"  # its exit code is the mode
    assert "system_u:system_r:dom0_t" in host.shell.check("xl list -Z")


@pytest.mark.smoke
def test_a_good_host_with_two_guests_is_affirming(host: LiveHost, good: Prepared) -> None:
    for config in ("g1.cfg", "g2.cfg"):
        answer = host.launch(config)
        assert answer.code == 0, answer.output
    listed = host.shell.check("xl list -Z")
    assert listed.count("domU_t") == 2, listed
    judged = host.verify(good.reference)
    assert (judged.exit, judged.verdict) == (0, "affirming"), judged.details
    assert {"domain g1", "domain g2"} <= judged.reasons.keys()


def test_a_tenant_judges_its_own_guest_and_is_shown_no_other(host: LiveHost, good: Prepared) -> None:
    judged = host.verify(good.reference, "--domain", "g1", tenant=True)
    assert (judged.exit, judged.verdict) == (0, "affirming"), judged.details
    assert "domain g1" in judged.reasons
    assert "domains running 2, 1 of them not judged" in judged.details
    other = host.verify(good.reference, "--domain", "g2", tenant=True)
    assert (other.exit, other.codes) == (4, {"domain-missing"}), other.details


def test_the_default_profile_refuses_a_software_tpm(host: LiveHost, good: Prepared) -> None:
    judged = host.verify(good.reference, profile="default")
    assert judged.exit == 1, judged.details
    assert "software-tpm" in judged.codes


@pytest.mark.smoke
def test_a_conflicting_guest_is_refused_at_launch(host: LiveHost, good: Prepared) -> None:
    answer = host.launch("g3.cfg")
    assert answer.code == 1, answer.output
    assert "chwall-conflict" in answer.output
    assert "g3" not in host.shell.check("xl list")
    assert host.verify(good.reference).verdict == "affirming"


def test_an_answer_altered_on_the_way_is_not_believed(host: LiveHost, good: Prepared) -> None:
    with altering(host.machine.port) as port:
        judged = host.verify(good.reference, port=port)
    assert judged.exit == 3, judged.details
    assert judged.verdict == "none"


def test_evidence_in_a_file_is_good_for_its_nonce_alone(host: LiveHost, good: Prepared, work: Path) -> None:
    path = work / "old-evidence.json"
    path.write_bytes(host.evidence(NONCE))
    judged = host.verify_file(path, NONCE, good.reference)
    assert (judged.exit, judged.verdict) == (0, "affirming"), judged.details
    other = host.verify_file(path, hashlib.sha256(NONCE).digest(), good.reference)
    assert (other.exit, other.verdict) == (3, "none"), other.details


def test_a_guest_with_another_ramdisk_than_its_reference(host: LiveHost, good: Prepared) -> None:
    host.shell.check(f"shype domain stop g2 --host {HOST}")
    answer = host.launch("g2-other-ramdisk.cfg")
    assert answer.code == 0, answer.output
    judged = host.verify(good.reference)
    assert (judged.exit, judged.verdict) == (1, "contraindicated"), judged.details
    assert judged.reasons["domain g2"], judged.details
    assert not judged.reasons["domain g1"], judged.details


def test_a_guest_with_another_label_than_its_reference(host: LiveHost, good: Prepared) -> None:
    host.shell.check(f"shype domain stop g2 --host {HOST}")
    answer = host.launch("g2-other-label.cfg")
    assert answer.code == 0, answer.output
    judged = host.verify(good.reference)
    assert (judged.exit, judged.verdict) == (1, "contraindicated"), judged.details
    assert "domain-label-not-in-reference" in judged.reasons["domain g2"], judged.details
    host.shell.check(f"shype domain stop g2 --host {HOST}")
    assert host.launch("g2.cfg").code == 0
    assert host.verify(good.reference).verdict == "affirming"


def test_a_domain_started_behind_our_back_is_found_within_one_poll(host: LiveHost, good: Prepared) -> None:
    config = 'name="behind"\\ntype="pv"\\nkernel="/boot/guest/vmlinuz"\\nramdisk="/boot/guest/initrd.img"\\n'
    host.shell.check(
        f"printf '{config}memory=160\\nseclabel=\"system_u:system_r:domU_t\"\\n' >/tmp/behind.cfg"
        " && xl create /tmp/behind.cfg"
    )
    host.shell.check("sleep 6")
    assert "FOUND domain" in host.shype("host", "status", HOST).output
    host.shell.check("xl destroy behind")
    judged = host.verify(good.reference)
    assert (judged.exit, judged.verdict) == (1, "contraindicated"), judged.details
    assert "domain-unaccounted" in judged.codes, judged.details


@pytest.mark.parametrize("folder", ["/tmp", "/run"])
def test_a_program_that_nobody_listed_runs_in_dom0(host: LiveHost, good: Prepared, folder: str) -> None:
    host.shell.check(f"cp /bin/busybox {folder}/true && printf x >>{folder}/true && {folder}/true")
    judged = host.verify(good.reference)
    assert (judged.exit, judged.verdict) == (1, "contraindicated"), judged.details
    assert "ima-not-allowed" in judged.reasons["dom0"], judged.details
    assert f"{folder}/true" in judged.details
