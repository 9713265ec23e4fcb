"""Who asks a host agent: a key of one's own, which TLS shows, and which signs each question for evidence."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from attest.agent_documents import EvidenceRequest
from shype import tls_key
from shype.errors import ShypeUsageError
from shype.files import check_unshared, read

MAX_FILE: Final = 64 * 1024
_ADVICE: Final = "make it by 'shype enroll client-key'"


@dataclass(frozen=True, slots=True)
class Client:
    """TLS 1.3 with the client's key, and the key itself."""

    context: ssl.SSLContext
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read private key and certificate, both PEM; raises ShypeUsageError for a file that is none.

        No certificate of theirs is judged: the host's quote judges its key.
        """
        check_unshared(path, "this private key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(path, password=lambda: b"")
            key = load_pem_private_key(read(path, MAX_FILE), None)
        except (ssl.SSLError, ValueError, TypeError, UnsupportedAlgorithm):
            raise ShypeUsageError(
                f"{path}: not a private key with its certificate in PEM; {_ADVICE}"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ShypeUsageError(f"{path}: no agent takes a key that is not on P-256 or P-384; {_ADVICE}")
        return cls(context, key)

    def question(self, nonce: bytes, channel: bytes) -> bytes:
        """Return a signed question for evidence over a channel named by 32 bytes."""
        asked = EvidenceRequest(nonce)
        return EvidenceRequest(nonce, tls_key.sign(self.key, asked.to_sign(channel))).encode()
