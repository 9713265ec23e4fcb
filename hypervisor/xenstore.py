"""The configuration store: a subtree of values for each domain, and who else may read or write them.

Xen keeps it in a daemon of Domain-0 and guards it by permissions that domains set as they like; the policy
was never asked. Here both must agree, at every access to another domain's values: this is no data path, and a
permission that a new policy would not give is worth nothing from then on. Domain-0 needs no permission, but
authority over the owner.

Paths are below ``/local/domain/DOMID``: parts of ``A-Z a-z 0-9 - _ @`` with ``/`` between them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hypervisor.errors import BadStateError, NoSuchObjectError, OutOfResourceError
from hypervisor.state import DOM0, AccessMode, Domain, HostState, StoreNode
from hypervisor.table import Table
from hypervisor.transition import Transition, authorize, share

if TYPE_CHECKING:
    from acm.engine import Request

MAX_PATH: Final = 256
"""Characters of a path below a domain's own (XENSTORE_REL_PATH_MAX is 2048)."""
MAX_VALUE: Final = 2048
"""Bytes of one value (quota-entry-size)."""
MAX_NODES: Final = 1000
"""Values of one domain (quota-nodes)."""
MAX_READERS: Final = 5
"""Other domains that one value names (quota-permissions)."""

_PATH: Final = re.compile(r"[A-Za-z0-9_@-]+(?:/[A-Za-z0-9_@-]+)*")


@dataclass(frozen=True, slots=True)
class StoreWrite:
    """Set the value at ``path`` of domain ``owner``."""

    caller: int
    owner: int
    path: str
    value: bytes


@dataclass(frozen=True, slots=True)
class StoreRemove:
    """Remove the value at ``path`` of domain ``owner``, and what lies below."""

    caller: int
    owner: int
    path: str


@dataclass(frozen=True, slots=True)
class StoreRead:
    """Read the value at ``path`` of domain ``owner``; the result is its length."""

    caller: int
    owner: int
    path: str


@dataclass(frozen=True, slots=True)
class StoreShare:
    """Let domain ``reader`` read a value of one's own, with ``rw`` write it too; None takes that back."""

    caller: int
    path: str
    reader: int
    mode: AccessMode | None


def reach_accesses(state: HostState, call: StoreWrite | StoreRemove | StoreRead) -> tuple[Request, ...]:
    """Ask for Domain-0's authority over the owner, or for sharing with it; one's own values ask nothing."""
    if call.caller == call.owner:
        return ()
    if call.caller == DOM0:
        return (authorize(state.domain(DOM0).label, state.domain(call.owner).label),)
    return (share(state, call.caller, call.owner),)


def write_value(state: HostState, call: StoreWrite) -> Transition:
    """Set the value; raises BadStateError, OutOfResourceError, NoSuchObjectError where the caller may not."""
    owner, node = state.domain(call.owner), _writable(state, call)
    if len(call.path) > MAX_PATH or not _PATH.fullmatch(call.path) or len(call.value) > MAX_VALUE:
        raise BadStateError("store-form", f"a path has {MAX_PATH} characters, a value {MAX_VALUE} bytes")
    if node is None and len(owner.store) >= MAX_NODES:
        raise OutOfResourceError("no-node-left", f"domain {call.owner} has all its {MAX_NODES} values")
    written = StoreNode(call.value) if node is None else replace(node, value=call.value)
    return Transition(state.with_domain(replace(owner, store=owner.store.put(call.path, written))))


def remove_value(state: HostState, call: StoreRemove) -> Transition:
    """Drop the values; raises NoSuchObjectError where there is none, or only its owner may."""
    owner = state.domain(call.owner)
    below = f"{call.path}/"
    kept = [each for each in owner.store.items() if each[0] != call.path and not each[0].startswith(below)]
    if len(kept) == len(owner.store) or call.caller not in (call.owner, DOM0):
        raise _nothing(call.caller, call.owner, call.path)
    return Transition(state.with_domain(replace(owner, store=owner.store.keep(kept))))


def share_accesses(state: HostState, call: StoreShare) -> tuple[Request, ...]:
    """Ask for sharing between owner and reader; taking it back asks nothing."""
    return () if call.mode is None else (share(state, call.caller, call.reader),)


def share_value(state: HostState, call: StoreShare) -> Transition:
    """Set who may read; raises NoSuchObjectError, OutOfResourceError."""
    owner = state.domain(call.caller)
    node = owner.store.get(call.path)
    if node is None:
        raise _nothing(call.caller, call.caller, call.path)
    readers = Table({domid: mode for domid, mode in node.readers.items() if domid != call.reader})
    if call.mode is not None:
        state.domain(call.reader)
        if len(readers) >= MAX_READERS:
            raise OutOfResourceError("no-reader-left", f"a value names {MAX_READERS} domains at most")
        readers = readers.put(call.reader, call.mode)
    store = owner.store.put(call.path, replace(node, readers=readers))
    return Transition(state.with_domain(replace(owner, store=store)))


def read_value(state: HostState, call: StoreRead) -> Transition:
    """Change nothing; raises NoSuchObjectError where there is no value that the caller may read."""
    node = state.domain(call.owner).store.get(call.path)
    if node is None or (call.caller not in (call.owner, DOM0) and call.caller not in node.readers):
        raise _nothing(call.caller, call.owner, call.path)
    return Transition(state, result=len(node.value))


def first_values(domain: Domain) -> Table[str, StoreNode]:
    """Return what the toolstack tells a new domain about itself; sizes are decimal KiB."""
    size = b"%d" % (domain.memory.pages * 4)
    values = {
        "name": domain.name.encode(),
        "vm": f"/vm/{domain.uuid}".encode(),
        "memory/static-max": b"%d" % (domain.max_pages * 4),
        "memory/target": size,
    }
    return Table((path, StoreNode(each)) for path, each in values.items())


def without_reader(store: Table[str, StoreNode], domid: int) -> Table[str, StoreNode]:
    """Return the store without any permission of a domain, or this very store when it has none."""
    if not any(domid in node.readers for node in store.values()):
        return store
    return Table(
        (
            path,
            replace(
                node, readers=node.readers.keep(each for each in node.readers.items() if each[0] != domid)
            ),
        )
        for path, node in store.items()
    )


def _writable(state: HostState, call: StoreWrite) -> StoreNode | None:
    node = state.domain(call.owner).store.get(call.path)
    if call.caller in (call.owner, DOM0):
        return node
    if node is None or node.readers.get(call.caller) is not AccessMode.WRITE:
        raise _nothing(call.caller, call.owner, call.path)
    return node


def _nothing(caller: int, owner: int, path: str) -> NoSuchObjectError:
    return NoSuchObjectError(
        "no-value", f"domain {owner} has no value at {path[:MAX_PATH]!r} that domain {caller} may use so"
    )
