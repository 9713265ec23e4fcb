"""``shype pcrs``: predict PCR values from boot files, and make reference values of them."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attest.errors import AttestUsageError
from attest.predict import document
from attest.predict.prediction import Prediction
from attest.predict.reference import reference_values
from attest.reference import MAX_REFERENCE, ReferenceValues
from shype import domainfiles, golden, rootfiles
from shype.bootfiles import BootFiles, open_profile
from shype.cli.verb import Handler, Verbs, add_verb, verbs_of
from shype.files import read_regular, write
from shype.report import Exit, Json, Report

_PREDICT = """\
PROFILE is a file (docs/profiles.md) or the name of a profile that comes with shype:
embedded. Predicted are PCR 0-9: the firmware's part from a recording of the same
machine, the loader, and what GRUB 2.06 measures while it runs grub.cfg and its menu;
or a unified xen.efi. What depends on run time is refused with its line.

Exit: 0 predicted, 2 a file is missing, 3 a broken profile, grub.cfg, loader or recording.

Example:
  tools/boot-files build/boot
  shype pcrs predict embedded --root build/boot
"""

_REFERENCE = """\
Makes shype.reference/1: the predicted PCRs with the events behind them, what Xen should
report of itself, and the domains that may run. Kernel and ramdisk of a domain config are
looked for beside the config, or in --images. --host is needed for disks that are named by a path.
For a host that measures dom0's user land (IMA, PCR 10), --ima-root, --ima-ramdisk and --ima-list
add the files that it may run; all of them together are admitted.

With --from-evidence the values are those of a golden host instead: one that is verified here
as 'shype verify' does, affirming in all but its boot, which you call good from now on.

Exit: 0 written, 2 a file is missing, 3 a broken profile, grub.cfg or domain config, or
evidence that does not hold.

Example:
  shype pcrs reference embedded --root build/boot --images build/boot \\
    --host configs/hosts/embedded.yaml --domain configs/hosts/cola-web.cfg -o reference.json
"""

_EXPLAIN = """\
A and B are each one of: a PCR profile (a file, or the name of a packed one), a
prediction (shype pcrs predict --json), reference values, evidence, or what
'tpm2_pcrread sha256 > FILE' printed. Says which register differs, and which file,
line or event it is: before a reboot from two profiles, after one from a profile
and what the host shows. Where a side has values only, small changes of the other
side's events are tried. Nothing is verified here: for that there is shype verify.

Exit: 0 all common PCRs are equal, 1 one differs, 2 a file is missing or nothing can
be compared, 3 a broken file.

Example, for an update of the boot files in NEW:
  shype pcrs explain embedded embedded --root-a build/boot --root-b NEW
"""

_SIGN = """\
Makes shype.reference-set/1 of reference values: signed with a key on P-256, and good
until it expires. A verifier that names the key (shype verify --reference-key PUB
--reference-seen FILE) takes no altered and no older set: give each issue of the
reference values a higher number (shype pcrs reference --issue N).

Exit: 0 written, 2 a file is missing or no key, 3 broken reference values.

Example:
  openssl ecparam -name prime256v1 -genkey -noout -out reference-key.pem
  openssl ec -in reference-key.pem -pubout -out reference-key.pub
  shype pcrs sign-reference reference.json --key reference-key.pem --days 90 -o reference.set.json
"""

_MAX_KEY = 8192
_MAX_DAYS = 3660


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the group."""
    verbs = verbs_of(parser)
    _verb(verbs, "predict", "predict PCR 0-9 from boot files", _PREDICT, _predict)
    reference = _verb(
        verbs, "reference", "make reference values for a verifier", _REFERENCE, _reference, optional=True
    )
    golden.register(reference)
    rootfiles.register(reference)
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

    sign = add_verb(verbs, "sign-reference", "sign reference values, with an expiry", _SIGN, _sign)
    sign.add_argument("reference", type=Path, metavar="FILE", help="reference values (shype.reference/1)")
    sign.add_argument("--key", required=True, type=Path, metavar="PEM", help="private key on P-256")
    sign.add_argument("--days", required=True, type=_days, metavar="N", help="days until it expires")
    sign.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="file to write")
    explain = add_verb(verbs, "explain", "say why PCR values differ", _EXPLAIN, _explain)
    for side in ("a", "b"):
        explain.add_argument(
            side, metavar=side.upper(), help="profile, prediction, reference, evidence or values"
        )
        explain.add_argument(
            f"--root-{side}", type=Path, metavar="DIR", help=f"boot folder of profile {side.upper()}"
        )


