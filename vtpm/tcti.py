"""Where tpm2-pytss meets our data channel, and where its errors become ours."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

# The C library prints every error code to standard error; ours are raised, with what was asked.
os.environ.setdefault("TSS2_LOG", "all+none")

from tpm2_pytss.TCTI import PyTCTI
from tpm2_pytss.TSS2_Exception import TSS2_Exception

from vtpm.channel import BUFFER, CommandChannel
from vtpm.errors import PolicyError, ProcessError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLICY_CODES: Final = frozenset({0x09D, 0x128})
"""TPM_RC_POLICY_FAIL; TPM_RC_PCR_CHANGED: a PCR was extended after PolicyPCR (Part 2, 6.6.3)."""

_CODES: Final = {
    0x08B: "absent",  # HANDLE
    0x18B: "absent",  # HANDLE, as ESAPI reports it for an index it looks up
    0x085: "locked",  # HIERARCHY
    0x08E: "auth",  # AUTH_FAIL
    0x0A2: "auth",  # BAD_AUTH
    0x09F: "integrity",  # INTEGRITY
    0x124: "auth",  # AUTH_TYPE
    0x12F: "auth",  # AUTH_UNAVAILABLE
    0x148: "locked",  # NV_LOCKED
    0x149: "locked",  # NV_AUTHORIZATION
    0x14C: "defined",  # NV_DEFINED
    0x902: "memory",  # OBJECT_MEMORY
    0x903: "memory",  # SESSION_MEMORY
    0x907: "locality",  # LOCALITY
    0x921: "lockout",  # LOCKOUT
}


class ChannelTcti(PyTCTI):  # type: ignore[misc]  # tpm2-pytss has no types
    """ESAPI's transport over a channel; ``failure`` keeps what the C library between would swallow."""

    def __init__(self, channel: CommandChannel) -> None:
        super().__init__(max_size=BUFFER)
        self._channel = channel
        self._response = b""
        self.failure: ProcessError | None = None

    def do_transmit(self, command: bytes) -> None:
        """Exchange at once: the answer waits for ``do_receive``."""
        try:
            self._response = self._channel.exchange(bytes(command))
        except ProcessError as error:
            self.failure = error
            raise

    def do_receive(self, timeout: int) -> bytes:
        """Hand over the answer; ``timeout`` is the channel's own."""
        del timeout
        response, self._response = self._response, b""
        return response


@contextmanager
def answers(tcti: ChannelTcti, what: str) -> Iterator[None]:
    """Turn an error of ESAPI into ``PolicyError``, ``ResponseError``, or the channel's ``ProcessError``."""
    try:
        yield
    except TSS2_Exception as error:
        if tcti.failure is not None:
            raise tcti.failure from None
        response = int(error.rc)
        reason = f"{what}: the TPM answers {response:#x}: {error}"
        if int(error.error) in _POLICY_CODES:
            raise PolicyError(
                f"{reason}; its PCRs have other values now", code="policy", response=response
            ) from None
        code = _CODES.get(int(error.error), "response")
        raise ResponseError(reason, code=code, response=response) from None
