"""D5: a policy of type enforcement alone could not be loaded: only Chinese Wall with it could, in practice.

It compiled with the code of an undefined second component, and a policy with other component codes than the
loaded one was refused (``acmpolicy.py``; ``acm_policy.c:do_acm_set_policy``).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import pytest

from acm import policyfile
from hypervisor.errors import AccessDenied, BadStateError
from hypervisor.hypercalls import HYPERCALLS
from hypervisor.policyctl import ReplacePolicy
from tests.defects.scene import HEAD, LABELS, STE, host, start

ALONE = (HEAD + STE + LABELS.partition("  first-a")[0]).replace(
    'version: "1.0"', 'version: "1.1"\nfrom: {name: test, version: "1.0"}'
)


def check() -> None:
    """Such a policy takes the place of one with both components, and is enforced."""
    where = host()
    try:
        where.replace_policy(policyfile.load(ALONE.encode()))
    except BadStateError as error:
        raise AssertionError(str(error)) from error
    red, green, both = (start(where, label) for label in ("red", "green", "both"))
    red.alloc_unbound(both.domid)
    with pytest.raises(AccessDenied):
        red.alloc_unbound(green.domid)


def mutant() -> AbstractContextManager[object]:
    """Refuse a policy that does not have both components."""
    row = HYPERCALLS[ReplacePolicy]

    def sticky(state: Any, call: Any) -> Any:
        if len(call.engine._policy.components) != 2:
            raise BadStateError("component-code", "a policy of other component codes is active")
        return row.apply(state, call)

    rows = {**HYPERCALLS, ReplacePolicy: replace(row, apply=sticky)}
    return patch("hypervisor.monitor.HYPERCALLS", MappingProxyType(rows))
