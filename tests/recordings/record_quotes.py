"""Record quotes as tpm2-tools write them: a swtpm, six keys, every file form. Made files go into one folder.

``cases.json`` lists them. Accepted cases are what the tools wrote; refused ones are attacks that a real TPM
was asked to help with (a forged TPMS_ATTEST signed by an unrestricted key, a certification in place of a
quote, an empty selection). Needs swtpm and tpm2-tools; 0.7.1 and 5.4 made the files of ``quotes``.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

NONCE: Final = "5f3a9c17e1f00d5f3a9c17e1f00dcafe5f3a9c17e1f00d5f3a9c17e1f00dcafe"
OTHER_NONCE: Final = "ee" * 32
PCRS: Final = "sha256:0,1,2,3,4,5,6,7,8,9,10"
AK: Final = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"
UNRESTRICTED: Final = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"


@dataclass
class Recorder:
    """Runs tpm2-tools in one folder against one TPM, and keeps the list of cases."""

    folder: Path
    tcti: str
    cases: list[dict[str, str]] = field(default_factory=list)

    def run(self, *command: str) -> None:
        environment = {**os.environ, "TPM2TOOLS_TCTI": self.tcti, "TSS2_LOG": "all+none"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, check=False, timeout=60
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.decode()[-400:]}")

    def flush(self) -> None:
        self.run("tpm2_flushcontext", "--transient-object")

    def case(self, name: str, key: str, *, why: str = "", nonce: str = NONCE, **files: str) -> None:
        self.cases.append({"name": name, "ak": key, "why": why, "nonce": nonce, **files})

    def quote(self, key: str, name: str, *options: str, pcrs: str = PCRS) -> dict[str, str]:
        """Quote with the key whose context is ``key``.ctx; return the names of the files made."""
        files = {"message": f"{name}.msg", "signature": f"{name}.sig", "pcrs": f"{name}.pcrs"}
        scheme = ("--scheme", "rsapss") if key == "pss" else ()
        command = ["tpm2_quote", *scheme, "-c", f"{key}.ctx", "-l", pcrs, "-q", NONCE, "-m", files["message"]]
        self.run(*command, "-s", files["signature"], "-o", files["pcrs"], *options)
        self.flush()
        return files


def keys(recorder: Recorder) -> None:
    """Two AKs under an EK in both public forms, a primary AK, and two keys that are no AKs."""
    run = recorder.run
    run("tpm2_createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub")
    for name, options in {
        "rsa": ("rsa", "rsassa"),
        "pss": ("rsa", "rsapss"),
        "ecc": ("ecc", "ecdsa"),
    }.items():
        algorithm, scheme = options
        create = (
            "tpm2_createak",
            "-C",
            "ek.ctx",
            "-c",
            f"{name}.ctx",
            "-G",
            algorithm,
            "-g",
            "sha256",
            "-s",
            scheme,
        )
        recorder.flush()
        run(*create, "-u", f"{name}.pub")
        recorder.flush()
        run("tpm2_readpublic", "-c", f"{name}.ctx", "-f", "pem", "-o", f"{name}.pem")
        recorder.flush()
    for name, attributes in {"primary": AK, "unrestricted": UNRESTRICTED}.items():
        create = ("tpm2_createprimary", "-C", "e", "-G", "ecc:ecdsa-sha256:null", "-a", attributes)
        run(*create, "-c", f"{name}.ctx")
        run("tpm2_readpublic", "-c", f"{name}.ctx", "-f", "tss", "-o", f"{name}.pub")
        recorder.flush()


def quotes(recorder: Recorder) -> None:
    """Every key with every file form."""
    for key in ("rsa", "pss", "ecc", "primary"):
        files = recorder.quote(key, f"{key}-serialized")
        recorder.case(f"{key}-serialized", f"{key}.pub", **files)
        if key != "primary":
            recorder.case(f"{key}-pem", f"{key}.pem", **files)
        files = recorder.quote(key, f"{key}-plain", "-f", "plain", "-F", "values")
        recorder.case(f"{key}-plain-values", f"{key}.pub", **files)
    files = recorder.quote("ecc", "banks", pcrs="sha1:0,16+sha256:1,2,23+sha512:0")
    recorder.case("banks", "ecc.pub", **files)
    files = recorder.quote("ecc", "all", pcrs="sha256:all")
    recorder.case("all", "ecc.pub", **files)


def attacks(recorder: Recorder) -> None:
    """What a TPM helps an attacker with, and a verifier must refuse."""
    files = recorder.quote("ecc", "sha1", pcrs="sha1:0,1")
    recorder.case("sha1", "ecc.pub", why="pcr-bank-weak", **files)
    files = recorder.quote("ecc", "empty", pcrs="sha256:none")
    recorder.case(
        "empty", "ecc.pub", why="pcr-selection-empty", message=files["message"], signature=files["signature"]
    )
    genuine = (recorder.folder / "ecc-serialized.msg").read_bytes()
    forged = genuine.replace(bytes.fromhex(NONCE), bytes.fromhex(OTHER_NONCE))
    (recorder.folder / "forged.msg").write_bytes(forged)
    sign = ("tpm2_sign", "-c", "unrestricted.ctx", "-g", "sha256", "-s", "ecdsa")
    recorder.run(*sign, "-o", "forged.sig", "forged.msg")
    recorder.flush()
    forged_files = {"message": "forged.msg", "signature": "forged.sig", "nonce": OTHER_NONCE}
    recorder.case("forged", "unrestricted.pub", why="ak-attributes", **forged_files)
    certify = ("tpm2_certify", "-c", "unrestricted.ctx", "-C", "primary.ctx", "-g", "sha256")
    recorder.run(*certify, "-o", "certify.msg", "-s", "certify.sig")
    recorder.flush()
    recorder.case(
        "certify", "primary.pub", why="quote-wrong-type", message="certify.msg", signature="certify.sig"
    )


@contextmanager
def swtpm(state: Path) -> Iterator[str]:
    """Run a swtpm on two free ports of the loopback device; give the TCTI that reaches it."""
    for _ in range(20):
        port = _free_port()
        pid_file = state / "pid"
        pid_file.unlink(missing_ok=True)
        options = ("--tpm2", "--tpmstate", f"dir={state}", "--flags", "not-need-init,startup-clear")
        server = ("--server", f"type=tcp,bindaddr=127.0.0.1,port={port}")
        control = ("--ctrl", f"type=tcp,bindaddr=127.0.0.1,port={port + 1}")
        log = ("--log", f"level=1,file={state}/log", "--pid", f"file={pid_file}")
        process = subprocess.Popen(["swtpm", "socket", *options, *server, *control, *log])
        try:
            if _started(process, pid_file):
                yield f"swtpm:host=127.0.0.1,port={port}"
                return
        finally:
            process.terminate()
            process.wait()
    sys.exit("no free pair of ports for swtpm")


def _free_port() -> int:
    """Return a port that is free now, as its successor is likely to be: TCTIs look there for control."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _started(process: subprocess.Popen[bytes], pid_file: Path) -> bool:
    """Wait for the pid file, which swtpm writes once it holds both ports; without them it ends."""
    for _ in range(500):
        if process.poll() is not None:
            return False
        if pid_file.exists() and pid_file.read_text().strip() == str(process.pid):
            return True
        time.sleep(0.02)
    return False


def record(folder: Path) -> None:
    """Make all files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sh-") as state, swtpm(Path(state)) as tcti:
        recorder = Recorder(folder, tcti)
        for pcr in range(11):
            digests = f"{pcr}:sha1={pcr:02x}{'11' * 19},sha256={pcr:02x}{'22' * 31}"
            recorder.run("tpm2_pcrextend", digests)
        keys(recorder)
        quotes(recorder)
        attacks(recorder)
    for context in folder.glob("*.ctx"):
        context.unlink()
    (folder / "cases.json").write_text(json.dumps(recorder.cases, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the files go, those of an earlier run are replaced")
    record(parser.parse_args().folder)
