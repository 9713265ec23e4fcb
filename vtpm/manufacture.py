"""A new host TPM in software: swtpm_setup(8) with a certificate authority of its own in the same folder.

On a machine without a hardware TPM this plays it. A verifier that is to admit it must be given its authority:
no profile for hardware does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vtpm import lifeline
from vtpm.errors import ProcessError, VtpmUsageError

if TYPE_CHECKING:
    from pathlib import Path

_SETUP_SECONDS: Final = 120.0
_FORBIDDEN: Final = frozenset("\n\r\0")
_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


@dataclass(frozen=True, slots=True)
class Manufactured:
    """Where the new TPM is, and who vouches for it.

    ``state`` is the folder for ``Swtpm.start``; ``root`` and ``issuer`` are the authority's certificates in
    PEM: the anchor for a verifier, and what signed the EK and platform certificates.
    """

    state: Path
    root: bytes
    issuer: bytes


def manufacture(folder: Path, name: str) -> Manufactured:
    """Make a TPM with EKs, EK certificates, a platform certificate and only the SHA-256 bank of PCRs.

    ``folder`` must not exist; it is made with mode 0700, and nothing outside it is touched. ``name``
    (letters, digits, ``.``, ``-``, ``_``) becomes the common name in the certificates. Takes about a second.
    Raises ``VtpmUsageError`` for a name or path that cannot be used, ``FileExistsError``, and
    ``ProcessError`` (``tool``, ``timeout``, ``start``) if swtpm_setup fails.
    """
    if not name or not set(name) <= _NAME_CHARACTERS:
        raise VtpmUsageError(f"TPM name {name!r}: use letters, digits, '.', '-' and '_'")
    if _FORBIDDEN & set(str(folder)):
        raise VtpmUsageError("the folder's path must not contain line ends")
    folder = folder.absolute()
    folder.mkdir(mode=0o700)
    state, authority = folder / "state", folder / "ca"
    for made in (state, authority):
        made.mkdir(mode=0o700)
    _write_configuration(folder, authority)
    _run_setup(folder, state, name)
    return Manufactured(
        state=state,
        root=(authority / "swtpm-localca-rootca-cert.pem").read_bytes(),
        issuer=(authority / "issuercert.pem").read_bytes(),
    )


def _write_configuration(folder: Path, authority: Path) -> None:
    tool = shutil.which("swtpm_localca")
    if tool is None:
        raise ProcessError("swtpm_localca is not on PATH: install swtpm-tools", code="start")
    (folder / "swtpm-localca.conf").write_text(
        f"statedir = {authority}\n"
        f"signingkey = {authority}/signkey.pem\n"
        f"issuercert = {authority}/issuercert.pem\n"
        f"certserial = {authority}/certserial\n"
    )
    (folder / "swtpm-localca.options").write_text(
        "--platform-manufacturer shype\n--platform-version 1\n--platform-model swtpm-host\n"
    )
    (folder / "swtpm_setup.conf").write_text(
        f"create_certs_tool = {tool}\n"
        f"create_certs_tool_config = {folder}/swtpm-localca.conf\n"
        f"create_certs_tool_options = {folder}/swtpm-localca.options\n"
        "active_pcr_banks = sha256\n"
    )


def _run_setup(folder: Path, state: Path, name: str) -> None:
    command = ["swtpm_setup", "--tpm2", "--tpm-state", str(state), "--vmid", name, "--create-ek-cert"]
    command += ["--create-platform-cert", "--lock-nvram", "--pcr-banks", "sha256", "--not-overwrite"]
    command += ["--config", str(folder / "swtpm_setup.conf"), "--logfile", str(folder / "swtpm_setup.log")]
    # certtool and the authority keep to the folder too: no home, a private place for temporary files.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "TMPDIR": str(folder)}
    process = lifeline.start(lifeline.Child(command, cwd=folder, env=environment))
    try:
        code = process.wait(_SETUP_SECONDS)
    except subprocess.TimeoutExpired:
        raise ProcessError(f"swtpm_setup did not end in {_SETUP_SECONDS:.0f} s", code="timeout") from None
    finally:
        lifeline.end(process, 0)
    if code != 0:
        raise ProcessError(f"swtpm_setup failed with {code}; {_last_line(folder)}", code="tool")


def _last_line(folder: Path) -> str:
    with contextlib.suppress(OSError):
        lines = (folder / "swtpm_setup.log").read_text(errors="replace").split("\n")
        return f"its log ends: {[line for line in lines if line.strip()][-1:]}"
    return "it left no log"
