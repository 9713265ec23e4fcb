"""A machine with Secure Boot on and one key of our own in PK, KEK and db; nobody else's is in it.

OVMF's code for it needs SMM. Sleep to memory (S3) must be off: with it this firmware keeps the memory that it
would wake up through, 8 to 23 MiB, where a PV dom0's kernel lies.
"""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.lab.cache import Cache
from tests.lab.machine import FIRMWARE, HARDWARE, VARIABLES, Board
from tests.lab.tool import run

CODE: Final = FIRMWARE / "OVMF_CODE_4M.secboot.fd"
OWNER: Final = "1ab0e5f1-0000-4000-8000-000000000002"
DAYS: Final = 3650
BOARD: Final = Board(
    CODE,
    (
        *("-machine", "q35,accel=tcg,smm=on", *HARDWARE[2:]),
        *("-global", "driver=cfi.pflash01,property=secure,value=on"),
        *("-global", "ICH9-LPC.disable_s3=1"),
    ),
)


class Keys:
    """The key of the machine's owner, and the firmware's variables that know it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = folder / "variables.fd"

    @classmethod
    def of(cls, cache: Cache) -> Keys:
        """Return those in the cache: one log of the firmware is good for one certificate."""
        return cls(cache.made("secure-boot", f"1 {OWNER}", _make))

    def sign(self, image: Path) -> None:
        """Sign an EFI image in place (Authenticode)."""
        signed = image.with_name(f"{image.name}.signed")
        key, certificate = self.folder / "owner.key", self.folder / "owner.crt"
        run("osslsigncode", "sign", "-certs", certificate, "-key", key, "-in", image, "-out", signed)
        shutil.move(signed, image)


def _make(new: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "owner of the lab")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .sign(key, hashes.SHA256())
    )
    (new / "owner.key").touch(mode=0o600)
    (new / "owner.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    (new / "owner.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    known = [
        word for store in ("--set-pk", "--add-kek", "--add-db") for word in (store, OWNER, new / "owner.crt")
    ]
    tool = Path(sys.executable).with_name("virt-fw-vars")
    run(tool, "--input", VARIABLES, *known, "--sb", "--output", new / "variables.fd")
