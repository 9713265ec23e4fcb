"""Merkle hashing against others' vectors, another implementation, and forgeries."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acm import merkle
from acm.errors import AcmUsageError, InclusionError

VECTORS = Path(__file__).parents[3] / "shared/vectors/transparency-dev__merkle/inclusion.jsonl"
"""Of transparency-dev/merkle, testdata/inclusion: six proofs that hold and 92 damaged ones."""

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


def inclusion_vectors() -> list[Any]:
    if not VECTORS.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason="../shared/vectors is not here"))]
    lines = [json.loads(line) for line in VECTORS.read_text().splitlines()]
    return [pytest.param(line["case"], id=line["path"].removeprefix("testdata/")) for line in lines]


@pytest.mark.parametrize("case", inclusion_vectors())
def test_inclusion_vectors(case: dict[str, Any]) -> None:
    def verify() -> None:
        merkle.verify_inclusion_hash(
            base64.b64decode(case["root"]),
            base64.b64decode(case["leafHash"]),
            index=case["leafIdx"],
            size=case["treeSize"],
            path=[base64.b64decode(value) for value in case["proof"] or []],
        )

    if case["wantErr"]:
        with pytest.raises(InclusionError):
            verify()
    else:
        verify()


@given(LEAVES)
def test_the_root_is_that_of_another_implementation(leaves: list[bytes]) -> None:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)
    root = tree.get_root if hasattr(tree, "get_root") else tree.get_state  # pymerkle 7, pymerkle 6
    assert merkle.root(leaves) == root()


@given(LEAVES, st.data())
def test_every_leaf_proves_itself_and_nothing_else(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, path = merkle.root(leaves), merkle.Tree(leaves).path(index)
    merkle.verify_inclusion(root, leaves[index], index=index, size=len(leaves), path=path)
    with pytest.raises(InclusionError) as caught:
        merkle.verify_inclusion(root, leaves[index] + b"x", index=index, size=len(leaves), path=path)
    assert caught.value.code == "root-mismatch"


def test_the_root_of_nothing_and_of_one() -> None:
    assert merkle.root([]) == hashlib.sha256(b"").digest()
    assert merkle.root([b""]) == hashlib.sha256(b"\x00").digest()


def test_an_inner_node_cannot_be_shown_as_a_leaf() -> None:
    """Without domain separation, the two child hashes of a node would be a leaf of a smaller tree."""
    leaves = [b"one", b"two", b"three", b"four"]
    inner = merkle.leaf_hash(b"one") + merkle.leaf_hash(b"two")
    with pytest.raises(InclusionError):
        merkle.verify_inclusion(
            merkle.root(leaves), inner, index=0, size=2, path=[merkle.root([b"three", b"four"])]
        )


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (0, -1)])
def test_a_leaf_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(InclusionError) as caught:
        merkle.verify_inclusion(bytes(32), b"", index=index, size=size, path=[])
    assert caught.value.code == "leaf-index"
    with pytest.raises(AcmUsageError):
        merkle.Tree([b""] * max(size, 0)).path(index)


def test_a_path_of_wrong_length_or_hash_size() -> None:
    leaves = [b"a", b"b", b"c"]
    root, path = merkle.root(leaves), merkle.Tree(leaves).path(0)
    for wrong, code in (
        (path[:1], "path-length"),
        ((*path, path[0]), "path-length"),
        ((path[0], b"short"), "hash-size"),
    ):
        with pytest.raises(InclusionError) as caught:
            merkle.verify_inclusion(root, b"a", index=0, size=3, path=wrong)
        assert caught.value.code == code


def test_a_huge_tree_size_costs_nothing() -> None:
    with pytest.raises(InclusionError):
        merkle.verify_inclusion(bytes(32), b"", index=0, size=1 << 100_000, path=[])


def test_the_shape_of_three_leaves() -> None:
    """RFC 6962, 2.1: the last one moves up alone."""
    a, b, c = (merkle.leaf_hash(leaf) for leaf in (b"a", b"b", b"c"))
    left = hashlib.sha256(b"\x01" + a + b).digest()
    assert merkle.root([b"a", b"b", b"c"]) == hashlib.sha256(b"\x01" + left + c).digest()


@given(LEAVES, st.data())
def test_a_path_leads_to_its_root_alone(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    tree = merkle.Tree(leaves)
    leaf, size, path = merkle.leaf_hash(leaves[index]), len(leaves), tree.path(index)
    assert merkle.root_from_path(leaf, index=index, size=size, path=path) == tree.root
    for at, longer in ((size, path), (-1, path), (index, (*path, bytes(32)))):
        with pytest.raises(InclusionError):
            merkle.root_from_path(leaf, index=at, size=size, path=longer)


@given(
    st.binary(max_size=40),
    st.integers(-2, 1 << 70),
    st.integers(-2, 1 << 70),
    st.lists(st.binary(max_size=40)),
)
def test_any_path_is_answered(leaf: bytes, index: int, size: int, path: list[bytes]) -> None:
    with contextlib.suppress(InclusionError):
        assert len(merkle.root_from_path(leaf, index=index, size=size, path=path)) == merkle.HASH_SIZE
