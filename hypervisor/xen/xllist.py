"""``xl list -l`` read strictly: the JSON that libxl makes of its records and of what Xen says now.

An array of ``{"domid": n, "config": {"c_info": {"name", …}, "b_info": {"sched_params": {"weight", "cap", …},
…}, …}}``. libxl leaves out what has its default value, and adds fields from release to release: what we need
is checked, the rest is skipped. A domain that no libxl toolstack made is not in the array.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from acm import strictjson
from hypervisor.domctl import FIRST_RESERVED_DOMID
from hypervisor.errors import XenError

MAX_BYTES: Final = 16 << 20
_MAX_NAME: Final = 255
_MAX_NUMBER: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class ListedDomain:
    """A domain as its toolstack knows it; ``weight`` and ``cap`` are the scheduler's, None if not given."""

    domid: int
    name: str
    weight: int | None
    cap: int | None


def parse(raw: bytes) -> tuple[ListedDomain, ...]:
    """Return the domains of a listing. Raises XenError."""
    document = strictjson.read(raw, MAX_BYTES, lambda _, message: _nonsense(message))
    if not isinstance(document, list):
        raise _nonsense("no array")
    found = [_domain(each) for each in document]
    if len({each.domid for each in found}) != len(found):
        raise _nonsense("a domain is listed twice")
    return tuple(found)


def _domain(entry: object) -> ListedDomain:
    config = _part(_object(entry), "config")
    params = _part(_part(config, "b_info"), "sched_params")
    domid = _object(entry).get("domid")
    if type(domid) is not int or not 0 <= domid < FIRST_RESERVED_DOMID:
        raise _nonsense(f"domid is {domid!a:.40}")
    name = _part(config, "c_info").get("name", "")
    if not isinstance(name, str) or len(name) > _MAX_NAME:
        raise _nonsense("a domain's name is no short string")
    return ListedDomain(domid, name, _number(params, "weight"), _number(params, "cap"))


def _part(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return _object(entry.get(name, {}))


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _nonsense("a part is no object")
    return value


def _number(entry: dict[str, Any], name: str) -> int | None:
    value = entry.get(name)
    if value is not None and (type(value) is not int or not 0 <= value < _MAX_NUMBER):
        raise _nonsense(f"{name} is {value!a:.40}")
    return value


def _nonsense(what: str) -> XenError:
    return XenError("xen-reply", f"xl list -l: {what}")
