"""GRUB script as it is written: the text with its line numbers, and the tokens and words in it.

Source: GRUB 2.06, grub-core/script/yylex.l and lib/getline.c. Lines whose first byte is ``#`` are gone before
the script is read, inside quotes too; carriage returns are dropped.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attest.errors import AttestInputError

MAX_SCRIPT: Final = 256 * 1024
"""Bytes of a grub.cfg."""
RESERVED: Final = frozenset(
    {"[[", "]]", "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in"}
    | {"select", "then", "until", "while"}
)

_NAME = r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[?#*@]"
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
_REFUSED: Final = {
    "$": ('a lone $, or a translated text $"…": \\$ is a dollar sign', "grub-unresolved"),
    "'": ("the quote ' is not closed", "grub-syntax"),
    '"': ('the quote " is not closed', "grub-syntax"),
    "\\": ("the file ends after a backslash", "grub-syntax"),
}
"""Character that no word begins or goes on with -> message and code."""


class GrubScriptError(AttestInputError):
    """A grub.cfg whose measurement cannot be told beforehand; ``line`` counts from 1.

    Codes: ``grub-syntax``, ``grub-unresolved`` (depends on run time), ``grub-command`` (unknown or misused).
    """

    code = "grub-syntax"

    def __init__(self, at: At, message: str, *, code: str = "grub-syntax") -> None:
        super().__init__(f"{at.file}: line {at.line}: {message}", code=code)
        self.line = at.line


@dataclass(frozen=True, slots=True)
class At:
    """A line of a script; ``file`` is named as GRUB opened it."""

    file: str
    line: int

    def unresolved(self, message: str) -> GrubScriptError:
        """Return the error for what is known at run time only."""
        return GrubScriptError(self, message, code="grub-unresolved")

    def misused(self, message: str) -> GrubScriptError:
        """Return the error for a command that is unknown, or cannot work as it is called."""
        return GrubScriptError(self, message, code="grub-command")


class Kind(StrEnum):
    """How a piece of a word was written."""

    PLAIN = "plain"
    ESCAPED = "escaped"
    QUOTED = "quoted"
    VARIABLE = "variable"
    QUOTED_VARIABLE = "quoted variable"


@dataclass(frozen=True, slots=True)
class Piece:
    """Text, or the name of a variable."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Word:
    """One word as written: pieces that are joined after expansion."""

    pieces: tuple[Piece, ...]

    @property
    def bare(self) -> str | None:
        """The text of a word without quotes, escapes and variables; None for any other."""
        plain = len(self.pieces) == 1 and self.pieces[0].kind is Kind.PLAIN
        return self.pieces[0].text if plain else None


class Sign(StrEnum):
    """What is no word."""

    NEWLINE = "the end of a line"
    SEMICOLON = "';'"
    OPEN = "'{'"
    CLOSE = "'}'"


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a sign, and where it begins and ends in the text."""

    content: Word | Sign
    at: At
    start: int
    end: int

    @property
    def reserved(self) -> str | None:
        """The reserved word that this is, if it is one and not quoted."""
        text = self.content.bare if isinstance(self.content, Word) else None
        return text if text in RESERVED else None

    def __str__(self) -> str:
        if isinstance(self.content, Sign):
            return self.content.value
        return f"'{self.content.bare or '…'}'"


_SIGNS: Final = {"\n": Sign.NEWLINE, ";": Sign.SEMICOLON, "{": Sign.OPEN, "}": Sign.CLOSE}


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a script, ending with a newline, and the offset at which each of its lines starts.

    ``base`` is the place of the text in the file's text: the body of a menu entry is a part of it.
    """

    file: str
    text: str
    starts: Sequence[int]
    numbers: Sequence[int]
    base: int = 0

    @classmethod
    def of(cls, data: bytes, file: str = "grub.cfg") -> Source:
        """Read a file; raises ``GrubScriptError`` for one that is too large or no plain text."""
        if len(data) > MAX_SCRIPT:
            raise GrubScriptError(At(file, 1), f"the file is larger than {MAX_SCRIPT} bytes")
        lines = data.replace(b"\r", b"").removesuffix(b"\n").split(b"\n")
        kept = [
            (row, _decode(raw, At(file, row))) for row, raw in enumerate(lines, 1) if not raw.startswith(b"#")
        ]
        starts, offset = [], 0
        for _, line in kept:
            starts.append(offset)
            offset += len(line) + 1
        return cls(file, "".join(f"{line}\n" for _, line in kept), starts, [row for row, _ in kept])

    def part(self, start: int, end: int) -> Source:
        """Return a part as a script of its own that keeps its line numbers."""
        return Source(self.file, f"{self.text[start:end]}\n", self.starts, self.numbers, self.base + start)

    def at(self, offset: int) -> At:
        """Return the line of the file in which an offset of this text lies."""
        row = bisect_right(self.starts, self.base + offset) - 1
        return At(self.file, self.numbers[row] if row >= 0 else 1)


