"""D4: the manual called a label with two conflicting Chinese Wall types illegal, and the compiler took it.

Such a domain would stand on both sides of the wall (``acmpolicy.py`` of Xen 3.x).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from unittest.mock import patch

import pytest

from acm import chwall
from acm.errors import PolicyFileError
from acm.sections import ChineseWall
from tests.defects.scene import CHWALL, HEAD, LABELS, STE, create, host

BOTH_SIDES = f"{HEAD}{STE}{CHWALL}{LABELS}  both-sides: {{ste: [red], chwall: [a1, a2]}}\n"


def check() -> None:
    """A policy with such a label is no policy."""
    with pytest.raises(PolicyFileError) as refused:
        create(host(BOTH_SIDES), "both-sides")
    assert refused.value.code == "label-conflict"


def mutant() -> AbstractContextManager[object]:
    """Take the label, and do not look at it alone when it starts."""
    stack = ExitStack()
    stack.enter_context(
        patch.object(ChineseWall, "types_of", lambda self, _label, node: self.types.types(node))
    )
    stack.enter_context(patch.object(chwall, "self_conflicts", lambda _sets, _label: iter(())))
    return stack
