"""Making a host TPM with programs that end when we do.

swtpm_setup starts swtpm, swtpm_localca and certtool, and they outlive it if it is killed. So it runs in a
session of its own, under a leader that reads a pipe from us: at its end, which comes with ours however that
comes about, the leader kills the whole group, itself included. A group is killed as one: no member can fork
on the way (kill(2)).

Run as a program it is the leader: ``python -m shype.host.maker FOLDER NAME``. It answers with one JSON line:
``{"root", "issuer"}``, certificates in PEM, or ``{"error", "code", "usage"}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from vtpm.errors import ProcessError, VtpmInputError, VtpmUsageError
from vtpm.manufacture import manufacture

_END_SECONDS: Final = 2.0
"""Enough for killed processes to end; a dead one that nobody reaps stays a member of its group for ever."""
_LEADER: Final = (sys.executable, "-P", "-m", "shype.host.maker")


def make(folder: Path, name: str) -> dict[str, bytes]:
    """Manufacture a TPM in ``folder``; return its authority's certificates by file name.

    Raises what ``vtpm.manufacture`` raises: ProcessError, VtpmUsageError; nothing that it started is left.
    """
    leader = subprocess.Popen(
        (*_LEADER, str(folder), name),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert leader.stdout is not None
    try:
        said = leader.stdout.read()
    finally:
        _wait_for_end(leader)
    try:
        answer = json.loads(said)
    except ValueError:
        raise ProcessError("the process that makes the TPM ended early", code="ended") from None
    if "error" in answer:
        raise (VtpmUsageError if answer["usage"] else ProcessError)(answer["error"], code=answer["code"])
    return {f"tpm-{which}.pem": answer[which].encode() for which in ("root", "issuer")}


def _wait_for_end(leader: subprocess.Popen[bytes]) -> None:
    """Let go of the pipe, and wait until nobody of the group writes into the folder any more."""
    assert leader.stdin is not None
    assert leader.stdout is not None
    leader.stdin.close()
    leader.stdout.close()
    leader.wait()
    deadline = time.monotonic() + _END_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(leader.pid, 0)
            time.sleep(0.005)


def _answer(folder: Path, name: str) -> dict[str, str | bool]:
    try:
        made = manufacture(folder, name)
    except (VtpmInputError, VtpmUsageError) as error:
        return {"error": str(error), "code": error.code, "usage": isinstance(error, VtpmUsageError)}
    except OSError as error:
        return {"error": f"{error.filename}: {error.strerror}", "code": "tool", "usage": False}
    return {"root": made.root.decode(), "issuer": made.issuer.decode()}


def _end_with_pipe() -> None:
    while os.read(0, 1):
        pass
    _end()


def _end() -> None:
    """Kill this process's group: all that it started, and itself."""
    os.kill(0, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Lead the session that makes one TPM; returns only when called wrongly, otherwise it kills itself."""
    if len(arguments) != 2 or os.getpgrp() != os.getpid():  # noqa: PLR2004 - FOLDER NAME
        print("usage: setsid python -m shype.host.maker FOLDER NAME", file=sys.stderr)
        return 2
    threading.Thread(target=_end_with_pipe, daemon=True).start()
    print(json.dumps(_answer(Path(arguments[0]), arguments[1])), flush=True)
    _end()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
