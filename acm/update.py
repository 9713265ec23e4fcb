"""A policy update judged before it takes effect: lineage, renames, and all that lives replayed.

After ACM of Xen 3.x (``acmpolicy.py:update``, ``acm_policy.c:_acm_update_policy``): the new policy names its
predecessor and has a higher version; labels follow the rename map; then every running domain, attached
resource, live channel, mapped grant and Argo ring is asked about again. One violation refuses the update.
Nothing here has an effect: the reference monitor commits an update, and asks the new policy itself once more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from acm.errors import UpdateError
from acm.labels import INACCESSIBLE, UNLABELED
from acm.livestate import DOM0, Attachment, parties
from acm.policy import Kind
from acm.replay import Replay
from acm.succession import objections, successors
from acm.violations import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acm.livestate import LiveState, Sharing
    from acm.policy import Policy
    from acm.violations import Violation, Why


@dataclass(frozen=True, slots=True)
class Amendment:
    """What is done together with an update: domains that stop, sharing that ends, resources relabelled.

    ``relabel`` leads from a resource's identity to a label of the new policy.
    """

    stop: frozenset[int] = frozenset()
    end: frozenset[Sharing] = frozenset()
    relabel: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: Amendment) -> Amendment:
        """Return both together; where both relabel a resource, the other's label counts."""
        return Amendment(
            self.stop | other.stop, self.end | other.end, MappingProxyType({**self.relabel, **other.relabel})
        )

    def __bool__(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.stop or self.end or self.relabel)


AS_IT_IS: Final = Amendment()
"""Nothing stops, ends or is relabelled."""


@dataclass(frozen=True, slots=True)
class Update:
    """One update of one host, judged: ``lineage`` and ``violations`` are empty where it can take effect.

    ``names`` leads from each domid and each identity to the label under the new policy, None where it has
    none. What the amendment stops or ends is judged no more.
    """

    new: Policy
    live: LiveState
    amendment: Amendment
    lineage: tuple[Why, ...]
    names: Mapping[int | str, str | None]
    violations: tuple[Violation, ...]

    @property
    def holds(self) -> bool:
        """Whether the update can take effect with its amendment."""
        return not self.lineage and not self.violations


def judge(new: Policy, live: LiveState, amendment: Amendment = AS_IT_IS) -> Update:
    """Judge the update of a host to policy ``new``.

    Raises UpdateError where the amendment names what is not there: ``no-such-domain``, ``no-such-resource``,
    ``no-such-label``, ``stop-domain-0``.
    """
    _check(new, live, amendment)
    stay = tuple(each for each in live.domains if each.domid not in amendment.stop)
    kept = tuple(
        each
        for each in live.sharings
        if each not in amendment.end and amendment.stop.isdisjoint(parties(each))
    )
    domains = successors(new, Kind.DOMAIN, {each.label for each in live.domains})
    resources = successors(new, Kind.RESOURCE, {each.label for each in live.resources})
    names: dict[int | str, str | None] = {each.domid: domains[each.label] for each in live.domains}
    names.update((each.identity, resources[each.label]) for each in live.resources)
    names.update(amendment.relabel)
    violations = Replay(new, live, names).violations(stay, kept)
    return Update(new, live, amendment, objections(live.policy, new), names, violations)


def revocation(update: Update) -> Amendment:
    """Return what ``--revoke`` does: it ends all sharing that breaks, and stops nobody.

    A resource whose label is gone becomes ``__INACCESSIBLE__``: for nobody, until it is relabelled. If its
    old name comes back in a later policy, it does not fall to that one by itself.
    """
    gone = frozenset(
        str(each.parties[0].id)
        for each in update.violations
        if each.code is Fault.LABEL_DELETED and each.parties[0].kind != "domain"
    )
    ends = {each.sharing for each in update.violations if each.sharing is not None}
    ends |= {each for each in update.live.sharings if isinstance(each, Attachment) and each.resource in gone}
    return Amendment(end=frozenset(ends), relabel=dict.fromkeys(sorted(gone), INACCESSIBLE.name))


def _check(new: Policy, live: LiveState, amendment: Amendment) -> None:
    domids = {each.domid for each in live.domains}
    for domid in sorted(amendment.stop):
        if domid == DOM0:
            raise UpdateError("stop-domain-0", "Domain-0 cannot be stopped")
        if domid not in domids:
            raise UpdateError("no-such-domain", f"there is no domain {domid} to stop")
    if not amendment.end <= frozenset(live.sharings):
        raise UpdateError("no-such-sharing", "what is to be ended is not bound on this host")
    identities = {each.identity for each in live.resources}
    for identity, label in sorted(amendment.relabel.items()):
        if identity not in identities:
            raise UpdateError("no-such-resource", f"there is no resource {identity[:80]!a} to relabel")
        if label not in new.resource_labels and label not in {UNLABELED.name, INACCESSIBLE.name}:
            raise UpdateError("no-such-label", f"policy '{new.name}' has no resource label {label[:80]!a}")
