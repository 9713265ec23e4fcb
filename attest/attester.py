"""The attester: has every vTPM and then the host TPM quote one nonce, and assembles the evidence.

Pure assembly over ports; what opens a TPM stands elsewhere. One host signature covers any number of vTPMs
(facts/vtpm.md 2.3, steps 9-11), with H = SHA-256:

1. every vTPM quotes with qualifyingData H("V" ‖ nonce ‖ H(binding));
2. r = RFC 6962 root over the leaves H(binding) ‖ H(attest) ‖ H(signature), in the order of the domains;
3. the host TPM quotes once with qualifyingData H("H" ‖ nonce ‖ r), or where the evidence answers over a
   channel, H("C" ‖ nonce ‖ b ‖ r): b, 32 bytes, names the channel. The first byte tells the two apart, and r
   and b have one length, so that neither can pass for the other.

Over TLS b is the SHA-256 of the server's SubjectPublicKeyInfo: a binding to the end point in the manner of
RFC 5929, section 4, over its key instead of its certificate. Whoever terminates TLS before the host has
another key.

With a measurement list of dom0 the host's quote covers PCR 10 too. The kernel writes to its list whenever
it likes, first the list and then the PCR; so the list is read after the quote, and then holds all that was
quoted. What has come since is behind the entry that gives the quoted value: the verifier does not use it.

Nothing here is trusted by the verifier. The caller keeps other writers from the event log meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from acm import merkle
from attest.errors import AttestInputError, AttestUsageError
from attest.evidence import MAX_IMA, DomainEvidence, Evidence, FirmwareLog, HostEvidence, PcrValue
from vtpm.tpm2.attestation import Attest, QuoteInfo
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection, digest_of

NONCE_BYTES: Final = range(16, 65)
CHANNEL_BYTES: Final = 32
"""Bytes of what names a channel."""
HOST_PCRS: Final = frozenset({*range(10), 12, 13})
"""Firmware, loader and boot files (0-9), hypervisor report and policies (12), domains (13)."""
IMA_PCR: Final = 10
"""The measurement list of dom0; quoted where there is one (Linux, CONFIG_IMA_MEASURE_PCR_IDX)."""
VTPM_PCRS: Final = frozenset({*range(8), 10, 17})
"""What booted in the guest, its IMA list, and the label record (17)."""
ATTEMPTS: Final = 3
"""A guest may extend a PCR between its reading and its quote; after so many tries it does so on purpose."""


class QuotingTpm(Protocol):
    """A TPM with one attestation key."""

    def quote(self, qualifying: bytes, selection: PcrSelection) -> tuple[bytes, bytes]:
        """Return TPMS_ATTEST and TPMT_SIGNATURE of a TPM2_Quote with the attestation key."""
        ...

    def pcr_read(self, selection: PcrSelection) -> Sequence[bytes]:
        """Return the values of the selected PCRs, in the order of ``selection.pairs()``."""
        ...

    def ak_public(self) -> bytes:
        """Return the attestation key's TPMT_PUBLIC."""
        ...


class Vtpm(QuotingTpm, Protocol):
    """The vTPM of a running domain with what the host knows about it (all bytes as they were measured)."""

    @property
    def vid(self) -> str:
        """The vTPM's identity."""
        ...

    @property
    def launch(self) -> bytes:
        """The opened launch event (DomainLaunch)."""
        ...

    @property
    def record(self) -> bytes:
        """The label record in PCR 17."""
        ...

    @property
    def binding(self) -> bytes:
        """The binding of record, keys and host."""
        ...


@dataclass(frozen=True, slots=True)
class Logs:
    """The event logs of the host; ``firmware`` is None where the boot leaves none (Xen by multiboot2).

    ``ima`` reads dom0's binary measurement list as it is at that moment
    (``/sys/kernel/security/ima/binary_runtime_measurements``); it is called after the quote. None where there
    is none. ``found`` are the opened DomainFound events, for the operator.
    """

    runtime: bytes
    firmware: FirmwareLog | None = None
    ima: Callable[[], bytes] | None = None
    found: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class _Quoted:
    quote: bytes
    signature: bytes
    pcrs: tuple[PcrValue, ...]


def vtpm_qualifying(nonce: bytes, binding: bytes) -> bytes:
    """Return what a vTPM signs beside its PCRs: H("V" ‖ nonce ‖ H(binding)), 32 bytes."""
    return _sha256(b"V" + nonce + _sha256(binding))


