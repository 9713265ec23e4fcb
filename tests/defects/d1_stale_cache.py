"""D1: a relabel did not flush the decision caches, so a permit outlived the label that it was given for.

Xen 3.x kept eight permits in each domain's security structure, keyed by the *identifier* of the other domain;
only a domain's end and a policy update flushed them (``acm_policy.c:do_acm_relabel_doms``).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import pytest

from acm.decision import Decision
from acm.engine import Request
from hypervisor.domctl import RelabelDomain
from hypervisor.errors import AccessDenied
from hypervisor.monitor import ReferenceMonitor
from hypervisor.state import DOM0
from tests.defects.scene import create, host, start


def check() -> None:
    """A domain that may open a channel to another one may not when that one has got another label."""
    where = host()
    red, other = start(where, "red"), create(where, "both")
    red.alloc_unbound(other)
    where.invoke(RelabelDomain(DOM0, other, "both", "green"))
    with pytest.raises(AccessDenied):
        red.alloc_unbound(other)


def mutant() -> AbstractContextManager[object]:
    """Keep permits by domain identifiers, as Xen did."""
    prepare, decide = ReferenceMonitor._prepare, ReferenceMonitor.decide
    permits: set[tuple[int, int]] = set()
    pair: list[tuple[int, int]] = [(-1, -1)]

    def noting(self: ReferenceMonitor, row: Any, call: Any) -> Any:
        pair[0] = (call.caller, getattr(call, "remote", -1))
        return prepare(self, row, call)

    def cached(self: ReferenceMonitor, request: Request) -> Decision:
        decision = decide(self, request)
        if pair[0][1] < 0:
            return decision
        if decision.permitted:
            permits.add(pair[0])
        return self.engine.decide(_permitted(request)) if pair[0] in permits else decision

    return patch.multiple(ReferenceMonitor, _prepare=noting, decide=cached)


def _permitted(request: Request) -> Request:
    return Request(request.op, request.subject, request.subject)
