"""A host TPM in software, with an authority of its own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from vtpm.errors import ProcessError, VtpmUsageError
from vtpm.manufacture import manufacture

if TYPE_CHECKING:
    from pathlib import Path

    from vtpm.manufacture import Manufactured

pytestmark = pytest.mark.host


def test_the_folder_has_all_of_it_and_is_closed_to_others(manufactured: Manufactured) -> None:
    folder = manufactured.state.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (manufactured.state / "tpm2-00.permall").stat().st_size > 0
    for name in ("swtpm_setup.conf", "swtpm-localca.conf"):
        for line in (folder / name).read_text().splitlines():
            value = line.partition("=")[2].strip()
            assert not value.startswith("/") or value.startswith((str(folder), "/usr/bin/")), line
    issuer = x509.load_pem_x509_certificate(manufactured.issuer)
    issuer.verify_directly_issued_by(x509.load_pem_x509_certificate(manufactured.root))


def test_a_folder_that_is_there_is_not_touched(private: Path) -> None:
    with pytest.raises(FileExistsError):
        manufacture(private, "host")


@pytest.mark.parametrize("name", ["", "a b", "a,b", "../x\n", "$(id)"])
def test_a_name_that_could_mean_more_is_refused(private: Path, name: str) -> None:
    with pytest.raises(VtpmUsageError):
        manufacture(private / "tpm", name)
    assert not (private / "tpm").exists()


def test_a_failing_tool_is_reported_with_its_last_line(
    private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = private / "bin"
    tools.mkdir()
    for name, script in (
        ("swtpm_localca", "exit 0"),
        ("swtpm_setup", 'for last; do :; done; echo "no space left" > "$last"; exit 3'),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/bin")
    with pytest.raises(ProcessError, match=r"failed with 3; its log ends.*no space left") as caught:
        manufacture(private / "tpm", "host")
    assert caught.value.code == "tool"


def test_a_missing_tool_is_named(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(private))
    with pytest.raises(ProcessError, match="swtpm_localca") as caught:
        manufacture(private / "tpm", "host")
    assert caught.value.code == "start"


@pytest.mark.tools
def test_openssl_builds_the_same_chain(manufactured: Manufactured, tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(manufactured.root)
    (tmp_path / "issuer.pem").write_bytes(manufactured.issuer)
    subprocess.run(
        ["openssl", "verify", "-CAfile", tmp_path / "root.pem", tmp_path / "issuer.pem"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
