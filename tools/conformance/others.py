"""Judges of Merkle proofs and ACM policies."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any

from acm.errors import InclusionError
from acm.merkle import verify_inclusion_hash
from acm.xmlpolicy import import_policy
from tools.conformance.vector import OutOfScopeError, Vector, expect, refused


def merkle(vector: Vector) -> None:
    """Judge inclusion proofs."""
    if not vector.path.name.startswith("inclusion"):
        raise OutOfScopeError("proofs of subtrees are nothing that this repository makes or reads")
    for line in vector.read().splitlines():
        case = json.loads(line)["case"]
        expect(refused(partial(_include, case), InclusionError) == case["wantErr"], case["desc"])


def _include(case: dict[str, Any]) -> None:
    proof = [base64.b64decode(one) for one in case["proof"] or []]
    leaf, root = base64.b64decode(case["leafHash"] or ""), base64.b64decode(case["root"] or "")
    verify_inclusion_hash(root, leaf, index=case["leafIdx"], size=case["treeSize"], path=proof)


def acm_policy(vector: Vector) -> None:
    """Judge a policy of Xen 3.x: it becomes a native one."""
    labels = vector.path.with_name(vector.path.name.replace("security_policy", "security_label_template"))
    import_policy(vector.read(), labels.read_bytes() if labels.is_file() else None)
