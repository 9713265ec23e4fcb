"""The clients of a host agent, and what each may see: the whole host, or one tenant's part of its evidence.

Whose part a question is for is told by the client's signature in the question itself (``EvidenceRequest``),
over the agent's TLS key and the nonce. So the gate finds out for itself, from keys that it was started with:
the front, which knows a client from TLS, has no say in it, and can ask nothing that no client has signed.
Where everybody listed may see the whole host, there is nothing to tell, and no signature is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import ec

from attest.agent_documents import EvidenceRequest
from shype import tls_key
from shype.agent.allow import MAX_CLIENTS, AllowList
from shype.errors import ShypeInputError, ShypeUsageError

WHOLE: Final = None
"""No tenant: the host and all its domains."""


class NotSignedError(ShypeInputError):
    """A question that no client on a list has signed for this agent."""

    code = "not-signed"


@dataclass(frozen=True, slots=True)
class Clients:
    """Who may ask at all, and by key which tenant each client is of (``WHOLE`` for none)."""

    listed: AllowList
    views: tuple[tuple[ec.EllipticCurvePublicKey, str | None], ...]

    @classmethod
    def of(cls, allowed: AllowList | None, tenants: Mapping[str, AllowList]) -> Self:
        """Join the lists of those who see the whole host and of those of each tenant.

        Raises ShypeUsageError for a name or key on two lists: it would say two things about one client.
        """
        lists = [*([] if allowed is None else [(WHOLE, allowed)]), *tenants.items()]
        if not lists:
            raise ShypeUsageError("--allow, --tenant: who may ask? Give one of them at least")
        names: set[str] = set()
        views: list[tuple[ec.EllipticCurvePublicKey, str | None]] = []
        for tenant, each in lists:
            for name, key in each.keys.items():
                if name in names or any(key == known for known, _ in views):
                    what = f"client {name} is on two lists, by its name or its key: list it once"
                    raise ShypeUsageError(f"--allow, --tenant: {what}")
                names.add(name)
                views.append((key, tenant))
        if len(views) > MAX_CLIENTS:
            raise ShypeUsageError(f"--allow, --tenant: {len(views)} clients; at most {MAX_CLIENTS} in all")
        joined = AllowList.joined(each for _, each in lists)
        return cls(joined, tuple(views))

    def tenant_of(self, request: EvidenceRequest, channel: bytes) -> str | None:
        """Return whose part a question is for, asked over the agent's ``channel``; raises NotSignedError."""
        if all(tenant is WHOLE for _, tenant in self.views):
            return WHOLE
        signed = request.to_sign(channel)
        for key, tenant in self.views:
            if request.signature is not None and tls_key.is_signed_by(key, signed, request.signature):
                return tenant
        raise NotSignedError("a question for evidence that no client on a list has signed for this agent")
