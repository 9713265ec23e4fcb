"""Checks of who signed what: the meter key, the checkpoint, the tree under it, and what others were shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metering.checkpoint import verify
from metering.errors import MeteringInputError, ProofError
from metering.key import host_id, key_id
from metering.verdict import Code, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metering.case import Case


def meter_key(case: Case) -> Iterator[Finding]:
    """Check that the enrolled TPM made the meter key, and that it works in a reference state only."""
    bundle, trust = case.claims.bundle, case.trust
    if bundle is None:
        return
    try:
        if trust.ak is not None:
            bundle.verify_origin(trust.ak)
        if trust.states is not None:
            bundle.verify_platform(trust.states)
    except MeteringInputError as error:
        yield Finding(Code(error.code), str(error))


def checkpoint(case: Case) -> Iterator[Finding]:
    """Check the meter key's signature on the checkpoint."""
    if case.claims.checkpoint is None or case.claims.bundle is None:
        return
    try:
        verify(case.claims.checkpoint, case.claims.bundle.spki())
    except MeteringInputError as error:
        yield Finding(Code(error.code), str(error))


def signed_root(case: Case) -> Iterator[Finding]:
    """Check that the leaves are exactly those under the checkpoint's root."""
    head = case.head
    if head is None:
        return
    if head.size != case.view.size:
        code = Code.TAMPERED if case.view.whole else Code.MALFORMED
        yield Finding(code, f"the checkpoint signs {head.size} leaves, and these are of {case.view.size}")
        return
    try:
        found = case.root(head.size)
    except ProofError as error:
        yield Finding(Code.MALFORMED, str(error))
        return
    if found != head.root:
        yield Finding(Code.TAMPERED, f"the {head.size} leaves have another root than the one that was signed")


def genesis_key(case: Case) -> Iterator[Finding]:
    """Check that the last GENESIS names the key that signed: a later key does not seal an earlier history."""
    genesis = case.history.genesis
    if case.claims.bundle is None or not genesis:
        return
    try:
        signer = key_id(case.claims.bundle.spki())
    except MeteringInputError as error:
        yield Finding(Code(error.code), str(error))
        return
    if genesis[-1].record.key != signer:
        yield Finding(Code.TAMPERED, "the last GENESIS names another meter key than the one that signed")


def host(case: Case) -> Iterator[Finding]:
    """Check that every record is of the enrolled host."""
    if case.trust.ak is None:
        return
    expected = host_id(case.trust.ak.name())
    strange = [entry for entry in case.history.entries if entry.record.host != expected]
    if strange:
        yield Finding(
            Code.PLATFORM, f"{len(strange)} records are of another host, the first at {strange[0].at}"
        )


def tenant(case: Case) -> Iterator[Finding]:
    """Check that the records are those of the tenant they are audited for, and a part shows nobody else's."""
    wanted = case.terms.tenant
    if wanted is None:
        return
    strange = [line for line in case.lines() if line.first.tenant != wanted]
    if strange and (not case.view.whole or len(strange) == len(case.history.lines)):
        yield Finding(
            Code.MALFORMED, f"these are records of tenant {strange[0].first.tenant!a}", strange[0].domain
        )


def earlier_checkpoints(case: Case) -> Iterator[Finding]:
    """Check that the log continues every checkpoint seen before, and agrees with what others were shown."""
    for head in case.terms.seen:
        if head.size > case.view.size:
            detail = f"a checkpoint of {head.size} leaves was seen before; this log has {case.view.size}"
            yield Finding(Code.ROLLBACK, detail)
    for head in (*case.terms.seen, *case.terms.peers):
        try:
            own = case.root(head.size) if head.size else None
        except ProofError:
            continue
        if own is not None and own != head.root:
            yield Finding(Code.FORKED, f"another tree of {head.size} leaves was signed for this log")
