"""The authorisation of a TPM's owner, in a file that nobody else can read: never an argument."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from shype.errors import ShypeUsageError
from shype.files import check_unshared, read_regular

MAX_AUTHORISATION: Final = 64
"""Bytes of the longest authorisation (Part 2, 10.4.5: the size of the largest digest, SHA-512's)."""


def read_owner_auth(path: Path) -> bytes:
    """Return the bytes of the file; one line feed at their end is not part of it, as an editor leaves one.

    Raises ShypeUsageError for a file that others can read or whose content is empty or too long, OSError.
    """
    check_unshared(path, "the owner's authorisation")
    raw = read_regular(path, MAX_AUTHORISATION + 1).removesuffix(b"\n")
    if not 0 < len(raw) <= MAX_AUTHORISATION:
        text = f"1 to {MAX_AUTHORISATION} bytes are the owner's authorisation; leave the option out for none"
        raise ShypeUsageError(f"{path}: {text}")
    return raw
