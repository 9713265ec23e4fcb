"""The tree: against pymerkle and published proof probes, and covers that have no form to play with."""

from __future__ import annotations

import base64
import hashlib
import json

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acm.merkle import EMPTY_ROOT, Tree, leaf_hash, levels, root
from metering.errors import ProofError
from metering.merkle import Frontier, cover, root_from_cover, root_of
from tests.conftest import Vector, vector_params

DATA = [b"%d" % number for number in range(70)]


def test_roots_are_those_of_pymerkle_at_every_size() -> None:
    tree, frontier = pymerkle.InmemoryTree(algorithm="sha256"), Frontier()
    assert frontier.root() == EMPTY_ROOT
    for size, data in enumerate(DATA, 1):
        tree.append_entry(data)
        frontier.append(leaf_hash(data))
        hashes = [leaf_hash(one) for one in DATA[:size]]
        assert frontier.size == size
        assert frontier.root() == root_of(hashes) == tree.get_root() == root(DATA[:size])


@given(st.integers(1, 70), st.data())
@settings(max_examples=100)
def test_a_cover_gives_the_root_and_nothing_else_does(size: int, data: st.DataObject) -> None:
    hashes = [leaf_hash(one) for one in DATA[:size]]
    indexes = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))
    own, supplied = [hashes[index] for index in indexes], cover(levels(hashes), indexes)
    assert root_from_cover(size, indexes, own, supplied) == root_of(hashes)
    for wrong in (supplied[:-1] if supplied else (bytes(32),), (*supplied, bytes(32))):
        with pytest.raises(ProofError):
            root_from_cover(size, indexes, own, wrong)


def test_the_cover_of_one_leaf_is_as_long_as_its_path() -> None:
    hashes = [leaf_hash(one) for one in DATA]
    for index in range(len(DATA)):
        assert sorted(cover(levels(hashes), [index])) == sorted(Tree(DATA).path(index))


@given(
    st.integers(-1, 1 << 70),
    st.lists(st.integers(-1, 1 << 50), max_size=5),
    st.lists(st.binary(min_size=32, max_size=32), max_size=5),
    st.lists(st.binary(max_size=33), max_size=60),
)
def test_any_cover_gives_a_root_or_an_error(
    size: int, indexes: list[int], hashes: list[bytes], supplied: list[bytes]
) -> None:
    try:
        found = root_from_cover(size, sorted(set(indexes)), hashes, supplied)
    except ProofError:
        return
    assert len(found) == hashlib.sha256().digest_size


@pytest.mark.parametrize("vector", vector_params("tlog/merkle"))
def test_published_probes(vector: Vector) -> None:
    """A path is a cover in another order: the probes that fail must fail, those that pass must pass."""
    for line in vector.read().splitlines():
        case = json.loads(line)["case"]
        if "start" in case:
            continue
        siblings = [base64.b64decode(text) for text in case["proof"] or ()]
        good = (
            _verifies(case["leafIdx"], case["treeSize"], base64.b64decode(case["leafHash"]), siblings)
            == case["root"]
        )
        assert good is not case["wantErr"], case["desc"]


def _verifies(index: int, size: int, leaf: bytes, path: list[bytes]) -> str | None:
    order = _left_to_right(index, size, path)
    try:
        found = root_from_cover(size, [index], [leaf], order)
    except ProofError:
        return None
    return base64.b64encode(found).decode()


def _left_to_right(index: int, size: int, path: list[bytes]) -> list[bytes]:
    """Sort a path (the leaf's sibling first) by where the subtrees lie; unchanged if it does not fit."""
    left: list[bytes] = []
    right: list[bytes] = []
    node, last, rest = index, size - 1, [*path]
    while last > 0 and rest:
        if node & 1 or node == last:
            left.insert(0, rest.pop(0))
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            right.append(rest.pop(0))
        node, last = node >> 1, last >> 1
    return [*left, *right, *rest]
