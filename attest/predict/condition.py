"""GRUB's ``test`` and ``[``: strings and numbers that are known, and what lies on the boot disk.

Source: GRUB 2.06, commands/test.c: expressions are read from left to right, longest form first.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from attest.predict import strtoul
from attest.predict.script import At

MAX_PARENTHESES: Final = 64
_STRINGS: Final[Mapping[str, Callable[[bytes, bytes], bool]]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NUMBERS: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "-eq": operator.eq,
    "-ne": operator.ne,
    "-lt": operator.lt,
    "-le": operator.le,
    "-gt": operator.gt,
    "-ge": operator.ge,
}


class Files(Protocol):
    """Answers about files; each may refuse with a ``GrubScriptError`` what is not known."""

    def kind(self, path: str, at: At) -> str | None:
        """Return ``file``, ``folder``, or None for what is not there."""

    def has_content(self, path: str, at: At) -> bool:
        """Whether a file is there and not empty; GRUB opens it for that, so it is measured."""


def test(arguments: Sequence[str], files: Files, at: At) -> bool:
    """Evaluate the words after ``test`` or ``[``; raises ``GrubScriptError`` for what cannot be told."""
    if arguments and arguments[-1] == "]":
        arguments = arguments[:-1]
    return _Expression(arguments, files, at).value()


class _Expression:
    def __init__(self, words: Sequence[str], files: Files, at: At) -> None:
        self._words = words
        self._files = files
        self._at = at
        self._next = 0
        self._depth = 0

    def value(self) -> bool:
        """Evaluate up to the end or a closing parenthesis."""
        either, both, inverted = False, True, False
        while self._next < len(self._words):
            found = self._three() if self._left() > 2 else None  # noqa: PLR2004 - words of the longest form
            if found is None and self._left() > 1:
                found = self._two()
            word = self._words[self._next] if found is None else ""
            if word == ")":
                self._next += 1
                break
            if word == "!":
                inverted = not inverted
            elif word == "-o":
                either, both = either or both, True
            if found is None:
                self._next += 1
                if word in {"!", "-o", "-a"}:
                    continue
                found = self._parentheses() if word == "(" else bool(word)
            both = both and found is not inverted
            inverted = False
        return either or both

    def _left(self) -> int:
        return len(self._words) - self._next

    def _parentheses(self) -> bool:
        self._depth += 1
        if self._depth > MAX_PARENTHESES:
            raise self._at.unresolved(f"more than {MAX_PARENTHESES} parentheses in one test")
        found = self.value()
        self._depth -= 1
        return found

    def _three(self) -> bool | None:
        left, sign, right = self._words[self._next : self._next + 3]
        if compare := _STRINGS.get(sign):
            found = compare(left.encode(), right.encode())
        elif count := _NUMBERS.get(sign):
            found = count(self._number(left), self._number(right))
        elif sign in {"-pgt", "-plt"} or sign[:3] in {"-nt", "-ot"}:
            raise self._at.unresolved(f"test {sign}: the outcome is not known here")
        else:
            return None
        self._next += 3
        return found

    def _two(self) -> bool | None:
        sign, word = self._words[self._next : self._next + 2]
        if sign in {"-n", "-z"}:
            found = bool(word) is (sign == "-n")
        elif sign in {"-d", "-e", "-f"}:
            kind = self._files.kind(word, self._at)
            found = kind is not None if sign == "-e" else kind == {"-d": "folder", "-f": "file"}[sign]
        elif sign == "-s":
            found = self._files.has_content(word, self._at)
        else:
            return None
        self._next += 2
        return found

    def _number(self, word: str) -> int:
        found = strtoul.whole(word)
        if found is None or abs(found) >= strtoul.END:
            raise self._at.unresolved(f"test: '{word}' is no number, or too large")
        return found
