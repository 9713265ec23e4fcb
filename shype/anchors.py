"""A folder of trust anchors: certificates of TPM makers, one or more a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attest.certificate import MAX_FILE, Certificate, EndorsementError, decode_certificates
from attest.endorsement import Anchors
from attest.errors import AttestUsageError
from shype.files import read

SUFFIXES: Final = frozenset({".pem", ".crt", ".cer", ".der"})


def read_anchors(folder: Path) -> Anchors:
    """Read the certificates in a folder; other files, and PEM files with a private key, are passed over.

    Raises OSError, EndorsementError that names the file that is no certificate, AttestUsageError if there is
    none, or no root.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        what = f"no certificate in it; give files *{', *'.join(sorted(SUFFIXES))}"
        raise AttestUsageError(f"{folder}: {what}")
    files = [(path, read(path, MAX_FILE)) for path in paths]
    return Anchors.of(
        [
            certificate
            for path, raw in files
            if b"PRIVATE KEY-----" not in raw
            for certificate in _decode(path, raw)
        ]
    )


def _decode(path: Path, raw: bytes) -> list[Certificate]:
    try:
        return decode_certificates(raw)
    except EndorsementError as error:
        raise EndorsementError(error.failure, f"{path.name}: {error}") from None
