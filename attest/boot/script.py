"""GRUB script as a boot runs it: one line of the file after the other, character by character.

Understood are plain commands; a line that holds anything else stops the boot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NoReturn

from attest.boot.errors import BootError

_LIMIT: Final = 1 << 18
"""Bytes of a grub.cfg, and characters of an expanded command."""
_TO_BLANK: Final = {ord("\t"): " ", ord("\n"): " "}
_KEYWORDS: Final = frozenset(
    {"case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in", "select", "then"}
    | {"until", "while"}
)


class Kind(Enum):
    """How a part of a word was written."""

    BARE = auto()
    QUOTED = auto()
    NAME = auto()
    QUOTED_NAME = auto()


@dataclass(slots=True)
class Part:
    """A part of a word: text, or the name of a variable."""

    kind: Kind
    text: str


Word = list[Part]


@dataclass(frozen=True, slots=True)
class Line:
    """One command and the number of the line that it began on."""

    number: int
    words: tuple[Word, ...]

    def arguments(self, variable: Callable[[str], str]) -> list[str]:
        """Expand to the arguments that run, the way that GRUB builds an argument vector.

        An argument exists once something was appended to it, an empty quoted text included.
        """
        found: list[list[str]] = []
        size = 0
        for word in self.words:
            _next(found)
            for part in word:
                text = variable(part.text) if part.kind in {Kind.NAME, Kind.QUOTED_NAME} else part.text
                _append(found, part.kind, text)
                size += len(text) + 1
                if size > _LIMIT:
                    raise BootError(f"grub.cfg: line {self.number}: the command is too long")
        return ["".join(texts) for texts in found if texts]


def _append(found: list[list[str]], kind: Kind, text: str) -> None:
    """Append to the last argument; a bare value goes on in a new argument after each blank in it."""
    if kind is Kind.NAME:
        for count, piece in enumerate(piece for piece in text.translate(_TO_BLANK).split(" ") if piece):
            if count:
                _next(found)
            found[-1].append(piece)
    elif text or kind is Kind.QUOTED:
        found[-1].append(text)


def _next(found: list[list[str]]) -> None:
    if not found or found[-1]:
        found.append([])


class Script:
    """A grub.cfg that is read line by line; a line beginning with ``#`` is never seen, wherever it stands."""

    def __init__(self, config: bytes) -> None:
        if len(config) > _LIMIT:
            raise BootError(f"grub.cfg: larger than {_LIMIT} bytes")
        rows = config.replace(b"\r", b"").split(b"\n")
        if rows[-1] == b"":
            rows.pop()
        self._rows = deque((number, row) for number, row in enumerate(rows, 1) if row[:1] != b"#")
        self._line = ""
        self._at = 0
        self._number = 0

    def lines(self) -> Iterator[list[Line]]:
        """Yield the commands of one line after the other, the way that GRUB parses them: a line at a time."""
        while self._rows:
            self._load()
            yield self._commands()

    def _load(self) -> None:
        if not self._rows:
            self._stop("the file ends inside a word")
        self._number, row = self._rows.popleft()
        try:
            self._line = row.decode() + "\n"
        except UnicodeDecodeError:
            self._stop("not UTF-8")
        if any(char < " " and char not in "\t\n" for char in self._line):
            self._stop("control character")
        self._at = 0

    def _take(self) -> str:
        if self._at == len(self._line):
            self._load()
        self._at += 1
        return self._line[self._at - 1]

    def _commands(self) -> list[Line]:
        found: list[Line] = []
        words: list[Word] = []
        start = self._number
        while True:
            char = self._take()
            if char == "#":
                self._at = len(self._line) - 1
            elif char in "\n;":
                if char == ";" and not words:
                    self._stop("no command before ';'")
                if words:
                    found.append(Line(start, tuple(words)))
                if char == "\n":
                    return found
                words, start = [], self._number
            elif char not in " \t":
                self._at -= 1
                words.append(self._word())
                self._check_keyword(words)

    def _check_keyword(self, words: list[Word]) -> None:
        last = words[-1]
        plain = "".join(part.text for part in last) if all(part.kind is Kind.BARE for part in last) else ""
        if plain in {"[[", "]]"} or (len(words) == 1 and plain in _KEYWORDS):
            self._stop(f"'{plain}' is not a plain command")

    def _word(self) -> Word:
        word: Word = []
        while (char := self._take()) not in " \t\n;":
            if char == "\\":
                if (escaped := self._take()) != "\n":
                    word.append(Part(Kind.QUOTED, escaped))
            elif char == "'":
                word.append(Part(Kind.QUOTED, "".join(iter(self._take, "'"))))
            elif char == '"':
                self._double(word)
            elif char == "$":
                word.append(Part(Kind.NAME, self._name()))
            elif char in "{}|&<>":
                self._stop(f"'{char}' is not part of a plain command")
            else:
                word.append(Part(Kind.BARE, char))
        self._at -= 1
        return word

    def _double(self, word: Word) -> None:
        word.append(Part(Kind.QUOTED, ""))
        while (char := self._take()) != '"':
            if char == "$":
                word.append(Part(Kind.QUOTED_NAME, self._name()))
                continue
            if char == "\\":
                escaped = self._take()
                char = {"\n": "", "$": "$", '"': '"', "\\": "\\"}.get(escaped, f"\\{escaped}")
            word.append(Part(Kind.QUOTED, char))

    def _name(self) -> str:
        braced = self._line[self._at : self._at + 1] == "{"
        self._at += braced
        start = self._at
        while (char := self._line[self._at : self._at + 1]).isascii() and (char.isalnum() or char == "_"):
            self._at += 1
        name = self._line[start : self._at]
        if not name or name[0].isdigit() or (braced and self._take() != "}"):
            self._stop("only $name and ${name} are known here")
        return name

    def _stop(self, why: str) -> NoReturn:
        raise BootError(f"grub.cfg: line {self._number}: {why}: the boot stops")
