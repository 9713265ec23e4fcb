"""The first entry of a measurement list: a digest over the PCRs of the boot before it.

Source: Linux, security/integrity/ima/ima_crypto.c (``ima_calc_boot_aggregate_tfm``): the hash of PCR 0 to 9
of a bank, one after the other; of PCR 0 to 7 for SHA-1, and for every bank before Linux 5.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attest.eventlog.log import BANKS, HASHES
from attest.ima.entry import BOOT_AGGREGATE, Entry
from attest.ima.template import malformed
from vtpm.tpm2.constants import Alg

FIRMWARE: Final = range(8)
FIRMWARE_AND_LOADER: Final = range(10)
_BANKS: Final = (Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512)


def boot_aggregates(alg: Alg, pcrs: Mapping[int, bytes]) -> tuple[bytes, ...]:
    """Return the digests that a kernel may have measured over these PCRs of one bank, newest rule first."""
    ranges = (FIRMWARE,) if alg is Alg.SHA1 else (FIRMWARE_AND_LOADER, FIRMWARE)
    return tuple(
        HASHES[alg](b"".join(pcrs[pcr] for pcr in covered)).digest()
        for covered in ranges
        if all(pcr in pcrs for pcr in covered)
    )


def stated_aggregate(entry: Entry) -> tuple[Alg, bytes]:
    """Return the bank and the digest that a ``boot_aggregate`` entry states; raises EventLogError."""
    name, _, digest = entry.file_digest.decode("latin-1").rpartition(":")
    bank = next((alg for alg in _BANKS if BANKS[alg][0] == name.removeprefix("ima:")), None)
    if entry.path != BOOT_AGGREGATE or bank is None:
        raise malformed("not a boot_aggregate of a PCR bank")
    return bank, bytes.fromhex(digest)
