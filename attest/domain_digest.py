"""One value for a domain as it was configured: what a tenant can write down and compare.

SHA-256 over canonical JSON of ``schema`` (``shype.domain/1``), ``name``, ``label``, ``config``, ``kernel``,
``ramdisk``, ``disks`` and ``policy``: digests in hex (of the exact bytes of the xl config, since another
reader of it must not see another domain), ``ramdisk`` null without one, ``disks`` a list of ``VDEV MODE
IDENTITY``, where the identity of a disk known by its content is ``sha256:`` or ``verity:`` and a digest.
"""

from __future__ import annotations

import hashlib
from typing import Final

from attest import canonical_json
from attest.reference import DomainReference
from attest.runtime_events import DomainLaunch

SCHEMA: Final = "shype.domain/1"


def domain_digest(domain: DomainLaunch | DomainReference, policy: str) -> str:
    """Return the digest (hex) of a domain, launched or expected, under the policy of SHA-256 ``policy``."""
    document = {
        "schema": SCHEMA,
        "name": domain.name,
        "label": domain.label,
        "config": domain.config_digest,
        "kernel": domain.kernel,
        "ramdisk": domain.ramdisk,
        "disks": list(domain.disks),
        "policy": policy,
    }
    return hashlib.sha256(canonical_json.encode(document)).hexdigest()
