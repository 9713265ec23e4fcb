"""Labels: the names that a policy gives to domains and resources, and the types behind them.

A domain label carries STE types (which coalitions it belongs to), Chinese Wall types (which it must not run
beside) and a range of levels. A resource label carries exactly one STE type and one level. Source: sHype/ACM
of Xen 3.x, its labels and ``security_policy.xsd``, and MLS, which it had planned; ``ACM:<policy>:<label>`` is
the written form of a label, hence no ':' in a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from acm.mls import Level, Range, point

MAX_NAME: Final = 64
"""Longest name, in characters."""

_NAME: Final = re.compile(r"[A-Za-z0-9_](?: ?[A-Za-z0-9_.()-])*")
_RESERVED: Final = re.compile(r"__.*__")


@dataclass(frozen=True, slots=True)
class Label:
    """A label and its types. A resource label has one STE type at most and no Chinese Wall type.

    ``mls`` is its range of levels, None where the policy does not enforce MLS.
    """

    name: str
    ste: frozenset[str] = frozenset()
    chwall: frozenset[str] = frozenset()
    mls: Range | None = None


UNLABELED: Final = Label("__UNLABELED__", frozenset({"__UNLABELED__"}), mls=point(Level(0, "__UNLABELED__")))
"""What has no label. Part of every policy, as a domain and as a resource: confined to itself.

Its only STE type and its only level are its own; no label of a policy file can carry them. The level is
compared with nothing else, because the engine's confinement stands before every component.
"""

INACCESSIBLE: Final = Label("__INACCESSIBLE__")
"""A resource that nobody may use, Domain-0 included. Part of every policy."""

NULL_LABEL: Final = "__NULL_LABEL__"
"""ACM's placeholder at index 0 of its tables. It is never given to anything, so it is never known here."""

DEFAULT_BOOTSTRAP: Final = "SystemManagement"
"""The label of Domain-0 where a policy does not name another."""


def is_name(text: str) -> bool:
    """Tell whether ``text`` has the form of a name.

    1 to 64 of ``A-Z a-z 0-9 _ . ( ) -`` and single blanks inside; a letter, a digit or ``_`` first.
    Excluded are ':' (``ACM:policy:label``), ',' and '=' (``access_control=["policy=P,label=L"]``), quotes,
    and all that is not ASCII, so that no two names look alike.
    """
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def is_reserved(name: str) -> bool:
    """Tell whether a name belongs to sHype itself (``__…__``) and cannot be given by a policy."""
    return _RESERVED.fullmatch(name) is not None
