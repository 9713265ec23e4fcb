"""The commands of a GRUB script: plain ones, blocks, branches, loops and functions.

Source: GRUB 2.06, grub-core/script/parser.y.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from attest.predict.script import At, GrubScriptError, Lexer, Sign, Source, Token, Word

MAX_DEPTH: Final = 48
"""Blocks, branches and loops inside each other; GRUB itself runs fewer than 64."""


@dataclass(frozen=True, slots=True)
class Block:
    """The text between ``{`` and ``}``, which GRUB keeps as it is written."""

    text: str
    source: Source


@dataclass(frozen=True, slots=True)
class Command:
    """One command as written, and the line on which it starts."""

    at: At
    words: tuple[Word, ...]
    block: Block | None


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands one after the other."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class If:
    """``if`` and ``elif``; ``otherwise`` is the next branch, the commands of ``else``, or None."""

    at: At
    condition: Commands
    then: Commands
    otherwise: If | Commands | None


@dataclass(frozen=True, slots=True)
class For:
    """``for NAME in WORDS; do …; done``."""

    at: At
    name: str
    words: tuple[Word, ...]
    body: Commands


@dataclass(frozen=True, slots=True)
class While:
    """``while`` and ``until``."""

    at: At
    condition: Commands
    body: Commands
    until: bool


Node: TypeAlias = Command | Commands | If | For | While


@dataclass(frozen=True, slots=True)
class Function:
    """A function; it is known as soon as its line is read."""

    name: str
    body: Commands


def parse(source: Source) -> Iterator[tuple[Node | Function, ...]]:
    """Yield what stands on one line (with its blocks and branches) after the other.

    Lazy on purpose: GRUB parses line by line too, and never looks at the lines after the one with ``boot``.
    Raises ``GrubScriptError`` when it comes to a line that it cannot read.
    """
    parser = _Parser(Lexer(source))
    while not parser.at_end():
        if line := parser.line():
            yield line


class _Parser:
    def __init__(self, lexer: Lexer) -> None:
        self._lexer = lexer
        self._held: Token | None = None
        self._depth = 0

    def at_end(self) -> bool:
        return self._held is None and self._lexer.at_end()

    def line(self) -> tuple[Node | Function, ...]:
        found: list[Node | Function] = []
        while (token := self._next()).content is not Sign.NEWLINE:
            found.append(self._function() if token.reserved == "function" else self._command(token))
            end = self._next()
            if end.content is Sign.NEWLINE:
                break
            if end.content is not Sign.SEMICOLON:
                raise _unexpected(end)
        return tuple(found)

    def _next(self) -> Token:
        token, self._held = self._held, None
        return token or self._lexer.next()

    def _command(self, token: Token) -> Node:
        if isinstance(token.content, Sign):
            raise _unexpected(token, "no command before it")
        if (word := token.reserved) is None:
            return self._plain(token)
        reader = self._constructs().get(word)
        if reader is None:
            raise _unexpected(token)
        self._enter(token)
        found = reader(token)
        self._depth -= 1
        return found

    def _constructs(self) -> dict[str, Callable[[Token], Node]]:
        return {
            "if": self._if,
            "for": self._for,
            "while": lambda token: self._while(token, until=False),
            "until": lambda token: self._while(token, until=True),
        }

    def _enter(self, token: Token) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise GrubScriptError(token.at, f"more than {MAX_DEPTH} blocks and branches inside each other")

    def _plain(self, first: Token) -> Command:
        words: list[Word] = []
        token = first
        while isinstance(token.content, Word):
            if token.reserved in {"[[", "]]"}:
                raise _unexpected(token)
            words.append(token.content)
            token = self._next()
        block = self._block(token) if token.content is Sign.OPEN else None
        if block is None:
            self._held = token
        return Command(first.at, tuple(words), block)

    def _block(self, opening: Token) -> Block:
        self._enter(opening)
        _, closing = self._commands(close=True, loose=True)
        self._depth -= 1
        part = self._lexer.source.part(opening.end, closing.start)
        return Block(part.text[:-1], part)

    def _commands(self, *stops: str, close: bool = False, loose: bool = False) -> tuple[Commands, Token]:
        """Read at least one command, up to a reserved word of ``stops``, or with ``close`` up to ``}``.

        With ``loose`` the last one needs neither ``;`` nor the end of a line after it.
        """
        found = [self._command(self._skip_newlines())]
        while True:
            end = self._next()
            delimited = end.content in {Sign.NEWLINE, Sign.SEMICOLON}
            token = self._skip_newlines() if delimited else end
            if close and loose and token.content is Sign.CLOSE:
                return Commands(tuple(found)), token
            if not delimited:
                raise _unexpected(token, "a ';' or the end of the line is expected before it")
            if token.reserved in stops or (close and token.content is Sign.CLOSE):
                return Commands(tuple(found)), token
            found.append(self._command(token))

    def _skip_newlines(self) -> Token:
        while (token := self._next()).content is Sign.NEWLINE:
            pass
        return token

    def _if(self, start: Token) -> If:
        condition, _ = self._commands("then")
        then, end = self._commands("elif", "else", "fi")
        otherwise: If | Commands | None = None
        if end.reserved == "elif":
            self._enter(end)
            otherwise = self._if(end)
            self._depth -= 1
        elif end.reserved == "else":
            otherwise, _ = self._commands("fi")
        return If(start.at, condition, then, otherwise)

    def _for(self, start: Token) -> For:
        name = self._name("for")
        self._expect("in")
        words: list[Word] = []
        while isinstance((token := self._next()).content, Word):
            if token.reserved in {"[[", "]]"}:
                raise _unexpected(token)
            words.append(token.content)
        if token.content not in {Sign.NEWLINE, Sign.SEMICOLON}:
            raise _unexpected(token)
        return For(start.at, name, tuple(words), self._loop())

    def _while(self, start: Token, *, until: bool) -> While:
        condition, _ = self._commands("do")
        body, _ = self._commands("done")
        return While(start.at, condition, body, until)

    def _loop(self) -> Commands:
        if (token := self._skip_newlines()).reserved != "do":
            raise _unexpected(token, "'do' is expected")
        body, _ = self._commands("done")
        return body

    def _function(self) -> Function:
        name = self._name("function")
        if (token := self._skip_newlines()).content is not Sign.OPEN:
            raise _unexpected(token, "'{' is expected")
        self._enter(token)
        body, _ = self._commands(close=True)
        self._depth -= 1
        return Function(name, body)

    def _name(self, after: str) -> str:
        token = self._next()
        text = token.content.bare if isinstance(token.content, Word) else None
        if text is None or token.reserved or not text.isascii() or not text.isidentifier():
            raise _unexpected(token, f"a name is expected after '{after}'")
        return text

    def _expect(self, word: str) -> None:
        token = self._next()
        if token.reserved != word:
            raise _unexpected(token, f"'{word}' is expected")


def _unexpected(token: Token, hint: str = "") -> GrubScriptError:
    return GrubScriptError(token.at, f"{token} cannot stand here{f': {hint}' if hint else ''}")
