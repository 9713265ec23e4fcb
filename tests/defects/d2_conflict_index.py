"""D2: the query for a conflict read the aggregate of the wrong set, past the end of the array.

Xen 3.x indexed ``aggregate[i * max_types + j]`` in an array of ``max_types``: right for the first set only
(``acm_chinesewall_hooks.c:chwall_is_in_conflictset``). What lay behind the array was mostly zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from unittest.mock import patch

import pytest

from acm import chwall
from acm.chwall import ConflictSet
from acm.decision import Code, Decision, Reason, deny, permit
from acm.labels import Label
from hypervisor.errors import AccessDenied
from tests.defects.scene import create, host


def check() -> None:
    """A competitor is kept out by whichever conflict set it is in."""
    for running, competitor in (("first-a", "other-a"), ("first-b", "other-b")):
        where = host()
        create(where, running)
        with pytest.raises(AccessDenied):
            create(where, competitor)
        for beside in {"first-a", "first-b"} - {running}:
            create(where, beside)


def mutant() -> AbstractContextManager[object]:
    """Decide by that array, with nothing behind it."""
    types = ("a1", "a2", "b1", "b2")
    sets = (frozenset({"a1", "a2"}), frozenset({"b1", "b2"}))

    def decide_start(
        conflict_sets: Sequence[ConflictSet],
        subject: Label,
        running: Iterable[Label],
        past: AbstractSet[str] = frozenset(),
    ) -> Decision:
        del conflict_sets, past
        held = {each for label in running for each in label.chwall}
        aggregate = [
            sum(other in held for one in sets if own in one for other in one - {own}) for own in types
        ]
        for number in range(len(sets)):
            for index, own in enumerate(types):
                at = number * len(types) + index
                if own in subject.chwall and own in sets[number] and at < len(aggregate) and aggregate[at]:
                    return deny(Reason(Code.CHWALL_CONFLICT, own))
        return permit(Reason(Code.CHWALL_CLEAR, "the array says so"))

    return patch.object(chwall, "decide_start", decide_start)
