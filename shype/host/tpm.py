"""The host TPM: a swtpm of ours with a relay for tpm2-tools, or the machine's own behind a device."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from shype.host import maker
from vtpm.channel import CommandChannel
from vtpm.endorsement import Endorsement, endorsement
from vtpm.key import Key
from vtpm.relay import Relay
from vtpm.swtpm import State, Swtpm
from vtpm.tpm import Tpm
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

TPM_FOLDER: Final = "tpm"
SOCKET: Final = "tpm.sock"
BANKS: Final = ("sha256",)


@dataclass(frozen=True, slots=True)
class QuotingKey:
    """A TPM and one of its keys, in the shape that ``attest.attester`` asks for."""

    tpm: Tpm
    key: Key

    def quote(self, qualifying: bytes, selection: PcrSelection) -> tuple[bytes, bytes]:
        """Return (TPMS_ATTEST, TPMT_SIGNATURE)."""
        return self.tpm.quote(self.key, qualifying, selection)

    def pcr_read(self, selection: PcrSelection) -> Sequence[bytes]:
        """Return the values in the order of ``selection.pairs()``."""
        return self.tpm.pcr_read(selection)

    def ak_public(self) -> bytes:
        """Return the key's TPMT_PUBLIC."""
        return self.key.public.encode()


def make_tpm(folder: Path, name: str) -> dict[str, bytes]:
    """Manufacture the TPM of a new host in ``folder``; return its authority's certificates by file name."""
    return maker.make(folder / TPM_FOLDER, name)


class UsedTpm:
    """What a host does with its TPM, however that is reached; ``ak`` is its attestation key."""

    tpm: Tpm
    ak: Key

    def endorsement(self) -> Endorsement:
        """Return the endorsement key with its certificate."""
        return endorsement(self.tpm)

    def quoting(self) -> QuotingKey:
        """Return the TPM with its attestation key."""
        return QuotingKey(self.tpm, self.ak)

    def extend(self, pcr: int, digests: Mapping[Alg, bytes]) -> None:
        """Extend a PCR."""
        self.tpm.pcr_extend(pcr, digests)

    def read(self, pcr: int) -> bytes:
        """Return one PCR of the SHA-256 bank."""
        (value,) = self.tpm.pcr_read(PcrSelection.of(Alg.SHA256, [pcr]))
        return value


class DeviceTpm(UsedTpm):
    """The machine's TPM, powered on and locked by firmware; the channel is closed by whoever opened it."""

    def __init__(self, channel: CommandChannel, owner: bytes = b"") -> None:
        """Take the channel, and the authorisation of the TPM's owner."""
        self.tpm = Tpm(channel)
        try:
            self.tpm.nv.authorise_owner(owner)
            self.ak = self.tpm.create_ak()
        except BaseException:
            self.tpm.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.tpm.close()


class HostTpm(UsedTpm):
    """A running swtpm. Platform authority is locked once the boot is measured, as firmware does."""

    def __init__(self, folder: Path) -> None:
        """Power the TPM on. Raises ProcessError where its state is lost or swtpm does not start."""
        self._ends = contextlib.ExitStack()
        try:
            swtpm = self._ends.enter_context(
                Swtpm.start(folder / TPM_FOLDER / "state", state=State.EXISTING, keys=None)
            )
            self.tpm = self._ends.enter_context(Tpm(swtpm.channel))
            self.tpm.startup()
            self.ak = self.tpm.create_ak()
            self.socket = folder / SOCKET
            self._ends.enter_context(Relay(swtpm.channel, self.socket))
        except BaseException:
            self._ends.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()
