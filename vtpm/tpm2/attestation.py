"""What a TPM signs about itself: TPMS_ATTEST (Part 2, 10.12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vtpm.tpm2.constants import GENERATED, Alg, AttestType
from vtpm.tpm2.fields import MAX_NAME, digest, hash_algorithm, name, number
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.wire import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_EXTRA: Final = MAX_NAME
"""TPM2B_DATA holds at most a TPMT_HA: an algorithm and a digest (Part 2, 10.4.3)."""

_MAX_NV: Final = 4096


@dataclass(frozen=True, slots=True)
class ClockInfo:
    """TPMS_CLOCK_INFO (Part 2, 10.11.1): UINT64 milliseconds, UINT32 resets, UINT32 restarts, YES_NO safe."""

    clock: int
    reset_count: int
    restart_count: int
    safe: bool


@dataclass(frozen=True, slots=True)
class QuoteInfo:
    """TPMS_QUOTE_INFO: the selected PCRs and the digest over their values."""

    select: PcrSelection
    digest: bytes


@dataclass(frozen=True, slots=True)
class CertifyInfo:
    """TPMS_CERTIFY_INFO: Name and Qualified Name of an object that is loaded in the signing TPM."""

    name: bytes
    qualified_name: bytes


@dataclass(frozen=True, slots=True)
class CreationInfo:
    """TPMS_CREATION_INFO: Name of an object that this TPM made, and the digest of its creation data."""

    name: bytes
    creation_hash: bytes


@dataclass(frozen=True, slots=True)
class TimeInfo:
    """TPMS_TIME_ATTEST_INFO: milliseconds since the last Init, the clock, the firmware version."""

    time: int
    clock: ClockInfo
    firmware_version: int


@dataclass(frozen=True, slots=True)
class NvInfo:
    """TPMS_NV_CERTIFY_INFO: Name of an NV index, offset in bytes, contents from there."""

    index_name: bytes
    offset: int
    contents: bytes


@dataclass(frozen=True, slots=True)
class NvDigestInfo:
    """TPMS_NV_DIGEST_CERTIFY_INFO: Name of an NV index and the digest of all its contents."""

    index_name: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class SessionAuditInfo:
    """TPMS_SESSION_AUDIT_INFO: whether the audit session is exclusive, and its digest."""

    exclusive: bool
    digest: bytes


@dataclass(frozen=True, slots=True)
class CommandAuditInfo:
    """TPMS_COMMAND_AUDIT_INFO: counter, algorithm, audit digest, digest of the audited command codes."""

    counter: int
    digest_alg: Alg
    audit_digest: bytes
    command_digest: bytes


Attested = (
    QuoteInfo
    | CertifyInfo
    | CreationInfo
    | TimeInfo
    | NvInfo
    | NvDigestInfo
    | SessionAuditInfo
    | CommandAuditInfo
)


@dataclass(frozen=True, slots=True)
class Attest:
    """TPMS_ATTEST.

    Layout: UINT32 magic, UINT16 type, TPM2B qualifiedSigner, TPM2B extraData, clockInfo (17 bytes),
    UINT64 firmwareVersion, then what is attested. Decoding proves nothing: check the signature.
    """

    type: AttestType
    qualified_signer: bytes
    extra_data: bytes
    clock: ClockInfo
    firmware_version: int
    attested: Attested

    @classmethod
    def decode(cls, raw: bytes) -> Attest:
        """Read a TPMS_ATTEST, every byte.

        Raises ``StructureError``; with code ``magic`` if the structure was not made inside a TPM.
        """
        reader = Reader(raw, "TPMS_ATTEST")
        magic = reader.u32("magic")
        if magic != GENERATED:
            raise reader.fail(
                "magic", f"{magic:#010x} is not TPM_GENERATED {GENERATED:#x}", code="magic", back=4
            )
        kind = number(reader, AttestType, "type")
        signer = name(reader, "qualifiedSigner")
        extra = reader.sized("extraData", _MAX_EXTRA)
        clock = _clock(reader)
        firmware = reader.u64("firmwareVersion")
        attested = _ATTESTED[kind](reader)
        reader.end()
        return cls(kind, signer, extra, clock, firmware, attested)


def _clock(reader: Reader) -> ClockInfo:
    return ClockInfo(
        clock=reader.u64("clockInfo.clock"),
        reset_count=reader.u32("clockInfo.resetCount"),
        restart_count=reader.u32("clockInfo.restartCount"),
        safe=reader.yes_no("clockInfo.safe"),
    )


def _quote(reader: Reader) -> QuoteInfo:
    return QuoteInfo(PcrSelection.read(reader), digest(reader, "quote.pcrDigest", empty=False))


def _certify(reader: Reader) -> CertifyInfo:
    return CertifyInfo(name(reader, "certify.name"), name(reader, "certify.qualifiedName"))


def _creation(reader: Reader) -> CreationInfo:
    return CreationInfo(
        name(reader, "creation.objectName"), digest(reader, "creation.creationHash", empty=False)
    )


def _time(reader: Reader) -> TimeInfo:
    return TimeInfo(reader.u64("time.time"), _clock(reader), reader.u64("time.firmwareVersion"))


def _nv(reader: Reader) -> NvInfo:
    index = name(reader, "nv.indexName")
    return NvInfo(index, reader.u16("nv.offset"), reader.sized("nv.nvContents", _MAX_NV))


def _nv_digest(reader: Reader) -> NvDigestInfo:
    return NvDigestInfo(name(reader, "nvDigest.indexName"), digest(reader, "nvDigest.nvDigest", empty=False))


def _session_audit(reader: Reader) -> SessionAuditInfo:
    exclusive = reader.yes_no("sessionAudit.exclusiveSession")
    return SessionAuditInfo(exclusive, digest(reader, "sessionAudit.sessionDigest", empty=True))


def _command_audit(reader: Reader) -> CommandAuditInfo:
    return CommandAuditInfo(
        counter=reader.u64("commandAudit.auditCounter"),
        digest_alg=hash_algorithm(reader, "commandAudit.digestAlg"),
        audit_digest=digest(reader, "commandAudit.auditDigest", empty=True),
        command_digest=digest(reader, "commandAudit.commandDigest", empty=False),
    )


_ATTESTED: Final[dict[AttestType, Callable[[Reader], Attested]]] = {
    AttestType.QUOTE: _quote,
    AttestType.CERTIFY: _certify,
    AttestType.CREATION: _creation,
    AttestType.TIME: _time,
    AttestType.NV: _nv,
    AttestType.NV_DIGEST: _nv_digest,
    AttestType.SESSION_AUDIT: _session_audit,
    AttestType.COMMAND_AUDIT: _command_audit,
}