def host_qualifying(nonce: bytes, root: bytes, channel: bytes | None = None) -> bytes:
    """Return what the host TPM signs beside its PCRs, 32 bytes.

    Without a channel H("H" ‖ nonce ‖ r), over one of 32 bytes H("C" ‖ nonce ‖ channel ‖ r).
    """
    return _sha256(b"H" + nonce + root if channel is None else b"C" + nonce + channel + root)


def leaf(binding: bytes, quote: bytes, signature: bytes) -> bytes:
    """Return the leaf data of one vTPM: H(binding) ‖ H(attest) ‖ H(signature), 96 bytes."""
    return _sha256(binding) + _sha256(quote) + _sha256(signature)


def attest(
    nonce: bytes,
    name: str,
    host: QuotingTpm,
    vtpms: Sequence[Vtpm],
    logs: Logs,
    *,
    channel: bytes | None = None,
) -> Evidence:
    """Return the evidence of the host called ``name`` and of ``vtpms`` for a ``nonce`` of 16 to 64 bytes.

    A tenant's evidence is made of its own vTPMs, and without ``logs.found``: of its neighbours it has the
    salted commitments in the runtime log alone, since their vTPMs are not asked.

    ``channel``, 32 bytes, names the channel over which it goes; None for evidence in a file. Raises
    AttestUsageError for a nonce or channel of another length, AttestInputError when PCRs do not stand still
    or the measurement list is too long to be shown.
    """
    if len(nonce) not in NONCE_BYTES:
        raise AttestUsageError(f"a nonce has 16 to 64 bytes, not {len(nonce)}", code="nonce-length")
    if channel is not None and len(channel) != CHANNEL_BYTES:
        raise AttestUsageError(
            f"a channel is named by {CHANNEL_BYTES} bytes, not {len(channel)}", code="channel-length"
        )
    quoted = [_quote(vtpm, vtpm_qualifying(nonce, vtpm.binding), VTPM_PCRS) for vtpm in vtpms]
    tree = merkle.Tree(
        leaf(vtpm.binding, q.quote, q.signature) for vtpm, q in zip(vtpms, quoted, strict=True)
    )
    pcrs = HOST_PCRS if logs.ima is None else HOST_PCRS | {IMA_PCR}
    signed = _quote(host, host_qualifying(nonce, tree.root, channel), pcrs)
    return Evidence(
        host=HostEvidence(
            name=name,
            ak=host.ak_public(),
            quote=signed.quote,
            signature=signed.signature,
            pcrs=signed.pcrs,
            firmware_log=logs.firmware,
            runtime_log=logs.runtime,
            ima_log=None if logs.ima is None else _bounded(logs.ima()),
            found=logs.found,
        ),
        domains=tuple(
            _domain(vtpm, q, i, tree.path(i)) for i, (vtpm, q) in enumerate(zip(vtpms, quoted, strict=True))
        ),
        tree_size=tree.size,
    )


def _bounded(ima: bytes) -> bytes:
    if len(ima) > MAX_IMA:
        what = f"the measurement list has {len(ima)} bytes, evidence holds {MAX_IMA}: reboot, or measure less"
        raise AttestInputError(what, code="ima-log-size")
    return ima


def _domain(vtpm: Vtpm, quoted: _Quoted, index: int, proof: tuple[bytes, ...]) -> DomainEvidence:
    return DomainEvidence(
        vid=vtpm.vid,
        launch=vtpm.launch,
        record=vtpm.record,
        binding=vtpm.binding,
        vak=vtpm.ak_public(),
        quote=quoted.quote,
        signature=quoted.signature,
        pcrs=quoted.pcrs,
        index=index,
        proof=proof,
    )


def _quote(tpm: QuotingTpm, qualifying: bytes, numbers: frozenset[int]) -> _Quoted:
    selection = PcrSelection.of(Alg.SHA256, numbers)
    for _ in range(ATTEMPTS):
        quote, signature = tpm.quote(qualifying, selection)
        values = tuple(tpm.pcr_read(selection))
        attested = Attest.decode(quote).attested
        if isinstance(attested, QuoteInfo) and attested.digest == digest_of(Alg.SHA256, values):
            pairs = zip(selection.pairs(), values, strict=True)
            return _Quoted(
                quote, signature, tuple(PcrValue("sha256", pcr, value) for (_, pcr), value in pairs)
            )
    raise AttestInputError(f"PCRs changed during {ATTEMPTS} quotes in a row", code="pcrs-moving")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
