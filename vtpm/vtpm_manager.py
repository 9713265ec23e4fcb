"""The vTPM manager (TCG Virtualized Platform Architecture): one labelled vTPM for each domain.

A vTPM is a swtpm process whose channels only this process holds. Before anybody else may use it, its label
record is in PCR 17, which the guest, at locality 0, can neither extend nor reset; its attestation key signs
only while that record is there; and the platform hierarchy has a password that nobody else knows.

What remains open: a guest may set a password for the endorsement hierarchy. Its vTPM then cannot be brought
up again after a reset (``ResponseError``, code ``auth``): it is without an attestation key rather than
without a label.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vtpm.binding import Binding
from vtpm.ek_certificate import EkIssuer, Validity
from vtpm.endorsement import Endorsement, endorsement
from vtpm.errors import ProcessError, VtpmUsageError
from vtpm.private import private_folder
from vtpm.record import LABEL_PCR, LabelRecord
from vtpm.swtpm import KEY_SIZE, State, StateKeys, Swtpm
from vtpm.templates import EK_ECC_P256, PcrPolicy
from vtpm.tpm import Tpm
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vtpm.channel import Channel
    from vtpm.key import Key

LABEL_INDEX: Final = 0x01400100
"""NV index with the label record, where the guest can read it."""

GUEST_PCRS: Final = range(16)
"""PCRs of what boots inside the domain."""

_EK_LIFETIME: Final = timedelta(days=3650)
_CLOCK_SKEW: Final = timedelta(minutes=5)
_LABEL: Final = PcrSelection.of(Alg.SHA256, [LABEL_PCR])


class VtpmManager:
    """Makes vTPMs in ``folder`` (mode 0700), one folder a vTPM, named by its vid.

    ``root_key`` (32 bytes) is where the keys that encrypt their states come from; without it they are lost.
    ``issuer`` signs their EK certificates.
    """

    def __init__(self, folder: Path, root_key: bytes, issuer: EkIssuer) -> None:
        if len(root_key) != KEY_SIZE:
            raise VtpmUsageError(f"the root key has {KEY_SIZE} bytes, not {len(root_key)}")
        private_folder(folder)
        self._folder = folder
        self._root_key = root_key
        self._issuer = issuer

    def create(self, record: LabelRecord) -> Vtpm:
        """Make a new vTPM under this record: labelled, certified, locked, and ready.

        Raises ``VtpmUsageError`` if the vid is in use, ``ProcessError`` or ``ResponseError`` if the vTPM
        fails; then nothing of it is left.
        """
        state = self._folder / record.vid
        try:
            state.mkdir(mode=0o700)
        except FileExistsError:
            raise VtpmUsageError(f"vTPM {record.vid} is there already", code="state-exists") from None
        try:
            return Vtpm(self._start(record, State.NEW), record, self._certify_ek)
        except BaseException:
            shutil.rmtree(state, ignore_errors=True)
            raise

    def open(self, record: LabelRecord) -> Vtpm:
        """Start a vTPM that was closed; ``ProcessError``, ``lost-state``, if its state is not there."""
        return Vtpm(self._start(record, State.EXISTING), record, None)

    def _start(self, record: LabelRecord, state: State) -> Swtpm:
        keys = StateKeys(
            file=self._key_for(record.vid, b"file"), migration=self._key_for(record.vid, b"migration")
        )
        return Swtpm.start(self._folder / record.vid, state=state, keys=keys)

    def _key_for(self, vid: str, use: bytes) -> bytes:
        info = b"shype vtpm state 1 " + use + b" " + vid.encode()
        return HKDF(hashes.SHA256(), KEY_SIZE, salt=None, info=info).derive(self._root_key)

    def _certify_ek(self, ek: Key, vid: str) -> bytes:
        now = datetime.now(UTC).replace(microsecond=0)
        validity = Validity(now - _CLOCK_SKEW, now + _EK_LIFETIME)
        return self._issuer.issue(ek.public, vid, serial=x509.random_serial_number(), validity=validity)


class Vtpm:
    """A running vTPM. Close it, destroy it, or use it in a ``with`` block.

    ``ek`` is its endorsement key (P-256) with ``ek_certificate`` (DER), ``ak`` its attestation key.
    """

    def __init__(
        self, swtpm: Swtpm, record: LabelRecord, certify_ek: Callable[[Key, str], bytes] | None
    ) -> None:
        """Bring up a swtpm that has just started, new if ``certify_ek`` is given; shut it down on failure."""
        self._swtpm = swtpm
        self.record = record
        try:
            self._tpm = Tpm(swtpm.channel)
            try:
                with swtpm.channel.lock:
                    self._bring_up(certify_ek)
            except BaseException:
                self._tpm.close()
                raise
        except BaseException:
            swtpm.shutdown()
            raise

    @property
    def channel(self) -> Channel:
        """Return the data channel for the guest's device: locality 0, platform locked."""
        return self._swtpm.channel

    @property
    def pid(self) -> int:
        """Return the process id of the swtpm."""
        return self._swtpm.pid

    def quote(self, qualifying: bytes, selection: PcrSelection) -> tuple[bytes, bytes]:
        """Return (TPMS_ATTEST, TPMT_SIGNATURE) by the attestation key.

        Raises ``PolicyError`` if PCR 17 is not under the record that the key was made for.
        """
        return self._tpm.quote(self.ak, qualifying, selection)

    def pcr_extend(self, pcr: int, digests: Mapping[Alg, bytes]) -> None:
        """Extend one of the guest's PCRs, 0 to 15, on its behalf."""
        if pcr not in GUEST_PCRS:
            raise VtpmUsageError(f"PCR {pcr} is not one of the guest's, 0..15")
        self._tpm.pcr_extend(pcr, digests)

    def pcr_read(self, selection: PcrSelection) -> tuple[bytes, ...]:
        """Return PCR values in the order of ``selection.pairs()``."""
        return self._tpm.pcr_read(selection)

    def activate_credential(self, id_object: bytes, encrypted_secret: bytes) -> bytes:
        """Open a secret that a registrar made for this vTPM's EK and attestation key."""
        return self._tpm.activate_credential(self.ak, self.ek, id_object, encrypted_secret)

    def binding(self, ak_name: bytes, reset_count: int) -> Binding:
        """Return the binding of this vTPM to the host that has this attestation key and resetCount."""
        return Binding(
            vid=self.record.vid,
            generation=self.record.generation,
            record_digest=self.record.digest().hex(),
            vak_name=self.ak.name.hex(),
            vek_name=self.ek.name.hex(),
            ak_name=ak_name.hex(),
            reset_count=reset_count,
        )

    def relabel(self, record: LabelRecord) -> None:
        """Put another record into PCR 17 and NV; the attestation key then refuses to sign.

        Raises ``VtpmUsageError`` unless it is for the same vTPM and domain, with a higher generation.
        """
        same = (record.vid, record.domain) == (self.record.vid, self.record.domain)
        if not same or record.generation <= self.record.generation:
            raise VtpmUsageError(
                "relabel: give a record of the same vTPM and domain with a higher generation"
            )
        with self.channel.lock:
            self._measure(record)
            self.record = record
            self._tpm.nv.publish(LABEL_INDEX, record.encode())

    def rekey(self) -> None:
        """Make an attestation key for what PCR 17 holds now; it is worth nothing until it is bound anew."""
        values = self._tpm.pcr_read(_LABEL)
        self.ak = self._tpm.create_ak(PcrPolicy(_LABEL, values))

    def reset(self) -> None:
        """Switch the vTPM off and on, as the guest's restart does: labelled and locked before its traffic."""
        with self.channel.lock:
            self._swtpm.initialise()
            self._bring_up(None)

    def close(self) -> None:
        """Shut the vTPM down; its state stays. Harmless when repeated."""
        self._tpm.close()
        self._swtpm.shutdown()

    def destroy(self) -> None:
        """Shut the vTPM down and delete its state."""
        self.close()
        shutil.rmtree(self._swtpm.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _bring_up(self, certify_ek: Callable[[Key, str], bytes] | None) -> None:
        self._tpm.startup()
        self._measure(self.record)
        if certify_ek is not None:
            ek = self._tpm.create_ek(EK_ECC_P256.public)
            self._endorsement = Endorsement(ek, certify_ek(ek, self.record.vid))
            self._tpm.nv.publish(EK_ECC_P256.certificate_index, self._endorsement.certificate)
            self._tpm.nv.publish(LABEL_INDEX, self.record.encode())
        else:
            self._endorsement = endorsement(self._tpm, (EK_ECC_P256,))
            if self._tpm.nv.read(LABEL_INDEX) != self.record.encode():
                self._tpm.nv.publish(LABEL_INDEX, self.record.encode())
        self.ak = self._tpm.create_ak(PcrPolicy(_LABEL, (self.record.pcr17(),)))
        self._tpm.lock_platform()

    @property
    def ek(self) -> Key:
        """Return the endorsement key."""
        return self._endorsement.key

    @property
    def ek_certificate(self) -> bytes:
        """Return the certificate of the endorsement key (DER)."""
        return self._endorsement.certificate

    def _measure(self, record: LabelRecord) -> None:
        self._swtpm.hash_sequence(record.encode())
        if self._tpm.pcr_read(_LABEL) != (record.pcr17(),):
            raise ProcessError("PCR 17 of the vTPM does not hold its label record", code="protocol")
