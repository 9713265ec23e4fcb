"""What GRUB 2.06 with its tpm module built in measures while it runs a grub.cfg, up to the start of Xen.

Source: GRUB 2.06, script/execute.c (each command before it is looked up), loader/multiboot.c, commands/
search*.c, configfile.c, menuentry.c and test.c, normal/main.c and menu.c. Nobody presses a key, the commands
that the script names are in the loader, and the disk that ``search`` finds is the boot disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attest.predict import condition, menu
from attest.predict.environment import CONFIG_FILE, Environment
from attest.predict.interpreter import FILE_NOT_FOUND, OK, TEST_FAILURE, Builtin, Call, Interpreter, Status
from attest.predict.measuring import Measurements, Module, Read, Step, command_line
from attest.predict.script import At, Source
from attest.predict.search import search
from attest.reference import Component

MAX_NESTED: Final = 16
"""Scripts and submenus inside each other."""
_MEMDISK: Final = "(memdisk)"
_QUIET: Final = frozenset({"clear", "echo", "true"})
_UNSURE: Final = frozenset(
    {"password", "password_pbkdf2", "play", "save_env", "serial", "sleep"}
    | {"terminal_input", "terminal_output", "terminfo"}
)
"""Commands that open no file of the boot disk and may fail."""
_KEPT_IN_LOADER: Final = frozenset({"locale_dir", "secondary_locale_dir"})
"""Folders of translations: in the memdisk they are not measured."""
_NEVER_SET: Final = frozenset({"check_signatures", "prefix"})
"""Variables whose assignment makes GRUB open files that are not known."""


@dataclass(frozen=True, slots=True)
class Loader:
    """What is known of the loader beside its grub.cfg.

    ``disk`` is GRUB's name of the boot disk (``hd0``), ``memdisk`` the paths of all files inside the loader;
    None where that is not known.
    """

    disk: str | None = None
    memdisk: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class GrubRun:
    """The measurements of one run, and what is started at its end."""

    steps: tuple[Step, ...]
    xen: Module
    modules: tuple[Module, ...]


def run(config: bytes, read: Read, algorithms: Sequence[str], loader: Loader | None = None) -> GrubRun:
    """Return what GRUB measures for ``config``.

    Raises ``GrubScriptError`` with the line, and what ``read`` raises.
    """
    return _Grub(read, algorithms, loader or Loader()).boot(config)


class _Grub:
    def __init__(self, read: Read, algorithms: Sequence[str], loader: Loader) -> None:
        self._loader = loader
        self._measurements = Measurements(read, algorithms, loader.disk)
        self._environment = Environment()
        self._interpreter = Interpreter(self._environment, self._measurements, self._commands())
        self._entries: list[menu.Entry] = []
        self._nested = 0
        self._xen: Module | None = None
        self._modules: list[Module] = []

    def boot(self, config: bytes) -> GrubRun:
        """Run the loader's own grub.cfg, and the menu that it makes."""
        source = Source.of(config)
        end = source.at(len(source.text) - 1)
        self._script(source, CONFIG_FILE)
        self._show_menu()
        if self._xen is None or not self._interpreter.stopped:
            raise end.misused("no 'boot' up to here: GRUB would wait for a person")
        return GrubRun(self._measurements.result(self._xen, self._modules), self._xen, tuple(self._modules))

    def _commands(self) -> dict[str, Builtin]:
        quiet = dict.fromkeys(_QUIET, _ok) | dict.fromkeys(_UNSURE, _unsure)
        return quiet | {
            ".": self._source,
            "[": self._test,
            "boot": self._boot,
            "configfile": self._configfile,
            "export": self._export,
            "false": lambda _: TEST_FAILURE,
            "insmod": self._insmod,
            "load_env": self._load_env,
            "loadfont": self._loadfont,
            "menuentry": self._menuentry,
            "module2": self._module2,
            "multiboot2": self._multiboot2,
            "search": self._search,
            "set": self._set,
            "source": self._source,
            "submenu": self._menuentry,
            "test": self._test,
            "unset": self._unset,
        }

    # --- what is started

    def _multiboot2(self, call: Call) -> Status:
        if not call.arguments:
            raise call.at.misused("multiboot2 needs a file name")
        self._measurements.open(call.arguments[0], Component.XEN, call.at)
        self._xen = self._module(call.arguments, call.at)
        self._modules.clear()
        self._environment.set("gfxpayload", None)
        self._measurements.arguments(self._xen, Component.XEN)
        return OK

    def _module2(self, call: Call) -> Status:
        arguments = call.arguments[1:] if call.arguments[:1] == ("--nounzip",) else call.arguments
        if not arguments or self._xen is None:
            raise call.at.misused("module2 needs a file name, after multiboot2")
        self._measurements.open(arguments[0], Component.DOM0, call.at)
        module = self._module(arguments, call.at)
        self._modules.append(module)
        self._measurements.arguments(module, Component.DOM0)
        return OK

    def _module(self, arguments: Sequence[str], at: At) -> Module:
        return Module(self._measurements.inside(arguments[0], at), command_line(arguments[1:]))

    def _boot(self, call: Call) -> Status:
        if self._xen is None:
            raise call.at.misused("'boot' without a multiboot2 line before it")
        self._interpreter.stopped = True
        return OK

    # --- variables

    def _set(self, call: Call) -> Status:
        if call.arguments:
            name, equals, value = call.arguments[0].partition("=")
            if not equals:
                raise call.at.misused(f"'{name}' is no assignment: write NAME=VALUE")
            self._assign(name, value, call.at)
        return OK

    def _assign(self, name: str, value: str, at: At) -> None:
        outside = name in _KEPT_IN_LOADER and value and not value.startswith(f"{_MEMDISK}/")
        if name in _NEVER_SET or outside:
            raise at.unresolved(f"setting {name} makes GRUB open files that are not known")
        self._environment.set(name, value)

    def _unset(self, call: Call) -> Status:
        if not call.arguments or call.arguments[0] in _NEVER_SET:
            raise call.at.misused("unset needs the name of a variable of the script")
        self._environment.unset(call.arguments[0])
        return OK

    def _export(self, call: Call) -> Status:
        if not call.arguments:
            raise call.at.misused("export needs the name of a variable")
        for name in call.arguments:
            self._environment.export(name)
        return OK

    def _load_env(self, call: Call) -> Status:
        if call.arguments or self._memdisk("boot/grub/grubenv", call.at) is not None:
            raise call.at.unresolved("load_env: the variables of an environment file are not known")
        return None

    # --- disks and files

    def _search(self, call: Call) -> Status:
        found = search(call.arguments, call.at)
        if found.by_file:
            self._measurements.open(found.key, Component.LOADER, call.at)
        self._environment.set(found.variable, self._loader.disk)
        return OK

    def _insmod(self, call: Call) -> Status:
        if len(call.arguments) != 1 or call.arguments[0][:1] in {"/", "(", "+", ""}:
            raise call.at.misused("insmod takes one module's name, no path")
        return OK

    def _loadfont(self, call: Call) -> Status:
        """Load fonts one after the other, up to the first that fails."""
        if not call.arguments:
            raise call.at.misused("loadfont needs a font")
        status: Status = OK
        for font in call.arguments:
            if status is None:
                raise call.at.unresolved(f"whether '{font}' is opened after another font is not known")
            status = self._font(font, call.at)
            if status == FILE_NOT_FOUND:
                break
        return status

    def _font(self, font: str, at: At) -> Status:
        """Measure a font of the boot disk; return None for one that is there and may be none."""
        inside = font[:1] not in {"/", "("} or font.startswith(_MEMDISK)
        if inside and self._loader.memdisk is None:
            return None
        path = font if font[:1] in {"/", "("} else f"{_MEMDISK}/boot/grub/fonts/{font}.pf2"
        kind = self.kind(path, at)
        if kind == "file" and not inside:
            self._measurements.open(path, Component.LOADER, at)
        if kind is None:
            return FILE_NOT_FOUND
        return OK if kind == "file" and inside else None

    def _test(self, call: Call) -> Status:
        return OK if condition.test(call.arguments, self, call.at) else TEST_FAILURE

    def kind(self, path: str, at: At) -> str | None:
        """Answer ``-d``, ``-e`` and ``-f`` of a test."""
        if path.startswith(_MEMDISK):
            return self._memdisk(path.removeprefix(_MEMDISK), at)
        return self._measurements.kind(path, at)

    def has_content(self, path: str, at: At) -> bool:
        """Answer ``-s`` of a test, which opens the file."""
        if self.kind(path, at) != "file":
            return False
        if path.startswith(_MEMDISK):
            return True
        return bool(self._measurements.script(path, at))

    def _memdisk(self, path: str, at: At) -> str | None:
        wanted = path.strip("/")
        if self._loader.memdisk is None:
            raise at.unresolved(f"which files the loader holds is not known ({wanted}): see grub.memdisk")
        if wanted in self._loader.memdisk:
            return "file"
        return "folder" if any(f"{each}/".startswith(f"{wanted}/") for each in self._loader.memdisk) else None

    # --- scripts

    def _script(self, source: Source, path: str | None) -> None:
        """Run a script; ``path`` is what GRUB calls it, None where that is not known."""
        self._nested += 1
        if self._nested > MAX_NESTED:
            raise source.at(0).unresolved(f"more than {MAX_NESTED} scripts and menus inside each other")
        values = {"config_file": path, "config_directory": path and path.rpartition("/")[0]}
        environment = self._environment
        before = {
            name: environment.get(name) or "" if environment.is_known(name) else None for name in values
        }
        for name, value in values.items():
            environment.set(name, value)
            environment.export(name)
        self._interpreter.run(source)
        for name, value in before.items():
            environment.set(name, value)
        self._nested -= 1

    def _source(self, call: Call) -> Status:
        if len(call.arguments) != 1:
            raise call.at.misused(f"{call.name} takes one file name")
        content = self._measurements.script(call.arguments[0], call.at)
        inside = self._measurements.inside(call.arguments[0], call.at)
        disk = self._loader.disk
        self._script(Source.of(content, inside), None if disk is None else f"({disk}){inside}")
        return OK

    def _configfile(self, call: Call) -> Status:
        outer, self._entries = self._entries, []
        self._environment.open_context()
        status = self._source(call)
        self._show_menu()
        self._environment.close_context()
        self._entries = outer
        return status

    # --- menus

    def _menuentry(self, call: Call) -> Status:
        self._entries.append(menu.entry(call.name, call.arguments, call.block, call.at))
        if len(self._entries) > menu.MAX_ENTRIES:
            raise call.at.unresolved(f"more than {menu.MAX_ENTRIES} menu entries")
        return OK

    def _show_menu(self) -> None:
        """Wait for the timeout and run the default entry, unless the script has booted or made no menu."""
        if self._interpreter.stopped or not self._entries:
            return
        at = self._entries[0].at
        seconds = menu.timeout(self._environment.value("timeout", at), at)
        hidden = self._environment.value("timeout_style", at) in {"countdown", "hidden"}
        chosen = menu.default(self._entries, self._environment.value("default", at))
        if hidden:
            self._environment.unset("timeout_style")
        if hidden or seconds:
            self._environment.unset("timeout")
        self._execute(chosen)

    def _execute(self, entry: menu.Entry) -> None:
        if entry.restricted and self._environment.value("superusers", entry.at):
            raise entry.at.unresolved(f"the menu entry '{entry.title}' asks for a password")
        wanted = self._environment.value("default", entry.at)
        path = [each for each in (self._environment.get("chosen"), entry.id.replace(">", ">>")) if each]
        if entry.submenu:
            self._entries = []
            self._environment.open_context()
            self._environment.set("timeout", "0")
        self._environment.set("chosen", ">".join(path))
        self._environment.export("chosen")
        self._environment.set("default", menu.split_default(wanted)[1] or "")
        self._run_entry(entry)
        if self._xen is not None:
            self._interpreter.stopped = True
        elif entry.submenu:
            self._show_menu()
        if not self._interpreter.stopped:
            raise entry.at.misused(f"the menu entry '{entry.title}' ends, and no Xen is loaded")

    def _run_entry(self, entry: menu.Entry) -> None:
        """Run the entry's block; GRUB puts a ``setparams`` with the entry's words before it."""
        self._nested += 1
        if self._nested > MAX_NESTED:
            raise entry.at.unresolved(f"more than {MAX_NESTED} scripts and menus inside each other")
        self._measurements.command(("setparams", *entry.arguments), entry.at)
        self._environment.arguments, self._environment.status = list(entry.arguments), OK
        self._interpreter.run(entry.block.source)
        self._environment.arguments = None
        self._nested -= 1


def _ok(_: Call) -> Status:
    return OK


def _unsure(_: Call) -> Status:
    return None
