"""The arguments of GRUB's ``search``. Source: GRUB 2.06, commands/search_wrap.c and lib/arg.c."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attest.predict.script import At

_SHORT: Final = {"-f": "--file", "-l": "--label", "-u": "--fs-uuid", "-s": "--set", "-n": "--no-floppy"}
_MODES: Final = frozenset({"--file", "--label", "--fs-uuid"})


@dataclass(frozen=True, slots=True)
class Search:
    """What a ``search`` line asks for: a file, or the label or UUID of a file system, for a variable."""

    by_file: bool
    key: str
    variable: str


def search(arguments: Sequence[str], at: At) -> Search:
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
            raise at.misused(f"search has no option '{word}' here")
        elif option != "--no-floppy":
            keys.append(word)
    if variable is None:
        raise at.unresolved("search without --set looks at every disk")
    if not keys:
        keys, variable = [variable], ""
    if len(modes) != 1 or len(keys) != 1:
        raise at.misused("search needs one of --file, --label, --fs-uuid and one thing to look for")
    return Search(modes[0] == "--file", keys[0], variable or "root")
