"""``shype pcrs``: predict PCR values from boot files, and make reference values of them."""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
from pathlib import Path

from attest.errors import AttestUsageError
from attest.predict.prediction import PredictedEvent, Prediction, predict
from attest.predict.reference import reference_values
from attest.reference import DomainReference, ReferenceValues
from hypervisor import hostconfig, xlconfig
from hypervisor.hostconfig import HostDescription
from hypervisor.xlspec import DiskSpec
from shype.bootfiles import MAX_FILE, BootFiles, open_profile, read_file
from shype.report import Exit, Json, Report

_PREDICT = """\
PROFILE is a file (docs/profiles.md) or the name of a profile that comes with shype:
embedded. Predicted are PCR 0-9: the firmware's part from a recording of the same
machine, the loader, and what GRUB 2.06 measures while it runs grub.cfg. A grub.cfg
that depends on run time (if, menuentry, unset variables) is refused with its line.

Exit: 0 predicted, 2 a file is missing, 3 a broken profile, grub.cfg, loader or recording.

Example:
  tools/boot-files build/boot
  shype pcrs predict embedded --root build/boot
"""

_REFERENCE = """\
Makes shype.reference/1: the predicted PCRs with the events behind them, what Xen should
report of itself, and the domains that may run. Kernel and ramdisk of a domain config are
looked for beside the config, or in --images. --host is needed for disks that are named by a path.

Exit: 0 written, 2 a file is missing, 3 a broken profile, grub.cfg or domain config.

Example:
  shype pcrs reference embedded --root build/boot --domain web.cfg -o reference.json
"""

_MAX_CONFIG = 1 << 20


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the group."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _verb(verbs, "predict", "predict PCR 0-9 from boot files", _PREDICT).set_defaults(handler=_predict)
    reference = _verb(verbs, "reference", "make reference values for a verifier", _REFERENCE)
    reference.add_argument(
        "--domain", action="append", default=[], type=Path, metavar="CFG", help="xl config; may be repeated"
    )
    reference.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="folder of kernels and ramdisks (default: beside each config)",
    )
    reference.add_argument("--host", type=Path, metavar="FILE", help="host description (shype.host/1)")
    reference.add_argument("--issue", type=_issue, default=1, metavar="N", help="issue number (default 1)")
    reference.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="file to write")
    reference.set_defaults(handler=_reference)


def _issue(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:  # noqa: PLR2004 - stays exact in JSON
        raise argparse.ArgumentTypeError("a whole number")
    return int(text)


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, line: str, epilog: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name,
        help=line,
        description=f"{line[0].upper()}{line[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.add_argument("profile", metavar="PROFILE", help="PCR profile: a file, or the name of a packed one")
    verb.add_argument(
        "--root", type=Path, metavar="DIR", help="the boot disk's folder, instead of the profile's"
    )
    verb.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print exactly one JSON document"
    )
    return verb


def _predicted(args: argparse.Namespace) -> tuple[BootFiles, Prediction]:
    files = open_profile(args.profile, args.root)
    firmware = files.profile.firmware
    loader = firmware.loader if firmware else None
    found = predict(
        files.config, files.disk.read, files.profile.banks, recording=files.recording, loader=loader
    )
    return files, found


def _predict(args: argparse.Namespace) -> Report:
    files, prediction = _predicted(args)
    banks = files.profile.banks
    document: dict[str, Json] = {
        "profile": files.profile.name,
        "bank": banks[0],
        "pcrs": {
            bank: {str(pcr): value.hex() for pcr, value in prediction.pcrs[bank].items()} for bank in banks
        },
        "events": [_event(event, banks[0]) for event in prediction.events],
        "xen_commandline": prediction.xen.arguments,
    }
    lines = [
        f"PCR {event.pcr} {event.digest(banks[0]).hex()[:16]}… {event.component:<8} {_shown(event.what)}"
        for event in prediction.events
    ]
    for bank in banks:
        lines += [f"{bank} PCR {pcr} {value.hex()}" for pcr, value in prediction.pcrs[bank].items()]
    return Report(Exit.OK, document, "\n".join(lines))


def _event(event: PredictedEvent, bank: str) -> dict[str, Json]:
    return {
        "pcr": event.pcr,
        "digest": event.digest(bank).hex(),
        "digests": {name: digest.hex() for name, digest in event.digests},
        "component": event.component.value,
        "what": event.what,
    }


def _shown(what: str) -> str:
    return what if what.isprintable() else ascii(what)


def _reference(args: argparse.Namespace) -> Report:
    files, prediction = _predicted(args)
    host = _host(args.host)
    domains = [_domain(file, args.images or file.parent, host) for file in args.domain]
    xen = files.disk.read(prediction.xen.path.lstrip("/"))
    values = reference_values(files.profile, prediction, xen, domains, version=args.issue)
    raw = _checked(values)
    _write(args.output, raw)
    document: dict[str, Json] = {
        "file": str(args.output),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "name": values.name,
        "version": values.version,
        "domains": [domain.name for domain in domains],
    }
    names = ", ".join(domain.name for domain in domains) or "none"
    text = f"{args.output}: {values.name}, issue {values.version}, {values.bank}, domains: {names}"
    return Report(Exit.OK, document, text)


def _checked(values: ReferenceValues) -> bytes:
    """Encode, and read back as the verifier will: what it would refuse is not written."""
    raw = values.encode()
    values.decode(raw)
    return raw


def _host(file: Path | None) -> HostDescription | None:
    return None if file is None else hostconfig.parse(read_file(file, _MAX_CONFIG))


def _domain(file: Path, images: Path, host: HostDescription | None) -> DomainReference:
    config = xlconfig.parse(read_file(file, _MAX_CONFIG))
    return DomainReference(
        name=config.name,
        label=config.label,
        config_digest=config.digest,
        kernel=_digest(images, config.kernel),
        ramdisk=_digest(images, config.ramdisk),
        disks=tuple(f"{disk.vdev} {disk.access} {_identity(file, disk, host)}" for disk in config.disks),
    )


def _digest(images: Path, name: str | None) -> str | None:
    return None if name is None else hashlib.sha256(read_file(images / name, MAX_FILE)).hexdigest()


def _identity(config: Path, disk: DiskSpec, host: HostDescription | None) -> str:
    if host is None and ":" in disk.target and not disk.target.startswith(("/", ".")):
        return disk.target
    resource = None if host is None else host.disk(disk.target)
    if resource is None:
        where = "the host description (--host)" if host is None else "the host description"
        raise AttestUsageError(f"{config}: disk {disk.target}: no identity for it in {where}", code="disk")
    return resource.identity


def _write(file: Path, raw: bytes) -> None:
    """Write whole or not at all."""
    handle, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(raw)
            out.flush()
            os.fsync(out.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
