"""F5: user separation constrains event channels, mapping and copying only; Argo and transfer are outside it.

``modules/vm_role.cons`` of Xen's FLASK policy, so two users' domains can pass data by either.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest

from hypervisor.argo import ConnectRing, RegisterRing
from hypervisor.errors import AccessDenied
from hypervisor.gnttab import CopyEnd, TransferPage
from hypervisor.state import GrantKind
from tests.defects.scene import SECRET, host, start
from tests.defects.table import unmediated


def check() -> None:
    """What separates two domains separates them on every way between domains."""
    where = host()
    red, green = start(where, "red"), start(where, "green")
    ref = red.grant_access(green.domid, 0, GrantKind.WRITE)
    green.decrease_reservation(9, 1)
    hole = green.grant_access(red.domid, 9, GrantKind.TRANSFER)
    green.register_ring(1, None, (5,))
    ways = {
        "event channel": lambda: red.alloc_unbound(green.domid),
        "map": lambda: green.map_grant(red.domid, ref, writable=False),
        "copy": lambda: green.copy_grant(CopyEnd(red.domid, ref), CopyEnd(green.domid, 1), 4),
        "transfer": lambda: red.transfer_page(0, green.domid, hole),
        "argo": lambda: red.send_message(green.domid, 1, SECRET),
    }
    for act in ways.values():
        with pytest.raises(AccessDenied):
            act()


def mutant() -> AbstractContextManager[object]:
    """Constrain what the shipped constraint names, and nothing else."""
    return unmediated(TransferPage, RegisterRing, ConnectRing)
