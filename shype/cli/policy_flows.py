"""``shype policy flows``: where information can go under a policy, and through whom."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from shype.cli.policy_options import add_policy
from shype.cli.verb import Verbs, add_verb
from shype.errors import ShypeUsageError
from shype.report import Exit, Json, Report

if TYPE_CHECKING:
    from acm.flows import Flow, FlowGraph, Through

_FLOWS: Final = """\
A flow is a shortest path along which domains of these labels, all colluding, can pass
information by operations that the policy permits. Labels on the way are those it goes
through: most policies trust them to keep things apart inside. --without asks what is left
if these labels keep that promise and pass nothing on.

The Chinese Wall takes no flow away: it keeps domains from running at the same time, and
what one leaves on a disk or with a service reaches the other later. Covert channels are
not in it.

Exit: 0 answered, also where there is no flow, 2 wrong usage, 3 broken policy file.

Example:
  shype policy flows configs/policies/datacenter.yaml --from cola-web --to juice-web \\
    --without dom0 --without dns --without backup
"""

MOST: Final = 20_000
"""Flows that one answer lists."""


def register(verbs: Verbs) -> None:
    """Add the verb."""
    verb = add_verb(verbs, "flows", "say where information can go, and through whom", _FLOWS, _flows)
    add_policy(verb)
    verb.add_argument("--from", dest="source", metavar="LABEL", help="flows from this label only")
    verb.add_argument("--to", dest="target", metavar="LABEL", help="flows to this label only")
    verb.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="LABEL",
        help="this label passes nothing on; may be given many times",
    )


def _flows(arguments: argparse.Namespace) -> Report:
    from acm.flows import FlowGraph
    from shype.policies import load

    graph = FlowGraph(load(arguments.policy), arguments.without)
    found = _found(graph, arguments.source, arguments.target)
    document: Json = {"flows": [_document(flow) for flow in found]}
    text = "\n".join(map(_line, found)) if found else _nothing(arguments)
    return Report(Exit.OK, document, text)


def _found(graph: FlowGraph, source: str | None, target: str | None) -> list[Flow]:
    if source is not None and target is not None:
        flow = graph.flow(source, target)
        return [] if flow is None else [flow]
    if source is not None:
        return list(graph.flows_from(source))
    if target is not None:
        return list(graph.flows_to(target))
    count = sum(reached.bit_count() for reached in graph.closure())
    if count > MOST:
        raise ShypeUsageError(f"{count} flows, more than {MOST}: narrow it with --from or --to")
    return list(graph.all_flows())


def _document(flow: Flow) -> Json:
    return {
        "from": flow.path[0],
        "to": flow.path[-1],
        "path": flow.path,
        "steps": [
            {
                "from": step.source,
                "to": step.target,
                "operations": [str(op) for op in step.operations],
                "types": step.types,
            }
            for step in flow.steps
        ],
        "through": [
            {"label": one.label, "received": one.received, "passed": one.passed, "levels": one.span}
            for one in flow.through
        ],
    }


def _line(flow: Flow) -> str:
    if len(flow.path) == 1:
        return f"{flow.path[0]}: one and the same label, nothing has to move"
    through = "".join(f"\n    through {_joins(one)}" for one in flow.through)
    return f"{' -> '.join(flow.path)}{through}"


def _joins(one: Through) -> str:
    joins = []
    if one.received and one.passed and not set(one.received) & set(one.passed):
        joins.append(f"takes it by type {' or '.join(one.received)}, passes it by {' or '.join(one.passed)}")
    if one.span is not None:
        joins.append(f"spans {one.span}")
    return f"{one.label}: {'; '.join(joins)}" if joins else one.label


def _nothing(arguments: argparse.Namespace) -> str:
    source = "any label" if arguments.source is None else f"'{arguments.source}'"
    target = "another label" if arguments.target is None else f"'{arguments.target}'"
    trusted = f", if these pass nothing on: {', '.join(arguments.without)}" if arguments.without else ""
    return (
        f"no flow: no sequence of permitted operations moves information from {source} to {target}{trusted}"
    )
