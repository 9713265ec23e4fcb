"""The table of hypercalls: each one's hook and its effect. The monitor acts by this table and nothing else.

A hook is the tuple of questions that a call puts to the policy before it takes effect. Rows without questions
touch only what the caller owns, or only take access away. ``tools/hook-table`` writes the table with its
tests as ``docs/hooks.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from hypervisor import argo, attach, domctl, evtchn, gnttab, memory_op, policyctl, savectl, xenstore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from acm.engine import Request
    from hypervisor.state import HostState
    from hypervisor.transition import Transition


class Caller(StrEnum):
    """Who may make a call."""

    DOM0 = "Domain-0"
    ANY = "any domain"


Call = (
    domctl.CreateDomain
    | domctl.BuildDomain
    | domctl.UnpauseDomain
    | domctl.PauseDomain
    | domctl.ScheduleDomain
    | domctl.DestroyDomain
    | domctl.RelabelDomain
    | savectl.SaveDomain
    | savectl.RestoreDomain
    | memory_op.DecreaseReservation
    | memory_op.IncreaseReservation
    | memory_op.SetMaxMemory
    | evtchn.AllocUnbound
    | evtchn.BindInterdomain
    | evtchn.BindVirq
    | evtchn.ClosePort
    | gnttab.GrantAccess
    | gnttab.EndAccess
    | gnttab.MapGrant
    | gnttab.UnmapGrant
    | gnttab.CopyGrant
    | gnttab.TransferPage
    | argo.RegisterRing
    | argo.UnregisterRing
    | argo.ConnectRing
    | attach.AttachResource
    | attach.DetachResource
    | attach.RelabelResource
    | xenstore.StoreRead
    | xenstore.StoreWrite
    | xenstore.StoreRemove
    | xenstore.StoreShare
    | policyctl.ReplacePolicy
)


def nothing_asked(state: HostState, call: object) -> tuple[Request, ...]:
    """Ask nothing: the hook of a call that gives nobody more than it has."""
    del state, call
    return ()


@dataclass(frozen=True, slots=True)
class Hypercall:
    """One row: ``id`` is stable, ``xen`` is the operation of Xen (or of its tools) that it models.

    ``flask`` are the permissions, ``CLASS__PERMISSION``, that FLASK checks at that point; none where it has
    no hook. The functions take the state and the row's own call type.
    """

    id: str
    xen: str
    caller: Caller
    accesses: Callable[[HostState, Any], tuple[Request, ...]]
    apply: Callable[[HostState, Any], Transition]
    flask: tuple[str, ...] = ()


_0, _X = Caller.DOM0, Caller.ANY
_OWN = nothing_asked

HYPERCALLS: Final[Mapping[type[Call], Hypercall]] = MappingProxyType(
    {
        domctl.CreateDomain: Hypercall(
            "H01", "domctl createdomain", _0, domctl.create_accesses, domctl.create, ("DOMAIN__CREATE",)
        ),
        domctl.BuildDomain: Hypercall(
            "H02", "mmu map_gfn_foreign", _0, domctl.build_accesses, domctl.build, ("MMU__MAP_WRITE",)
        ),
        domctl.UnpauseDomain: Hypercall(
            "H03",
            "domctl unpausedomain",
            _0,
            domctl.authority_accesses,
            domctl.unpause,
            ("DOMAIN__UNPAUSE",),
        ),
        domctl.PauseDomain: Hypercall(
            "H04", "domctl pausedomain", _0, _OWN, domctl.pause, ("DOMAIN__PAUSE",)
        ),
        domctl.DestroyDomain: Hypercall(
            "H05", "domctl destroydomain", _0, _OWN, domctl.destroy, ("DOMAIN__DESTROY",)
        ),
        domctl.RelabelDomain: Hypercall(
            "H06",
            "acm_op relabeldoms",
            _0,
            domctl.relabel_accesses,
            domctl.relabel,
            ("DOMAIN2__RELABELFROM", "DOMAIN2__RELABELTO"),
        ),
        evtchn.AllocUnbound: Hypercall(
            "H07",
            "evtchn alloc_unbound",
            _X,
            evtchn.alloc_accesses,
            evtchn.alloc_unbound,
            ("EVENT__CREATE", "EVENT__BIND"),
        ),
        evtchn.BindInterdomain: Hypercall(
            "H08",
            "evtchn bind_interdomain",
            _X,
            evtchn.bind_accesses,
            evtchn.bind_interdomain,
            ("EVENT__CREATE", "EVENT__BIND"),
        ),
        evtchn.ClosePort: Hypercall("H09", "evtchn close", _X, _OWN, evtchn.close),
        gnttab.GrantAccess: Hypercall("H10", "grant table entry", _X, _OWN, gnttab.grant_access),
        gnttab.EndAccess: Hypercall("H11", "grant table entry", _X, _OWN, gnttab.end_access),
        gnttab.MapGrant: Hypercall(
            "H12",
            "gnttab map_grant_ref",
            _X,
            gnttab.map_accesses,
            gnttab.map_grant,
            ("GRANT__MAP_READ", "GRANT__MAP_WRITE"),
        ),
        gnttab.UnmapGrant: Hypercall(
            "H13", "gnttab unmap_grant_ref", _X, _OWN, gnttab.unmap_grant, ("GRANT__UNMAP",)
        ),
        gnttab.CopyGrant: Hypercall(
            "H14", "gnttab copy", _X, gnttab.copy_accesses, gnttab.copy_grant, ("GRANT__COPY",)
        ),
        gnttab.TransferPage: Hypercall(
            "H15",
            "gnttab transfer",
            _X,
            gnttab.transfer_accesses,
            gnttab.transfer_page,
            ("GRANT__TRANSFER",),
        ),
        attach.AttachResource: Hypercall(
            "H16", "xend resource attach", _0, attach.attach_accesses, attach.attach
        ),
        attach.DetachResource: Hypercall("H17", "xend resource detach", _0, _OWN, attach.detach),
        attach.RelabelResource: Hypercall(
            "H18", "xend set_resource_label", _0, attach.relabel_accesses, attach.relabel_resource
        ),
        policyctl.ReplacePolicy: Hypercall(
            "H19",
            "acm_op chgpolicy",
            _0,
            policyctl.replace_accesses,
            policyctl.replace_policy,
            ("SECURITY__LOAD_POLICY",),
        ),
        memory_op.DecreaseReservation: Hypercall(
            "H20", "memory_op decrease_reservation", _X, _OWN, memory_op.decrease, ("MMU__ADJUST",)
        ),
        memory_op.IncreaseReservation: Hypercall(
            "H21", "memory_op increase_reservation", _X, _OWN, memory_op.increase, ("MMU__ADJUST",)
        ),
        memory_op.SetMaxMemory: Hypercall(
            "H22",
            "domctl max_mem",
            _0,
            domctl.authority_accesses,
            memory_op.set_max,
            ("DOMAIN__SETDOMAINMAXMEM",),
        ),
        domctl.ScheduleDomain: Hypercall(
            "H23",
            "domctl scheduler_op",
            _0,
            domctl.authority_accesses,
            domctl.schedule,
            ("DOMAIN2__SETSCHEDULER",),
        ),
        evtchn.BindVirq: Hypercall("H24", "evtchn bind_virq", _X, _OWN, evtchn.bind_virq),
        argo.RegisterRing: Hypercall(
            "H25",
            "argo register_ring",
            _X,
            argo.register_accesses,
            argo.register,
            ("ARGO__REGISTER_SINGLE_SOURCE", "ARGO__REGISTER_ANY_SOURCE"),
        ),
        argo.UnregisterRing: Hypercall("H26", "argo unregister_ring", _X, _OWN, argo.unregister),
        argo.ConnectRing: Hypercall(
            "H27", "argo sendv, the first one", _X, argo.connect_accesses, argo.connect, ("ARGO__SEND",)
        ),
        xenstore.StoreRead: Hypercall(
            "H28", "xenstore read", _X, xenstore.reach_accesses, xenstore.read_value
        ),
        xenstore.StoreWrite: Hypercall(
            "H29", "xenstore write", _X, xenstore.reach_accesses, xenstore.write_value
        ),
        xenstore.StoreRemove: Hypercall(
            "H30", "xenstore rm", _X, xenstore.reach_accesses, xenstore.remove_value
        ),
        xenstore.StoreShare: Hypercall(
            "H31", "xenstore set_perms", _X, xenstore.share_accesses, xenstore.share_value
        ),
        savectl.SaveDomain: Hypercall(
            "H32",
            "xend save, migrate out",
            _0,
            savectl.save_accesses,
            savectl.save,
            ("MMU__MAP_READ", "DOMAIN__DESTROY"),
        ),
        savectl.RestoreDomain: Hypercall(
            "H33",
            "xend restore, migrate in",
            _0,
            savectl.restore_accesses,
            savectl.restore,
            ("DOMAIN__CREATE", "MMU__MAP_WRITE"),
        ),
    }
)
"""Call type -> its row."""
