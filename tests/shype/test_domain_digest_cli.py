"""``shype domain digest``: one value for a domain config, which ``shype verify`` shows for one that runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from attest.domain_digest import domain_digest
from attest.reference import DomainReference
from tests.conftest import REPOSITORY
from tests.schemas import validator
from tests.simulators.host import Host

HOSTS = REPOSITORY / "configs/hosts"
POLICY = REPOSITORY / "configs/policies/datacenter.yaml"
ROOT = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vmlinuz").write_bytes(b"kernel")
    (tmp_path / "initrd.img").write_bytes(b"ramdisk")
    config = (
        (HOSTS / "cola-web.cfg")
        .read_text()
        .replace("access=rw, target=/dev/vg0/cola-web", "access=r, target=X")
    )
    (tmp_path / "web.cfg").write_text(config.replace("target=X", f"target=verity:{ROOT}"))
    return tmp_path


@pytest.fixture
def digest(shype_command: Any, folder: Path) -> Any:
    def run(*more: object) -> Any:
        return shype_command("domain", "digest", folder / "web.cfg", "--policy", POLICY, *more, "--json")

    return run


def test_it_is_over_config_images_disks_label_and_policy(digest: Any, folder: Path) -> None:
    found = digest()
    assert found.exit == 0
    validator("domain-digest").validate(found.document)
    domain = found.document["domain"]
    assert domain["disks"] == [f"xvda r verity:{ROOT}"]
    assert domain["config_digest"] == hashlib.sha256((folder / "web.cfg").read_bytes()).hexdigest()
    assert domain["kernel"] == hashlib.sha256(b"kernel").hexdigest()
    document = {
        "schema": "shype.domain/1",
        "name": "cola-web",
        "label": "cola-web",
        "config": domain["config_digest"],
        "kernel": domain["kernel"],
        "ramdisk": hashlib.sha256(b"ramdisk").hexdigest(),
        "disks": domain["disks"],
        "policy": hashlib.sha256(POLICY.read_bytes()).hexdigest(),
    }
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    assert found.document["digest"] == hashlib.sha256(canonical).hexdigest()


@pytest.mark.parametrize("name", ["vmlinuz", "initrd.img", "web.cfg"])
def test_every_byte_of_every_file_counts(digest: Any, folder: Path, name: str) -> None:
    before = digest().document["digest"]
    with (folder / name).open("ab") as file:
        file.write(b"\n")
    assert digest().document["digest"] != before


def test_another_root_is_another_domain(digest: Any, folder: Path) -> None:
    before = digest().document["digest"]
    config = folder / "web.cfg"
    config.write_text(config.read_text().replace(ROOT, "cd" * 32))
    assert digest().document["digest"] != before


def test_a_path_needs_the_host_description(digest: Any, folder: Path) -> None:
    config = folder / "web.cfg"
    config.write_text(config.read_text().replace(f"verity:{ROOT}", "/dev/vg0/cola-web"))
    assert digest().exit == 2
    found = digest("--describe", HOSTS / "embedded.yaml")
    assert found.exit == 0
    assert found.document["domain"]["disks"][0].startswith("xvda r uuid:")


def test_verify_shows_the_same_value_and_neighbours_stay_private() -> None:
    host = Host.serving()
    result = host.verify(domains=frozenset({"web"}))
    reference = host.references["web"]
    assert isinstance(reference, DomainReference)
    expected = domain_digest(reference, host.expectation().policy.digest)
    shown = [node for node in result.root.children if node.name == "domain web"]
    assert f"domain digest {expected}" in shown[0].notes
    log = host.runtime_log()
    for secret in ("keys", "bank-keys", host.references["keys"].config_digest):
        assert secret.encode() not in log
        assert all(secret not in note for node in result.root.children for note in node.notes)
