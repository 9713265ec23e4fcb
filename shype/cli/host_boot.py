"""``shype host boot``: switch a host on and serve it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from shype.cli.verb import Verbs, add_verb
from shype.errors import ShypeUsageError
from shype.report import Exit, Report

_BOOT = """\
Measures firmware, loader, Xen and Domain-0 into the TPM, reports, and serves the host
in the foreground until shype host poweroff, SIGTERM or SIGINT.

With --xen HOST it takes over the Domain-0 that it runs in: nothing boots, the folder is
made if it is missing, the first act's runtime log goes on, and --boot holds the kernels
and ramdisks of guests. What Xen runs is compared with what was launched every --poll
seconds; at the end all launched domains end. HOSTDIR lies on a disk that lasts where past
runs count: the TPM knows the newest history by indices of its owner, whose authorisation
(default: empty) is in the file --owner-auth, and shype host begin-history makes them.

Example:
  shype host init /tmp/h
  shype host boot /tmp/h --boot build/boot &
"""


def register(verbs: Verbs) -> None:
    """Add the verb."""
    boot = add_verb(verbs, "boot", "switch a host on and serve it", _BOOT, _boot)
    boot.add_argument("folder", type=Path, metavar="HOSTDIR", help="the host's folder")
    boot.add_argument(
        "--boot", type=Path, required=True, metavar="DIR", help="loader, Xen, kernel and ramdisk"
    )
    boot.add_argument("--xen", metavar="HOST", help="this machine's Xen, by a description of the host")
    boot.add_argument(
        "--poll", type=_seconds, default=3.0, metavar="S", help="with --xen: 0.1 to 60 (default: 3)"
    )
    boot.add_argument(
        "--owner-auth", type=Path, metavar="FILE", help="with --xen: authorisation of the TPM's owner"
    )


def _boot(arguments: argparse.Namespace) -> Report:
    if arguments.xen is not None:
        return _boot_xen(arguments)
    if arguments.owner_auth is not None:
        raise ShypeUsageError("--owner-auth goes with --xen: an embedded host has a TPM of its own")

    from shype.host.embedded import EmbeddedHost
    from shype.host.model_verbs import ModelVerbs
    from shype.host.service import serve

    with EmbeddedHost(arguments.folder, arguments.boot) as host:
        name = host.description.name
        count = len(host.boot.measured.measurements)
        where = sys.stderr if arguments.json else sys.stdout
        serve(
            host,
            lambda: print(f"host {name} is up: {count} boot measurements extended", file=where, flush=True),
            ModelVerbs(host).verbs(),
        )
    return Report(Exit.OK, {"host": name, "power": "off"}, f"host {name} is off")


def _boot_xen(arguments: argparse.Namespace) -> Report:
    from acm.yamltree import MAX_SIZE
    from shype import packaged
    from shype.files import read
    from shype.host.dom0 import Dom0, Dom0Host
    from shype.host.service import serve
    from shype.ownerauth import read_owner_auth

    owner = read_owner_auth(arguments.owner_auth) if arguments.owner_auth is not None else b""
    description = read(packaged.find(arguments.xen, "hosts"), MAX_SIZE)
    places = Dom0(images=arguments.boot, poll_seconds=arguments.poll, owner=owner)
    where = sys.stderr if arguments.json else sys.stdout
    with Dom0Host(arguments.folder, description, places) as host:
        name = host.description.name
        text = f"host {name} is up: {len(host.log.events())} events in its runtime log"
        serve(host, lambda: print(text, file=where, flush=True))
    return Report(Exit.OK, {"host": name, "power": "off"}, f"host {name} is off: its domains have ended")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 60:  # noqa: PLR2004 - said by the message; NaN is outside too
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is not 0.1 to 60 seconds")
    return seconds
