"""The host as a whole: that no domain runs on it that nobody launched under the policy.

The agent compares the domains that Xen lists with those that it launched, and measures any other into PCR 13.
Nothing is known of such a domain: no decision, no label, no measured kernel. So the host can keep no promise
about what its domains are kept apart from, and that it ended since helps nobody.
"""

from __future__ import annotations

from attest.reasons import reason
from attest.result import Reason
from attest.runtime_events import DomainFound
from attest.verifier.claims import Appraised

_LISTED = 3


def accounted(subject: Appraised) -> list[Reason]:
    """Check that no domain was found that nobody launched, since the host's last reset."""
    found = subject.claims.found
    if not found:
        return []
    opened = [one for one in found if one is not None]
    texts = [_shown(one) for one in opened[:_LISTED]]
    if (more := len(found) - len(texts)) > 0:
        texts.append(f"{more} more" if texts else "the evidence does not say which")
    return [reason("domain-unaccounted", f"{len(found)} since the last reset: {'; '.join(texts)}")]


def _shown(found: DomainFound) -> str:
    name = "a domain without a name" if found.name is None else f"domain {found.name!a}"
    context = "" if found.context is None else f" as {found.context!a}"
    return f"{name}, number {found.domid}, {found.uuid}{context}"
