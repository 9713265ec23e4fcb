"""Domain-0's hypercalls on resources: attach a disk or VLAN to a domain, detach it, relabel it.

sHype checked these in the control tools; here they are transactions of the same reference monitor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from acm.labels import INACCESSIBLE, UNLABELED
from hypervisor.errors import BadStateError, NoSuchObjectError
from hypervisor.state import DOM0, AccessMode, HostState, ResourceKind
from hypervisor.transition import Transition, read_resource, use, write_resource

if TYPE_CHECKING:
    from acm.engine import Request


_UNUSABLE: Final = frozenset({UNLABELED.name, INACCESSIBLE.name})


@dataclass(frozen=True, slots=True)
class AttachResource:
    """Give ``domid`` the use of the resource ``identity``."""

    caller: int
    domid: int
    identity: str
    mode: AccessMode


@dataclass(frozen=True, slots=True)
class DetachResource:
    """End that use."""

    caller: int
    domid: int
    identity: str


@dataclass(frozen=True, slots=True)
class RelabelResource:
    """Change the label of a resource that nobody uses, from ``old`` (compare) to ``new`` (swap)."""

    caller: int
    identity: str
    old: str
    new: str


def attach_accesses(state: HostState, call: AttachResource) -> tuple[Request, ...]:
    """Ask whether the domain may read the resource, and write it in mode ``rw``."""
    resource = state.resource(call.identity)
    return use(state.domain(call.domid).label, resource.label, call.mode, resource.kind)


def attach(state: HostState, call: AttachResource) -> Transition:
    """Record the use; raises BadStateError where the resource, or another user of the disk, forbids it."""
    domain, resource = state.domain(call.domid), state.resource(call.identity)
    if call.mode is AccessMode.WRITE and resource.access is AccessMode.READ:
        raise BadStateError("read-only", f"{call.identity} is read-only on this host")
    if call.identity in domain.attachments:
        raise BadStateError("attached", f"{call.identity} is attached to domain {call.domid} already")
    if resource.kind is ResourceKind.DISK:
        _refuse_second_writer(state, call)
    attachments = domain.attachments.put(call.identity, call.mode)
    return Transition(state.with_domain(replace(domain, attachments=attachments)))


def _refuse_second_writer(state: HostState, call: AttachResource) -> None:
    for other in state.domains.values():
        mode = other.attachments.get(call.identity)
        if mode is not None and AccessMode.WRITE in (mode, call.mode):
            raise BadStateError("disk-in-use", f"{call.identity} is in use by domain {other.domid}")


def detach(state: HostState, call: DetachResource) -> Transition:
    """Drop the use; raises NoSuchObjectError."""
    domain = state.domain(call.domid)
    if call.identity not in domain.attachments:
        raise NoSuchObjectError("not-attached", f"{call.identity} is not attached to domain {call.domid}")
    return Transition(state.with_domain(replace(domain, attachments=domain.attachments.drop(call.identity))))


def relabel_accesses(state: HostState, call: RelabelResource) -> tuple[Request, ...]:
    """Ask whether Domain-0 may read what is labelled ``old`` and write what is labelled ``new``.

    That is what a relabelling does with the content. Labels that no domain can use ask nothing.
    """
    host = state.domain(DOM0).label
    accesses = []
    if call.old not in _UNUSABLE:
        accesses.append(read_resource(host, call.old))
    if call.new not in _UNUSABLE:
        accesses.append(write_resource(host, call.new))
    return tuple(accesses)


def relabel_resource(state: HostState, call: RelabelResource) -> Transition:
    """Swap the label; raises BadStateError while the resource is in use or has another label."""
    resource = state.resource(call.identity)
    users = [each.domid for each in state.domains.values() if call.identity in each.attachments]
    if users:
        raise BadStateError("in-use", f"{call.identity} is in use by domain {users[0]}: detach it first")
    if resource.label != call.old:
        raise BadStateError("label-changed", f"{call.identity} has label {resource.label}, not {call.old}")
    relabelled = replace(resource, label=call.new)
    return Transition(replace(state, resources=state.resources.put(call.identity, relabelled)))
