"""Sentences about measurements, for people: what differs, and what a register holds."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final

MEANINGS: Final = {
    0: "firmware code",
    1: "firmware settings and boot entries",
    2: "option ROMs",
    3: "option ROM settings",
    4: "boot loader",
    5: "boot loader settings and partition table",
    6: "maker's events",
    7: "Secure Boot policy",
    8: "GRUB's commands",
    9: "files that GRUB opens",
    10: "dom0's files, by IMA",
    12: "hypervisor's report and ACM policies",
    13: "domain launches",
}
"""What a register holds (TCG PC Client PFP, 2.3.4; GRUB; design.md)."""
_KINDS: Final = frozenset({"application", "arguments", "command", "file"})
"""Words that texts of predicted events begin with; all others are event types."""
_SHOWN: Final = 100
_LISTED: Final = 4
_ENDINGS: Final = {
    "added": "is new",
    "removed": "is gone",
    "moved": "comes at another place",
    "repeated": "comes twice",
    "stopped": "is the last that was measured",
}


def changed(a: str, b: str) -> str:
    """Say how an event differs: ``a`` and ``b`` are what it is on each side."""
    kind, _, before = a.partition(" ")
    other, _, after = b.partition(" ")
    if a == b or (kind == other and kind not in _KINDS):
        return f"{subject(a)} differs"
    if kind != other:
        return f"{subject(a)} is now {subject(b)}"
    if kind == "command" and "\n" in before + after:
        one, two = _first_difference(before, after)
        title = _short(before.partition("\n")[0])
        return f"in the command '{title}' the line '{_short(one)}' is now '{_short(two)}'"
    if kind in {"file", "application"}:
        return f"{kind} {subject(a)} is now {subject(b)}"
    if kind in {"command", "arguments"} and (words := _words(before, after)):
        return f"in {subject(a)} {words}"
    return f"the {kind} '{_short(before)}' {_is(kind)} now '{_short(after)}'"


def one_sided(kind: str, what: str) -> str:
    """Say what happened to an event that one side alone knows; ``kind`` is a word of ``explain.Kind``."""
    return f"{subject(what)} {_ENDINGS[kind]}"


def candidates(whats: Sequence[str]) -> str:
    """Say which events may be the one that differs."""
    names = list(dict.fromkeys(subject(what) for what in whats))
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"which one is not known: {', '.join(names[:_LISTED])}{more}"


def subject(what: str) -> str:
    """Name an event: ``file X`` and ``application X`` by the path, a command by its first line."""
    kind, _, rest = what.partition(" ")
    if kind == "file":
        return _short(rest)
    if kind == "application":
        return _short(rest.removesuffix(" (Authenticode)"))
    if kind in {"command", "arguments"}:
        return f"the {kind} '{_short(rest.partition(chr(10))[0])}'"
    return f"event {_short(what)}"


def _first_difference(a: str, b: str) -> tuple[str, str]:
    for one, two in zip_longest(a.split("\n"), b.split("\n"), fillvalue=""):
        if one != two:
            return one.strip(), two.strip()
    return a, b


def _words(a: str, b: str) -> str:
    """Say which words of a command line differ; empty where no word is the same, or too many differ."""
    before, after = a.split(), b.split()
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    steps = [step for step in matcher.get_opcodes() if step[0] != "equal"]
    kept = len(before) - sum(end - start for _, start, end, _, _ in steps)
    if not steps or not kept or len(steps) > _LISTED:
        return ""
    return ", and ".join(_step(" ".join(before[i:j]), " ".join(after[k:m])) for _, i, j, k, m in steps)


def _step(gone: str, new: str) -> str:
    if not gone:
        return f"'{_short(new)}' is new"
    return f"'{_short(gone)}' is now '{_short(new)}'" if new else f"'{_short(gone)}' is gone"


def _is(kind: str) -> str:
    return "are" if kind == "arguments" else "is"


def _short(text: str) -> str:
    line = " ".join(text.split())
    shown = line if line.isprintable() else ascii(line)[1:-1]
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
