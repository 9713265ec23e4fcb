"""An IMA list of 100,000 entries, all in the policy, beside Keylime; growth and memory up to 1,000,000."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attest.ima.appraise import appraise_list
from attest.ima.policy import RuntimePolicy
from tests.attest.ima.build import digest, field
from tests.bench.keylime_peer import worker
from tests.bench.measure import Pair, Side, Size
from vtpm.tpm2.constants import Alg

ENTRIES: Final = {Size.FULL: 100_000, Size.SMALL: 200}
GROWTH: Final = {Size.FULL: (10_000, 100_000, 1_000_000), Size.SMALL: (100, 200)}
FILES: Final = 10_000
"""Different files in the lists of which growth is measured: the policy stays as the list grows."""
PIECE: Final = 1 << 16
PCR: Final = 10


def write(path: Path, entries: int, files: int) -> tuple[RuntimePolicy, bytes]:
    """Write an ASCII list of ``ima-ng`` with SHA-1 template digests; return policy and SHA-256 PCR."""
    value, allowed = bytes(32), set()
    with path.open("wb") as out:
        for number in range(entries):
            name = b"boot_aggregate" if not number else b"/usr/lib/x86_64/lib%07d.so" % (number % files)
            content = digest(name)
            data = field(content) + field(name + b"\0")
            template = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            shown = b"sha256:" + content[8:].hex().encode()
            out.write(b"10 %s ima-ng %s %s\n" % (template.encode(), shown, name))
            value = hashlib.sha256(value + hashlib.sha256(data).digest()).digest()
            allowed.add((name, shown))
    return RuntimePolicy(frozenset(allowed)), value


def appraise(path: Path, policy: RuntimePolicy, value: bytes, entries: int) -> None:
    """Appraise a list from its file, a piece at a time; everything must be good."""
    with path.open("rb") as source:
        pieces = iter(lambda: source.read(PIECE), b"")
        found = appraise_list(pieces, {PCR: value}, Alg.SHA256, policy)
    assert found.entries == entries
    assert found.is_good, found.findings


@contextmanager
def check(folder: Path, size: Size) -> Iterator[Pair]:
    """The list as a file; Keylime has it in memory, as its verifier does."""
    entries = ENTRIES[size]
    path, digests = folder / "list", folder / "policy"
    policy, value = write(path, entries, entries)
    digests.write_text(
        json.dumps({name.decode(): [shown.partition(b":")[2].decode()] for name, shown in policy.allowed})
    )
    files = {"path": str(path), "policy": str(digests), "pcr": value.hex()}
    with worker(folder, size, work="ima", **files) as other:
        facts = growth(folder, size)
        yield Pair(
            Side("attest.ima.appraise_list", lambda: appraise(path, policy, value, entries)), other, facts
        )


def growth(folder: Path, size: Size) -> dict[str, float]:
    """Nanoseconds an entry and MiB beyond the start, for lists of several lengths, each in a process."""
    facts = {}
    for entries in GROWTH[size]:
        command = (sys.executable, "-m", "tests.bench.ima", str(folder / "grown"), str(entries))
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        spent, grown = json.loads(done.stdout)
        facts[f"ns an entry, {entries:,} entries"] = spent
        facts[f"MiB beyond the start, {entries:,} entries"] = grown
    return facts


def main(path: Path, entries: int) -> None:
    """Print processor time an entry, and how far the peak of memory rose over what was there before."""
    import resource
    import time

    policy, value = write(path, entries, FILES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time_ns()
    appraise(path, policy, value, entries)
    spent = (time.process_time_ns() - begun) / entries
    print(json.dumps([spent, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
