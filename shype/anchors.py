"""A folder of trust anchors: certificates of TPM makers, one or more a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attest.certificate import MAX_FILE
from attest.endorsement import Anchors
from shype.files import read

SUFFIXES: Final = frozenset({".pem", ".crt", ".cer", ".der"})


def read_anchors(folder: Path) -> Anchors:
    """Read the certificates in a folder; other files, and PEM files with a private key, are passed over.

    Raises OSError, EndorsementError for a file that is no certificate, AttestUsageError if there is no root.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    files = [read(path, MAX_FILE) for path in paths]
    return Anchors.decode([raw for raw in files if b"PRIVATE KEY-----" not in raw])
