"""The gate: the half of an agent that reaches the host, and lets three questions through to it.

It takes what the front (``shype.agent.front``) has read from the network as no more than a guess, and decides
for itself: only endorsement, activation and evidence; one at a time; at most so many a second; evidence bound
to the one TLS key that the front named when it began, and of the tenant alone whose client has signed the
question (``shype.agent.clients``). What the host says in its errors stays here.
"""

from __future__ import annotations

import base64
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from attest.agent_documents import (
    MAX_DETAIL,
    AgentRefusal,
    CredentialAnswer,
    CredentialRequest,
    DocumentError,
    EndorsementOffer,
    EvidenceRequest,
)
from attest.attester import CHANNEL_BYTES
from attest.errors import one_line
from attest.evidence import MAX_BYTES
from shype.agent.clients import Clients, NotSignedError
from shype.agent.frames import Action, Outcome, frame, receive
from shype.errors import (
    AgentEndedError,
    HostReplyError,
    HostUnreachableError,
    NoDomainError,
    ShypeInputError,
    ShypeUsageError,
)
from shype.host.socket import call
from shype.report import Json

BURST: Final = 16
PER_SECOND: Final = 4.0
"""TPM work: a hardware TPM signs a few times a second, and its host needs it too."""
HOST_SECONDS: Final = 30.0
"""A host that carries out a long command answers nobody meanwhile."""
_BUSY: Final = AgentRefusal("busy", "the host's TPM has been asked too often; try again in a few seconds")
_AWAY: Final = AgentRefusal("host-away", "the host does not answer its agent")
_REFUSED: Final = AgentRefusal("host-refused", "the host could not do this; its operator finds out why")
_TOLD: Final = {
    each.code: each
    for each in (
        AgentRefusal("pcrs-moving", "the host's registers changed while they were quoted; ask again"),
        AgentRefusal(NoDomainError.code, "no domain of yours runs on this host"),
        AgentRefusal(
            NotSignedError.code, "your key has not signed this for this agent: does somebody stand between?"
        ),
    )
}
"""What a client learns of why the host, or the gate, did not do it; of all else nothing."""


@dataclass(slots=True)
class Allowance:
    """A token bucket: ``BURST`` at once, then ``PER_SECOND``. ``clock`` gives seconds that never go back."""

    clock: Callable[[], float] = time.monotonic
    _left: float = field(default=BURST, init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._at = self.clock()

    def take(self) -> bool:
        """Tell whether one more is allowed, and count it if so."""
        now = self.clock()
        self._left = min(BURST, self._left + (now - self._at) * PER_SECOND)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(frozen=True, slots=True)
class Gate:
    """Answers questions of ``clients`` about the host in ``folder``, bound to the TLS key ``channel``."""

    folder: Path
    channel: bytes
    clients: Clients
    allowance: Allowance = field(default_factory=Allowance)

    def answer(self, action: Action, body: bytes) -> bytes:
        """Return the frame that answers a question; never raises for what the host or the front say."""
        try:
            question = _question(action, body)
        except DocumentError as error:
            return _refused(AgentRefusal(error.code, one_line(str(error))[:MAX_DETAIL]))
        if question is None:
            return _refused(AgentRefusal("message-malformed", "nothing that an agent answers"))
        if not self.allowance.take():
            return _refused(_BUSY)
        try:
            return frame(Outcome.DONE, question(self))
        except (HostUnreachableError, HostReplyError) as error:
            return _refused(_AWAY, error)
        except (ShypeInputError, ShypeUsageError) as error:
            return _refused(_TOLD.get(error.code, _REFUSED), error)

    def endorsement(self) -> bytes:
        """Return the host's offer."""
        found = self._ask("endorsement", {})
        files = found["files"]
        if not isinstance(files, Mapping):
            raise HostReplyError("the host's endorsement has no files")
        ek, certificate, ak = (_data(files[name]) for name in ("ek.pub", "ek.crt", "ak.pub"))
        return EndorsementOffer(str(found["host"]), ek, certificate, ak).encode()

    def activate(self, request: CredentialRequest) -> bytes:
        """Return the secret that the host's TPM opens."""
        parts: dict[str, Json] = {
            "id_object": base64.b64encode(request.id_object).decode(),
            "encrypted_secret": base64.b64encode(request.encrypted_secret).decode(),
        }
        return CredentialAnswer(_data(self._ask("activate", parts)["secret"])).encode()

    def evidence(self, request: EvidenceRequest) -> bytes:
        """Return evidence for a nonce, bound to this agent's TLS key: what the client may see of it."""
        named: dict[str, Json] = {
            "tenant": self.clients.tenant_of(request, self.channel),
            "nonce": base64.b64encode(request.nonce).decode(),
            "channel": base64.b64encode(self.channel).decode(),
        }
        evidence = _data(self._ask("attest", named)["evidence"])
        if len(evidence) > MAX_BYTES:
            raise HostReplyError(f"the host's evidence has {len(evidence)} bytes")
        return evidence

    def _ask(self, verb: str, arguments: Mapping[str, Json]) -> Mapping[str, Json]:
        document = call(self.folder, verb, arguments, HOST_SECONDS).document
        if not isinstance(document, Mapping):
            raise HostReplyError(f"the host answers {verb!r} with no document")
        return document


def _question(action: Action, body: bytes) -> Callable[[Gate], bytes] | None:
    """Return what a question asks of the gate; None for what the front may not ask. Raises DocumentError."""
    match action:
        case Action.ENDORSEMENT:
            return Gate.endorsement
        case Action.ACTIVATE:
            credential = CredentialRequest.decode(body)
            return lambda gate: gate.activate(credential)
        case Action.EVIDENCE:
            nonce = EvidenceRequest.decode(body)
            return lambda gate: gate.evidence(nonce)
        case _:
            return None


def keep(link: socket.socket, folder: Path, clients: Clients, ready: Callable[[bytes], None]) -> None:
    """Answer the front at the other end of ``link`` until it ends.

    ``ready`` is told the digest of the TLS key that the front begins with; it is the only one that evidence
    is ever bound to. Raises AgentEndedError where the front ends without a beginning.
    """
    begun = receive(link)
    if begun is None or begun[0] is not Action.HELLO or len(begun[1]) != CHANNEL_BYTES:
        raise AgentEndedError("the agent's network half did not start")
    gate = Gate(folder, begun[1], clients)
    ready(gate.channel)
    while (asked := receive(link)) is not None:
        link.sendall(gate.answer(*asked))


def _refused(refusal: AgentRefusal, error: Exception | None = None) -> bytes:
    """Say why not; what the host said itself goes to the operator's log alone."""
    if error is not None:
        print(f"gate: {refusal.code}: {one_line(str(error))}", file=sys.stderr, flush=True)
    return frame(Outcome.REFUSED, refusal.encode())


def _data(value: Json) -> bytes:
    try:
        return base64.b64decode(str(value), validate=True)
    except ValueError:
        raise HostReplyError("the host answers with what is not base64") from None
