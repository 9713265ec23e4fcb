"""The syntax of xl domain configs (xl.cfg(5)): ``KEY = VALUE`` with strings, numbers and lists.

Pairs end with a line or a semicolon; ``#`` begins a comment; a list may nest, span lines and end with a
comma.
Strings stand in single or double quotes; a backslash quotes itself and quotes. Nothing is evaluated.
Refused: ``+=``, a key given twice, nesting deeper than 4, characters that do not print, more than 256 KiB.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hypervisor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIZE: Final = 256 * 1024
"""Largest config, in bytes."""
MAX_DEPTH: Final = 4
MAX_DIGITS: Final = 20


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the text; both count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted string."""

    at: Mark
    value: str


@dataclass(frozen=True, slots=True)
class Number:
    """An unsigned integer."""

    at: Mark
    value: int


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    at: Mark
    values: tuple[Value, ...]


Value = Text | Number | Items


@dataclass(frozen=True, slots=True)
class Setting:
    """One pair; ``at`` is where the key stands."""

    at: Mark
    key: str
    value: Value


_TOKEN: Final = re.compile(
    r"""(?P<blank>[ \t]+|\#[^\n]*)
      |(?P<end>\r?\n|;)
      |(?P<key>[a-z][a-z0-9_]*)
      |(?P<number>0[xX][0-9a-fA-F]+|[0-9]+)
      |(?P<string>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
      |(?P<mark>[=\[\],])""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: Mark


def flaw(code: str, message: str, at: Mark) -> ConfigError:
    """Return the error for a flaw at a place."""
    text = f"domain config:{at.line}:{at.column}: {message} [{code}]"
    return ConfigError(code, text, line=at.line, column=at.column)


def read(data: bytes) -> tuple[Setting, ...]:
    """Return all settings in the order of the file. Raises ConfigError."""
    parser = _Parser(_tokens(_decode(data)))
    settings: dict[str, Setting] = {}
    while (setting := parser.setting()) is not None:
        if setting.key in settings:
            first = settings[setting.key].at.line
            raise flaw("duplicate-key", f"{setting.key} stands twice, first in line {first}", setting.at)
        settings[setting.key] = setting
    return tuple(settings.values())


def _decode(data: bytes) -> str:
    if len(data) > MAX_SIZE:
        raise flaw("too-big", f"larger than {MAX_SIZE} bytes", Mark(1, 1))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise flaw("not-utf-8", f"not UTF-8 at byte {error.start}", _after(before)) from None
    for index, character in enumerate(text):
        followed = text[index + 1 : index + 2]
        if not (character.isprintable() or character in "\n\t" or (character == "\r" and followed == "\n")):
            message = f"character U+{ord(character):04X} is not allowed: it does not print"
            raise flaw("character", message, _after(text[:index]))
    return text


def _after(text: str) -> Mark:
    return Mark(text.count("\n") + 1, len(text) - text.rfind("\n"))


def _tokens(text: str) -> Iterator[_Token]:
    position, line, begin = 0, 1, 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        at = Mark(line, position - begin + 1)
        if found is None:
            raise _no_token(text[position : position + 1], at)
        if found.lastgroup != "blank":
            yield _Token(str(found.lastgroup), found[0], at)
        position = found.end()
        if found[0].endswith("\n"):
            line, begin = line + 1, position
    yield _Token("eof", "", Mark(line, position - begin + 1))


def _no_token(character: str, at: Mark) -> ConfigError:
    if character in ("'", '"'):
        return flaw("open-string", "a string is not closed in its line", at)
    return flaw("syntax", f"{character!r} cannot stand here", at)


class _Parser:
    """Recursive descent over the tokens; one token of look-ahead, depth bounded."""

    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._tokens = tokens
        self._next = next(tokens)

    def setting(self) -> Setting | None:
        """Return the next pair, or None at the end of the file."""
        self._skip_ends()
        token = self._take()
        if token.kind == "eof":
            return None
        if token.kind != "key":
            raise flaw("syntax", f"a key must stand here, not {_show(token)}", token.at)
        equals = self._take()
        if equals.text != "=" or equals.kind != "mark":
            raise flaw("syntax", f"'=' must follow the key {token.text}, not {_show(equals)}", equals.at)
        value = self._value(MAX_DEPTH)
        end = self._take()
        if end.kind not in ("end", "eof"):
            raise flaw("syntax", f"the line must end after a value, not go on with {_show(end)}", end.at)
        return Setting(token.at, token.text, value)

    def _value(self, depth: int) -> Value:
        token = self._take()
        if token.kind == "string":
            return Text(token.at, _unquote(token))
        if token.kind == "number":
            return Number(token.at, _number(token))
        if token.text == "[":
            if depth == 0:
                raise flaw("too-deep", f"lists nest at most {MAX_DEPTH} deep", token.at)
            return self._items(token.at, depth - 1)
        raise flaw("syntax", f"a string, number or list must stand here, not {_show(token)}", token.at)

    def _items(self, at: Mark, depth: int) -> Items:
        values: list[Value] = []
        self._skip_lines()
        while self._next.text != "]":
            values.append(self._value(depth))
            self._skip_lines()
            token = self._next
            if token.text == ",":
                self._take()
                self._skip_lines()
            elif token.text != "]":
                raise flaw("syntax", f"',' or ']' must follow a list item, not {_show(token)}", token.at)
        self._take()
        return Items(at, tuple(values))

    def _skip_ends(self) -> None:
        while self._next.kind == "end":
            self._take()

    def _skip_lines(self) -> None:
        while self._next.kind == "end" and self._next.text != ";":
            self._take()

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "eof":
            self._next = next(self._tokens)
        return token


def _show(token: _Token) -> str:
    if token.kind == "eof":
        return "the end of the file"
    return "the end of the line" if token.text.endswith("\n") else repr(token.text[:40])


def _number(token: _Token) -> int:
    text = token.text.lower()
    if len(text) > MAX_DIGITS:
        raise flaw("number", f"a number has at most {MAX_DIGITS} digits", token.at)
    base = 16 if text.startswith("0x") else 8 if text.startswith("0") and len(text) > 1 else 10
    try:
        return int(text.removeprefix("0x"), base)
    except ValueError:
        raise flaw(
            "number", f"{text} begins with 0, so it is octal, and 8 and 9 are no octal digits", token.at
        ) from None


def _unquote(token: _Token) -> str:
    def plain(found: re.Match[str]) -> str:
        if found[1] not in "\\'\"":
            raise flaw("escape", f"escape \\{found[1]} is not supported", token.at)
        return found[1]

    value = _ESCAPE.sub(plain, token.text[1:-1])
    if not value.isprintable():
        raise flaw("character", "a string holds a character that does not print", token.at)
    return value
