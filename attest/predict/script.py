"""GRUB 2.06 script, as far as its measurement can be told beforehand: plain command lines.

Source: GRUB 2.06, grub-core/script (lexer, parser, argument expansion) and lib/getline.c. Lines whose first
byte is ``#`` are gone before the script is read, inside quotes too; carriage returns are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attest.errors import AttestInputError

MAX_SCRIPT: Final = 256 * 1024
"""Bytes of a grub.cfg."""
MAX_COMMAND: Final = 64 * 1024
"""Characters of one command after expansion; variables can double themselves."""
RESERVED: Final = frozenset(
    {"[[", "]]", "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in"}
    | {"select", "then", "until", "while"}
)

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PIECE: Final = re.compile(
    r"(?P<plain>[^{}|&$;<> \t\n'\"\\]+)"
    r"|\\(?P<escaped>.|\n)"
    r"|'(?P<single>[^']*)'"
    r"|\"(?P<double>(?:\\(?:.|\n)|[^\\\"])*)\""
    rf"|\$(?P<name>{_NAME})|\$\{{(?P<braced>{_NAME})\}}"
)
_QUOTED: Final = re.compile(
    rf"\\(?P<escape>[$\\\"\n])|\$(?P<name>{_NAME})|\$\{{(?P<braced>{_NAME})\}}|(?P<bad>\$)|(?P<text>[^$\\]+|\\)"
)
_BLANK_OR_COMMENT: Final = re.compile(r"[ \t]*(?:#[^\n]*)?")
_BLANKS: Final = re.compile(r"[ \t\n]+")
_REFUSED: Final = {
    "{": ("a { block } (menuentry, submenu, function) cannot be predicted", "grub-unresolved"),
    "}": ("a { block } (menuentry, submenu, function) cannot be predicted", "grub-unresolved"),
    "$": ("of variables only $name and ${name} can be predicted", "grub-unresolved"),
    "'": ("the quote ' is not closed", "grub-syntax"),
    '"': ('the quote " is not closed', "grub-syntax"),
    "\\": ("the file ends after a backslash", "grub-syntax"),
}
"""Character that cannot go on a word -> message and code."""


class GrubScriptError(AttestInputError):
    """A grub.cfg whose measurement cannot be told beforehand; ``line`` counts from 1.

    Codes: ``grub-syntax``, ``grub-unresolved`` (depends on run time), ``grub-command`` (unknown or misused).
    """

    code = "grub-syntax"

    def __init__(self, line: int, message: str, *, code: str = "grub-syntax") -> None:
        super().__init__(f"grub.cfg: line {line}: {message}", code=code)
        self.line = line


class _Kind(StrEnum):
    PLAIN = "plain"
    ESCAPED = "escaped"
    QUOTED = "quoted"
    VARIABLE = "variable"
    QUOTED_VARIABLE = "quoted variable"


@dataclass(frozen=True, slots=True)
class _Piece:
    kind: _Kind
    text: str


@dataclass(frozen=True, slots=True)
class Word:
    """One word as written: pieces that are joined after expansion."""

    pieces: tuple[_Piece, ...]

    @property
    def reserved(self) -> str | None:
        """The reserved word that this is, if it is one and not quoted."""
        text = self.pieces[0].text if len(self.pieces) == 1 and self.pieces[0].kind is _Kind.PLAIN else ""
        return text if text in RESERVED else None


@dataclass(frozen=True, slots=True)
class Command:
    """One command as written, and the line on which it starts."""

    line: int
    words: tuple[Word, ...]

    def expand(self, variables: Mapping[str, str]) -> tuple[str, ...]:
        """Return the words that run: quotes gone, variables replaced, unquoted values split at blanks.

        Empty when nothing is left, which GRUB neither measures nor runs. Raises ``GrubScriptError`` for a
        variable that the script has not set (its value is known at run time only) and for file name patterns.
        """
        found: list[str] = []
        length = 0
        for word in self.words:
            for text in _expand(word, variables, self.line):
                found.append(text)
                length += len(text) + 1
                if length > MAX_COMMAND:
                    raise GrubScriptError(self.line, f"the command grows past {MAX_COMMAND} characters")
        return tuple(found)


def parse(data: bytes) -> Iterator[Command]:
    """Yield the commands of a grub.cfg in order.

    Lazy on purpose: GRUB parses line by line too, and never looks at the lines after the one with ``boot``.
    Raises ``GrubScriptError`` when it comes to a line that it cannot read.
    """
    source = _Source(data)
    while not source.at_end():
        yield from source.line()


class _Source:
    """The text of the script and the place where reading stands."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_SCRIPT:
            raise GrubScriptError(1, f"the file is larger than {MAX_SCRIPT} bytes")
        lines = data.replace(b"\r", b"").removesuffix(b"\n").split(b"\n")
        kept = [(row, _decode(raw, row)) for row, raw in enumerate(lines, 1) if not raw.startswith(b"#")]
        self._text = "".join(f"{line}\n" for _, line in kept)
        self._starts: list[tuple[int, int]] = []
        offset = 0
        for number, line in kept:
            self._starts.append((offset, number))
            offset += len(line) + 1
        self._cursor = 0
        self._row = 0

    def at_end(self) -> bool:
        return self._cursor >= len(self._text)

    def line(self) -> list[Command]:
        """Read the commands up to the next end of a line that is not escaped or quoted."""
        commands: list[Command] = []
        end = ";"
        while end == ";":
            self._skip(_BLANK_OR_COMMENT)
            line = self._line()
            words: list[Word] = []
            while (end := self._char()) not in {"\n", ";"}:
                words.append(self._word(first=not words))
                self._skip(_BLANK_OR_COMMENT)
            self._cursor += 1
            if words:
                commands.append(Command(line, tuple(words)))
            elif end == ";":
                raise GrubScriptError(line, "no command before ';'")
        return commands

    def _word(self, *, first: bool) -> Word:
        pieces: list[_Piece] = []
        while found := _PIECE.match(self._text, self._cursor):
            pieces.extend(self._pieces(found))
            self._cursor = found.end()
        if self.at_end():
            self._refuse("\\")
        if (char := self._char()) not in {" ", "\t", "\n", ";"}:
            self._refuse(char)
        word = Word(tuple(pieces))
        if word.reserved and (first or word.reserved in {"[[", "]]"}):
            message = f"'{word.reserved}': only plain command lines can be predicted, no branch or loop"
            raise GrubScriptError(self._line(), message, code="grub-unresolved")
        return word

    def _refuse(self, char: str) -> None:
        message, code = _REFUSED.get(char, (f"'{char}' is not part of GRUB script; quote it", "grub-syntax"))
        raise GrubScriptError(self._line(), message, code=code)

    def _pieces(self, found: re.Match[str]) -> Iterator[_Piece]:
        kind, text = found.lastgroup, found[found.lastgroup or 0]
        if kind == "plain":
            yield _Piece(_Kind.PLAIN, text)
        elif kind == "escaped":
            if text != "\n":
                yield _Piece(_Kind.ESCAPED, text)
        elif kind == "single":
            yield _Piece(_Kind.QUOTED, text)
        elif kind == "double":
            yield from self._double(text)
        else:
            yield _Piece(_Kind.VARIABLE, text)

    def _double(self, text: str) -> Iterator[_Piece]:
        yield _Piece(_Kind.QUOTED, "")
        for found in _QUOTED.finditer(text):
            if found["bad"]:
                message = "of variables only $name and ${name} can be predicted; \\$ is a dollar sign"
                raise GrubScriptError(self._line(), message, code="grub-unresolved")
            if name := found["name"] or found["braced"]:
                yield _Piece(_Kind.QUOTED_VARIABLE, name)
            elif found["escape"] != "\n":
                yield _Piece(_Kind.QUOTED, found["text"] or found["escape"])

    def _char(self) -> str:
        return self._text[self._cursor : self._cursor + 1]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if found := pattern.match(self._text, self._cursor):
            self._cursor = found.end()

    def _line(self) -> int:
        """Return the number in the file of the line on which reading stands."""
        while self._row + 1 < len(self._starts) and self._starts[self._row + 1][0] <= self._cursor:
            self._row += 1
        return self._starts[self._row][1] if self._starts else 1


