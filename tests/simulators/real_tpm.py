"""A swtpm in the place of the simulated host TPM: the registers and signatures are a real TPM's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vtpm.key import Key
from vtpm.swtpm import State, Swtpm
from vtpm.tpm import Tpm
from vtpm.tpm2.attestation import Attest
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.public import Public


class RealTpm:
    """What ``tests.simulators.host.Host`` asks of its TPM, by a running swtpm."""

    def __init__(self, tpm: Tpm, ak: Key) -> None:
        self._tpm, self._ak = tpm, ak
        self.public: Public = ak.public
        message, _ = self.quote(b"", PcrSelection.of(Alg.SHA256, [0]))
        self.reset_count = Attest.decode(message).clock.reset_count

    @property
    def pcrs(self) -> list[bytes]:
        """The values of PCR 0-23."""
        return [*self.pcr_read(PcrSelection.of(Alg.SHA256, range(24)))]

    def ak_public(self) -> bytes:
        return self._ak.public.encode()

    def extend(self, pcr: int, digest: bytes) -> None:
        self._tpm.pcr_extend(pcr, {Alg.SHA256: digest})

    def pcr_read(self, selection: PcrSelection) -> Sequence[bytes]:
        return self._tpm.pcr_read(selection)

    def quote(self, qualifying: bytes, selection: PcrSelection) -> tuple[bytes, bytes]:
        return self._tpm.quote(self._ak, qualifying, selection)


@contextmanager
def powered_on(folder: Path) -> Iterator[RealTpm]:
    """Power on a swtpm whose state is in ``folder``, new or as the last power-off left it."""
    state = State.EXISTING if folder.exists() else State.NEW
    folder.mkdir(mode=0o700, exist_ok=True)
    with Swtpm.start(folder, state=state, keys=None) as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        yield RealTpm(tpm, tpm.create_ak())
