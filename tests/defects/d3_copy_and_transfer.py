"""D3: grant copy and transfer were never mediated, so two unlike-labelled domains passed data by them.

ACM of Xen 3.x filled the hooks for mapping only; those for copy and transfer existed and were left empty
(3.0.3 ``grant_table.c:600,932``).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest

from hypervisor.errors import AccessDenied
from hypervisor.gnttab import CopyEnd, CopyGrant, TransferPage
from hypervisor.state import GrantKind
from tests.defects.scene import SECRET, host, start
from tests.defects.table import unmediated


def check() -> None:
    """Neither copying out, nor copying in, nor giving a page away moves a byte to an unlike domain."""
    where = host()
    red, green = start(where, "red"), start(where, "green")
    source = red.grant_access(green.domid, 0, GrantKind.READ)
    target = green.grant_access(red.domid, 1, GrantKind.WRITE)
    green.decrease_reservation(9, 1)
    hole = green.grant_access(red.domid, 9, GrantKind.TRANSFER)
    for act in (
        lambda: green.copy_grant(CopyEnd(red.domid, source), CopyEnd(green.domid, 2), len(SECRET)),
        lambda: red.copy_grant(CopyEnd(red.domid, 0), CopyEnd(green.domid, target), len(SECRET)),
        lambda: red.transfer_page(0, green.domid, hole),
    ):
        with pytest.raises(AccessDenied):
            act()
    assert all(green.read(gfn, 0, len(SECRET)) != SECRET for gfn in (1, 2))


def mutant() -> AbstractContextManager[object]:
    """Leave both hooks empty."""
    return unmediated(CopyGrant, TransferPage)
