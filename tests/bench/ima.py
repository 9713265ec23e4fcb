"""An IMA list of 100,000 entries, all in the policy, beside Keylime; growth and memory up to 1,000,000.

Both sides read the same reference values from JSON, in an order that is not that of the list: a host runs its
programs in its own order, and a policy that lies in memory as the list does is found too quickly.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

from attest.ima.appraise import appraise_list
from attest.ima.policy import RuntimePolicy
from attest.ima.reference import FileReference
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


def write(path: Path, entries: int, files: int) -> tuple[dict[str, list[str]], bytes]:
    """Write an ASCII list of ``ima-ng`` with SHA-1 template digests; return the files and the SHA-256 PCR."""
    value, known = bytes(32), {}
    with path.open("wb") as out:
        for number in range(entries):
            name = b"boot_aggregate" if not number else b"/usr/lib/x86_64/lib%07d.so" % (number % files)
            content = digest(name)
            data = field(content) + field(name + b"\0")
            template = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            shown = content[8:].hex()
            out.write(b"10 %s ima-ng sha256:%s %s\n" % (template.encode(), shown.encode(), name))
            value = hashlib.sha256(value + hashlib.sha256(data).digest()).digest()
            known[name.decode()] = [shown]
    return known, value


def read(digests: Path) -> RuntimePolicy:
    """Read the policy from a file with path -> digests."""
    return FileReference.of({"files": json.loads(digests.read_text()), "any_path": []}).policy()


def shuffled(known: dict[str, list[str]]) -> str:
    """Return them as JSON, in an order of their own."""
    names = list(known)
    Random(1).shuffle(names)
    return json.dumps({name: known[name] for name in names})


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
    known, value = write(path, entries, entries)
    digests.write_text(shuffled(known))
    policy = read(digests)
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

    known, value = write(path, entries, FILES)
    digests = path.with_suffix(".policy")
    digests.write_text(shuffled(known))
    policy = read(digests)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time_ns()
    appraise(path, policy, value, entries)
    spent = (time.process_time_ns() - begun) / entries
    print(json.dumps([spent, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
