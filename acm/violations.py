"""What a policy update would break: one violation for each thing that lives and may not live on.

==================  ==========================================================  ===================
code                what breaks                                                 ACM of Xen 3.x
==================  ==========================================================  ===================
domain0-label       Domain-0's own label is not in the new policy               0x104 ssidref in use
label-deleted       a domain's or a resource's label is not in the new policy   0x104 ssidref in use
not-admitted        a domain that could not start beside Domain-0 any more      -
chwall-conflict     domains that must not run beside each other                 0x103
channel-refused     a bound event channel                                       0x100
grant-refused       a mapped page                                               0x101
argo-refused        an Argo ring with its partner                               -
disk-refused        an attached disk                                            -
vlan-refused        an attached VLAN                                            -
==================  ==========================================================  ===================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from acm.livestate import ArgoRing, Attachment, Channel, GrantMapping, ResourceKind

if TYPE_CHECKING:
    from acm.livestate import LiveDomain, LiveResource, Sharing
    from acm.operations import Operation


class Fault(StrEnum):
    """Stable codes of violations; see the table above."""

    DOMAIN0_LABEL = "domain0-label"
    LABEL_DELETED = "label-deleted"
    NOT_ADMITTED = "not-admitted"
    CHWALL_CONFLICT = "chwall-conflict"
    CHANNEL_REFUSED = "channel-refused"
    GRANT_REFUSED = "grant-refused"
    ARGO_REFUSED = "argo-refused"
    DISK_REFUSED = "disk-refused"
    VLAN_REFUSED = "vlan-refused"


OF_DOMAINS: Final = frozenset(
    {Fault.DOMAIN0_LABEL, Fault.LABEL_DELETED, Fault.NOT_ADMITTED, Fault.CHWALL_CONFLICT}
)
"""What no revocation mends where the party is a domain: it has to stop."""


@dataclass(frozen=True, slots=True)
class Why:
    """One rule that refuses: the stable code of a reason (``acm.decision.Code``) and a sentence."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Party:
    """A domain (``id`` is its domid) or a resource (``id`` is its identity) with its label.

    ``becomes`` is what the new policy calls the label, None where it has none. ``holds`` are the Chinese Wall
    types that matter to the violation.
    """

    kind: str
    id: int | str
    name: str
    label: str
    becomes: str | None
    holds: tuple[str, ...] = ()

    def __str__(self) -> str:
        renamed = f" -> {self.becomes}" if self.becomes not in (None, self.label) else ""
        held = f": {', '.join(self.holds)}" if self.holds else ""
        place = f"domain {self.id} {self.name}" if self.kind == "domain" else f"{self.kind} {self.id}"
        return f"{place} ({self.label}{renamed}{held})"

    def document(self) -> dict[str, Any]:
        """Return the JSON of this party."""
        found = {
            "kind": self.kind,
            "id": self.id,
            "name": self.name,
            "label": self.label,
            "new_label": self.becomes,
        }
        return {**found, "holds": list(self.holds)} if self.holds else found


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that breaks: between whom, by which operation, against which rules.

    ``sharing`` is what is bound, None where the parties themselves cannot stay.
    """

    code: Fault
    parties: tuple[Party, ...]
    why: tuple[Why, ...]
    op: Operation | None = None
    sharing: Sharing | None = None

    def document(self) -> dict[str, Any]:
        """Return the JSON of this violation."""
        return {
            "code": str(self.code),
            "op": None if self.op is None else str(self.op),
            "parties": [each.document() for each in self.parties],
            "sharing": None if self.sharing is None else sharing_document(self.sharing),
            "reasons": [{"code": each.code, "detail": each.detail} for each in self.why],
        }

    def __str__(self) -> str:
        who = " - ".join(str(each) for each in self.parties[:_SHOWN])
        more = f" and {len(self.parties) - _SHOWN} more" if len(self.parties) > _SHOWN else ""
        what = f"{sharing_text(self.sharing)}: " if self.sharing is not None else ""
        return f"{self.code}: {what}{who}{more}: " + "; ".join(
            f"{one.code}: {one.detail}" for one in self.why
        )


_SHOWN: Final = 6


def domain_party(domain: LiveDomain, becomes: str | None, holds: tuple[str, ...] = ()) -> Party:
    """Return a domain as a party."""
    return Party("domain", domain.domid, domain.name, domain.label, becomes, holds)


def resource_party(resource: LiveResource, becomes: str | None) -> Party:
    """Return a disk or VLAN as a party."""
    return Party(str(resource.kind), resource.identity, resource.identity, resource.label, becomes)


def sharing_fault(sharing: Sharing, kind: ResourceKind | None = None) -> Fault:
    """Return the code for something that is bound; ``kind`` is that of an attached resource."""
    match sharing:
        case Channel():
            return Fault.CHANNEL_REFUSED
        case GrantMapping():
            return Fault.GRANT_REFUSED
        case ArgoRing():
            return Fault.ARGO_REFUSED
        case Attachment():
            return Fault.VLAN_REFUSED if kind is ResourceKind.VLAN else Fault.DISK_REFUSED


def sharing_text(sharing: Sharing) -> str:
    """Name in a few words what is bound; the same words in reports and in the audit trail."""
    match sharing:
        case Channel():
            ends = f"{sharing.domain}:{sharing.port} - {sharing.remote}:{sharing.remote_port}"
            return f"event channel {ends}"
        case GrantMapping():
            return f"grant {sharing.granter}:{sharing.ref} mapped {sharing.mode} by {sharing.grantee}"
        case ArgoRing():
            return f"Argo ring {sharing.domain}:{sharing.port} with partner {sharing.partner}"
        case Attachment():
            return f"{sharing.resource} attached {sharing.mode} to {sharing.domain}"


def sharing_document(sharing: Sharing) -> dict[str, Any]:
    """Return the JSON of what is bound: its entry in a state file, with its kind."""
    kinds = {Channel: "channel", GrantMapping: "grant", ArgoRing: "argo", Attachment: "attachment"}
    names = sharing.__slots__
    fields = {name: getattr(sharing, name) for name in names}
    plain = {name: value if isinstance(value, int) else str(value) for name, value in fields.items()}
    return {"kind": kinds[type(sharing)], **plain}
