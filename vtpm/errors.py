"""What can go wrong with a TPM, its structures and its processes.

::

    VtpmInputError            the other side is wrong: bytes, signatures, a TPM, a process (exit 3)
    ├── StructureError        bytes are not the TPM structure they should be
    ├── SignatureError        a signature does not verify, or with a scheme that is not admitted
    ├── RecordError           a label record or a binding is not the canonical JSON it should be
    ├── ResponseError         the TPM answered a command with an error code
    │   └── PolicyError       a policy of the TPM refuses: PCR values are not those the key is bound to
    └── ProcessError          swtpm, or a tool beside it, does not answer, ended early, or lost its state
    VtpmUsageError            you called with values that cannot be meant (exit 2)

Every error has a one-line message and a stable ``code`` to branch on; the codes stand beside each class.
"""

from __future__ import annotations


class VtpmInputError(Exception):
    """The other side is wrong: bad bytes, bad evidence, a TPM or a process that fails."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class StructureError(VtpmInputError):
    """Bytes are not the TPM structure they should be.

    ``code`` is one of ``truncated``, ``trailing``, ``size``, ``value``, ``algorithm``, ``magic``,
    ``reserved``, ``point``, ``duplicate``; ``weak`` and ``scheme`` are said of a key that is well-formed, of
    a size, curve or scheme that nobody here takes. ``offset`` is in bytes from the start of the input.
    """

    def __init__(self, field: str, offset: int, detail: str, *, code: str) -> None:
        super().__init__(f"{field} at byte {offset}: {detail}", code=code)
        self.field = field
        self.offset = offset


class SignatureError(VtpmInputError):
    """A signature was not accepted.

    ``code``: ``signature`` (does not verify), ``scheme`` (not the scheme or hash of the key), ``sha1``
    (SHA-1 is not admitted), ``hash`` (a hash that is not admitted), ``key`` (the key may not sign).
    """


class RecordError(VtpmInputError):
    """A label record or a binding is malformed; ``code``: ``size``, ``json``, ``field``, ``canonical``."""


class ResponseError(VtpmInputError):
    """The TPM answered with an error code.

    ``code``: ``response``, ``auth``, ``locked`` (hierarchy or NV index not usable), ``memory`` (no slot
    left), ``absent`` (no such handle, index or bank), ``defined`` (an NV index is there already),
    ``integrity`` (made for another key or TPM), ``locality``, ``lockout``. ``response`` is the TPM_RC
    (Part 2, 6.6.3).
    """

    def __init__(self, message: str, *, code: str, response: int) -> None:
        super().__init__(message, code=code)
        self.response = response


class PolicyError(ResponseError):
    """The policy of a key or index refuses the command; ``code`` is ``policy``."""


class ProcessError(VtpmInputError):
    """A process that plays or makes a TPM failed.

    ``code``: ``start``, ``ended``, ``timeout``, ``protocol``, ``refused``, ``lost-state``, ``tool``.
    """


class VtpmUsageError(Exception):
    """You called with values that cannot be meant; ``code`` defaults to ``usage``."""

    def __init__(self, message: str, *, code: str = "usage") -> None:
        super().__init__(message)
        self.code = code
