"""A tree of nodes to the YAML of a policy file: what ``acm.yamltree`` reads back as the same tree.

Mappings are written in block style, lists and the small mapping of a label in one line while it fits, so
that the result looks as a person would write it. A string that some reader of YAML could take for another
kind of value (``no``, ``1.0``, ``0x1F``) is put in quotes. The same tree gives the same bytes.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from acm.yamltree import Bare, Items, Table, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from acm.yamltree import Node

MAX_LINE: Final = 100
"""Longest line that is written for a list or a small mapping, in characters; longer ones are broken."""

_PLAIN: Final = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_/ .()-]*[A-Za-z0-9_/.()-])?")
"""First a letter or '_': no reader takes that for a number or a date. No ':', '#', ',' or bracket."""

_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
"""Plain words that YAML 1.1 reads as a truth value or as nothing, in any case of letters."""


_EMPTY: Final = ("[]", "{}")
"""What has no other form than the one in a line."""


def write(document: Table, comments: Iterable[str] = ()) -> bytes:
    """Return the bytes of a file: comment lines, then the document.

    A comment is one line each; what is not printable ASCII in it is written as an escape.
    """
    head = [f"# {_printable(comment)}".rstrip() for comment in comments]
    return "\n".join([*head, *([""] if head else []), *_table(document, 0), ""]).encode("ascii")


def _table(table: Table, indent: int) -> Iterator[str]:
    blanks = " " * indent
    for key, value in table.entries:
        name = _scalar(key.value)
        line = _line(value)
        if line is not None and (line in _EMPTY or indent + len(name) + len(line) < MAX_LINE):
            yield f"{blanks}{name}: {line}"
        else:
            yield f"{blanks}{name}:"
            yield from _block(value, indent + 2)


def _block(node: Node, indent: int) -> Iterator[str]:
    if isinstance(node, Table):
        yield from _table(node, indent)
        return
    blanks = " " * indent
    for value in node.values if isinstance(node, Items) else (node,):
        yield f"{blanks}- {_flow(value)}" if isinstance(node, Items) else f"{blanks}{_flow(value)}"


def _line(node: Node) -> str | None:
    """Return a node in one line, or None for a mapping that reads better in several."""
    if isinstance(node, Table) and any(isinstance(value, Items | Table) for _, value in node.entries):
        return None
    if isinstance(node, Table) and len(node.entries) > 1:
        return None
    return _flow(node)


def _flow(node: Node) -> str:
    if isinstance(node, Text):
        return _scalar(node.value)
    if isinstance(node, Bare):
        return node.value
    if isinstance(node, Items):
        return f"[{', '.join(map(_flow, node.values))}]"
    return "{" + ", ".join(f"{_scalar(key.value)}: {_flow(value)}" for key, value in node.entries) + "}"


def _scalar(value: str) -> str:
    plain = _PLAIN.fullmatch(value) is not None and value.lower() not in _WORDS
    return value if plain else f'"{"".join(map(_escaped, value))}"'


def _escaped(one: str) -> str:
    """Return a character as JSON has it, which is YAML too; beyond 16 bits JSON would write two."""
    return f"\\U{ord(one):08x}" if one > "\uffff" else json.dumps(one)[1:-1]


def _printable(text: str) -> str:
    return "".join(one if " " <= one <= "~" else ascii(one)[1:-1] for one in text)
