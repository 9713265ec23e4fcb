"""A TPM 2.0 through tpm2-pytss: PCRs, primary keys, quotes, credentials.

Nothing stays loaded between two calls: keys are kept as saved contexts and made again when a reset has made
these useless, sessions are flushed. So all slots of the TPM are free for whoever else uses the channel.
Every method may raise ``ResponseError`` for an error code and ``ProcessError`` if the TPM is gone.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE, TPM2_SU
from tpm2_pytss.ESAPI import ESAPI
from tpm2_pytss.TSS2_Exception import TSS2_Exception
from tpm2_pytss.types import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_PUBLIC,
    TPML_DIGEST_VALUES,
    TPML_PCR_SELECTION,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF,
    TPMT_TK_CREATION,
)

from vtpm.errors import ResponseError, StructureError, VtpmUsageError
from vtpm.key import Creation, Key
from vtpm.nv import Nv
from vtpm.tcti import ChannelTcti, answers
from vtpm.templates import EK_ECC_P256, PcrPolicy, attestation_key, signing_key
from vtpm.tpm2.attestation import ClockInfo
from vtpm.tpm2.constants import PCR_COUNT, Alg, Attributes, Hierarchy
from vtpm.tpm2.fields import MAX_DIGEST
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.public import Public
from vtpm.tpm2.wire import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vtpm.channel import CommandChannel

_PLATFORM_AUTH_SIZE: Final = 32
_PCRS_A_READ: Final = 8
_READ_ATTEMPTS: Final = 8
_STALE_CONTEXT: Final = frozenset({0x08B, 0x09F})
"""TPM_RC_HANDLE, TPM_RC_INTEGRITY: saved before the last reset or TPM2_Clear (Part 3, 28.3)."""
_HIERARCHIES: Final = {Hierarchy.ENDORSEMENT: ESYS_TR.ENDORSEMENT, Hierarchy.OWNER: ESYS_TR.OWNER}


class Tpm:
    """One user of a TPM; several may share its channel. Close it, or use it in a ``with`` block."""

    def __init__(self, channel: CommandChannel) -> None:
        self._channel = channel
        self._tcti = ChannelTcti(channel)
        with answers(self._tcti, "open"):
            self._esapi: Any = ESAPI(self._tcti)
        self._contexts: dict[bytes, Any] = {}
        self.nv = Nv(self._esapi, self._tcti, channel)

    def close(self) -> None:
        """Free the library's memory; the channel stays open."""
        self._contexts.clear()
        self._esapi.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def startup(self) -> None:
        """Send ``TPM2_Startup(CLEAR)``, as firmware does after power on."""
        with self._call("Startup"):
            self._contexts.clear()
            self._esapi.startup(TPM2_SU.CLEAR)
            self._esapi.tr_set_auth(ESYS_TR.PLATFORM, b"")

    def lock_platform(self) -> None:
        """Give the platform hierarchy a random password that only this object knows, until the next reset.

        Who has it can replace the endorsement seed and remove what firmware or manager have defined.
        """
        with self._call("HierarchyChangeAuth"):
            self._esapi.hierarchy_change_auth(ESYS_TR.PLATFORM, os.urandom(_PLATFORM_AUTH_SIZE))

    def clock(self) -> ClockInfo:
        """Return the clock and the counts of resets and restarts."""
        with self._call("ReadClock"):
            info = self._esapi.read_clock()
            found = info.clockInfo
            return ClockInfo(
                int(found.clock), int(found.resetCount), int(found.restartCount), bool(found.safe)
            )

    def pcr_extend(self, pcr: int, digests: Mapping[Alg, bytes]) -> None:
        """Extend one PCR in each of these banks (Part 3, 22.2)."""
        if not 0 <= pcr < PCR_COUNT or any(len(value) != alg.digest_size for alg, value in digests.items()):
            raise VtpmUsageError(f"PCR {pcr}: a PCR 0..{PCR_COUNT - 1} and digests of their banks are needed")
        writer = Writer().u32(len(digests))
        for alg, value in digests.items():
            writer.u16(alg).raw(value)
        values, _ = TPML_DIGEST_VALUES.unmarshal(writer.done())
        with self._call(f"PCR_Extend {pcr}"):
            self._esapi.pcr_extend(ESYS_TR(pcr), values)

    def pcr_read(self, selection: PcrSelection) -> tuple[bytes, ...]:
        """Return the values in the order of ``selection.pairs()``, all read at one moment.

        Raises ``ResponseError`` with code ``absent`` if the TPM does not have one of the banks.
        """
        with self._channel.lock:
            for _ in range(_READ_ATTEMPTS):
                pairs = selection.pairs()
                parts = [pairs[i : i + _PCRS_A_READ] for i in range(0, len(pairs), _PCRS_A_READ)]
                read = [self._pcr_read_few(part) for part in parts]
                if len({counter for counter, _ in read}) <= 1:
                    return tuple(value for _, values in read for value in values)
        raise ResponseError(
            "PCR_Read: the PCRs change faster than they are read", code="response", response=0
        )

    def _pcr_read_few(self, pairs: tuple[tuple[Alg, int], ...]) -> tuple[int, list[bytes]]:
        banks: dict[Alg, set[int]] = {}
        for alg, pcr in pairs:
            banks.setdefault(alg, set()).add(pcr)
        wanted = PcrSelection(tuple((alg, frozenset(numbers)) for alg, numbers in banks.items()))
        with self._call("PCR_Read"):
            counter, _, digests = self._esapi.pcr_read(_selection(wanted))
            values = [bytes(digests[i]) for i in range(len(digests))]
        if len(values) != len(pairs):
            names = ", ".join(alg.hash_name for alg in banks)
            raise ResponseError(f"PCR_Read: the TPM lacks a bank of {names}", code="absent", response=0)
        return int(counter), values

    def create_ek(self, template: Public = EK_ECC_P256.public) -> Key:
        """Make the endorsement key of this template."""
        return self.create_primary(template, None, PcrSelection(()))

    def create_ak(self, policy: PcrPolicy | None = None) -> Key:
        """Make the attestation key: restricted, ECDSA P-256; with a policy it signs only under these PCRs."""
        return self.create_primary(attestation_key(policy), policy, _selection_of(policy))

    def create_signing_key(self, policy: PcrPolicy) -> Key:
        """Make a key that signs any SHA-256 digest, and only while the PCRs have these values."""
        return self.create_primary(signing_key(policy), policy, policy.selection)

    def create_primary(self, template: Public, policy: PcrPolicy | None, creation: PcrSelection) -> Key:
        """Make a primary key in the endorsement hierarchy; ``creation`` selects PCRs for its creation data.

        Only there is a quote's clock in the clear: other hierarchies hide the counts and the firmware
        version.
        """
        hierarchy = Hierarchy.ENDORSEMENT
        with self._call("CreatePrimary"):
            handle, public, data, digest, ticket = self._make(template, hierarchy, creation)
            try:
                made = Key(
                    public=Public.decode_sized(public.marshal()),
                    template=template,
                    hierarchy=hierarchy,
                    policy=policy.selection if policy else None,
                    creation=Creation(data.marshal()[2:], bytes(digest), ticket.marshal()),
                )
                self._contexts[made.name] = self._esapi.context_save(handle)
            finally:
                self._esapi.flush_context(handle)
        return made

    def quote(self, key: Key, extra: bytes, selection: PcrSelection) -> tuple[bytes, bytes]:
        """Return (TPMS_ATTEST, TPMT_SIGNATURE) over the selected PCRs and ``extra``, at most 64 bytes.

        Raises ``PolicyError`` if the key is bound to PCRs that have other values now.
        """
        _check_extra(extra)
        with self._call("Quote"), self._ready(key) as (handle, session):
            attest, signature = self._esapi.quote(
                handle, _selection(selection), extra, in_scheme=_no_scheme(), session1=session
            )
            return bytes(attest), signature.marshal()

    def sign(self, key: Key, digest: bytes) -> bytes:
        """Return the TPMT_SIGNATURE over a SHA-256 digest; ``PolicyError`` if the key's PCRs have changed."""
        if len(digest) != Alg.SHA256.digest_size:
            raise VtpmUsageError(f"a SHA-256 digest has 32 bytes, not {len(digest)}")
        with self._call("Sign"), self._ready(key) as (handle, session):
            signature = self._esapi.sign(handle, digest, _no_scheme(), session1=session)
            marshalled: bytes = signature.marshal()
            return marshalled

    def certify(self, key: Key, by: Key, extra: bytes) -> tuple[bytes, bytes]:
        """Return (TPMS_ATTEST of CERTIFY, TPMT_SIGNATURE): ``key`` is loaded in the TPM of ``by``."""
        _check_extra(extra)
        with self._call("Certify"), self._loaded(key) as handle, self._ready(by) as (signer, session):
            attest, signature = self._esapi.certify(
                handle, signer, extra, _no_scheme(), session1=ESYS_TR.PASSWORD, session2=session
            )
            return bytes(attest), signature.marshal()

    def certify_creation(self, key: Key, by: Key, extra: bytes) -> tuple[bytes, bytes]:
        """Return (TPMS_ATTEST of CREATION, TPMT_SIGNATURE): the TPM of ``by`` itself made ``key``."""
        _check_extra(extra)
        with self._call("CertifyCreation"), self._loaded(key) as handle, self._ready(by) as (signer, session):
            ticket, _ = TPMT_TK_CREATION.unmarshal(key.creation.ticket)
            attest, signature = self._esapi.certify_creation(
                signer, handle, extra, key.creation.digest, _no_scheme(), ticket, session1=session
            )
            return bytes(attest), signature.marshal()

    def activate_credential(self, key: Key, ek: Key, id_object: bytes, encrypted_secret: bytes) -> bytes:
        """Return the secret that was made for ``key`` in the TPM of ``ek`` (Part 3, 12.5).

        Takes what ``make_credential`` returns. Raises ``ResponseError`` if it was made for another key or
        TPM.
        """
        blob = _whole(TPM2B_ID_OBJECT, id_object)
        secret = _whole(TPM2B_ENCRYPTED_SECRET, encrypted_secret)
        with (
            self._call("ActivateCredential"),
            self._loaded(key) as handle,
            self._ready(ek) as (opener, session),
        ):
            opened = self._esapi.activate_credential(
                handle, opener, blob, secret, session1=ESYS_TR.PASSWORD, session2=session
            )
            return bytes(opened)

    @contextmanager
    def _call(self, what: str) -> Iterator[None]:
        with self._channel.lock, answers(self._tcti, what):
            yield

    def _make(self, template: Public, hierarchy: Hierarchy, creation: PcrSelection) -> tuple[Any, ...]:
        wanted, _ = TPM2B_PUBLIC.unmarshal(template.encode_sized())
        made: tuple[Any, ...] = self._esapi.create_primary(
            None, wanted, _HIERARCHIES[hierarchy], creation_pcr=_selection(creation)
        )
        return made

    @contextmanager
    def _loaded(self, key: Key) -> Iterator[Any]:
        handle = self._load(key)
        try:
            yield handle
        finally:
            self._esapi.flush_context(handle)

    @contextmanager
    def _ready(self, key: Key) -> Iterator[tuple[Any, Any]]:
        """Load a key and satisfy its policy: yields its handle and the session to use it with."""
        with self._loaded(key) as handle:
            if Attributes.USER_WITH_AUTH in key.public.attributes:
                yield handle, ESYS_TR.PASSWORD
                return
            with self._policy_session(key.public.name_alg) as session:
                if key.policy is None:
                    self._esapi.policy_secret(ESYS_TR.ENDORSEMENT, session, expiration=0)
                else:
                    self._esapi.policy_pcr(session, b"", _selection(key.policy))
                yield handle, session

    def _load(self, key: Key) -> Any:  # noqa: ANN401 - an ESYS_TR of the untyped library
        saved = self._contexts.get(key.name)
        if saved is not None:
            try:
                return self._esapi.context_load(saved)
            except TSS2_Exception as error:
                if int(error.error) not in _STALE_CONTEXT:
                    raise
        return self._make_again(key)

    def _make_again(self, key: Key) -> Any:  # noqa: ANN401 - an ESYS_TR of the untyped library
        handle, public, *_ = self._make(key.template, key.hierarchy, PcrSelection(()))
        try:
            same = Public.decode_sized(public.marshal()) == key.public
            self._contexts[key.name] = self._esapi.context_save(handle) if same else None
        except BaseException:
            self._esapi.flush_context(handle)
            raise
        if not same:
            self._esapi.flush_context(handle)
            detail = "CreatePrimary: the template gives another key; the TPM's seeds have changed"
            raise ResponseError(detail, code="absent", response=0)
        return handle

    @contextmanager
    def _policy_session(self, alg: Alg) -> Iterator[Any]:
        session = self._esapi.start_auth_session(
            ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL), int(alg)
        )
        try:
            yield session
        finally:
            self._esapi.flush_context(session)


def _selection(selection: PcrSelection) -> Any:  # noqa: ANN401 - a TPML_PCR_SELECTION of the untyped library
    return TPML_PCR_SELECTION.unmarshal(selection.encode())[0]


def _selection_of(policy: PcrPolicy | None) -> PcrSelection:
    return policy.selection if policy else PcrSelection(())


def _no_scheme() -> Any:  # noqa: ANN401 - a TPMT_SIG_SCHEME of the untyped library
    return TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)


def _whole(kind: Any, raw: bytes) -> Any:  # noqa: ANN401 - a structure of the untyped library
    try:
        value, used = kind.unmarshal(raw)
    except TSS2_Exception as error:
        raise StructureError(kind.__name__, 0, f"cannot be read: {error}", code="value") from None
    if used != len(raw):
        raise StructureError(kind.__name__, used, f"{len(raw) - used} bytes after the end", code="trailing")
    return value


def _check_extra(extra: bytes) -> None:
    if len(extra) > MAX_DIGEST:
        raise VtpmUsageError(f"qualifying data has at most {MAX_DIGEST} bytes, not {len(extra)}")
