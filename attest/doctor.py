"""What a machine lacks to be attested: findings from facts that were observed on it, each with the mend.

A finding says that the machine can, or cannot, be judged by a verifier; it proves nothing to anyone else.
Sources: TCG PC Client PFP (registers), GRUB 2.06 (PCR 8 and 9), what the lab showed (facts/xen-lab.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from attest.certificate import EndorsementError, decode_certificate
from attest.endorsement import HARDWARE_MANUFACTURERS

BANK: Final = "sha256"
"""The bank that profiles and reference values use by default."""
_FIRMWARE_PCR: Final = 0
_COMMANDS_PCR: Final = 8
_REPORT_PCR: Final = 12


class State(StrEnum):
    """What a check found."""

    OK = "ok"
    LACKS = "lacks"
    SKIPPED = "skipped"
    """It could not be looked at, or does not apply; ``detail`` says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: a stable ``code``, what was found, and what to do where something lacks."""

    code: str
    state: State
    detail: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class TpmAnswers:
    """What the TPM says of itself; ``manufacturer`` as ``id:49424D00``, certificates in DER."""

    manufacturer: str
    vendor: str
    certificates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Ima:
    """Linux's integrity measurement: entries in its list, its own policy file, and ``ima_policy=`` words."""

    entries: int
    own_policy: bool
    builtin: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Xen:
    """The hypervisor under this system; None for what it does not show."""

    version: str
    commandline: str | None
    built_with_xsm: bool | None


class ImageKind(StrEnum):
    """What an EFI application is."""

    GRUB = "grub"
    UNIFIED = "unified"


@dataclass(frozen=True, slots=True)
class Image:
    """An EFI application of the boot disk; ``flaw`` is what it leaves unmeasured, None where nothing."""

    path: str
    kind: ImageKind
    flaw: str | None


