"""The table of hypercalls: each one's hook and its effect. The monitor acts by this table and nothing else.

A hook is the tuple of questions that a call puts to the policy before it takes effect. Rows without questions
touch only what the caller owns, or only take access away.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from hypervisor import attach, domctl, evtchn, gnttab, policyctl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from acm.engine import Request
    from hypervisor.state import HostState
    from hypervisor.transition import Transition


class Caller(StrEnum):
    """Who may make a call."""

    DOM0 = "Domain-0"
    ANY = "any domain"


class Family(StrEnum):
    """The hook families of XSM that this model has."""

    DOMAIN = "domain"
    EVENT = "event channel"
    GRANT = "grant"
    RESOURCE = "resource"
    POLICY = "policy"


Call = (
    domctl.CreateDomain
    | domctl.BuildDomain
    | domctl.UnpauseDomain
    | domctl.PauseDomain
    | domctl.DestroyDomain
    | domctl.RelabelDomain
    | evtchn.AllocUnbound
    | evtchn.BindInterdomain
    | evtchn.ClosePort
    | gnttab.GrantAccess
    | gnttab.EndAccess
    | gnttab.MapGrant
    | gnttab.UnmapGrant
    | gnttab.CopyGrant
    | gnttab.TransferPage
    | attach.AttachResource
    | attach.DetachResource
    | attach.RelabelResource
    | policyctl.ReplacePolicy
)


@dataclass(frozen=True, slots=True)
class Hypercall:
    """One row: ``id`` is stable, ``xen`` is the operation of Xen (or of its tools) that it models.

    The functions take the state and the row's own call type.
    """

    id: str
    xen: str
    family: Family
    caller: Caller
    accesses: Callable[[HostState, Any], tuple[Request, ...]]
    apply: Callable[[HostState, Any], Transition]


def _nothing_asked(state: HostState, call: object) -> tuple[Request, ...]:
    del state, call
    return ()


_D, _E, _G, _R, _P = Family.DOMAIN, Family.EVENT, Family.GRANT, Family.RESOURCE, Family.POLICY
_0, _X = Caller.DOM0, Caller.ANY
_OWN = _nothing_asked

HYPERCALLS: Final[Mapping[type[Call], Hypercall]] = MappingProxyType(
    {
        domctl.CreateDomain: Hypercall(
            "H01", "domctl createdomain", _D, _0, domctl.create_accesses, domctl.create
        ),
        domctl.BuildDomain: Hypercall(
            "H02", "mmu map_gmfn_foreign", _D, _0, domctl.build_accesses, domctl.build
        ),
        domctl.UnpauseDomain: Hypercall(
            "H03", "domctl unpausedomain", _D, _0, domctl.unpause_accesses, domctl.unpause
        ),
        domctl.PauseDomain: Hypercall("H04", "domctl pausedomain", _D, _0, _OWN, domctl.pause),
        domctl.DestroyDomain: Hypercall("H05", "domctl destroydomain", _D, _0, _OWN, domctl.destroy),
        domctl.RelabelDomain: Hypercall(
            "H06", "acm_op relabeldoms", _D, _0, domctl.relabel_accesses, domctl.relabel
        ),
        evtchn.AllocUnbound: Hypercall(
            "H07", "evtchn alloc_unbound", _E, _X, evtchn.alloc_accesses, evtchn.alloc_unbound
        ),
        evtchn.BindInterdomain: Hypercall(
            "H08", "evtchn bind_interdomain", _E, _X, evtchn.bind_accesses, evtchn.bind_interdomain
        ),
        evtchn.ClosePort: Hypercall("H09", "evtchn close", _E, _X, _OWN, evtchn.close),
        gnttab.GrantAccess: Hypercall("H10", "grant table entry", _G, _X, _OWN, gnttab.grant_access),
        gnttab.EndAccess: Hypercall("H11", "grant table entry", _G, _X, _OWN, gnttab.end_access),
        gnttab.MapGrant: Hypercall(
            "H12", "gnttab map_grant_ref", _G, _X, gnttab.map_accesses, gnttab.map_grant
        ),
        gnttab.UnmapGrant: Hypercall("H13", "gnttab unmap_grant_ref", _G, _X, _OWN, gnttab.unmap_grant),
        gnttab.CopyGrant: Hypercall("H14", "gnttab copy", _G, _X, gnttab.copy_accesses, gnttab.copy_grant),
        gnttab.TransferPage: Hypercall(
            "H15", "gnttab transfer", _G, _X, gnttab.transfer_accesses, gnttab.transfer_page
        ),
        attach.AttachResource: Hypercall(
            "H16", "xend resource attach", _R, _0, attach.attach_accesses, attach.attach
        ),
        attach.DetachResource: Hypercall("H17", "xend resource detach", _R, _0, _OWN, attach.detach),
        attach.RelabelResource: Hypercall(
            "H18", "xend set_resource_label", _R, _0, _OWN, attach.relabel_resource
        ),
        policyctl.ReplacePolicy: Hypercall(
            "H19", "acm_op chgpolicy", _P, _0, policyctl.replace_accesses, policyctl.replace_policy
        ),
    }
)
"""Call type -> its row."""
