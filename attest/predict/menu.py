"""GRUB's menu: its entries, and which of them runs when nobody presses a key.

Source: GRUB 2.06, commands/menuentry.c (options) and normal/menu.c (default, timeout, submenus).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attest.predict import strtoul
from attest.predict.script import At
from attest.predict.syntax import Block

MAX_ENTRIES: Final = 4096
_WITH_VALUE: Final = frozenset({"--class", "--users", "--hotkey", "--id"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A ``menuentry`` or ``submenu``; ``arguments`` begin with the title."""

    at: At
    arguments: tuple[str, ...]
    id: str
    block: Block
    submenu: bool
    restricted: bool
    """Only superusers may run it, once some are named."""

    @property
    def title(self) -> str:
        """What the menu shows."""
        return self.arguments[0]


def entry(name: str, arguments: Sequence[str], block: Block | None, at: At) -> Entry:
    """Read the words of a ``menuentry`` or ``submenu`` line; ``arguments`` are those before the block."""
    if block is None:
        raise at.misused(f"{name} needs a {{ block }} on its line")
    words: list[str] = []
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if option in _WITH_VALUE:
            if not equals and (not rest or rest[0].startswith("-")):
                raise at.misused(f"{name}: {option} needs a value")
            options[option] = value if equals else rest.pop(0)
        elif word == "--unrestricted":
            options[word] = ""
        elif word.startswith("-") and word != "-":
            raise at.unresolved(f"{name}: the option '{word}' is not known here")
        else:
            words.append(word)
    if not words:
        raise at.misused(f"{name} needs a title")
    restricted = "--users" in options or "--unrestricted" not in options
    return Entry(at, tuple(words), options.get("--id", words[0]), block, name == "submenu", restricted)


def default(entries: Sequence[Entry], wanted: str) -> Entry:
    """Return the entry that ``$default`` means: by number, else by title or id; the first one otherwise.

    ``A>B`` means entry B of submenu A; ``>>`` is a plain ``>``.
    """
    place = strtoul.leading(wanted)
    if place is not None:
        return entries[place] if place < len(entries) else entries[0]
    name, _ = split_default(wanted)
    return next((each for each in entries if name in {each.title, each.id}), entries[0])


def split_default(wanted: str) -> tuple[str, str | None]:
    """Split ``A>B`` into A, with ``>>`` replaced, and B as it is written; None where there is no B."""
    head, rest = wanted, None
    place = wanted.find(">")
    while place >= 0:
        if wanted[place + 1 : place + 2] != ">":
            head, rest = wanted[:place], wanted[place + 1 :]
            break
        place = wanted.find(">", place + 2)
    return head.replace(">>", ">"), rest or None


def timeout(value: str, at: At) -> int:
    """Return the seconds that the menu waits; refuses a menu that waits for a person."""
    seconds = strtoul.leading(value)
    if seconds is None or seconds >= strtoul.END:
        raise at.unresolved("no timeout is set: the menu waits for a person")
    return seconds
