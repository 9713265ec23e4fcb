"""A new embedded host: a folder with its description, and a TPM with EK certificate."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from hypervisor import hostconfig
from hypervisor.hostconfig import HostDescription
from shype.host.tpm import make_tpm

DESCRIPTION: Final = "host.yaml"
CERTIFICATES: Final = "certificates"


def create(folder: Path, description: bytes) -> HostDescription:
    """Make a new host in ``folder``, which must not exist: its description and a TPM with EK certificate.

    Raises HypervisorInputError for a broken description, FileExistsError, ProcessError of the TPM's maker;
    then nothing is left.
    """
    parsed = hostconfig.parse(description)
    folder.mkdir(mode=0o700)
    try:
        certificates = make_tpm(folder, parsed.name)
        (folder / DESCRIPTION).write_bytes(description)
        (folder / CERTIFICATES).mkdir()
        for name, pem in certificates.items():
            (folder / CERTIFICATES / name).write_bytes(pem)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return parsed