def _issue(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:  # noqa: PLR2004 - stays exact in JSON
        raise argparse.ArgumentTypeError("a whole number")
    return int(text)


def _days(text: str) -> int:
    days = _issue(text)
    if not 0 < days <= _MAX_DAYS:
        raise argparse.ArgumentTypeError(f"1 to {_MAX_DAYS} days")
    return days


def _verb(
    verbs: Verbs, name: str, line: str, epilog: str, handler: Handler, *, optional: bool = False
) -> argparse.ArgumentParser:
    verb = add_verb(verbs, name, line, epilog, handler)
    verb.add_argument(
        "profile",
        metavar="PROFILE",
        nargs="?" if optional else None,
        help="PCR profile: a file, or the name of a packed one",
    )
    verb.add_argument(
        "--root", type=Path, metavar="DIR", help="the boot disk's folder, instead of the profile's"
    )
    return verb


def _predicted(args: argparse.Namespace) -> tuple[BootFiles, Prediction]:
    files = open_profile(args.profile, args.root)
    return files, files.predict()


def _predict(args: argparse.Namespace) -> Report:
    files, prediction = _predicted(args)
    banks = files.profile.banks
    lines = [
        f"PCR {event.pcr} {event.digest(banks[0]).hex()[:16]}… {event.component:<8} {_shown(event.what)}"
        for event in prediction.events
    ]
    for bank in banks:
        lines += [f"{bank} PCR {pcr} {value.hex()}" for pcr, value in prediction.pcrs[bank].items()]
    return Report(Exit.OK, document.document(files.profile.name, banks, prediction), "\n".join(lines))


def _shown(what: str) -> str:
    first, _, rest = what.partition("\n")
    line = f"{first} …" if rest else first
    return line if line.isprintable() else ascii(line)


def _sign(args: argparse.Namespace) -> Report:
    from attest import reference_set
    from attest.signer import MemoryKey

    signer = MemoryKey.from_pem(read_regular(args.key, _MAX_KEY))
    expires = datetime.now(UTC) + timedelta(days=args.days)
    raw = reference_set.sign(read_regular(args.reference, MAX_REFERENCE), signer, expires)
    found = reference_set.verify(raw, signer.spki())
    write(args.output, raw)
    shown: dict[str, Json] = {
        "file": str(args.output),
        "name": found.values.name,
        "version": found.values.version,
        "expires": found.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "key": hashlib.sha256(signer.spki()).hexdigest(),
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    text = f"{args.output}: {found.values.name}, issue {found.values.version}, good until {shown['expires']}"
    return Report(Exit.OK, shown, text)


def _explain(args: argparse.Namespace) -> Report:
    from shype import pcrexplain, registers

    return pcrexplain.report(registers.load(args.a, args.root_a), registers.load(args.b, args.root_b))


def _reference(args: argparse.Namespace) -> Report:
    values = golden.values(args) if args.from_evidence else _predicted_values(args)
    raw = _checked(values)
    write(args.output, raw)
    shown: dict[str, Json] = {
        "file": str(args.output),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "name": values.name,
        "version": values.version,
        "origin": values.origin.value,
        "domains": [domain.name for domain in values.domains],
        "files": None if values.ima is None else len(values.ima.files),
    }
    names = ", ".join(domain.name for domain in values.domains) or "none"
    issue = f"{values.name}, issue {values.version}, {values.origin}, {values.bank}"
    files = "" if values.ima is None else f", {len(values.ima.files)} files of dom0"
    text = f"{args.output}: {issue}, domains: {names}{files}"
    return Report(Exit.OK, shown, text)


def _predicted_values(args: argparse.Namespace) -> ReferenceValues:
    if args.profile is None or args.nonce or args.anchors or args.policy or args.enrolment or args.name:
        raise AttestUsageError("name a PROFILE, or --from-evidence with --nonce, --anchors and --policy")
    files, prediction = _predicted(args)
    host = domainfiles.host(args.host)
    domains = [domainfiles.reference(file, args.images or file.parent, host) for file in args.domain]
    values = reference_values(
        files.profile,
        prediction,
        files.xen(prediction),
        domains,
        version=args.issue,
        flask_policy=files.flask_policy(prediction),
    )
    return replace(values, ima=rootfiles.reference(args))


def _checked(values: ReferenceValues) -> bytes:
    """Encode, and read back as the verifier will: what it would refuse is not written."""
    raw = values.encode()
    values.decode(raw)
    return raw
