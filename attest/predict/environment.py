"""GRUB's variables, as far as their values can be told beforehand, and the words that they expand to.

Source: GRUB 2.06, kern/env.c, normal/context.c and normal/main.c (variables that are there at start),
script/execute.c and script/argv.c (expansion).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from attest.predict.script import At, Kind, Word

MAX_COMMAND: Final = 64 * 1024
"""Characters of one command after expansion; variables can double themselves."""
MAX_WORK: Final = 1 << 20
"""Pieces of words and characters of values that one run expands; a script can loop."""
PREFIX: Final = "(memdisk)/boot/grub"
"""Where GRUB looks for modules, fonts and translations: inside the loader, so none of it is measured."""
CONFIG_FILE: Final = f"{PREFIX}/grub.cfg"

_FEATURES: Final = (
    *("feature_chainloader_bpb", "feature_ntldr", "feature_platform_search_hint"),
    *("feature_default_font_path", "feature_all_video_module", "feature_menuentry_id"),
    *("feature_menuentry_options", "feature_200_final", "feature_nativedisk_cmd", "feature_timeout_style"),
)
_EXPORTED: Final = {
    **dict.fromkeys(_FEATURES, "y"),
    "color_highlight": "black/light-gray",
    "color_normal": "light-gray/black",
    "grub_cpu": "x86_64",
    "grub_platform": "efi",
    "pager": "",
}
_RUN_TIME: Final = re.compile(
    r"(?:net|pxe)_.*|cmdpath|check_signatures|lockdown|shim_lock"
    r"|YEAR|MONTH|DAY|HOUR|MINUTE|SECOND|WEEKDAY"
)
"""Variables that firmware, network or clock decide."""
_BLANKS: Final = re.compile(r"[ \t\n]+")
_SPECIAL: Final = re.compile(r"[0-9]+|[#*@]")


@dataclass(slots=True)
class _Variable:
    """A value (None: known at run time only), and whether a new context takes it over."""

    value: str | None
    exported: bool = False


@dataclass(slots=True)
class Environment:
    """The variables of a running GRUB.

    ``arguments`` are those of the function or menu entry that runs, None outside; ``status`` is what the last
    command returned, None where that is known at run time only.
    """

    arguments: list[str] | None = None
    status: int | None = None
    _contexts: list[dict[str, _Variable]] = field(default_factory=list)
    _work: int = 0

    def __post_init__(self) -> None:
        start = {name: _Variable(value, exported=True) for name, value in _EXPORTED.items()}
        start |= {"root": _Variable("memdisk", exported=True), "prefix": _Variable(PREFIX, exported=True)}
        self._contexts.append(start)

    def get(self, name: str) -> str | None:
        """Return a value that is known; None where the variable is not set."""
        found = self._contexts[-1].get(name)
        return None if found is None else found.value

    def is_known(self, name: str) -> bool:
        """Whether the value of a variable, or that it is not set, can be told."""
        found = self._contexts[-1].get(name)
        return _RUN_TIME.fullmatch(name) is None if found is None else found.value is not None

    def value(self, name: str, at: At) -> str:
        """Return a value, empty where the variable is not set; refuses one that is not known."""
        found = self._value(name, at)
        self.spend(len(found), at)
        return found

    def _value(self, name: str, at: At) -> str:
        if name == "?":
            if self.status is None:
                raise at.unresolved("$?: whether the last command succeeds is known at run time only")
            return str(self.status)
        if _SPECIAL.fullmatch(name):
            return self._argument(name)
        if not self.is_known(name):
            raise at.unresolved(f"${name} is known at run time only{_HINTS.get(name, '')}")
        return self.get(name) or ""

    def _argument(self, name: str) -> str:
        if self.arguments is None:
            return ""
        if name in {"*", "@"}:
            return " ".join(self.arguments)
        if name == "#":
            return str(len(self.arguments))
        number = int(name) if len(name) < 8 else 0  # noqa: PLR2004 - nobody counts further
        return self.arguments[number - 1] if 0 < number <= len(self.arguments) else ""

    def set(self, name: str, value: str | None) -> None:
        """Set a variable; None as a value means that it is known at run time only."""
        if name == "root" and value and value.startswith("(") and value.endswith(")"):
            value = value[1:-1]
        context = self._contexts[-1]
        if name in context:
            context[name].value = value
        else:
            context[name] = _Variable(value)

    def unset(self, name: str) -> None:
        """Forget a variable."""
        self._contexts[-1].pop(name, None)

    def export(self, name: str) -> None:
        """Let new contexts take a variable over; one that is not set becomes empty."""
        if name not in self._contexts[-1]:
            self.set(name, "" if self.is_known(name) else None)
        self._contexts[-1][name].exported = True

    def open_context(self) -> None:
        """Begin a context: a ``configfile`` or a submenu sees exported variables, root and prefix only."""
        kept = self._contexts[-1].items()
        self._contexts.append(
            {name: _Variable(one.value, exported=True) for name, one in kept if one.exported}
        )

    def close_context(self) -> None:
        """Go back to the variables as they were."""
        self._contexts.pop()

    def spend(self, amount: int, at: At) -> None:
        """Count work; refuses a script that does not end."""
        self._work += amount
        if self._work > MAX_WORK:
            raise at.unresolved("more work than can be followed: the script does not end")

    def expand(self, words: Sequence[Word], at: At, block: str | None = None) -> tuple[str, ...]:
        """Return the words that run: quotes gone, variables replaced, unquoted values split at blanks.

        Empty when nothing is left, which GRUB neither measures nor runs. ``block`` is the text of a block
        after the words. Raises ``GrubScriptError`` for a variable whose value is not known, and for file name
        patterns.
        """
        found: list[str] = []
        length = 0
        for word in words:
            for text in _expand(word, self, at):
                found.append(text)
                length += len(text) + 1
                if length > MAX_COMMAND:
                    raise at.unresolved(f"the command grows past {MAX_COMMAND} characters")
        if block is not None:
            found.append("{" + block + "}")
        return tuple(found)


_HINTS: Final = {
    "root": ": name the boot disk in the profile (grub.disk)",
    "config_directory": ": name the boot disk in the profile (grub.disk)",
    "config_file": ": name the boot disk in the profile (grub.disk)",
}


def _expand(word: Word, variables: Environment, at: At) -> Iterator[str]:
    """Join the pieces; an unquoted value with blanks makes several words, one without content makes none."""
    found = _Joined(at)
    for piece in word.pieces:
        variables.spend(1, at)
        if piece.kind is Kind.VARIABLE:
            *before, last = _BLANKS.split(variables.value(piece.text, at).strip(" \t\n"))
            for part in before:
                found.add(part, bare=True)
                yield found.end()
            found.add(last, bare=True)
        elif piece.kind is Kind.QUOTED_VARIABLE and piece.text == "@":
            variables.spend(len(variables.value("@", at)), at)
            *before, last = variables.arguments or [""]
            for part in before:
                found.add(part, exists=True)
                yield found.end()
            found.add(last, exists=True)
        elif piece.kind is Kind.QUOTED_VARIABLE:
            found.add(variables.value(piece.text, at))
        else:
            found.add(piece.text, bare=piece.kind is Kind.PLAIN, exists=piece.kind is Kind.QUOTED)
    if found.exists:
        yield found.end()


class _Joined:
    """One word that grows; ``exists`` once something, or an empty quoted text, was added."""

    def __init__(self, at: At) -> None:
        self._at = at
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
            raise self._at.unresolved(f"the command grows past {MAX_COMMAND} characters")

    def end(self) -> str:
        """Return the word and begin anew; GRUB's regexp module matches files for words that start so."""
        text = "".join(self._texts)
        if self._pattern and text[0] in "/(*":
            raise self._at.unresolved(f"'{text}' is a file name pattern, matched at run time; quote it")
        self._texts, self._length, self._pattern, self.exists = [], 0, False, False
        return text
