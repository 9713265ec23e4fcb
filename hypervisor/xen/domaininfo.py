"""What Xen says of its domains, read strictly.

XEN_DOMCTL_getdomaininfo as Debian's binding hands it over (``xen.lowlevel.xc``, ``domain_getinfo``). Each
entry is a mapping of integers: ``domid``, ``handle`` (16 bytes of the UUID), ``ssidref``, ``paused``,
``shutdown``, ``dying``, ``max_vcpu_id``, ``cpu_time`` (ns), ``mem_kb`` and ``maxmem_kb``; more may stand
there.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from hypervisor.domctl import FIRST_RESERVED_DOMID
from hypervisor.errors import XenError
from hypervisor.toolstack import DomainInfo, RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_KIB_A_PAGE: Final = 4
_HANDLE_BYTES: Final = 16
_MOST: Final = 1 << 63


def read(entries: object, context: Callable[[int], str | None]) -> tuple[DomainInfo, ...]:
    """Return the domains of a listing, by rising identifier; ``context`` gives the FLASK context of a SID.

    Raises XenError for a listing that Xen cannot have given, and what ``context`` raises.
    """
    if not isinstance(entries, list) or len(entries) > FIRST_RESERVED_DOMID:
        raise _nonsense("the listing of domains is no list")
    found: list[DomainInfo] = []
    for entry in entries:
        domain = _domain(entry, context)
        if found and domain.domid <= found[-1].domid:
            raise _nonsense(f"domain {domain.domid} is listed after domain {found[-1].domid}")
        found.append(domain)
    return tuple(found)


def _domain(entry: object, context: Callable[[int], str | None]) -> DomainInfo:
    if not isinstance(entry, dict):
        raise _nonsense("an entry of the listing of domains is no mapping")
    return DomainInfo(
        domid=_number(entry, "domid", FIRST_RESERVED_DOMID),
        uuid=_uuid(entry.get("handle")),
        label=context(_number(entry, "ssidref", 1 << 32)),
        state=_state(entry),
        vcpus=_number(entry, "max_vcpu_id", 1 << 16) + 1,
        cpu_ns=_number(entry, "cpu_time", _MOST),
        pages=_number(entry, "mem_kb", _MOST) // _KIB_A_PAGE,
        max_pages=_number(entry, "maxmem_kb", _MOST) // _KIB_A_PAGE,
    )


def _state(entry: Mapping[str, object]) -> RunState:
    for name, state in (("dying", RunState.DYING), ("shutdown", RunState.ENDED), ("paused", RunState.PAUSED)):
        if _number(entry, name, 2):
            return state
    return RunState.RUNNING


def _uuid(handle: object) -> str:
    good = isinstance(handle, list) and all(type(each) is int and 0 <= each < 1 << 8 for each in handle)
    if not isinstance(handle, list) or not good or len(handle) != _HANDLE_BYTES:
        raise _nonsense("a domain's handle is not 16 bytes")
    return str(uuid.UUID(bytes=bytes(handle)))


def _number(entry: Mapping[str, object], name: str, below: int) -> int:
    value = entry.get(name)
    if type(value) is not int or not 0 <= value < below:
        raise _nonsense(f"{name} of a domain is {value!a:.40}")
    return value


def _nonsense(what: str) -> XenError:
    return XenError("xen-reply", f"Xen's answer cannot be: {what}")


def by_domid(domains: Sequence[DomainInfo], domid: int) -> DomainInfo | None:
    """Return the domain of that identifier."""
    return next((each for each in domains if each.domid == domid), None)