class Lexer:
    """Reads one token after the other."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._text = source.text
        self._cursor = 0

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._cursor >= len(self._text)

    def at(self) -> At:
        """Return the line on which reading stands; at the end, the last one."""
        return self.source.at(min(self._cursor, max(len(self._text) - 1, 0)))

    def next(self) -> Token:
        """Read a token; raises ``GrubScriptError``, also at the end of the text."""
        if found := _BLANK_OR_COMMENT.match(self._text, self._cursor):
            self._cursor = found.end()
        if self.at_end():
            raise GrubScriptError(self.at(), "the file ends here, inside a block or a branch")
        start, at = self._cursor, self.at()
        sign = _SIGNS.get(self._text[start])
        if sign is not None:
            self._cursor += 1
            return Token(sign, at, start, self._cursor)
        return Token(self._word(), at, start, self._cursor)

    def _word(self) -> Word:
        pieces: list[Piece] = []
        while found := _PIECE.match(self._text, self._cursor):
            pieces.extend(self._pieces(found))
            self._cursor = found.end()
        if self.at_end():
            raise self._refusal("\\")
        if (char := self._text[self._cursor]) not in {" ", "\t", "\n", ";", "{", "}"}:
            raise self._refusal(char)
        return Word(tuple(pieces))

    def _refusal(self, char: str) -> GrubScriptError:
        message, code = _REFUSED.get(char, (f"'{char}' is not part of GRUB script; quote it", "grub-syntax"))
        return GrubScriptError(self.at(), message, code=code)

    def _pieces(self, found: re.Match[str]) -> Iterator[Piece]:
        kind, text = found.lastgroup, found[found.lastgroup or 0]
        if kind == "plain":
            yield Piece(Kind.PLAIN, text)
        elif kind == "escaped":
            if text != "\n":
                yield Piece(Kind.ESCAPED, text)
        elif kind == "single":
            yield Piece(Kind.QUOTED, text)
        elif kind == "double":
            yield from self._double(text)
        else:
            yield Piece(Kind.VARIABLE, text)

    def _double(self, text: str) -> Iterator[Piece]:
        yield Piece(Kind.QUOTED, "")
        for found in _QUOTED.finditer(text):
            if found["bad"]:
                raise GrubScriptError(self.at(), "a lone $ in quotes: \\$ is a dollar sign")
            if name := found["name"] or found["braced"]:
                yield Piece(Kind.QUOTED_VARIABLE, name)
            elif found["escape"] != "\n":
                yield Piece(Kind.QUOTED, found["text"] or found["escape"])


def _decode(raw: bytes, at: At) -> str:
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        raise GrubScriptError(at, f"byte {error.start + 1} of the line is not UTF-8") from error
    if control := next((char for char in line if ord(char) < 0x20 and char != "\t"), None):  # noqa: PLR2004 - C0
        raise GrubScriptError(at, f"control character {control!r}")
    return line
