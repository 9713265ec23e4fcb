"""What a hypervisor reports of itself: version, build id, command line, and the mode of its XSM module.

Sources: XENVER_version, _extraversion, _commandline, _build_id and FLASK_GETENFORCE, through Debian's binding
(``xen.lowlevel.xc``). Xen has no call that gives out the loaded FLASK policy: the boot measured it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hypervisor.errors import XenError

if TYPE_CHECKING:
    from collections.abc import Mapping

FLASK: Final = "flask"
NO_MODULE: Final = "none"
"""No FLASK answers: Xen has no XSM, the dummy module or SILO, or was started with ``flask=disabled``."""

_MODES: Final = {0: "permissive", 1: "enforcing"}
_BUILD_ID: Final = re.compile(r"(?:[0-9a-f]{2}){1,64}")
_MAX_COMMANDLINE: Final = 1024
_MAX_EXTRA: Final = 16


@dataclass(frozen=True, slots=True)
class XenReport:
    """``version`` as Xen prints it, ``xsm_mode`` is ``enforcing``, ``permissive`` or ``disabled``."""

    version: str
    build_id: str | None
    commandline: str
    xsm_module: str
    xsm_mode: str


def read(info: Mapping[str, object], build_id: str | None, enforcing: int | None) -> XenReport:
    """Return the report; ``info`` is that of ``xeninfo``, ``enforcing`` None where no FLASK answers.

    Raises XenError for answers that cannot be.
    """
    major, minor = (_number(info, name) for name in ("xen_major", "xen_minor"))
    if enforcing is not None and enforcing not in _MODES:
        raise _nonsense(f"FLASK's mode is {enforcing!a:.40}")
    if build_id is not None and not _BUILD_ID.fullmatch(build_id):
        raise _nonsense(f"the build id is {build_id!a:.40}")
    return XenReport(
        version=f"{major}.{minor}{_text(info, 'xen_extra', _MAX_EXTRA)}",
        build_id=build_id,
        commandline=_text(info, "xen_commandline", _MAX_COMMANDLINE),
        xsm_module=NO_MODULE if enforcing is None else FLASK,
        xsm_mode="disabled" if enforcing is None else _MODES[enforcing],
    )


def _number(info: Mapping[str, object], name: str) -> int:
    value = info.get(name)
    if type(value) is not int or not 0 <= value < 1 << 16:
        raise _nonsense(f"{name} is {value!a:.40}")
    return value


def _text(info: Mapping[str, object], name: str, at_most: int) -> str:
    value = info.get(name)
    if not isinstance(value, str) or len(value) > at_most or not (value.isprintable() or not value):
        raise _nonsense(f"{name} is no text of at most {at_most} printable characters")
    return value


def _nonsense(what: str) -> XenError:
    return XenError("xen-reply", f"Xen's report cannot be: {what}")
