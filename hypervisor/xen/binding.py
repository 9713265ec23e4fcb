"""Debian's Python binding of libxenctrl, ``xen.lowlevel.xc``, behind a type and one kind of error.

Debian puts it, and the ``xl`` that fits it, into a folder of the running version (``/usr/lib/xen-4.17``). The
binding hides the reason of a failed FLASK call (it reports EPERM for every one), so a failure there says only
that no FLASK answers.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hypervisor.errors import XenError
from hypervisor.xen import report
from hypervisor.xen.report import XenReport

if TYPE_CHECKING:
    from collections.abc import Callable

SYSFS: Final = Path("/sys/hypervisor")
LIBRARIES: Final = Path("/usr/lib")
_A_CALL: Final = 1024
"""Domains that one call lists."""


def place() -> Path:
    """Return the folder of the libraries and tools of the running Xen; raises XenError where none runs."""
    try:
        numbers = [int((SYSFS / "version" / name).read_text(encoding="ascii")) for name in ("major", "minor")]
    except (OSError, ValueError):
        raise XenError("xen-binding", f"{SYSFS}: no Xen runs under this system") from None
    return LIBRARIES / f"xen-{numbers[0]}.{numbers[1]}"


def load(folder: Path) -> Any:  # noqa: ANN401 - a module without types
    """Import ``xen.lowlevel.xc`` from below ``folder``; raises XenError."""
    library = str(folder / "lib" / "python")
    try:
        sys.path.insert(0, library)
        return importlib.import_module("xen.lowlevel.xc")
    except ImportError as error:
        raise XenError("xen-binding", f"{library}: no binding of Xen: {error}; install xen-utils") from None
    finally:
        sys.path.remove(library)


class Xc:
    """An open handle on Xen's control interface. Raises XenError where Xen refuses a call."""

    def __init__(self, module: Any) -> None:  # noqa: ANN401 - the binding has no types
        self._module = module
        self._xc: Any = self._call("open", module.xc)

    def _call(self, what: str, act: Callable[..., Any], *arguments: int) -> Any:  # noqa: ANN401 - same
        try:
            return act(*arguments)
        except self._module.Error as error:
            raise XenError("xen-call", f"Xen refuses {what}: {error}") from None

    def enforcing(self) -> int | None:
        """Return FLASK's mode, 1 enforcing and 0 permissive, or None where no FLASK answers."""
        try:
            return int(self._xc.flask_getenforce())
        except self._module.Error:
            return None

    def context(self, sid: int) -> str:
        """Return the FLASK context of a SID."""
        return str(self._call(f"the context of SID {sid}", self._xc.flask_sid_to_context, sid))

    def report(self) -> XenReport:
        """Return what the hypervisor says of itself."""
        info = self._call("xeninfo", self._xc.xeninfo)
        try:
            build_id = self._xc.buildid()
        except self._module.Error:
            build_id = None  # an image that was linked without one
        return report.read(info, build_id, self.enforcing())

    def domains(self) -> list[dict[str, Any]]:
        """Return all entries of Xen's listing, as the binding makes them."""
        found: list[dict[str, Any]] = []
        first = 0
        while True:
            some = self._call("the list of domains", self._xc.domain_getinfo, first, _A_CALL)
            found += some
            if len(some) < _A_CALL:
                return found
            first = int(some[-1]["domid"]) + 1

    def pause(self, domid: int) -> None:
        """Stop a domain from running."""
        self._call(f"to pause domain {domid}", self._xc.domain_pause, domid)

    def unpause(self, domid: int) -> None:
        """Let a paused domain run."""
        self._call(f"to unpause domain {domid}", self._xc.domain_unpause, domid)
