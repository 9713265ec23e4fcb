"""The xl config that Xen's toolstack gets: written from parsed values, never the operator's text.

Source: xl.cfg(5). Every key stands once and in one order, strings in double quotes, so the same order always
gives the same bytes. A domain that ends stays ended: the toolstack must not start it again by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypervisor.errors import UnsupportedError

if TYPE_CHECKING:
    from hypervisor.toolstack import DomainOrder


def render(order: DomainOrder, kernel: str, ramdisk: str | None, context: str | None) -> bytes:
    """Return the config of a paravirtual guest that boots these files; ``context`` is its FLASK label.

    Raises UnsupportedError for text that xl would read otherwise than it is written: all that is not
    printable ASCII.
    """
    lines = [
        ("name", _text("name", order.name)),
        ("uuid", _text("uuid", order.uuid)),
        ("type", '"pv"'),
        ("kernel", _text("kernel", kernel)),
        *([] if ramdisk is None else [("ramdisk", _text("ramdisk", ramdisk))]),
        *([("cmdline", _text("cmdline", order.cmdline))] if order.cmdline else []),
        ("memory", str(order.memory_mib)),
        ("maxmem", str(order.memory_mib)),
        ("vcpus", str(order.vcpus)),
        ("maxvcpus", str(order.vcpus)),
        ("cpu_weight", str(order.weight)),
        ("cap", str(order.cap)),
        *([] if context is None else [("seclabel", _text("seclabel", context))]),
        *(
            (key, '"destroy"')
            for key in ("on_poweroff", "on_reboot", "on_watchdog", "on_crash", "on_soft_reset")
        ),
    ]
    return "".join(f"{key} = {value}\n" for key, value in lines).encode("ascii")


def check_text(key: str, value: str) -> None:
    """Raise UnsupportedError for text that cannot be rendered."""
    if not (value.isascii() and value.isprintable()):
        raise UnsupportedError(
            "not-ascii", f"{key}: only printable ASCII reaches a guest of a real Xen unchanged"
        )


def _text(key: str, value: str) -> str:
    check_text(key, value)
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'
