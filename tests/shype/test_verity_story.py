"""A guest whose disk is known by its dm-verity root, from the host's description to the verdict."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.hypervisor.test_verity import MIB, image_of, root_of
from tests.shype.processes import Booted

pytestmark = pytest.mark.host

HOSTS = REPOSITORY / "configs" / "hosts"
POLICY = REPOSITORY / "configs" / "policies" / "datacenter.yaml"
DATA = random.Random(4).randbytes(MIB)
ROOT = root_of(DATA)
NONCE = "5f3a9c17" * 8


class Story:
    """A host with the disk, and a relying party's folder."""

    def __init__(self, place: Path, boot: Path, shype: Any) -> None:
        self.place, self.boot, self.shype = place, boot, shype
        self.host = place / "host"

    def run(self, *words: object) -> Any:
        outcome = self.shype(*words)
        assert outcome.exit == 0, (words, outcome.err)
        return outcome

    def description(self, root: str) -> Path:
        where = "path: tools.img, label: cola-web-disk, access: r, size: 1 MiB"
        disk = f"  - {{kind: disk, identity: 'verity:{root}', {where}}}\n"
        text = (HOSTS / "embedded.yaml").read_text().replace("../", f"{REPOSITORY / 'configs'}/")
        path = self.place / f"host-{root[:8]}.yaml"
        path.write_text(text.rstrip() + "\n" + disk)
        return path

    def config(self) -> Path:
        text = (HOSTS / "cola-web.cfg").read_text()
        path = self.place / "cola-web.cfg"
        path.write_text(text.replace("access=rw, target=/dev/vg0/cola-web", "access=r, target=tools.img"))
        return path

    def reference(self, root: str) -> Path:
        made = self.place / f"reference-{root[:8]}.json"
        words = ("--root", self.boot, "--images", self.boot, "--host", self.description(root))
        self.run("pcrs", "reference", "embedded", *words, "--domain", self.config(), "-o", made)
        return made

    def enrol(self) -> Path:
        anchors, state, ek = self.place / "anchors", self.place / "registrar", self.place / "ek"
        self.run("host", "endorsement", self.host, "-o", ek)
        shutil.copytree(self.host / "certificates", anchors)
        offer = ("--ek-certificate", ek / "ek.crt", "--ek", ek / "ek.pub", "--ak", ek / "ak.pub")
        challenge, answer = self.place / "challenge", self.place / "answer"
        where = ("--host", "embedded", "--state", state)
        self.run("enroll", "challenge", *where, *offer, "--ca", anchors, "-o", challenge)
        self.run("host", "activate", self.host, "--challenge", challenge, "-o", answer)
        (anchors / "enrolled").mkdir()
        record = anchors / "enrolled" / "embedded.json"
        self.run("enroll", "complete", *where, "--response", answer, "-o", record)
        return anchors

    def judge(self, reference: Path, anchors: Path) -> Any:
        evidence = self.place / "evidence.json"
        self.run("attest", "--host", self.host, "--nonce", NONCE, "-o", evidence)
        files = ("--reference", reference, "--policy", POLICY, "--anchors", anchors)
        return self.shype("verify", evidence, *files, "--nonce", NONCE, "--profile", "embedded", "--json")


@pytest.fixture
def story(short_tmp: Path, boot_files: Path, shype_command: Any) -> Iterator[Story]:
    boot = Path(shutil.copytree(boot_files, short_tmp / "boot"))
    (boot / "tools.img").write_bytes(image_of(DATA))
    told = Story(short_tmp, boot, shype_command)
    told.run("host", "init", told.host, "--description", told.description(ROOT))
    with Booted.start(told.host, boot):
        told.run("policy", "load", POLICY, "--host", told.host)
        yield told


def test_the_root_is_what_the_verifier_expects(story: Story) -> None:
    anchors = story.enrol()
    story.run("domain", "launch", story.config(), "--host", story.host)
    found = story.judge(story.reference(ROOT), anchors)
    assert found.exit == 0, found.out
    assert json.loads(found.out)["verdict"] == "affirming"
    other = story.judge(story.reference("cd" * 32), anchors)
    assert other.exit == 1
    assert [one["code"] for one in json.loads(other.out)["reasons"]] == ["domain-image-not-in-reference"]


def test_one_changed_block_keeps_the_guest_from_starting(story: Story) -> None:
    image = story.boot / "tools.img"
    raw = bytearray(image.read_bytes())
    raw[MIB // 2] ^= 1
    image.write_bytes(raw)
    refused = story.shype("domain", "launch", story.config(), "--host", story.host)
    assert refused.exit == 3
    assert "disk-content" in refused.err or "root hash" in refused.err
    status = json.loads(story.run("host", "status", story.host, "--json").out)
    assert status["domains"] == []
