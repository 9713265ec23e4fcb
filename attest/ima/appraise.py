"""Appraisal of a measurement list: proved by a quoted PCR, then judged entry by entry, in bounded memory.

Order of the rules:

1. every entry is well-formed, and its data are what its template digest is of (a violation has none);
2. the digests of the entries extend to the quoted value; entries behind the one that gives it are not
   proved: they are counted, and nothing in them is used;
3. no entry is for another PCR, and none is a violation: its name is not bound to the PCR, so no later rule
   looks at it;
4. the first entry is ``boot_aggregate``, and fits the quoted PCRs 0 to 9;
5. each file is allowed by path and digest, or by its digest under any path; or its digest is of an admitted
   algorithm, and it is in an excluded folder or signed by a trusted key.

Rules 1 and 2 raise: such a list is not authentic. The others give findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final

from attest.eventlog.log import BANKS, HASHES, EventLogError
from attest.eventlog.replay import ReplayError
from attest.ima.ascii_list import ascii_entries
from attest.ima.binary_list import HEAD, binary_entries, layout
from attest.ima.boot_aggregate import boot_aggregates, stated_aggregate
from attest.ima.entry import BANK_OF_SIZE, BOOT_AGGREGATE, Entry
from attest.ima.file_key import verify_file
from attest.ima.policy import RuntimePolicy
from attest.ima.signature import SIGNATURE, FileSignature, FileSignatureError
from vtpm.tpm2.constants import Alg

MAX_FINDINGS: Final = 256
"""Findings that are kept; all are counted."""
AT_ONCE: Final = 64
"""Entries that are hashed together; each has at most ``MAX_DATA`` bytes."""
Hashed = tuple[Entry, bytes, bytes]
"""An entry, and the digests of its data by the hash of the list and by that of the bank."""
_MAX_NAME: Final = 512
"""Characters of a path in a finding; the kernel's have up to 4,096 bytes, a forged one a million."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one entry. ``index`` counts from 0."""

    code: str
    detail: str
    index: int