@dataclass(frozen=True, slots=True)
class BootEntry:
    """The boot entry that was used: the bytes after its path, and whether BootNext overrides the next one."""

    options: bytes
    boot_next: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What was observed. ``tpm_version`` is None without a TPM; ``pcrs`` are those of the SHA-256 bank.

    ``live`` is false for the files of another machine, where nothing can be asked. ``unreadable`` are paths
    that only a superuser may read.
    """

    live: bool
    tpm_version: str | None = None
    banks: tuple[str, ...] = ()
    pcrs: Mapping[int, bytes] = field(default_factory=dict)
    answers: TpmAnswers | None = None
    virtual: str | None = None
    firmware_log: int | None = None
    firmware_log_flaw: str | None = None
    ima: Ima | None = None
    xen: Xen | None = None
    images: tuple[Image, ...] = ()
    entry: BootEntry | None = None
    unreadable: tuple[str, ...] = ()


def examine(facts: Facts) -> tuple[Finding, ...]:
    """Return the findings of every check, in the order of the boot chain."""
    return tuple(finding for check in CHECKS for finding in check(facts))


def _ok(code: str, detail: str) -> Finding:
    return Finding(code, State.OK, detail)


def _lacks(code: str, detail: str, mend: str) -> Finding:
    return Finding(code, State.LACKS, detail, mend)


def _skipped(code: str, detail: str) -> Finding:
    return Finding(code, State.SKIPPED, detail)


def _access(facts: Facts) -> Iterator[Finding]:
    if facts.unreadable:
        shown = ", ".join(facts.unreadable[:3])
        yield _lacks("access", f"not readable: {shown}", "run shype doctor as root")


def _device(facts: Facts) -> Iterator[Finding]:
    mend = "switch the TPM on in the firmware setup (PTT, fTPM), and load tpm_crb or tpm_tis"
    if facts.tpm_version is None:
        yield _lacks("tpm-device", "no TPM: there is no /sys/class/tpm/tpm0", mend)
    elif facts.tpm_version != "2":
        yield _lacks("tpm-device", f"a TPM {facts.tpm_version}, and 2.0 is needed", mend)
    else:
        yield _ok("tpm-device", "TPM 2.0")


def _banks(facts: Facts) -> Iterator[Finding]:
    banks = ", ".join(facts.banks) or "none shown"
    if facts.tpm_version != "2":
        yield _skipped("tpm-banks", "without a TPM 2.0 there are no banks")
    elif BANK in facts.banks:
        yield _ok("tpm-banks", f"PCR banks: {banks}")
    else:
        mend = f"tpm2_pcrallocate {BANK}:all, then restart (Linux before 5.12 shows no banks)"
        yield _lacks("tpm-banks", f"PCR banks: {banks}, and no {BANK}", mend)


def _hardware(facts: Facts) -> Iterator[Finding]:
    mend = "take a host with a TPM in hardware; or admit a program in the appraisal profile and anchor its CA"
    if facts.tpm_version is None:
        yield _skipped("tpm-hardware", "there is no TPM")
    elif facts.answers is not None:
        name = f"{facts.answers.manufacturer} {facts.answers.vendor}".strip()
        if facts.answers.manufacturer in HARDWARE_MANUFACTURERS:
            yield _ok("tpm-hardware", f"a TPM by {name}")
        else:
            yield _lacks("tpm-hardware", f"the TPM is a program, not hardware: {name}", mend)
    elif facts.virtual is not None:
        detail = f"a virtual machine ({facts.virtual}): its TPM is a program such as swtpm"
        yield _lacks("tpm-hardware", detail, mend)
    elif facts.live:
        yield _lacks("tpm-hardware", "the TPM does not answer", "let this user open /dev/tpmrm0 (group tss)")
    else:
        yield _skipped("tpm-hardware", "the TPM of another machine cannot be asked")


def _certificate(facts: Facts) -> Iterator[Finding]:
    code = "ek-certificate"
    if facts.answers is None:
        yield _skipped(code, "the TPM was not asked")
        return
    mend = "ask the TPM's maker for it (tpm2_getekcertificate), and put it into NV or beside the enrolment"
    if not facts.answers.certificates:
        yield _lacks(code, "the TPM holds no EK certificate: nobody vouches that it is one", mend)
    for raw in facts.answers.certificates:
        try:
            issuer = decode_certificate(raw).issuer.rfc4514_string() or "no name"
        except EndorsementError as error:
            yield _lacks(code, str(error), mend)
        else:
            yield _ok(code, f"EK certificate by {issuer}: put its CA among the verifier's anchors")


def _firmware(facts: Facts) -> Iterator[Finding]:
    value = facts.pcrs.get(_FIRMWARE_PCR)
    if value is None:
        yield _skipped("firmware-measures", "PCR 0 is not shown")
    elif any(value):
        yield _ok("firmware-measures", "the firmware measures: PCR 0 is not zero")
    else:
        mend = "switch TPM measurements on in the firmware setup, and boot by UEFI"
        yield _lacks("firmware-measures", "PCR 0 is zero: the firmware measures nothing", mend)


def _log(facts: Facts) -> Iterator[Finding]:
    code = "firmware-log"
    if facts.firmware_log_flaw is not None:
        mend = "update the firmware, and read the log as root from securityfs"
        yield _lacks(code, f"no verifier takes the firmware's log: {facts.firmware_log_flaw}", mend)
    elif facts.firmware_log:
        yield _ok(code, f"a firmware event log of {facts.firmware_log} bytes")
    elif facts.xen is not None:
        yield _ok(
            code, "no firmware event log, as on every Xen host: predict its PCRs (shype pcrs reference)"
        )
    else:
        mend = "mount securityfs on /sys/kernel/security, and boot by UEFI with the EFI stub"
        yield _lacks(code, "no firmware event log", mend)


def _boot_entry(facts: Facts) -> Iterator[Finding]:
    """Options of a boot entry reach Xen with PCR 0-7 untouched when BootNext names it (facts 11)."""
    code = "boot-entry"
    if facts.entry is None:
        yield _skipped(code, "no boot entry is shown: not booted by UEFI, or efivarfs is not mounted")
        return
    if facts.entry.options.strip(b"\0 "):
        detail = (
            f"the boot entry has options ({len(facts.entry.options)} bytes): no PCR holds them for certain"
        )
        yield _lacks(
            code, detail, "make the entry again without options (efibootmgr), put them into the config"
        )
    if facts.entry.boot_next:
        yield _lacks(
            code, "BootNext is set: the next start takes another entry", "efibootmgr --delete-bootnext"
        )
    if not facts.entry.options.strip(b"\0 ") and not facts.entry.boot_next:
        yield _ok(code, "the boot entry has no options")


def _loader(facts: Facts) -> Iterator[Finding]:
    code = "loader-measures"
    mend = "build GRUB's image with its tpm module: grub-mkstandalone --modules='tpm multiboot2 …'"
    unified = any(image.kind is ImageKind.UNIFIED for image in facts.images)
    loaders = [image for image in facts.images if image.kind is ImageKind.GRUB]
    value = facts.pcrs.get(_COMMANDS_PCR)
    if value is not None and any(value):
        yield _ok(code, "GRUB measures: PCR 8 is not zero")
    elif any(image.flaw for image in loaders):
        names = ", ".join(f"{image.path} ({image.flaw})" for image in loaders if image.flaw)
        yield _lacks(code, f"GRUB measures nothing: {names}", mend)
    elif value is not None and not unified:
        yield _lacks(code, "PCR 8 is zero: no loader has measured what it runs", mend)
    elif loaders and not unified:
        yield _ok(code, f"GRUB has its tpm module: {', '.join(image.path for image in loaders)}")
    else:
        yield _skipped(code, "no GRUB is seen")


def _unified(facts: Facts) -> Iterator[Finding]:
    for image in facts.images:
        if image.kind is ImageKind.UNIFIED and image.flaw:
            mend = "an image with all parts inside, and a Xen that ignores load options (docs/image.md)"
            yield _lacks("unified-image", f"{image.path}: {image.flaw}", mend)
        elif image.kind is ImageKind.UNIFIED:
            yield _ok(
                "unified-image", f"{image.path} holds all that it boots, and takes no words of a boot entry"
            )


def _hypervisor(facts: Facts) -> Iterator[Finding]:
    if facts.xen is None:
        mend = "boot Xen, and look from its dom0"
        yield _lacks("xen", "Xen does not run here: /sys/hypervisor/type does not say so", mend)
    else:
        yield _ok("xen", f"Xen {facts.xen.version}")


def _xsm(facts: Facts) -> Iterator[Finding]:
    code = "xsm"
    mend = "build Xen with CONFIG_XSM and CONFIG_XSM_FLASK, load a policy, and boot with flask=enforcing"
    if facts.xen is None:
        yield _skipped(code, "Xen does not run here")
        return
    mode = _flask(facts.xen.commandline)
    if facts.xen.built_with_xsm is False:
        yield _lacks(code, f"Xen {facts.xen.version} is built without XSM", mend)
    elif mode is not None and mode != "enforcing":
        yield _lacks(code, f"Xen runs with flask={mode}", mend)
    elif facts.xen.built_with_xsm is None and mode is None:
        yield _lacks(code, "neither Xen's config nor its command line tells of XSM", mend)
    else:
        yield _ok(code, f"XSM, flask={mode or 'by default'}")


def _flask(commandline: str | None) -> str | None:
    words = [word.removeprefix("flask=") for word in (commandline or "").split() if word.startswith("flask=")]
    return words[-1] if words else None


def _ima(facts: Facts) -> Iterator[Finding]:
    own = "write an own IMA policy (/etc/ima/ima-policy), and keep the root file system read-only"
    if facts.ima is None:
        mend = "take a kernel with CONFIG_IMA, and mount securityfs on /sys/kernel/security"
        yield _lacks("ima", "dom0's user land is not measured: no IMA", mend)
        return
    if facts.ima.entries <= 1:
        yield _lacks("ima", "IMA runs and measures nothing: it has no policy", own)
    else:
        yield _ok("ima", f"IMA has measured {facts.ima.entries} files")
    if facts.ima.own_policy:
        yield _ok("ima-policy", "an own IMA policy: /etc/ima/ima-policy")
    else:
        words = ", ".join(facts.ima.builtin) or "none"
        detail = f"no own IMA policy (ima_policy: {words}): what runs from tmpfs is not seen"
        yield _lacks("ima-policy", detail, own)


def _report(facts: Facts) -> Iterator[Finding]:
    code = "hypervisor-report"
    value = facts.pcrs.get(_REPORT_PCR)
    if value is None:
        yield _skipped(code, "PCR 12 is not shown")
    elif any(value):
        yield _ok(code, "PCR 12 is not zero: something was reported before")
    else:
        mend = "let the measured ramdisk or the host agent extend Xen's own report first (design: PCR 12)"
        yield _lacks(code, "PCR 12 is zero: what Xen runs with was not measured", mend)


CHECKS: Final[Sequence[Callable[[Facts], Iterator[Finding]]]] = (
    _access,
    _device,
    _banks,
    _hardware,
    _certificate,
    _firmware,
    _log,
    _boot_entry,
    _loader,
    _unified,
    _hypervisor,
    _xsm,
    _ima,
    _report,
)
