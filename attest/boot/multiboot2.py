"""A whole multiboot2 boot of Xen on the embedded host, from power-on to the end of boot services."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from attest.boot.firmware import firmware
from attest.boot.grub import Grub
from attest.boot.measured import TPM_ALG, Measured, event_log
from attest.boot.xen import build_id, hand_over
from attest.errors import AttestUsageError


@dataclass(frozen=True, slots=True)
class BootResult:
    """What was measured, in the order in which it is to be extended, and what Xen and dom0's kernel run with.

    ``event_log`` is a TCG crypto-agile log of ``measurements``. ``build_id`` is Xen's (hex), None where its
    image has none.
    """

    measurements: tuple[Measured, ...] = field(repr=False)
    event_log: bytes = field(repr=False)
    xen_commandline: str
    dom0_commandline: str
    build_id: str | None


def boot(
    recording: bytes,
    read: Callable[[str], bytes],
    banks: Sequence[str],
    *,
    loader: str = "EFI/BOOT/BOOTX64.EFI",
    config: str = "grub.cfg",
) -> BootResult:
    """Boot from the files that ``read`` gives: firmware starts ``loader``, which runs ``config``.

    ``banks`` are hashlib names of the TPM's active banks. Raises ``BootError`` where the boot stops (then
    nothing may be extended), ``AttestUsageError`` for banks that a log cannot have; what ``read`` raises
    (``OSError``) passes through.
    """
    if not banks or any(bank not in TPM_ALG for bank in banks):
        raise AttestUsageError(f"banks {', '.join(banks) or '(none)'}: name some of {', '.join(TPM_ALG)}")
    platform = firmware(recording, read(loader), banks)
    grub = Grub(read, banks)
    grub.run(read(config))
    xen, dom0 = hand_over(grub.kernel_arguments, grub.module_arguments[0] if grub.module_arguments else "")
    measurements = (*platform.power_on, *grub.measurements, *platform.leave)
    return BootResult(
        measurements,
        event_log(measurements, banks),
        xen,
        dom0,
        build_id(grub.kernel or b""),
    )
