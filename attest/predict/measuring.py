"""What GRUB's tpm module extends: strings into PCR 8, files of the boot disk into PCR 9.

Source: GRUB 2.06, commands/tpm.c, kern/verifiers.c (each file that is opened, except those in the memdisk)
and lib/cmdline.c. Strings are taken without their final NUL, files whole and as they lie on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from attest.predict.script import At
from attest.reference import Component

PCR_COMMANDS: Final = 8
PCR_FILES: Final = 9
MAX_MEASUREMENTS: Final = 1 << 14
"""Measurements of one run; a script can loop."""
MAX_TEXT: Final = 16 << 20
"""Characters of all commands of one run."""
_SHOWN: Final = 1 << 16
"""Characters of one command that are kept for people."""

Read = Callable[[str], bytes]
"""Gives the bytes of a file of the boot disk; the path has no leading slash. Raises ``OSError``."""


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement by GRUB; ``digests`` are (hashlib name, digest) pairs."""

    pcr: int
    digests: tuple[tuple[str, bytes], ...]
    component: Component
    what: str


@dataclass(frozen=True, slots=True)
class Module:
    """A file that GRUB loads for Xen (``module2``), and the arguments that go with it."""

    path: str
    arguments: str


class Measurements:
    """The measurements so far, and the files of the boot disk."""

    def __init__(self, read: Read, algorithms: Sequence[str], disk: str | None) -> None:
        self._read = read
        self._algorithms = tuple(algorithms)
        self._device = None if disk is None else f"({disk})"
        self._files: dict[str, tuple[tuple[str, bytes], ...]] = {}
        self._kinds: dict[str, str | None] = {}
        self._text = 0
        self._steps: list[Step] = []

    def command(self, words: Sequence[str], at: At) -> None:
        """Measure a command before it runs."""
        text = " ".join(words)
        self._text += len(text)
        if len(self._steps) >= MAX_MEASUREMENTS or self._text > MAX_TEXT:
            raise at.unresolved("more commands than can be followed: the script does not end")
        self._extend(
            PCR_COMMANDS, self._digests(text.encode()), _part_of(words[0]), f"command {text[:_SHOWN]}"
        )

    def arguments(self, module: Module, component: Component) -> None:
        """Measure the arguments of what ``multiboot2`` or ``module2`` has loaded."""
        what = f"arguments {module.arguments}".rstrip()
        self._extend(PCR_COMMANDS, self._digests(module.arguments.encode()), component, what)

    def open(self, path: str, component: Component, at: At) -> None:
        """Open and measure a file; raises ``OSError`` for one that cannot be read."""
        inside = self.inside(path, at)
        if inside not in self._files:
            self._files[inside] = self._digests(self._content(inside, at))
        self._opened(inside, component, at)

    def script(self, path: str, at: At) -> bytes:
        """Open and measure another script, and return it; raises ``OSError`` for one that cannot be read."""
        inside = self.inside(path, at)
        content = self._content(inside, at)
        self._files[inside] = self._digests(content)
        self._opened(inside, Component.LOADER, at)
        return content

    def _content(self, inside: str, at: At) -> bytes:
        """Read a file; who cannot read it says where GRUB is told to."""
        try:
            return self._read(inside.lstrip("/"))
        except OSError as error:
            error.add_note(f"{at.file}: line {at.line} opens it")
            raise

    def _opened(self, inside: str, component: Component, at: At) -> None:
        if len(self._steps) >= MAX_MEASUREMENTS:
            raise at.unresolved("more files than can be followed: the script does not end")
        self._extend(PCR_FILES, self._files[inside], component, f"file {inside}")

    def inside(self, path: str, at: At) -> str:
        """Return the path from the boot disk's root of a file as GRUB names it; refuses other disks."""
        found = path.removeprefix(self._device) if self._device else path
        if not found.startswith("/") or ".." in found.split("/"):
            raise at.misused(f"'{path}' is no path from the boot disk's root (grub.disk of the profile)")
        return found

    def kind(self, path: str, at: At) -> str | None:
        """Return ``file``, ``folder``, or None for what is not on the boot disk; measures nothing."""
        inside = self.inside(path, at).strip("/")
        if inside not in self._kinds:
            self._kinds[inside] = self._look(inside) if inside else "folder"
        return self._kinds[inside]

    def _look(self, path: str) -> str | None:
        try:
            self._read(path)
        except IsADirectoryError:
            return "folder"
        except (FileNotFoundError, NotADirectoryError):
            return None
        return "file"

    def result(self, xen: Module, modules: Sequence[Module]) -> tuple[Step, ...]:
        """Return the measurements; a file that is opened twice belongs to what is started from it."""
        owners = {f"file {module.path}": Component.DOM0 for module in modules}
        owners[f"file {xen.path}"] = Component.XEN
        return tuple(replace(step, component=owners.get(step.what, step.component)) for step in self._steps)

    def _digests(self, content: bytes) -> tuple[tuple[str, bytes], ...]:
        return tuple((name, hashlib.new(name, content).digest()) for name in self._algorithms)

    def _extend(
        self, pcr: int, digests: tuple[tuple[str, bytes], ...], component: Component, what: str
    ) -> None:
        self._steps.append(Step(pcr, digests, component, what))


def command_line(arguments: Sequence[str]) -> str:
    """Join arguments as GRUB hands them on: one with blanks is quoted, quotes and backslashes are escaped."""
    return " ".join(_argument(each) for each in arguments)


def _argument(text: str) -> str:
    escaped = "".join(f"\\{char}" if char in "\\'\"" else char for char in text)
    return f'"{escaped}"' if " " in text else escaped


def _part_of(command: str) -> Component:
    return {"multiboot2": Component.XEN, "module2": Component.DOM0}.get(command, Component.LOADER)
