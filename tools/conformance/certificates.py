"""Judges of certificates: the clock stands at the day after each was issued."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Final

from attest.certificate import EndorsementError, decode_certificate, decode_certificates
from attest.endorsement import Anchors, verify_endorsement
from tools.conformance.vector import VECTORS, OutOfScopeError, Vector, expect, refused

_DAY: Final = timedelta(days=1)
_STORE: Final = VECTORS / "keylime__keylime" / "tpm_cert_store"


def authority(vector: Vector) -> None:
    """Judge a file of CA certificates: all are read."""
    found = decode_certificates(vector.read())
    count = vector.expect.get("certificates", len(found))
    expect(len(found) == count > 0, f"{len(found)} certificates, not {count}")


def endorsement(vector: Vector) -> None:
    """Judge an EK certificate: it is read, and leads to the stated root where one is given.

    Of strength C its origin says no more than that it is read; those here are signed over SHA-1.
    """
    anchors = [] if vector.strength == "C" else _anchors(vector)
    leaf = decode_certificate(vector.read())
    serial = vector.expect.get("serial")
    expect(serial is None or str(leaf.raw.serial_number) == serial, "another serial number")
    if anchors:
        now = leaf.raw.not_valid_before_utc.astimezone(UTC) + _DAY
        verify_endorsement(leaf.der, Anchors.decode(anchors), now=now)


def _anchors(vector: Vector) -> list[bytes]:
    chain = vector.expect.get("chain")
    if isinstance(chain, dict):
        return [vector.of_origin(chain[each]) for each in ("root", "intermediate")]
    if "issuer_file" in vector.expect:
        return [path.read_bytes() for path in sorted(_STORE.glob("*.pem"))]
    if chain is not None:
        paths = [path for path in sorted(vector.path.parent.glob("*")) if path.is_file()]
        files = [path.read_bytes() for path in paths if path != vector.path]
        return [raw for raw in files if _is_read(raw)]
    return []


def _is_read(raw: bytes) -> bool:
    return not refused(lambda: decode_certificates(raw), EndorsementError)


def malformed(vector: Vector) -> None:
    """Judge a certificate that strict parsers refuse: it must be read, its own bytes kept."""
    leaf = decode_certificate(vector.read())
    expect(vector.read().startswith(leaf.der), "its own bytes are not kept")


def other(vector: Vector) -> None:
    """Say what is not judged."""
    if vector.kind == "cert/platform":
        raise OutOfScopeError(
            "platform certificates are attribute certificates (RFC 5755), which are not read"
        )
    raise OutOfScopeError("certificates of attestation keys: keys are enrolled by MakeCredential instead")
