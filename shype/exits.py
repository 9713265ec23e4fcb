"""Which exit code an error or a verdict gives: two tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from shype.report import Exit

ERRORS: Final[tuple[tuple[str, str, Exit], ...]] = (
    ("acm.errors", "AcmInputError", Exit.BROKEN),
    ("acm.errors", "AcmUsageError", Exit.USAGE),
    ("attest.errors", "AttestInputError", Exit.BROKEN),
    ("attest.errors", "AttestUsageError", Exit.USAGE),
    ("hypervisor.errors", "HypervisorDenied", Exit.REFUSED),
    ("hypervisor.errors", "HypervisorInputError", Exit.BROKEN),
    ("hypervisor.errors", "HypervisorUsageError", Exit.USAGE),
    ("metering.errors", "MeteringInputError", Exit.BROKEN),
    ("metering.errors", "MeteringUsageError", Exit.USAGE),
    ("vtpm.errors", "VtpmInputError", Exit.BROKEN),
    ("vtpm.errors", "VtpmUsageError", Exit.USAGE),
    ("shype.errors", "ShypeInputError", Exit.BROKEN),
    ("shype.errors", "ShypeUsageError", Exit.USAGE),
)
"""Error root -> exit code. A root is looked up only in modules that are loaded: others cannot have raised."""


VERDICTS: Final[Mapping[str, Exit]] = {
    "affirming": Exit.OK,
    "warning": Exit.REFUSED,
    "contraindicated": Exit.REFUSED,
    "inconclusive": Exit.INCONCLUSIVE,
    "none": Exit.BROKEN,
}
"""Value of ``attest.result.Verdict``, which is heavy to import, -> exit code of whoever judges."""


def exit_for(error: Exception) -> Exit | None:
    """Return the exit code of an error by its root; None for what is a defect of ours."""
    for module, name, code in ERRORS:
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(error, getattr(loaded, name)):
            return code
    return None
