"""What GRUB 2.06 with its tpm module built in measures while it runs a grub.cfg of plain lines.

Source: GRUB 2.06, script/execute.c (each command before it is looked up), lib/cmdline.c and
loader/multiboot.c (arguments of kernel and modules), kern/verifiers.c (each file that is opened, except
those in the memdisk).
PCR 8 takes strings without their final NUL, PCR 9 whole files as they lie on disk.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from attest.predict.script import Command, GrubScriptError, parse
from attest.reference import Component

PCR_COMMANDS: Final = 8
PCR_FILES: Final = 9

_FILELESS: Final = frozenset(
    {"clear", "echo", "export", "insmod", "serial", "set", "sleep", "true", "unset"}
    | {"terminal_input", "terminal_output", "terminfo"}
)
"""Commands that open no file of the boot disk (``insmod`` reads from the memdisk, which is not measured)."""
_READS_FILES_WHEN_SET: Final = frozenset(
    {"check_signatures", "lang", "locale_dir", "prefix", "secondary_locale_dir"}
)
"""Variables whose assignment makes GRUB open files or change what it opens."""
_RUN_TIME: Final = frozenset({"cmdpath", "gfxpayload", "root"})
"""Variables that GRUB itself changes: their value is never known."""

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


@dataclass(frozen=True, slots=True)
class GrubRun:
    """The measurements of one run, and what is started at its end."""

    steps: tuple[Step, ...]
    xen: Module
    modules: tuple[Module, ...]


def run(config: bytes, read: Read, algorithms: Sequence[str]) -> GrubRun:
    """Return what GRUB measures for ``config``.

    Raises ``GrubScriptError`` with the line, and what ``read`` raises.
    """
    machine = _Machine(read, algorithms)
    for command in parse(config):
        if machine.run(command):
            return machine.result(command.line)
    last = config.count(b"\n") + 1
    raise GrubScriptError(last, "no 'boot' up to here: GRUB would wait for a person", code="grub-command")


class _Machine:
    def __init__(self, read: Read, algorithms: Sequence[str]) -> None:
        self._read = read
        self._algorithms = tuple(algorithms)
        self._variables: dict[str, str] = {}
        self._steps: list[Step] = []
        self._xen: Module | None = None
        self._modules: list[Module] = []

    def result(self, line: int) -> GrubRun:
        if self._xen is None:
            raise GrubScriptError(line, "'boot' without a multiboot2 line before it", code="grub-command")
        return GrubRun(_attribute(self._steps, self._xen, self._modules), self._xen, tuple(self._modules))

    def run(self, command: Command) -> bool:
        """Run one command; True when it hands over to Xen."""
        words = command.expand(self._variables)
        if not words:
            return False
        name, *arguments = words
        self._measure(PCR_COMMANDS, " ".join(words).encode(), _part_of(name), f"command {' '.join(words)}")
        if name == "boot":
            return True
        if name == "multiboot2":
            self._multiboot2(arguments, command.line)
        elif name == "module2":
            self._module2(arguments, command.line)
        elif name == "search":
            self._search(arguments, command.line)
        elif name in _FILELESS:
            self._fileless(name, arguments, command.line)
        elif "=" in name:
            self._assign(name, command.line)
        else:
            message = f"it is not known what '{name}' measures; use plain lines for Xen by multiboot2"
            raise GrubScriptError(command.line, message, code="grub-command")
        return False

    def _measure(self, pcr: int, content: bytes, component: Component, what: str) -> None:
        digests = tuple((name, hashlib.new(name, content).digest()) for name in self._algorithms)
        self._steps.append(Step(pcr, digests, component, what))

    def _open(self, path: str, component: Component, line: int) -> None:
        if not path.startswith("/") or ".." in path.split("/"):
            raise GrubScriptError(line, f"'{path}' is no path from the boot disk's root", code="grub-command")
        self._measure(PCR_FILES, self._read(path.lstrip("/")), component, f"file {path}")

    def _measure_arguments(self, module: Module, component: Component) -> None:
        what = f"arguments {module.arguments}".rstrip()
        self._measure(PCR_COMMANDS, module.arguments.encode(), component, what)

    def _multiboot2(self, arguments: Sequence[str], line: int) -> None:
        if not arguments:
            raise GrubScriptError(line, "multiboot2 needs a file name", code="grub-command")
        self._open(arguments[0], Component.XEN, line)
        self._xen = Module(arguments[0], command_line(arguments[1:]))
        self._modules.clear()
        self._measure_arguments(self._xen, Component.XEN)

    def _module2(self, arguments: Sequence[str], line: int) -> None:
        if arguments[:1] == ["--nounzip"]:
            arguments = arguments[1:]
        if not arguments or self._xen is None:
            raise GrubScriptError(line, "module2 needs a file name, after multiboot2", code="grub-command")
        self._open(arguments[0], Component.DOM0, line)
        module = Module(arguments[0], command_line(arguments[1:]))
        self._modules.append(module)
        self._measure_arguments(module, Component.DOM0)

    def _search(self, arguments: Sequence[str], line: int) -> None:
        found = _search_arguments(arguments, line)
        if found.by_file:
            self._open(found.key, Component.LOADER, line)
        self._variables.pop(found.variable, None)

    def _fileless(self, name: str, arguments: Sequence[str], line: int) -> None:
        if name == "insmod" and (len(arguments) != 1 or arguments[0][:1] in {"/", "("}):
            raise GrubScriptError(line, "insmod takes one module's name, no path", code="grub-command")
        if name == "set" and arguments:
            self._assign(arguments[0], line)
        if name == "unset":
            for variable in arguments[:1]:
                self._assign(f"{variable}=", line)

    def _assign(self, assignment: str, line: int) -> None:
        name, equals, value = assignment.partition("=")
        if name in _READS_FILES_WHEN_SET:
            message = f"setting {name} makes GRUB open files that are not known"
            raise GrubScriptError(line, message, code="grub-unresolved")
        if not equals:
            raise GrubScriptError(line, f"'{name}' is no assignment: write NAME=VALUE", code="grub-command")
        if name not in _RUN_TIME:
            self._variables[name] = value


@dataclass(frozen=True, slots=True)
class _Search:
    """What a ``search`` line asks for."""

    by_file: bool
    key: str
    variable: str


_SHORT: Final = {"-f": "--file", "-l": "--label", "-u": "--fs-uuid", "-s": "--set", "-n": "--no-floppy"}
_MODES: Final = frozenset({"--file", "--label", "--fs-uuid"})


def _search_arguments(arguments: Sequence[str], line: int) -> _Search:
    """Read ``search --file|--label|--fs-uuid [--no-floppy] [--hint…=DISK]… --set[=NAME] KEY``.

    Without ``--set`` GRUB opens the file on every disk, so the number of measurements is not known.
    """
    modes, keys = [], []
    variable: str | None = None
    rest = deque(arguments)
    while rest:
        word = rest.popleft()
        option, equals, value = word.partition("=")
        option = _SHORT.get(option, option)
        if option in {"--set", "--hint"} or option.startswith("--hint-"):
            if not equals and rest and not rest[0].startswith("-"):
                value = rest.popleft()
            variable = value if option == "--set" else variable
        elif option in _MODES and not equals:
            modes.append(option)
        elif word.startswith("-") and option != "--no-floppy":
            raise GrubScriptError(line, f"search has no option '{word}' here", code="grub-command")
        elif option != "--no-floppy":
            keys.append(word)
    if variable is None:
        raise GrubScriptError(line, "search without --set looks at every disk", code="grub-unresolved")
    if not keys:
        keys, variable = [variable], ""
    if len(modes) != 1 or len(keys) != 1:
        message = "search needs one of --file, --label, --fs-uuid and one thing to look for"
        raise GrubScriptError(line, message, code="grub-command")
    return _Search(modes[0] == "--file", keys[0], variable or "root")


def command_line(arguments: Sequence[str]) -> str:
    """Join arguments as GRUB hands them on: one with blanks is quoted, quotes and backslashes are escaped."""
    return " ".join(_argument(each) for each in arguments)


def _argument(text: str) -> str:
    escaped = "".join(f"\\{char}" if char in "\\'\"" else char for char in text)
    return f'"{escaped}"' if " " in text else escaped


def _part_of(command: str) -> Component:
    return {"multiboot2": Component.XEN, "module2": Component.DOM0}.get(command, Component.LOADER)


def _attribute(steps: Sequence[Step], xen: Module, modules: Sequence[Module]) -> tuple[Step, ...]:
    """Give a file that ``search`` opened to the component that is started from it."""
    owners = {f"file {module.path}": Component.DOM0 for module in modules} | {
        f"file {xen.path}": Component.XEN
    }
    return tuple(replace(step, component=owners.get(step.what, step.component)) for step in steps)
