"""The one error of this package: the boot stops."""

from __future__ import annotations

from attest.errors import AttestInputError


class BootError(AttestInputError):
    """Firmware or loader meets a file or a line that it cannot go on with; nothing has been started.

    Codes: ``boot-recording``, ``boot-image``, ``boot-script``, ``boot-file``.
    """

    code = "boot-script"
