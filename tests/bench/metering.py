"""Usage records beside pymerkle: append and persist; audit a tenant's month."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pymerkle

from acm import merkle
from metering.audit import audit
from metering.case import Terms
from metering.checkpoint import Checkpoint, signed
from metering.log import digest
from metering.merkle import root_of
from metering.record import LEAF_BYTES
from metering.register import Register
from metering.view import View
from tests.bench.measure import Pair, Side, Size
from tests.metering.world import ORIGIN, ManualClock, Platform, Site, Source

DOMAINS = 50
MONTH = 43_200
"""One domain read once a minute for 30 days."""
HASH = 32


@contextmanager
def append(folder: Path, size: Size) -> Iterator[Pair]:
    """One tick of 50 domains: 50 usage records and the meter's own."""
    site = Site(folder / "log")
    for number in range(2 if size is Size.SMALL else DOMAINS):
        site.source.add(f"domain {number}", f"tenant {number % 5}", unique_id=number + 1)
    meter = site.open()
    tree = pymerkle.SqliteTree(str(folder / "tree.db"), algorithm="sha256")
    leaves = [os.urandom(LEAF_BYTES) for _ in range(len(site.source.domains) + 1)]

    def theirs() -> None:
        for leaf in leaves:
            tree.append_entry(leaf)

    def work(_: object) -> None:
        site.clock.advance()
        site.source.work()

    work(None)
    try:
        yield Pair(
            Side("Meter.tick: made, chained, hashed, one fdatasync", meter.tick, work),
            Side("pymerkle SqliteTree.append_entry, one by one", theirs),
            {"records a tick": float(len(leaves))},
        )
    finally:
        meter.abandon()
        tree.con.close()


class _Month:
    """A host's log with one domain of a tenant and one of a neighbour, signed at its end."""

    def __init__(self, ticks: int) -> None:
        self.platform, source, clock = Platform(), Source(), ManualClock()
        source.add("web", "acme", unique_id=1)
        source.add("db", "zeta", unique_id=2)
        register = Register(self.platform.setup(), os.urandom)
        leaves = register.open(clock.now(), source.snapshot())
        for _ in range(ticks):
            clock.advance()
            source.work()
            leaves += register.tick(clock.now(), source.snapshot())
        self.leaves = leaves
        self.hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
        self.root = root_of(self.hashes)
        head = Checkpoint(ORIGIN, len(leaves), self.root)
        key = self.platform.key
        self.note = signed(head, key.spki(), key.sign(digest(head)))
        self.view = View.of_tenant(leaves, "acme")

    def audit(self) -> Callable[[], None]:
        shown, bundle, trust = self.view.encode(), self.platform.bundle(), self.platform.trust

        def run() -> None:
            result = audit(shown, self.note, bundle, trust, Terms(tenant="acme"))
            assert result.records == len(self.view.leaves)
            assert not result.violations

        return run

    def facts(self, proof: int) -> dict[str, float]:
        cover = len(self.view.cover) * HASH
        return {
            "records": float(len(self.view.leaves)),
            "leaves in the log": float(len(self.leaves)),
            "bytes of our proof": float(cover),
            "bytes of single proofs": float(proof),
            "times smaller": proof / cover,
        }


@contextmanager
def audit_beside_pymerkle(folder: Path, size: Size) -> Iterator[Pair]:
    """Ours reads, hashes and judges the records too; the other side only checks that they are in the tree."""
    del folder
    month = _Month(20 if size is Size.SMALL else MONTH)
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for leaf in month.leaves:
        tree.append_entry(leaf)
    proofs = [tree.prove_inclusion(index + 1) for index in month.view.indexes]
    bases = [month.hashes[index] for index in month.view.indexes]
    proof_bytes = sum(len(proof.path) * HASH for proof in proofs)

    def theirs() -> None:
        for base, proof in zip(bases, proofs, strict=True):
            pymerkle.verify_inclusion(base, month.root, proof)

    yield Pair(
        Side("metering.audit of the tenant's part, all checks", month.audit()),
        Side("pymerkle: so many single inclusion proofs", theirs),
        month.facts(proof_bytes),
    )


@contextmanager
def audit_beside_own_proofs(folder: Path, size: Size) -> Iterator[Pair]:
    """The same beside our own verifier of single proofs, which is faster than pymerkle's."""
    del folder
    month = _Month(20 if size is Size.SMALL else MONTH)
    proofs = list(_proofs(month.hashes, month.view.indexes))
    proof_bytes = sum(len(proof) * HASH for _, _, proof in proofs)

    def single() -> None:
        for hashed, index, proof in proofs:
            assert (
                merkle.root_from_path(hashed, index=index, size=len(month.leaves), path=proof) == month.root
            )

    yield Pair(
        Side("metering.audit of the tenant's part, all checks", month.audit()),
        Side("acm.merkle: so many single inclusion proofs", single),
        month.facts(proof_bytes),
    )


def _proofs(
    hashes: Sequence[bytes], indexes: Sequence[int]
) -> Iterator[tuple[bytes, int, tuple[bytes, ...]]]:
    """Yield (leaf hash, index, audit path, RFC 6962, 2.1.1) from the levels of the tree."""
    tree = merkle.levels(hashes)
    for index in indexes:
        path = []
        for depth, level in enumerate(tree[:-1]):
            sibling = (index >> depth) ^ 1
            if sibling < len(level):
                path.append(level[sibling])
        yield hashes[index], index, tuple(path)
