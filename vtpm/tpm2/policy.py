"""Policy digests, computed as the TPM would (Part 3, 23: each ``TPM2_PolicyX`` names its digest update).

Every function takes the digest so far, by default the start of a session: as many zero bytes as the hash has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vtpm.errors import VtpmUsageError
from vtpm.tpm2.constants import Alg, Command
from vtpm.tpm2.pcrs import PcrSelection, digest_of
from vtpm.tpm2.wire import Writer

if TYPE_CHECKING:
    from collections.abc import Sequence

_MIN_BRANCHES: Final = 2
_MAX_BRANCHES: Final = 8


def policy_pcr(
    alg: Alg, selection: PcrSelection, values: Sequence[bytes], *, previous: bytes | None = None
) -> bytes:
    """PolicyPCR: the PCRs must have ``values``, in the order of ``selection.pairs()`` (Part 3, 23.7)."""
    pairs = selection.pairs()
    if [len(value) for value in values] != [bank.digest_size for bank, _ in pairs]:
        raise VtpmUsageError(f"{len(pairs)} PCR values of the length of their banks are needed")
    return _update(alg, previous, Command.POLICY_PCR, selection.encode(), digest_of(alg, values))


def policy_or(alg: Alg, branches: Sequence[bytes]) -> bytes:
    """PolicyOR: one of 2 to 8 branches holds; forgets what came before (Part 3, 23.6)."""
    if not _MIN_BRANCHES <= len(branches) <= _MAX_BRANCHES:
        raise VtpmUsageError(
            f"PolicyOR takes {_MIN_BRANCHES} to {_MAX_BRANCHES} branches, not {len(branches)}"
        )
    return _update(alg, None, Command.POLICY_OR, *branches)


def policy_command_code(alg: Alg, command: Command, *, previous: bytes | None = None) -> bytes:
    """PolicyCommandCode: good for this command only (Part 3, 23.11)."""
    return _update(alg, previous, Command.POLICY_COMMAND_CODE, Writer().u32(command).done())


def policy_auth_value(alg: Alg, *, previous: bytes | None = None) -> bytes:
    """PolicyAuthValue: the authorisation value of the object too (Part 3, 23.17)."""
    return _update(alg, previous, Command.POLICY_AUTH_VALUE)


def policy_secret(
    alg: Alg, entity: bytes, *, policy_ref: bytes = b"", previous: bytes | None = None
) -> bytes:
    """PolicySecret: who knows the authorisation of the entity with this Name (Part 3, 23.4).

    The Name of a hierarchy is its handle, 4 bytes (Part 1, 16).
    """
    return alg.digest(_update(alg, previous, Command.POLICY_SECRET, entity) + policy_ref)


def policy_signed(
    alg: Alg, key_name: bytes, *, policy_ref: bytes = b"", previous: bytes | None = None
) -> bytes:
    """PolicySigned: a signature by the key with this Name (Part 3, 23.3)."""
    return alg.digest(_update(alg, previous, Command.POLICY_SIGNED, key_name) + policy_ref)


def policy_authorize(alg: Alg, key_name: bytes, *, policy_ref: bytes = b"") -> bytes:
    """PolicyAuthorize: any policy signed by this key; forgets what came before (Part 3, 23.16)."""
    return alg.digest(_update(alg, None, Command.POLICY_AUTHORIZE, key_name) + policy_ref)


def _update(alg: Alg, previous: bytes | None, command: Command, *arguments: bytes) -> bytes:
    start = bytes(alg.digest_size) if previous is None else previous
    if len(start) != alg.digest_size:
        raise VtpmUsageError(
            f"a policy digest of {alg.hash_name} has {alg.digest_size} bytes, not {len(start)}"
        )
    return alg.digest(Writer().raw(start).u32(command).raw(b"".join(arguments)).done())
