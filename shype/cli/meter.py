"""``shype meter``: look at a log of usage records, and hand it out."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from shype.cli.verb import add_verb, verbs_of
from shype.report import Exit, Report

if TYPE_CHECKING:
    from metering.export import Shown

_EXPORT = """\
Writes usage.log, checkpoint and meter-key.json to the new folder OUT, of what
the published checkpoint signs. With --tenant: that tenant's records only, with a
proof that they are all that tenant's records of these domains in the signed tree.

Example:
  shype meter export /var/lib/shype/usage -o cola-october --tenant cola
  shype audit cola-october --enrolment host1.json --reference host1.reference.json --tenant cola
"""
_SHOW = """\
Example:
  shype meter show /var/lib/shype/usage
"""
_SIGN = """\
The key signs only while the platform's registers are as they were at boot.

Example (with a host from shype host boot /tmp/h):
  shype meter sign --host /tmp/h
"""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the group."""
    verbs = verbs_of(parser)
    export = add_verb(verbs, "export", "hand out the signed records", _EXPORT, _export)
    export.add_argument("folder", type=Path, metavar="LOGDIR", help="folder of the meter's log")
    export.add_argument(
        "-o", "--output", "--out", required=True, type=Path, metavar="DIR", help="folder to write"
    )
    export.add_argument("--tenant", metavar="T", help="this tenant's records only")
    export.add_argument("--meter-key", type=Path, metavar="FILE", help="default: LOGDIR/meter-key.json")
    show = add_verb(verbs, "show", "say what a log holds and how far it is signed", _SHOW, _show)
    show.add_argument("folder", type=Path, metavar="LOGDIR", help="folder of the meter's log")
    sign = add_verb(verbs, "sign", "have a running host sign its records", _SIGN, _sign)
    sign.add_argument("--host", type=Path, required=True, metavar="HOSTDIR", help="the host's folder")


def _export(arguments: argparse.Namespace) -> Report:
    from metering.export import export

    done = export(arguments.folder, arguments.output, arguments.tenant, arguments.meter_key)
    text = f"{arguments.output}: {done.leaves} of {done.size} records, {done.hashes} hashes of proof"
    document = {
        "folder": str(arguments.output),
        "tenant": arguments.tenant,
        "records": done.leaves,
        "size": done.size,
        "hashes": done.hashes,
    }
    return Report(Exit.OK, document, text)


def _sign(arguments: argparse.Namespace) -> Report:
    from shype.host.socket import call

    return call(arguments.host, "sign", {})


def _show(arguments: argparse.Namespace) -> Report:
    from metering.export import show

    shown = show(arguments.folder)
    head = shown.head
    document = {
        "records": shown.leaves,
        "signed": head.size if head else 0,
        "origin": head.origin if head else None,
        "root": head.root.hex() if head else None,
        "epoch": shown.epoch,
        "tick": shown.tick,
        "last": _stamp(shown.wall_ms),
        "tenants": list(shown.tenants),
        "domains": shown.domains,
    }
    return Report(Exit.OK, document, _text(shown))


def _text(shown: Shown) -> str:
    head = shown.head
    lines = [
        f"records   {shown.leaves}, of {shown.domains} domains of {len(shown.tenants)} tenants",
        f"signed    {head.size} records, root {head.root.hex()}" if head else "signed    nothing yet",
        f"log       {head.origin}" if head else "log       not named yet",
    ]
    if shown.epoch is not None:
        lines.append(f"reaches   boot {shown.epoch}, tick {shown.tick}, {_stamp(shown.wall_ms)}")
    return "\n".join(lines)


def _stamp(wall_ms: int | None) -> str | None:
    """Return a wall time in UTC; a clock that is far off is no reason to fail."""
    if wall_ms is None:
        return None
    try:
        return datetime.fromtimestamp(wall_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{wall_ms} ms"
