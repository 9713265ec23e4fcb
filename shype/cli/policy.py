"""``shype policy``: decide by a policy file, enforce one on a host; more verbs in ``policy_*.py``."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

from shype.cli import (
    policy_can_run,
    policy_diff,
    policy_flows,
    policy_lint,
    policy_matrix,
    policy_section,
    policy_show,
    policy_xml,
)
from shype.cli.policy_options import add_policy, add_running
from shype.cli.verb import add_verb, verbs_of
from shype.report import Json, Report

OPERATIONS = (
    "share",
    "read",
    "write",
    "start",
    "authorize",
    "event-channel",
    "grant-map-read",
    "grant-map-write",
    "grant-copy-from",
    "grant-copy-to",
    "grant-transfer",
    "argo",
    "resource-read",
    "resource-write",
    "vlan-attach",
    "resume",
    "migrate-in",
)

_DECIDE = """\
Operations, each decided on the labels alone:
  share      event channel, Argo: both ways, between two domains
  read       grant, disk, VLAN: from the object to the subject
  write      grant, disk, VLAN: from the subject to the object
  start      the subject starts on a host whose Domain-0 has the object's label
             and where the --running labels run
  authorize  may the subject, the label of a host's Domain-0, run the object
and, one by one, what a hypervisor asks:
  both ways      event-channel, grant-map-write, argo; on a resource: resource-write,
                 vlan-attach
  to the subject grant-map-read, grant-copy-from; on a resource: resource-read
  to the object  grant-copy-to, grant-transfer
  like start     resume, migrate-in

A label is NAME; where a domain and a resource label share a name, vm:NAME or
res:NAME. Every policy also knows __UNLABELED__ (confined to itself) and the
resource __INACCESSIBLE__ (for nobody).

Where a policy counts past runs, what would start is denied without --history and
--newest-history.

Exit: 0 permit, 1 deny, 2 wrong usage, 3 broken policy file.

Example:
  shype policy decide configs/policies/datacenter.yaml --op start \\
    --subject cola-web --object dom0 --running juice-db
"""

_LOAD = """\
A policy that follows another one names it (from: {name, version}) and has a higher
version. Everything that runs, is attached or is shared is put to it first; if anything
breaks, it is refused and the one in force stays. What is refused is not measured; what is
in force was extended into PCR 12 before. See what would break: shype policy diff.

Exit: 0 in force, 1 refused, 2 wrong usage, 3 broken policy file.

Example (with a host from shype host boot /tmp/h):
  shype policy load configs/policies/datacenter.yaml --host /tmp/h
"""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the group."""
    verbs = verbs_of(parser)
    decide = add_verb(verbs, "decide", "decide one request by a policy file", _DECIDE, _decide)
    add_policy(decide)
    decide.add_argument("--op", required=True, choices=OPERATIONS, help="what the subject asks for")
    decide.add_argument("--subject", required=True, metavar="LABEL", help="domain label that asks")
    decide.add_argument("--object", required=True, metavar="LABEL", help="label that it asks for")
    add_running(decide)
    policy_can_run.register(verbs)
    policy_show.register(verbs)
    policy_diff.register(verbs)
    policy_flows.register(verbs)
    policy_matrix.register(verbs)
    policy_lint.register(verbs)
    policy_xml.register(verbs)
    policy_section.register(verbs)
    load = add_verb(verbs, "load", "measure a policy and enforce it on a host", _LOAD, _load_into)
    add_policy(load)
    load.add_argument("--host", type=Path, required=True, metavar="HOSTDIR", help="the host's folder")
    load.add_argument(
        "--revoke", action="store_true", help="end channels, grants, rings and attachments that would break"
    )
    load.add_argument(
        "--stop", action="append", default=[], metavar="NAME", help="end this domain; may be given many times"
    )
    load.add_argument(
        "--relabel",
        action="append",
        default=[],
        type=_relabel,
        metavar="IDENTITY=LABEL",
        help="give a disk or VLAN a label of the new policy; may be given many times",
    )


def _decide(arguments: argparse.Namespace) -> Report:
    from acm.engine import Operation, Request, decide
    from shype.policies import answer, load, load_history

    request = Request(
        op=Operation(arguments.op),
        subject=arguments.subject,
        object=arguments.object,
        running=tuple(arguments.running),
        history=load_history(arguments.history),
        anchor=arguments.newest_history,
    )
    return answer(decide(load(arguments.policy), request))


def _load_into(arguments: argparse.Namespace) -> Report:
    from acm.yamltree import MAX_SIZE
    from shype.files import read
    from shype.host.socket import call

    policy = base64.b64encode(read(arguments.policy, MAX_SIZE)).decode()
    wishes: dict[str, Json] = {
        "revoke": arguments.revoke,
        "stop": arguments.stop,
        "relabel": dict(arguments.relabel),
    }
    return call(arguments.host, "load-policy", {"policy": policy, **wishes})


def _relabel(text: str) -> tuple[str, str]:
    identity, sign, label = text.rpartition("=")
    if not (identity and sign and label):
        raise argparse.ArgumentTypeError("IDENTITY=LABEL, such as vlan:101=web-vlan")
    return identity, label
