"""Which files of a tree dom0 may come to measure: what a kernel runs, maps as code, or loads into itself.

Source: Linux, Documentation/ABI/testing/ima_policy (``BPRM_CHECK``, ``MMAP_CHECK``, ``MODULE_CHECK``,
``FIRMWARE_CHECK``, ``POLICY_CHECK``). A file more than is ever measured does no harm, since it still has to
have this content at this path; a file less is a host that nobody affirms.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from attest.ima.reference import FileReference, FileReferenceError

HEAD: Final = 4
"""Bytes of a file's beginning that tell what it is."""
_CODE: Final = (b"\x7fELF", b"#!")
_BY_PATH: Final = re.compile(r".*\.ko(\.(gz|xz|zst))?|(.*/)?lib/firmware/.+|/etc/ima/.+", re.DOTALL)
"""Kernel modules, firmware, and IMA's own policy."""


def is_program(path: str, head: bytes, *, executable: bool) -> bool:
    """Tell whether a file may be measured, by path, first bytes, and whether anybody may execute it.

    Shared objects often have no execute bit, so their first bytes count as well.
    """
    return executable or head.startswith(_CODE) or _BY_PATH.fullmatch(path) is not None


def reference_of(found: Iterable[tuple[str, str]]) -> FileReference:
    """Return what admits these (path, SHA-256 in hex); raises FileReferenceError for a path that is no UTF-8.

    A path that comes twice has both contents.
    """
    files: dict[str, frozenset[str]] = {}
    for path, digest in found:
        try:
            path.encode()
        except UnicodeEncodeError:
            what = "a program whose name is not UTF-8 cannot stand in reference values: rename it"
            raise FileReferenceError(f"ima: {path!a}: {what}") from None
        files[path] = files.get(path, frozenset()) | {digest}
    return FileReference(files)


def sha256(content: bytes | memoryview) -> str:
    """Return the SHA-256 of a content in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
