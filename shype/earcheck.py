"""What ``shype result`` does: checks a signed attestation result (EAR) for the one who relies on it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attest.ear import MAX_JWK, MAX_TOKEN, Ear, EarError, public_jwk, verify_ear
from attest.signer import MemoryKey
from shype.errors import ShypeUsageError
from shype.exits import VERDICTS
from shype.files import read
from shype.report import Exit, Json, Report

MARKS: Final = {"affirming": "✓", "warning": "!", "contraindicated": "✗", "none": "✗"}
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
EXITS: Final = {**VERDICTS, "none": Exit.INCONCLUSIVE}
"""A good token that says "none" settles nothing; one that must be refused is exit 3."""


def check(
    token: Path,
    key: Path,
    now: int,
    *,
    nonce: str | None,
    audience: str | None,
    submods: Sequence[str],
) -> Report:
    """Check the token in a file with the JWK in another; ``nonce`` in hexadecimal."""
    text = read(token, MAX_TOKEN + 1).decode("ascii", "replace")
    try:
        ear = verify_ear(
            text.strip(),
            read(key, MAX_JWK),
            now=now,
            nonce=_nonce(nonce),
            audience=audience,
            submods=submods,
        )
    except EarError as error:
        reasons = [{"code": error.code, "detail": str(error)}]
        document = {"verdict": "none", "reasons": reasons, "claims": None}
        return Report(Exit.BROKEN, document, f"✗ refused: {error} [{error.code}]", f"{error.code}: {error}")
    return Report(EXITS[ear.status], _document(ear), _text(ear))


def jwk(pem: Path) -> Report:
    """Return the public JWK of a private key in PEM."""
    public = public_jwk(MemoryKey.from_pem(read(pem, MAX_JWK)).spki())
    return Report(Exit.OK, public, json.dumps(public))


def _nonce(given: str | None) -> bytes | None:
    if given is not None and not _HEX.fullmatch(given):
        raise ShypeUsageError("--nonce: hexadecimal digits are needed, two for each byte")
    return None if given is None else bytes.fromhex(given)


def _document(ear: Ear) -> Json:
    """Return the JSON document (configs/schema/result-verify.schema.json)."""
    return {
        "verdict": ear.status,
        "reasons": [],
        "claims": {
            "issued": ear.issued,
            "expires": ear.expires,
            "verifier": ear.verifier,
            "submods": {
                name: {"status": one.status, "vector": dict(one.vector)} for name, one in ear.submods.items()
            },
        },
    }


def _text(ear: Ear) -> str:
    """Return what a person reads: one line for each submod."""
    until = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(ear.expires))
    lines = [f"{MARKS[ear.status]} {ear.status}, by {ear.verifier}, good until {until}"]
    for name, one in ear.submods.items():
        claims = ", ".join(f"{claim} {value}" for claim, value in sorted(one.vector.items()))
        lines.append(f"  {MARKS[one.status]} {name}: {one.status}" + (f" ({claims})" if claims else ""))
    return "\n".join(lines)
