"""Random policies for what looks at whole policies: those of the oracle, and grants to what has no label."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from acm.policyfile import load
from tests.acm.oracle import UNLABELED, Model, models

if TYPE_CHECKING:
    from acm.policy import Policy


@st.composite
def policies(draw: st.DrawFn, *, of_acm: bool = False) -> Policy:
    """Policies with every mix of components; where it may be, some labels meet what has no label.

    ``of_acm`` leaves out what ACM of Xen 3.x did not have.
    """
    model = draw(models(grants=True))
    if of_acm:
        _strip(model)
    return as_policy(model.document())


def _strip(model: Model) -> None:
    model.levels, model.trusted, model.history = None, [], False
    model.order = [one for one in model.order or () if one != "mls"] or None
    for one in model.domains.values():
        one.low = one.high = None
    model.resources = {name: (held, None) for name, (held, _) in model.resources.items()}


def grant(document: dict[str, Any], labels: set[str]) -> None:
    """Give the type of what has no label to these domain labels."""
    document["ste"]["types"] = [*document["ste"]["types"], UNLABELED]
    for label in labels:
        held = document["domain_labels"][label]["ste"]
        document["domain_labels"][label]["ste"] = [*held, UNLABELED]


def as_policy(document: dict[str, Any]) -> Policy:
    return load(json.dumps(document).encode())


def references(policy: Policy) -> tuple[list[str], list[str]]:
    """All domain labels and all resource labels by their full names, those without a label included."""
    domains = [f"vm:{name}" for name in [*policy.domain_labels, UNLABELED]]
    return domains, [f"res:{name}" for name in policy.resource_labels]
