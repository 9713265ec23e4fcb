"""Finds what takes bytes, files or folders: the public functions, methods and constructors of the product."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any, Final

PACKAGES: Final = ("acm", "attest", "hypervisor", "metering", "shype", "vtpm")
_OUTSIDE: Final = re.compile(r"\b(bytes|bytearray|memoryview|Buffer|Path|BinaryIO)\b")


@cache
def modules() -> tuple[str, ...]:
    """The names of all modules of the product."""
    found: list[str] = []
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        found += [package, *(each.name for each in pkgutil.walk_packages(path, f"{package}."))]
    return tuple(found)


def takers() -> Iterator[str]:
    """The ``module:qualified.name`` of everything public that takes bytes or a path."""
    for name in modules():
        module = importlib.import_module(name)
        for qualified, function in _public(module):
            if _takes_from_outside(function):
                yield f"{name}:{qualified}"


def _public(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield from _methods(name, value)
        elif callable(value) and hasattr(value, "__annotations__"):
            yield name, value


def _methods(owner: str, kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Methods, inherited ones too if they are ours; a dataclass's own constructor only stores."""
    for name in dir(kind):
        if name.startswith("_") and name not in {"__init__", "__call__"}:
            continue
        value = inspect.getattr_static(kind, name)
        function = getattr(value, "__func__", value)
        home = str(getattr(function, "__module__", ""))
        generated = name == "__init__" and hasattr(kind, "__dataclass_fields__")
        if inspect.isfunction(function) and home.partition(".")[0] in PACKAGES and not generated:
            yield f"{owner}.{name}", function


def _takes_from_outside(function: Callable[..., Any]) -> bool:
    notes = {name: note for name, note in function.__annotations__.items() if name != "return"}
    return any(_OUTSIDE.search(str(note)) for note in notes.values())
