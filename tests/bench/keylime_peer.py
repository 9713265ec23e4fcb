"""Keylime as a peer: in an environment of its own under build/, never a dependency of ours.

``install`` needs a package index; Debian's python3-gpg, libefivar1 and tpm2-tools must be there. Where it
cannot be had, its rows are left out with the reason.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attest.eventlog.read import parse
from attest.eventlog.replay import replay
from attest.quote_verdict import ShownQuote, judge_quote
from attest.result import Verdict
from tests.bench.eventlog import EVENTS, boot_log
from tests.bench.measure import Clock, Pair, Side, Size, Unavailable
from vtpm.swtpm import State, Swtpm
from vtpm.tpm import Tpm
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

VERSION: Final = "7.14.3"
HOME: Final = Path(__file__).resolve().parents[2] / "build" / "peers" / "keylime"
WORKER: Final = Path(__file__).with_name("keylime_worker.py")
REQUIREMENTS: Final = (
    *("cryptography", "tornado", "pyzmq", "pyyaml", "requests", "sqlalchemy", "alembic", "packaging"),
    *("psutil", "lark", "pyasn1", "pyasn1-modules", "jinja2", "jsonschema"),
)
"""What its source asks for; its package declares none of it."""
_CONFIG: Final = {
    "verifier": "[verifier]\nversion = 2.5\nmeasured_boot_imports = []\n",
    "logging": "[logging]\nversion = 2.5\n[loggers]\nkeys = root\n[handlers]\nkeys = none\n"
    "[formatters]\nkeys = plain\n[formatter_plain]\nformat = %(message)s\n"
    "[logger_root]\nlevel = CRITICAL\nhandlers = none\n"
    "[handler_none]\nclass = NullHandler\nlevel = CRITICAL\nformatter = plain\nargs = ()\n",
}
_PCRS: Final = range(10)
QUOTES: Final = {Size.FULL: 50, Size.SMALL: 2}
"""Checks in one run: a single one of a tenth of a millisecond would time the caches of the processor."""


def install() -> None:
    """Make the environment unless it is there; raises Unavailable with the reason."""
    if (HOME / "installed").exists():
        return
    HOME.parent.mkdir(parents=True, exist_ok=True)
    packages = (f"keylime=={VERSION}", *REQUIREMENTS)
    try:
        for command in (
            (sys.executable, "-m", "venv", str(HOME)),
            (str(HOME / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *packages),
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise Unavailable(f"Keylime cannot be installed: {said.strip().splitlines()[-1]}") from None
    (HOME / "installed").touch()


@contextmanager
def worker(folder: Path, size: Size, **work: Any) -> Iterator[Side]:
    """Start Keylime, have it prepare the work, and give the side that runs it."""
    if size is Size.SMALL and not (HOME / "installed").exists():
        raise Unavailable("Keylime is not installed; a full run installs it")
    install()
    files = {name: folder / f"{name}.conf" for name in _CONFIG}
    for name, path in files.items():
        path.write_text(_CONFIG[name])
    settings = {f"KEYLIME_{name.upper()}_CONFIG": str(path) for name, path in files.items()}
    with (
        (folder / "keylime.err").open("wb") as errors,
        subprocess.Popen(
            (str(HOME / "bin" / "python"), "-P", str(WORKER)),
            env={"PATH": "/usr/bin:/bin", "KEYLIME_DIR": str(folder), **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        told, answers = process.stdin, process.stdout

        def ask(what: dict[str, Any]) -> dict[str, float]:
            told.write(json.dumps(what) + "\n")
            told.flush()
            answer = answers.readline()
            if not answer:
                said = (folder / "keylime.err").read_text(errors="replace").strip().splitlines()
                raise Unavailable(f"Keylime does not run: {said[-1] if said else 'it says nothing'}")
            return dict(json.loads(answer))

        def timed() -> dict[Clock, float]:
            return _clocks(ask({}))

        try:
            ask(work)
            yield Side(f"Keylime {VERSION}, in its process: {work['work']}", timed, times_itself=True)
        finally:
            told.close()


def _clocks(answer: dict[str, float]) -> dict[Clock, float]:
    return {clock: answer[str(clock)] for clock in Clock}


@contextmanager
def log(folder: Path, size: Size) -> Iterator[Pair]:
    """A boot log of 100 events, by the way that Keylime's verifier takes."""
    raw, path = boot_log(), folder / "log"
    path.write_bytes(raw)

    def ours() -> None:
        found = parse(raw)
        assert len(found.events) >= EVENTS
        assert len(replay(found, Alg.SHA256)) >= len(_PCRS)

    with worker(folder, size, work="log", path=str(path), pcrs=len(_PCRS)) as other:
        yield Pair(Side("attest.eventlog: parse, replay SHA-256", ours), other)


@contextmanager
def quote(folder: Path, size: Size) -> Iterator[Pair]:
    """One quote over PCR 0-9, key, signature, nonce and values."""
    nonce = "5f3a9c17e1f00d5f3a9c"
    with Swtpm.start(folder / "tpm", state=State.NEW, keys=None) as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        ak = tpm.create_ak()
        selection = PcrSelection.of(Alg.SHA256, _PCRS)
        message, signature = tpm.quote(ak, nonce.encode(), selection)
        values = tpm.pcr_read(selection)
    public = ak.public.encode_sized()
    shown = ShownQuote(ak=public, message=message, signature=signature, pcrs=b"".join(values))

    times = QUOTES[size]

    def ours() -> None:
        for _ in range(times):
            assert judge_quote(shown, nonce=nonce.encode()).verdict is Verdict.AFFIRMING

    blob = _serialized(values)
    parts = (message, signature, blob)
    compound = "r" + ":".join(base64.b64encode(part).decode() for part in parts)
    work = {"times": times, "nonce": nonce, "quote": compound, "ak": base64.b64encode(public).decode()}
    with worker(folder, size, work="quote", **work) as other:
        yield Pair(Side(f"attest.quote_verdict.judge_quote, {times} times", ours), other)


def _serialized(values: Sequence[bytes]) -> bytes:
    """Write values of PCR 0-9 of SHA-256 as ``tpm2_quote -F serialized`` does (``attest.pcrfile``)."""
    select = sum(1 << pcr for pcr in _PCRS).to_bytes(3, "little")
    banks = Alg.SHA256.to_bytes(2, "little") + b"\3" + select + bytes(2)
    head = (1).to_bytes(4, "little") + banks.ljust(128, b"\0")
    lists = [[*values[at : at + 8]] for at in range(0, len(values), 8)]
    body = b"".join(
        len(each).to_bytes(4, "little")
        + b"".join(
            len(value).to_bytes(2, "little") + value.ljust(64, b"\0")
            for value in each + [b""] * (8 - len(each))
        )
        for each in lists
    )
    return head + len(lists).to_bytes(4, "little") + body
