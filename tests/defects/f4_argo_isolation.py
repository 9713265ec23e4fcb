"""F4: an isolated domain may send by Argo to every other one, and register rings for anybody.

``isolated_domU_t`` is documented as talking to dom0 only; the default FLASK policy of today gives Argo to all
domain types (``modules/guest_features.te``).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest

from hypervisor.argo import ConnectRing, RegisterRing
from hypervisor.errors import AccessDenied, NoSuchObjectError
from tests.defects.scene import SECRET, host, start
from tests.defects.table import unmediated


def check() -> None:
    """No message passes between unlike domains, by whichever ring."""
    where = host()
    red, green = start(where, "red"), start(where, "green")
    green.register_ring(1, None, (5,))
    with pytest.raises(AccessDenied):
        red.send_message(green.domid, 1, SECRET)
    with pytest.raises(AccessDenied):
        green.register_ring(2, red.domid, (6,))
    with pytest.raises(NoSuchObjectError):
        red.send_message(green.domid, 2, SECRET)
    assert green.take_message(1, None) is None


def mutant() -> AbstractContextManager[object]:
    """Leave Argo to everybody."""
    return unmediated(RegisterRing, ConnectRing)
