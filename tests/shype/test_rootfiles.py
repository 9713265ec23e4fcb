"""Reference values for dom0's user land: from a folder, a ramdisk, a list."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path

import jsonschema
import pytest

from attest.ima.appraise import appraise_list
from attest.ima.reference import FileReferenceError
from attest.reference import FlaskPolicy, ReferenceValues
from shype.rootfiles import programs
from tests.attest.ima.archive import Member, archive
from tests.attest.ima.build import binary_of, ng, replayed
from tests.attest.predict.build import CONFIG, CONFIGS, FILES, unified, write
from tests.shype.outcome import Outcome, run
from vtpm.tpm2.constants import Alg

CONTENTS = {
    "usr/bin/xl": (0o755, b"\x7fELF xl"),
    "usr/lib/libc.so.6": (0o644, b"\x7fELF libc"),
    "usr/lib/modules/6.1/e1000.ko": (0o644, b"module"),
    "usr/lib/firmware/fw.bin": (0o644, b"firmware"),
    "usr/bin/script": (0o600, b"#!/bin/sh"),
    "etc/ima/policy": (0o600, b"measure func=BPRM_CHECK"),
    "etc/passwd": (0o644, b"root"),
    "empty": (0o644, b""),
    "réseau": (0o755, b"x"),
}
PLAIN = {"etc/passwd", "empty"}


def digest(content: bytes) -> frozenset[str]:
    return frozenset({hashlib.sha256(content).hexdigest()})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, (mode, content) in CONTENTS.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    return tmp_path / "root"


EXPECTED = {f"/{name}": digest(content) for name, (_, content) in CONTENTS.items() if name not in PLAIN}


class TestFolder:
    def test_programs_under_the_paths_of_the_mounted_tree(self, root: Path) -> None:
        assert programs(root).files == EXPECTED

    def test_a_root_that_is_named_by_a_link_or_ends_with_a_slash(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(root)
        assert programs(tmp_path / "link").files == EXPECTED
        assert programs(Path(f"{root}/")).files == EXPECTED

    def test_no_link_leads_out_of_it(self, root: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "nc").write_bytes(b"\x7fELF nc")
        (root / "bin").symlink_to(outside)
        (root / "usr" / "bin" / "nc").symlink_to(outside / "nc")
        (root / "usr" / "bin" / "up").symlink_to("../../../outside/nc")
        (root / "sbin").symlink_to("usr/bin")
        (root / "gone").symlink_to("/nowhere")
        assert programs(root).files == EXPECTED

    def test_what_is_no_file_is_not_opened(self, root: Path) -> None:
        os.mkfifo(root / "usr" / "bin" / "pipe")
        assert programs(root).files == EXPECTED

    def test_a_program_whose_name_is_no_text(self, root: Path) -> None:
        (root / os.fsdecode(b"plain-\xff")).write_bytes(b"text")
        assert programs(root).files == EXPECTED
        (root / os.fsdecode(b"nc-\xff")).write_bytes(b"\x7fELF")
        with pytest.raises(FileReferenceError, match="UTF-8"):
            programs(root)

    def test_a_deep_tree(self, root: Path) -> None:
        place = root
        for _ in range(400):
            place /= "d" * 8
            place.mkdir()
        (place / "deep").write_bytes(b"\x7fELF deep")
        assert "/" + str((place / "deep").relative_to(root)) in programs(root).files

    def test_what_is_no_folder(self, root: Path, tmp_path: Path) -> None:
        for wrong in (tmp_path / "nowhere", root / "empty"):
            with pytest.raises(OSError, match=wrong.name):
                programs(wrong)

    def test_it_is_what_the_kernel_lists(self, root: Path) -> None:
        """A list of these files, as IMA writes it, is affirmed by these values."""
        made = [ng(f"/{name}", content) for name, (_, content) in CONTENTS.items() if name not in PLAIN]
        entries = [ng("boot_aggregate", b""), *made]
        pcrs = {10: replayed(*entries)}
        assert appraise_list([binary_of(*entries)], pcrs, Alg.SHA256, programs(root).policy()).is_good


def reference(*arguments: object) -> Outcome:
    return run("pcrs", "reference", *arguments)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    write(tmp_path / "disk")
    path = tmp_path / "p.yaml"
    path.write_text("schema: shype.pcr-profile/1\nname: p\nroot: disk\ngrub: {config: grub.cfg}\n")
    return path


class TestCommand:
    def test_all_three_are_joined(self, profile: Path, root: Path, tmp_path: Path) -> None:
        init = archive(Member("init", b"#!/bin/sh"), Member("usr/bin/xl", b"\x7fELF another xl"))
        (tmp_path / "initrd").write_bytes(gzip.compress(init))
        (tmp_path / "sums").write_text(f"{'11' * 32}  /opt/tool\n")
        options = ("--ima-root", root, "--ima-ramdisk", tmp_path / "initrd", "--ima-list", tmp_path / "sums")
        output = tmp_path / "reference.json"
        outcome = reference(profile, *options, "-o", output, "--json")
        document = outcome.document
        assert (outcome.exit, document["files"]) == (0, len(EXPECTED) + 2)
        for name, value in (("pcrs-reference", document), ("reference", json.loads(output.read_bytes()))):
            schema = json.loads((CONFIGS / "schema" / f"{name}.schema.json").read_text())
            jsonschema.validate(value, schema)
        files = ReferenceValues.decode(output.read_bytes()).ima
        assert files is not None
        assert files.files == {
            **EXPECTED,
            "/init": digest(b"#!/bin/sh"),
            "/usr/bin/xl": EXPECTED["/usr/bin/xl"] | digest(b"\x7fELF another xl"),
            "/opt/tool": frozenset({"11" * 32}),
        }

    def test_without_them_nothing_is_said(self, profile: Path, tmp_path: Path) -> None:
        output = tmp_path / "reference.json"
        assert reference(profile, "-o", output, "--json").document["files"] is None
        assert b'"ima"' not in output.read_bytes()

    @pytest.mark.parametrize("option", ["--ima-root", "--ima-ramdisk", "--ima-list"])
    def test_what_is_missing(self, option: str, profile: Path, tmp_path: Path) -> None:
        outcome = reference(profile, option, tmp_path / "nowhere", "-o", tmp_path / "out")
        assert (outcome.exit, outcome.err.count("\n"), "nowhere" in outcome.err) == (2, 1, True)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("option", ["--ima-ramdisk", "--ima-list"])
    def test_what_is_broken(self, option: str, profile: Path, tmp_path: Path) -> None:
        (tmp_path / "broken").write_bytes(b"\xfd7zXZ\0 and so on")
        outcome = reference(profile, option, tmp_path / "broken", "-o", tmp_path / "out")
        assert (outcome.exit, outcome.err.count("\n")) == (3, 1)
        assert ("xz is not read" in outcome.err) or ("line 1" in outcome.err)
        assert not (tmp_path / "out").exists()

    def test_a_golden_host_brings_its_own(self, root: Path, tmp_path: Path) -> None:
        for name in ("evidence", "policy"):
            (tmp_path / name).write_bytes(b"x")
        golden = ("--from-evidence", tmp_path / "evidence", "--nonce", "00" * 16, "--anchors", tmp_path)
        options = (*golden, "--policy", tmp_path / "policy", "--ima-root", root)
        outcome = reference(*options, "-o", tmp_path / "out")
        assert outcome.exit == 2
        assert "--from-evidence takes all from the host" in outcome.err


class TestFlaskPolicy:
    POLICY = b"\x8c\xff\x7c\xf9XenFlask"

    def test_under_grub(self, profile: Path, tmp_path: Path) -> None:
        config = CONFIG.replace(b"boot\n", b"module2 --nounzip /xenpolicy\nboot\n")
        write(tmp_path / "disk", {**FILES, "grub.cfg": config, "xenpolicy": self.POLICY})
        outcome = reference(profile, "-o", tmp_path / "out")
        values = ReferenceValues.decode((tmp_path / "out").read_bytes())
        assert (outcome.exit, values.hypervisor.flask_policy) == (
            0,
            FlaskPolicy(hashlib.sha256(self.POLICY).hexdigest(), 9),
        )

    def test_in_the_image(self, tmp_path: Path) -> None:
        image = unified(kernel=b"kernel", ramdisk=b"ramdisk", xsm=self.POLICY)
        (tmp_path / "xen.efi").write_bytes(image)
        recording = CONFIGS / "recordings" / "ovmf-2022.11-q35.bin"
        (tmp_path / "p.yaml").write_text(
            f"schema: shype.pcr-profile/1\nname: p\nfirmware: {{recording: {recording}}}\n"
            "unified: {image: xen.efi}\n"
        )
        outcome = reference(tmp_path / "p.yaml", "-o", tmp_path / "out")
        values = ReferenceValues.decode((tmp_path / "out").read_bytes())
        assert (outcome.exit, values.hypervisor.flask_policy) == (
            0,
            FlaskPolicy(hashlib.sha256(self.POLICY).hexdigest(), 4),
        )
