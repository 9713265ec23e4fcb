"""A TPM's quote, judged beside tpm2_checkquote."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attest.quote_verdict import ShownQuote, judge_quote
from attest.result import Verdict
from tests.bench.measure import Pair, Side, Size
from vtpm.swtpm import State, Swtpm
from vtpm.tpm import Tpm
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection


def _make(folder: Path) -> tuple[ShownQuote, bytes]:
    """Let a swtpm quote PCR 0-9, and write what tpm2_quote would."""
    nonce = os.urandom(32)
    with Swtpm.start(folder / "tpm", state=State.NEW, keys=None) as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        ak = tpm.create_ak()
        message, signature = tpm.quote(ak, nonce, PcrSelection.of(Alg.SHA256, range(10)))
    pem = ak.public.key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    shown = ShownQuote(ak=pem, message=message, signature=signature)
    for name in ("ak", "message", "signature"):
        (folder / name).write_bytes(getattr(shown, name))
    return shown, nonce


@contextmanager
def library(folder: Path, size: Size) -> Iterator[Pair]:
    """In a process that runs already, as a verifier's does."""
    del size
    shown, nonce = _make(folder)

    def ours() -> None:
        assert judge_quote(shown, nonce=nonce).verdict is Verdict.AFFIRMING

    yield Pair(Side("attest.quote_verdict.judge_quote", ours), _checkquote(folder, nonce))


@contextmanager
def process(folder: Path, size: Size) -> Iterator[Pair]:
    """Both as processes."""
    del size
    _, nonce = _make(folder)
    files = ("--ak", "ak", "--message", "message", "--signature", "signature")
    command = (sys.executable, "-m", "shype.main", "quote", "verify", *files, "--nonce", nonce.hex())
    yield Pair(Side("shype quote verify process", lambda: _run(folder, *command)), _checkquote(folder, nonce))


def _checkquote(folder: Path, nonce: bytes) -> Side:
    command = ("tpm2_checkquote", "-u", "ak", "-m", "message", "-s", "signature", "-q", nonce.hex())
    return Side("tpm2_checkquote process", lambda: _run(folder, *command))


def _run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