@dataclass(frozen=True, slots=True)
class AppraisedList:
    """A proved list and what was found in it.

    ``entries`` are proved by the quote, ``beyond`` were added after it. ``counts`` has every finding by its
    code, ``findings`` the first ones. ``excluded`` entries were not judged. ``is_tied`` tells whether the
    ``boot_aggregate`` could be compared with quoted PCRs; whether it was wrong is a finding.
    """

    alg: Alg
    entries: int
    beyond: int
    excluded: int
    is_tied: bool
    findings: tuple[Finding, ...]
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether nothing was found."""
        return not self.counts


def list_entries(chunks: Iterable[bytes]) -> Iterator[Entry]:
    """Read a list of either form from its bytes in pieces of any size; raises EventLogError."""
    source = iter(chunks)
    head = b""
    while len(head) < HEAD and (chunk := next(source, None)) is not None:
        head += chunk
    if not head:
        raise EventLogError("the list is empty: IMA has no policy, or is off", offset=None, code="empty")
    read = binary_entries if layout(head) else ascii_entries
    return read(chain((head,), source))


def appraise_list(
    chunks: Iterable[bytes], pcrs: Mapping[int, bytes], alg: Alg, policy: RuntimePolicy
) -> AppraisedList:
    """Appraise a list against the verified PCRs of one bank, which must have IMA's.

    With PCR 0 to 9 beside it the ``boot_aggregate`` is checked too. Raises EventLogError for a list that is
    not well-formed, ReplayError for one that the quote does not prove; nothing is found in either.
    """
    if alg not in HASHES or policy.pcr not in pcrs:
        what = f"measurement list: PCR {policy.pcr} of {BANKS[alg][0]} is not quoted"
        raise ReplayError(what, pcrs=(policy.pcr,), code="bank")
    run = _Run(policy, pcrs, alg)
    hashed = chain.from_iterable(_hashed(list_entries(chunks), alg))
    proved = run.prove(hashed)
    beyond = sum(1 for _ in hashed)
    found = tuple(run.findings)
    return AppraisedList(alg, proved, beyond, run.excluded, run.is_tied, found, dict(run.counts))


def _hashed(entries: Iterator[Entry], alg: Alg) -> Iterator[Iterable[Hashed]]:
    """Hash the data of entries, some at once: the processor is faster at one thing after another."""
    while some := tuple(islice(entries, AT_ONCE)):
        listed = BANK_OF_SIZE[len(some[0].digest)]
        own = _digests(some, listed)
        yield zip(some, own, own if listed is alg else _digests(some, alg), strict=True)


def _digests(entries: Iterable[Entry], alg: Alg) -> list[bytes]:
    empty, found = HASHES[alg](b"").copy, []
    for entry in entries:
        own = empty()  # a copy is made in half the time that usedforsecurity=False takes
        own.update(entry.data)
        found.append(own.digest())
    return found


class _Run:
    """What was found so far; nothing of it counts unless ``prove`` returns."""

    def __init__(self, policy: RuntimePolicy, pcrs: Mapping[int, bytes], alg: Alg) -> None:
        self.policy = policy
        self.pcrs = pcrs
        self.alg = alg
        self.findings: list[Finding] = []
        self.counts: Counter[str] = Counter()
        self.excluded = 0
        self.is_tied = False

    def prove(self, hashed: Iterator[Hashed]) -> int:
        """Take entries up to the one that gives the quoted PCR, and return how many; ReplayError if none."""
        pcr, allowed, hash_ = self.policy.pcr, self.policy.allowed, HASHES[self.alg]
        quoted, violation = bytes(self.pcrs[pcr]), b"\xff" * BANKS[self.alg][1]
        value, empty = bytes(len(violation)), hash_(b"").copy
        for index, (entry, own, measured) in enumerate(hashed):
            number, digest, _, _, file_digest, path, _ = entry
            if number != pcr:
                self._found(index, "ima-other-pcr", f"for PCR {number}: {_name(entry)}")
                continue
            if own == digest:
                extended = empty()
                extended.update(value + measured)
                value = extended.digest()
                if file_digest + b" " + path not in allowed or not index:
                    self._judge(index, entry)
            elif any(digest):
                what = f"measurement list: entry {index} was altered: its data do not fit its digest"
                raise ReplayError(what, pcrs=(pcr,), code="data-mismatch")
            else:
                value = hash_(value + violation).digest()
                self._violation(index, entry)
            if value == quoted:
                return index + 1
        raise ReplayError(f"measurement list: no entry gives the quoted PCR {pcr}", pcrs=(pcr,))

    def _violation(self, index: int, entry: Entry) -> None:
        if not index:
            self._found(index, "ima-boot-aggregate-missing", "the list begins with a violation")
        elif not self.policy.admit_violations:
            self._found(index, "ima-violation", f"changed while it was measured, listed as {_name(entry)}")

    def _found(self, index: int, code: str, detail: str) -> None:
        self.counts[code] += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, detail, index))

    def _judge(self, index: int, entry: Entry) -> None:
        """Apply rules 4 and 5 to an entry that is not in the policy as it is, or the first."""
        if entry.path == BOOT_AGGREGATE and self._is_aggregate(entry):
            self.is_tied = True
        elif index:
            self._file(index, entry)
        elif entry.path != BOOT_AGGREGATE:
            self._found(index, "ima-boot-aggregate-missing", f"the list begins with {_name(entry)}")
        elif self.is_tied:
            self._found(index, "ima-boot-aggregate", "is not that of the quoted PCRs")

    def _is_aggregate(self, entry: Entry) -> bool:
        """Tell whether a ``boot_aggregate`` is over the quoted PCRs; sets ``is_tied`` if that can be told."""
        try:
            bank, digest = stated_aggregate(entry)
        except EventLogError:
            return False
        known = boot_aggregates(bank, self.pcrs) if bank is self.alg else ()
        self.is_tied = self.is_tied or bool(known)
        return digest in known

    def _file(self, index: int, entry: Entry) -> None:
        policy = self.policy
        if entry.file_digest in policy.anywhere:
            return
        algorithm = entry.file_digest.decode("latin-1").rpartition(":")[0].rpartition(":")[2]
        if algorithm not in policy.algorithms:
            self._found(index, "ima-algorithm", f"a digest of {algorithm or 'nothing'}: {_name(entry)}")
            return
        if policy.excludes(entry.path):
            self.excluded += 1
            return
        signature = entry.values().get(SIGNATURE, b"") if policy.keys else b""
        if signature:
            try:
                verify_file(FileSignature.decode(signature), entry.file_digest, policy.keys)
            except FileSignatureError as error:
                self._found(index, error.code, f"{error}: {_name(entry)}")
            return
        code = "ima-digest-differs" if entry.path in policy.paths else "ima-not-allowed"
        self._found(index, code, f"{_name(entry)} with {entry.file_digest.decode('latin-1')}")


def _name(entry: Entry) -> str:
    text = ascii(entry.path.decode("utf-8", "surrogateescape"))
    return text if len(text) <= _MAX_NAME else f"{text[:_MAX_NAME]}…"
