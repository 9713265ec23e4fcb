"""``shype domain``: launch and run domains on a host."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

from shype.cli.verb import Handler, Verbs, add_verb, verbs_of
from shype.report import Exit, Json, Report

_LAUNCH = """\
Decided by the Chinese Wall and type enforcement, measured into PCR 13, given a vTPM
under its label, and only then started; a refusal leaves the host as it was.

Exit: 0 it runs, 1 denied, 2 wrong usage, 3 a broken config.

Example (with a host from shype host boot /tmp/h and a policy from shype policy load):
  shype domain launch configs/hosts/cola-web.cfg --host /tmp/h --tenant cola
"""
_DIGEST = """\
One value for a domain as configured: SHA-256 over canonical JSON of its name, label, the
digests of config, kernel and ramdisk, its disks by identity (a content is sha256:… or the
dm-verity root verity:…) and the policy's digest. 'shype verify' shows the same value for a
domain that runs. Kernel and ramdisk are looked for beside CFG, or in --images; --describe is
needed for disks that are named by a path.

Exit: 0, 2 wrong usage or a missing file, 3 a broken config, host description or policy.

Example:
  tools/boot-files build/boot
  shype domain digest configs/hosts/cola-web.cfg --images build/boot \\
    --describe configs/hosts/embedded.yaml --policy configs/policies/datacenter.yaml
"""
_STOP = """\
Example:
  shype domain stop cola-web --host /tmp/h
"""
_CONNECT = """\
FROM offers an event channel and a page, TO binds and maps them and reads what is there.

Exit: 0 permitted, 1 denied.

Example:
  shype domain connect cola-web cola-db --host /tmp/h
"""
_RUN = """\
Guests use CPU, disk and network; the meter reads every domain once a minute.

Example:
  shype domain run 600 --host /tmp/h
"""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the group."""
    verbs = verbs_of(parser)
    launch = _verb(verbs, "launch", "decide, measure, label and start a domain", _LAUNCH, _launch)
    launch.add_argument("config", type=Path, metavar="CFG", help="xl domain config with a label")
    launch.add_argument(
        "--tenant", metavar="T", help="whose it is: who pays for it and may see it (default: its label)"
    )
    launch.add_argument(
        "--dry-run", action="store_true", help="decide and read all files, as a launch does; do nothing"
    )
    stop = _verb(verbs, "stop", "end a domain", _STOP, _stop)
    stop.add_argument("name", metavar="NAME", help="the domain")
    connect = _verb(
        verbs, "connect", "try an event channel and a grant between two domains", _CONNECT, _connect
    )
    connect.add_argument("first", metavar="FROM", help="a running domain")
    connect.add_argument("second", metavar="TO", help="a running domain")
    run = _verb(verbs, "run", "let system time pass under a workload", _RUN, _run)
    run.add_argument("seconds", type=int, metavar="SECONDS", help="1 to 86400")

    digest = add_verb(verbs, "digest", "the canonical digest of a domain config", _DIGEST, _digest)
    digest.add_argument("config", type=Path, metavar="CFG", help="xl domain config")
    digest.add_argument("--policy", type=Path, required=True, metavar="F", help="the policy it runs under")
    digest.add_argument("--images", type=Path, metavar="DIR", help="folder of its kernel and ramdisk")
    digest.add_argument("--describe", type=Path, metavar="FILE", help="host description (shype.host/1)")


def _digest(arguments: argparse.Namespace) -> Report:
    from dataclasses import asdict

    from acm import policyfile, yamltree
    from attest.domain_digest import domain_digest
    from shype import domainfiles
    from shype.files import read_regular

    images = arguments.images or arguments.config.parent
    found = domainfiles.reference(arguments.config, images, domainfiles.host(arguments.describe))
    raw = read_regular(arguments.policy, yamltree.MAX_SIZE)
    policy = policyfile.load(raw, arguments.policy.name)
    digest = domain_digest(found, policy.digest)
    values = asdict(found)
    lines = [f"{digest}  {found.name}", *(f"  {name}: {value}" for name, value in values.items())]
    shown: dict[str, Json] = {"digest": digest, "policy": policy.digest, "domain": values}
    return Report(Exit.OK, shown, "\n".join([*lines, f"  policy: {policy.digest}"]))


def _verb(verbs: Verbs, name: str, line: str, epilog: str, handler: Handler) -> argparse.ArgumentParser:
    verb = add_verb(verbs, name, line, epilog, handler)
    verb.add_argument("--host", type=Path, required=True, metavar="HOSTDIR", help="the host's folder")
    return verb


def _launch(arguments: argparse.Namespace) -> Report:
    from hypervisor.xlsyntax import MAX_SIZE
    from shype.files import read

    config = base64.b64encode(read(arguments.config, MAX_SIZE)).decode()
    wanted: dict[str, Json] = {"config": config, "tenant": arguments.tenant, "dry_run": arguments.dry_run}
    return _call(arguments, "launch", wanted)


def _stop(arguments: argparse.Namespace) -> Report:
    return _call(arguments, "stop", {"name": arguments.name})


def _connect(arguments: argparse.Namespace) -> Report:
    return _call(arguments, "connect", {"from": arguments.first, "to": arguments.second})


def _run(arguments: argparse.Namespace) -> Report:
    return _call(arguments, "run", {"seconds": arguments.seconds})


def _call(arguments: argparse.Namespace, verb: str, values: dict[str, Json]) -> Report:
    from shype.host.socket import call

    return call(arguments.host, verb, values)