def _decode(raw: bytes, number: int) -> str:
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        raise GrubScriptError(number, f"byte {error.start + 1} of the line is not UTF-8") from error
    if control := next((char for char in line if ord(char) < 0x20 and char != "\t"), None):  # noqa: PLR2004 - C0
        raise GrubScriptError(number, f"control character {control!r}")
    return line


def _expand(word: Word, variables: Mapping[str, str], line: int) -> Iterator[str]:
    """Join the pieces; an unquoted value with blanks makes several words, one without content makes none."""
    found = _Joined(line)
    for piece in word.pieces:
        if piece.kind is _Kind.VARIABLE:
            *before, last = _BLANKS.split(_value(piece.text, variables, line).strip(" \t\n"))
            for part in before:
                found.add(part, bare=True)
                yield found.end()
            found.add(last, bare=True)
        elif piece.kind is _Kind.QUOTED_VARIABLE:
            found.add(_value(piece.text, variables, line))
        else:
            found.add(piece.text, bare=piece.kind is _Kind.PLAIN, exists=piece.kind is _Kind.QUOTED)
    if found.exists:
        yield found.end()


class _Joined:
    """One word that grows; ``exists`` once something, or an empty quoted text, was added."""

    def __init__(self, line: int) -> None:
        self._line = line
        self._texts: list[str] = []
        self._length = 0
        self._pattern = False
        self.exists = False

    def add(self, text: str, *, bare: bool = False, exists: bool = False) -> None:
        self._texts.append(text)
        self._length += len(text)
        self._pattern |= bare and ("*" in text or "?" in text)
        self.exists |= exists or bool(text)
        if self._length > MAX_COMMAND:
            raise GrubScriptError(self._line, f"the command grows past {MAX_COMMAND} characters")

    def end(self) -> str:
        """Return the word and begin anew; GRUB's regexp module matches files for words that start so."""
        text = "".join(self._texts)
        if self._pattern and text[0] in "/(*":
            message = f"'{text}' is a file name pattern, matched at run time; quote it"
            raise GrubScriptError(self._line, message, code="grub-unresolved")
        self._texts, self._length, self._pattern, self.exists = [], 0, False, False
        return text


def _value(name: str, variables: Mapping[str, str], line: int) -> str:
    if name not in variables:
        message = f"${name} is not set by an earlier line: its value is known at run time only"
        raise GrubScriptError(line, message, code="grub-unresolved")
    return variables[name]
