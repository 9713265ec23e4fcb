"""The FLASK policy among what the loader hands to Xen.

Source: Xen 4.17, xsm/xsm_policy.c (``xsm_multiboot_policy_init``): a module whose first four bytes are
``XSM_MAGIC`` is the policy; without one Xen takes the policy that it was built with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from attest.errors import AttestInputError

MAGIC: Final = 0xF97CFF8C.to_bytes(4, "little")


class FlaskPolicyError(AttestInputError):
    """Modules of which it cannot be told which policy Xen takes."""

    code = "flask-policy"


def loaded_policy(modules: Iterable[bytes]) -> str | None:
    """Return the SHA-256 (hex) of the policy among the modules behind dom0's kernel; None without one.

    Raises FlaskPolicyError for two.
    """
    found = [content for content in modules if content.startswith(MAGIC)]
    if len(found) > 1:
        raise FlaskPolicyError(f"{len(found)} modules are FLASK policies: load one")
    return hashlib.sha256(found[0]).hexdigest() if found else None
