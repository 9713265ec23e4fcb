"""Frame sets and physical maps against plain Python sets and dicts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor.frames import Frames, PhysicalMap

NUMBERS = st.sets(st.integers(0, 60), max_size=30)


def as_frames(numbers: set[int]) -> Frames:
    return Frames.of((number, 1) for number in numbers)


@settings(deadline=None)
@given(first=NUMBERS, second=NUMBERS, count=st.integers(0, 30))
def test_frame_sets_are_sets(first: set[int], second: set[int], count: int) -> None:
    frames, other = as_frames(first), as_frames(second - first)
    assert sorted(frames) == sorted(first)
    assert len(frames) == len(first)
    assert all((number in frames) == (number in first) for number in range(62))
    assert frames.join(other) == as_frames(first | second)
    count = min(count, len(first))
    taken, rest = frames.take(count)
    assert sorted(taken) == sorted(first)[:count]
    assert taken.join(rest) == frames


@settings(deadline=None)
@given(frames=NUMBERS, steps=st.lists(st.tuples(st.integers(0, 40), st.integers(100, 200)), max_size=20))
def test_physical_maps_are_maps(frames: set[int], steps: list[tuple[int, int]]) -> None:
    real = PhysicalMap.of(as_frames(frames))
    model = dict(enumerate(sorted(frames)))
    for gfn, mfn in steps:
        if gfn in model:
            real = real.without(gfn)
            del model[gfn]
        elif mfn not in model.values():
            real = real.with_frames(gfn, Frames(((mfn, 1),)))
            model[gfn] = mfn
        assert {gfn: real.machine(gfn) for gfn in range(42) if real.machine(gfn) is not None} == model
        assert real.pages == len(model)
        assert sorted(real.frames) == sorted(model.values())
