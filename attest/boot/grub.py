"""GRUB 2.06 on the embedded host: runs the commands of a grub.cfg and measures as its tpm module does.

Strings go to PCR 8 and files to PCR 9, with EV_IPL events whose data is GRUB's own description and a NUL
(GRUB 2.06, commands/tpm.c and commands/efi/tpm.c).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from attest.boot.errors import BootError
from attest.boot.measured import EV_IPL, Measured, measure
from attest.boot.script import Line, Script

STRING_PCR: Final = 8
BINARY_PCR: Final = 9
_QUIET: Final = frozenset({"clear", "echo", "export", "insmod", "serial", "sleep", "true"}) | {
    "terminal_input",
    "terminal_output",
    "terminfo",
}
_HOOKED: Final = frozenset({"check_signatures", "lang", "locale_dir", "prefix", "secondary_locale_dir"})


class Grub:
    """One run of the loader; ``booted`` is true once the script has reached ``boot``.

    ``read`` gives a file of the boot disk by its path without the leading slash and raises ``OSError``;
    ``disk`` is what GRUB calls that disk, e.g. ``hd0``.
    """

    def __init__(self, read: Callable[[str], bytes], banks: Sequence[str], *, disk: str = "hd0") -> None:
        self._read = read
        self._banks = tuple(banks)
        self._disk = disk
        self._environment = {"root": disk, "prefix": "(memdisk)/boot/grub", "cmdpath": f"({disk})/EFI/BOOT"}
        self.measurements: list[Measured] = []
        self.kernel: bytes | None = None
        self.kernel_arguments = ""
        self.module_arguments: list[str] = []
        self.booted = False

    def run(self, config: bytes) -> None:
        """Run a grub.cfg up to its ``boot``; raises ``BootError`` where GRUB would stop or ask a person."""
        for line in Script(config).lines():
            for command in line:
                self._execute(command)
                if self.booted:
                    return
        raise BootError("grub.cfg: the script ends, and nothing is booted")

    def _execute(self, line: Line) -> None:
        arguments = line.arguments(lambda name: self._environment.get(name, ""))
        if not arguments:
            return
        self._string("grub_cmd", " ".join(arguments))
        name = arguments.pop(0)
        handler = self._handlers().get(name)
        if handler is not None:
            handler(arguments, line.number)
        elif "=" in name:
            self._set([name], line.number)
        elif name not in _QUIET:
            self._stop(line.number, f"no command '{name}'")
        elif name == "insmod" and any(argument[:1] in {"/", "("} for argument in arguments):
            self._stop(line.number, "modules come with the loader only")

    def _handlers(self) -> dict[str, Callable[[list[str], int], None]]:
        return {
            "boot": self._boot,
            "module2": self._module2,
            "multiboot2": self._multiboot2,
            "search": self._search,
            "set": self._set,
            "unset": lambda names, line: self._set([f"{name}=" for name in names[:1]], line),
        }

    def _string(self, kind: str, text: str) -> None:
        data = f"{kind}: {text}".encode() + b"\0"
        self.measurements.append(measure(STRING_PCR, EV_IPL, text.encode(), data, self._banks))

    def _open(self, name: str, line: int) -> bytes:
        """Open a file as GRUB names it, ``/path`` or ``(disk)/path``; measured as it lies on disk."""
        path = name.removeprefix(f"({self._disk})")
        if path == name and self._environment["root"].strip("()") != self._disk:
            self._stop(line, f"root is not {self._disk}", code="boot-file")
        if not path.startswith("/") or ".." in path.split("/"):
            self._stop(line, f"no file '{name}'", code="boot-file")
        content = self._read(path.lstrip("/"))
        self.measurements.append(measure(BINARY_PCR, EV_IPL, content, name.encode() + b"\0", self._banks))
        return content

    def _set(self, arguments: list[str], line: int) -> None:
        if arguments:
            name, found, value = arguments[0].partition("=")
            if name in _HOOKED or not found:
                self._stop(line, f"cannot set '{arguments[0]}'")
            self._environment[name] = value

    def _search(self, arguments: list[str], line: int) -> None:
        options, keys = _options(arguments)
        variable = options.pop("set", None)
        modes = [mode for mode in ("file", "label", "fs-uuid") if options.pop(mode, None) is not None]
        options.pop("no-floppy", None)
        if variable is None or len(modes) != 1 or any(name.partition("-")[0] != "hint" for name in options):
            self._stop(line, "this form of search is not known here")
        if not keys:
            keys, variable = [variable], ""
        if len(keys) != 1:
            self._stop(line, "search looks for one thing")
        if modes == ["file"]:
            self._open(f"({self._disk}){keys[0]}", line)
        self._environment[variable or "root"] = self._disk

    def _multiboot2(self, arguments: list[str], line: int) -> None:
        if not arguments:
            self._stop(line, "multiboot2: filename expected")
        self.kernel = self._open(arguments[0], line)
        self.kernel_arguments = _loader_arguments(arguments[1:])
        self.module_arguments = []
        self._environment["gfxpayload"] = "text"
        self._string("kernel_cmdline", self.kernel_arguments)

    def _module2(self, arguments: list[str], line: int) -> None:
        names = arguments[1:] if arguments and arguments[0] == "--nounzip" else arguments
        if not names or self.kernel is None:
            self._stop(line, "module2: filename or kernel missing")
        self._open(names[0], line)
        self.module_arguments.append(_loader_arguments(names[1:]))
        self._string("module_cmdline", self.module_arguments[-1])

    def _boot(self, _: list[str], line: int) -> None:
        if self.kernel is None:
            self._stop(line, "you need to load the kernel first")
        self.booted = True

    @staticmethod
    def _stop(line: int, why: str, *, code: str = "boot-script") -> NoReturn:
        raise BootError(f"grub.cfg: line {line}: {why}: the boot stops", code=code)


_SHORT: Final = {"f": "file", "l": "label", "u": "fs-uuid", "s": "set", "n": "no-floppy"}


def _options(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split GRUB's long and single short options from the other arguments."""
    options: dict[str, str] = {}
    keys: list[str] = []
    at = 0
    while at < len(arguments):
        argument = arguments[at]
        at += 1
        if not argument.startswith("-"):
            keys.append(argument)
            continue
        name, given, value = argument.lstrip("-").partition("=")
        if not argument.startswith("--"):
            name = _SHORT.get(name, f"?{name}")
        takes_value = name == "set" or name.startswith("hint")
        if takes_value and not given and at < len(arguments) and not arguments[at].startswith("-"):
            value = arguments[at]
            at += 1
        options[name if takes_value or not given else f"?{name}"] = value
    return options, keys


def _loader_arguments(arguments: list[str]) -> str:
    """Build the string that a kernel or module gets (GRUB 2.06, lib/cmdline.c)."""
    built = []
    for argument in arguments:
        text = argument
        for special in ("\\", "'", '"'):
            text = text.replace(special, "\\" + special)
        built.append(f'"{text}"' if " " in argument else text)
    return " ".join(built)
