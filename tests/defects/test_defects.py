"""Defects of sHype/ACM in Xen 3.x (D1-D5) and of FLASK's policy today (F4, F5), from ``facts/acm.md``.

Each is a module with a check that holds here, and a mutant that brings the defect back: the same check then
fails. A check that its mutant passes would prove nothing.
"""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.defects import (
    d1_stale_cache,
    d2_conflict_index,
    d3_copy_and_transfer,
    d4_conflicting_label,
    d5_single_component,
    f4_argo_isolation,
    f5_partial_separation,
)

DEFECTS = [
    pytest.param(module, id=module.__name__.rpartition(".")[2])
    for module in (
        d1_stale_cache,
        d2_conflict_index,
        d3_copy_and_transfer,
        d4_conflicting_label,
        d5_single_component,
        f4_argo_isolation,
        f5_partial_separation,
    )
]


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_defect_is_not_here(defect: ModuleType) -> None:
    defect.check()


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_check_finds_the_defect_where_it_is(defect: ModuleType) -> None:
    found = r"DID NOT RAISE|a policy of other component codes is active"
    with defect.mutant(), pytest.raises((AssertionError, pytest.fail.Exception), match=found):
        defect.check()
