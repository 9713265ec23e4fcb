"""Issuing an EAR: a result becomes a signed token (draft-ietf-rats-ear-04, section 3; AR4SI, section 2.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from attest import canonical_json
from attest.canonical_json import Json
from attest.ear import (
    ALGORITHM,
    CONTRAINDICATED,
    COORDINATE,
    MAX_LIFETIME,
    WARNING,
    Dialect,
    base64url,
    public_jwk,
    thumbprint,
)
from attest.errors import AttestUsageError
from attest.reasons import CODES, Claim
from attest.result import Node, Result, Verdict, document, worst
from attest.signer import Signer

DEVELOPER: Final = "sHype for Xen, attested"


@dataclass(frozen=True, slots=True)
class Issue:
    """What a token says beside the result: which build, when (seconds since 1970), for how long, for whom."""

    build: str
    now: int
    seconds: int
    audience: str | None = None
    dialect: Dialect = Dialect.VERAISON


def make_ear(result: Result, signer: Signer, issue: Issue) -> str:
    """Return the signed token of ``result``; raises AttestUsageError for a lifetime that no result has."""
    if not 0 < issue.seconds <= MAX_LIFETIME:
        raise AttestUsageError(f"a result is good for 1 to {MAX_LIFETIME} seconds", code="lifetime")
    header = {"alg": ALGORITHM, "typ": "JWT", "kid": thumbprint(public_jwk(signer.spki()))}
    signed = f"{_segment(header)}.{_segment(_claims(result, issue))}"
    r, s = decode_dss_signature(signer.sign(hashlib.sha256(signed.encode()).digest()))
    signature = r.to_bytes(COORDINATE, "big") + s.to_bytes(COORDINATE, "big")
    return f"{signed}.{base64url(signature)}"


def _claims(result: Result, issue: Issue) -> dict[str, Json]:
    dialect = issue.dialect
    claims: dict[str, Json] = {
        "eat_profile": dialect.profile,
        "iat": issue.now,
        "exp": issue.now + issue.seconds,
        dialect.claim("verifier id"): {"developer": DEVELOPER, "build": issue.build},
        dialect.claim("status"): result.verdict.ear,
        "eat_nonce": base64url(result.nonce),
        "submods": {
            name: _appraisal_claims(nodes, result.policy_ids, dialect)
            for name, nodes in _parts(result.root).items()
        },
    }
    if issue.audience is not None:
        claims["aud"] = issue.audience
    return claims


def _parts(root: Node) -> dict[str, tuple[Node, ...]]:
    """Sort the tree into submods: every domain is one, all else (the root's reasons too) is the platform."""
    platform = [Node.judge(root.name, root.reasons)] if root.reasons else []
    parts: dict[str, tuple[Node, ...]] = {}
    for node in root.children:
        if node.name.startswith("domain "):
            parts[f"domain:{node.name.removeprefix('domain ')}"] = (node,)
        else:
            platform.append(node)
    return {"platform": tuple(platform), **parts}


def _appraisal_claims(
    nodes: tuple[Node, ...], policies: tuple[str, ...], dialect: Dialect
) -> dict[str, Json]:
    status = worst([node.verdict for node in nodes]) if nodes else Verdict.NONE
    plural = dialect is Dialect.DRAFT_04
    policy = (
        {dialect.claim("appraisal policy ids"): list(policies)}
        if plural
        else {dialect.claim("appraisal policy id"): " ".join(policies)}
    )
    return {
        dialect.claim("status"): status.ear,
        dialect.claim("trustworthiness vector"): _vector(nodes),
        **(policy if policies else {}),
        dialect.annotation: {"shype": [document(node) for node in nodes]},
    }


def _vector(nodes: tuple[Node, ...]) -> dict[str, int]:
    """Return the AR4SI values: a claim is made where reasons speak against it, or where all was affirmed.

    A part that was not evaluated makes no claim. Neither does a program that plays the TPM for hardware: the
    profile may admit it, but genuine hardware it is not.
    """
    below = [node for top in nodes for _, node in top.walk()]
    reasons = [reason for node in below for reason in node.reasons]
    whole = all(node.verdict.rank <= Verdict.WARNING.rank for node in below)
    software = any(note.startswith("software TPM") for node in below for note in node.notes)
    vector: dict[str, int] = {}
    for claim in Claim:
        against = [one for one in reasons if one.code in CODES and CODES[one.code].claim is claim]
        if against:
            vector[claim] = _VALUES[worst([one.verdict for one in against])]
        elif whole and not (claim is Claim.HARDWARE and software):
            vector[claim] = _AFFIRMING[claim]
    return {claim: value for claim, value in vector.items() if value}


_AFFIRMING: Final = {
    Claim.INSTANCE: 2,  # recognised, and not known to be compromised
    Claim.CONFIGURATION: 2,  # a known and approved configuration
    Claim.EXECUTABLES: 3,  # approved at boot time: of what runs later a host measures some at most
    Claim.HARDWARE: 2,  # genuine
}
_VALUES: Final = {
    Verdict.WARNING: WARNING,
    Verdict.INCONCLUSIVE: 0,  # the evidence is not enough for a claim
    Verdict.CONTRAINDICATED: CONTRAINDICATED,
    Verdict.NONE: 99,  # cryptographic validation failed
}


def _segment(value: Mapping[str, Json]) -> str:
    return base64url(canonical_json.encode(value))
