"""RFC 6962 trees: the shared probes of transparency-dev/merkle, and proofs of our own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.errors import AttestUsageError
from attest.merkle import InclusionError, inclusion_proof, leaf_hash, root, root_from_proof, verify_inclusion
from tests.conftest import VECTORS

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=40)
PROBES = VECTORS / "transparency-dev__merkle" / "inclusion.jsonl"


@pytest.mark.skipif(not PROBES.is_file(), reason="../shared/vectors is not here")
def test_the_probes_of_transparency_dev() -> None:
    for line in PROBES.read_text().splitlines():
        case = json.loads(line)["case"]
        proof = [base64.b64decode(one) for one in case["proof"] or []]
        leaf, expected = base64.b64decode(case["leafHash"] or ""), base64.b64decode(case["root"] or "")
        try:
            verify_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, expected)
            refused = False
        except InclusionError:
            refused = True
        assert refused == case["wantErr"], case["desc"]


def test_known_roots() -> None:
    """RFC 6962, 2.1: the tree of nothing, of one leaf, and the shape of three leaves."""
    assert root([]) == hashlib.sha256(b"").digest()
    assert root([b""]) == hashlib.sha256(b"\x00").digest()
    a, b, c = (leaf_hash(leaf) for leaf in (b"a", b"b", b"c"))
    left = hashlib.sha256(b"\x01" + a + b).digest()
    assert root([b"a", b"b", b"c"]) == hashlib.sha256(b"\x01" + left + c).digest()


@given(LEAVES, st.data())
def test_every_leaf_has_a_proof(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = inclusion_proof(leaves, index)
    verify_inclusion(leaf_hash(leaves[index]), index, len(leaves), proof, root(leaves))


@given(LEAVES, st.data())
def test_a_proof_is_good_for_nothing_else(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = inclusion_proof(leaves, index)
    wrong = [
        (leaf_hash(leaves[index] + b"x"), index, len(leaves), proof),
        (leaf_hash(leaves[index]), index, len(leaves), (*proof, bytes(32))),
        (leaf_hash(leaves[index]), len(leaves), len(leaves), proof),
        (leaf_hash(leaves[index]), -1, len(leaves), proof),
    ]
    for case in wrong:
        with pytest.raises(InclusionError):
            verify_inclusion(*case, root(leaves))


@given(
    st.binary(max_size=40),
    st.integers(-2, 1 << 70),
    st.integers(-2, 1 << 70),
    st.lists(st.binary(max_size=40)),
)
def test_any_proof_is_answered(leaf: bytes, index: int, size: int, proof: list[bytes]) -> None:
    with contextlib.suppress(InclusionError):
        assert len(root_from_proof(leaf, index, size, proof)) == 32


def test_there_is_no_proof_of_a_leaf_that_is_not_there() -> None:
    with pytest.raises(AttestUsageError):
        inclusion_proof([b"a"], 1)
