"""``shype policy can-run``: whether a domain would be let run on a host."""

from __future__ import annotations

import argparse
from pathlib import Path

from shype.cli.policy_options import add_policy, add_running
from shype.cli.verb import Verbs, add_verb
from shype.report import Report

_CAN_RUN = """\
All questions of a launch, put to the policy without a host: may the domain start beside
what runs and has run, may the host's Domain-0 run its label, may it use each disk and
VLAN. Memory is not asked for, and a launch asks again.

Exit: 0 permit, 1 deny, 2 wrong usage, 3 broken file.

Example:
  shype policy can-run configs/policies/datacenter.yaml configs/hosts/cola-web.cfg \\
    --host-description configs/hosts/embedded.yaml --running bank-web
"""


def register(verbs: Verbs) -> None:
    """Add the verb."""
    verb = add_verb(verbs, "can-run", "would this domain be let run on that host", _CAN_RUN, _can_run)
    add_policy(verb)
    verb.add_argument("config", type=Path, metavar="CFG", help="xl domain config")
    verb.add_argument(
        "--host-description", type=Path, required=True, metavar="F", help="the host (YAML, shype.host/1)"
    )
    add_running(verb)


def _can_run(arguments: argparse.Namespace) -> Report:
    from acm.yamltree import MAX_SIZE
    from hypervisor import hostconfig, xlconfig, xlsyntax
    from hypervisor.canrun import can_run
    from shype.files import read
    from shype.policies import answer, load, load_history

    decision = can_run(
        load(arguments.policy),
        xlconfig.parse(read(arguments.config, xlsyntax.MAX_SIZE)),
        hostconfig.parse(read(arguments.host_description, MAX_SIZE)),
        arguments.running,
        history=load_history(arguments.history),
        anchor=arguments.newest_history,
    )
    return answer(decision)
