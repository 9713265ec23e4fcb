"""The agent's TLS: a key that lives in one process and as long as it, TLS 1.3, clients from the list only.

A client without a certificate, or with one that is not on the list, is refused by the handshake: before that
ends nothing is read from it, and no TPM is asked. Sessions are not resumed: each connection shows its
certificate.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from shype import tls_key
from shype.agent.allow import AllowList

ALPN: Final = "http/1.1"


@dataclass(frozen=True, slots=True)
class Identity:
    """What the agent serves with; ``spki_digest`` is what evidence is bound to."""

    context: ssl.SSLContext
    spki_digest: bytes


def make(allowed: AllowList) -> Identity:
    """Make a key and its certificate; neither ever lies in a file that has a name."""
    key = tls_key.make("shype host agent", tls_key.SERVER, datetime.now(UTC), tls_key.MAX_DAYS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=allowed.pem)
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols([ALPN])
    _load(context, key.secret)
    return Identity(context, key.spki_digest)


def _load(context: ssl.SSLContext, secret: bytes) -> None:
    """Load a key that Python's ssl only takes from a path: that of memory which nobody else sees."""
    memory = os.memfd_create("tls-key", os.MFD_CLOEXEC)
    try:
        os.write(memory, secret)
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
