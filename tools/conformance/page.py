"""The page docs/conformance.md: one line a kind, and every file that differs."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tools.conformance.vector import Outcome, Result

_HEAD: Final = """\
# Conformance

What others state about their own test data (`../shared/vectors`, real logs, lists, quotes, certificates and
known-answer files), judged by this repository. Made by `make conformance`; CI fails when a kind falls below
what stands here. Only files count that the manifest scores. Strength A is an exact value or an explicit
refusal in the origin's own tests; B parses or verifies; C was read by the origin only; T was judged by other
tools.

A certificate is judged on the day after it was issued; an EK certificate of strength C is read only, for
its chain is signed over SHA-1, which is never admitted. Of Wycheproof's RSASSA-PSS files the cases called
"s_len changed" are left out: a TPM chooses the length of the salt (Part 1, B.7), so a verifier takes any.
Kinds are never added up to one number.

| kind | files | judged | as stated | strength A: judged | as stated |
| --- | ---: | ---: | ---: | ---: | ---: |
"""
_ROW: Final = re.compile(r"^\| `([^`]+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Score:
    """The numbers of one kind."""

    files: int
    judged: int
    as_stated: int
    judged_a: int
    as_stated_a: int

    def below(self, other: Score) -> bool:
        """Tell whether less is as stated, or less is judged, than in another score."""
        return (
            self.as_stated < other.as_stated
            or self.as_stated_a < other.as_stated_a
            or self.judged < other.judged
            or (self.judged - self.as_stated) > (other.judged - other.as_stated)
        )


def scores(outcomes: Sequence[Outcome]) -> dict[str, Score]:
    """Return the scores by kind."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        count, is_a = counts[outcome.vector.kind], outcome.vector.strength == "A"
        judged, good = outcome.result is not Result.OUT_OF_SCOPE, outcome.result is Result.AS_STATED
        count["files"] += 1
        count["judged"] += judged
        count["good"] += good
        count["judged_a"] += judged and is_a
        count["good_a"] += good and is_a
    return {
        kind: Score(n["files"], n["judged"], n["good"], n["judged_a"], n["good_a"])
        for kind, n in sorted(counts.items())
    }


def read_scores(page: str) -> dict[str, Score]:
    """Return the scores that stand in a page."""
    return {kind: Score(*map(int, numbers)) for kind, *numbers in _ROW.findall(page)}


def page(outcomes: Sequence[Outcome]) -> str:
    """Return the page."""
    return _HEAD + "".join(_rows(outcomes)) + "".join(_reasons(outcomes)) + "".join(_differences(outcomes))


def _rows(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for kind, n in scores(outcomes).items():
        yield f"| `{kind}` | {n.files} | {n.judged} | {n.as_stated} | {n.judged_a} | {n.as_stated_a} |\n"


def _reasons(outcomes: Sequence[Outcome]) -> Iterator[str]:
    found = Counter((o.vector.kind, o.why) for o in outcomes if o.result is Result.OUT_OF_SCOPE)
    yield "\n## Not in scope\n\n| kind | files | why |\n| --- | ---: | --- |\n"
    for (kind, why), count in sorted(found.items()):
        yield f"| `{kind}` | {count} | {why} |\n"


def _differences(outcomes: Sequence[Outcome]) -> Iterator[str]:
    found = [outcome for outcome in outcomes if outcome.result is Result.DIFFERS]
    yield "\n## Not as stated\n\n"
    if not found:
        yield "None.\n"
        return
    yield "| file | strength | stated | what differs |\n| --- | --- | --- | --- |\n"
    for outcome in found:
        vector = outcome.vector
        yield f"| `{vector.name}` | {vector.strength} | {vector.verdict} | {outcome.why} |\n"
