"""``shype policy show``: what a policy file says, with what is measured of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from shype.cli.policy_options import add_policy
from shype.cli.verb import Verbs, add_verb
from shype.report import Exit, Json, Report

if TYPE_CHECKING:
    from acm.labels import Label
    from acm.mls import Level
    from acm.policy import Policy

_SHOW = """\
The digest is SHA-256 over the exact bytes of the file, the root the Merkle root
over the policy's parts; both are measured before the policy takes effect.

Example:
  shype policy show configs/policies/datacenter.yaml
"""


def register(verbs: Verbs) -> None:
    """Add the verb."""
    add_policy(add_verb(verbs, "show", "show a policy: digest, root, labels", _SHOW, _show))


def _show(arguments: argparse.Namespace) -> Report:
    from shype.policies import load

    policy = load(arguments.policy)
    return Report(Exit.OK, _document(policy), _text(policy))


def _document(policy: Policy) -> Json:
    lineage = policy.lineage
    return {
        "name": policy.name,
        "version": policy.version,
        "digest": policy.digest,
        "root": policy.root,
        "components": [str(component) for component in policy.components],
        "bootstrap": policy.bootstrap,
        "from": None if lineage is None else {"name": lineage.name, "version": lineage.version},
        "renames": {
            "domain_labels": {} if lineage is None else dict(lineage.domain_renames),
            "resource_labels": {} if lineage is None else dict(lineage.resource_renames),
        },
        "history": policy.history,
        "conflict_sets": [{"name": one.name, "types": sorted(one.types)} for one in policy.conflict_sets],
        "levels": list(policy.levels),
        "categories": sorted(policy.categories),
        "trusted": sorted(policy.trusted),
        "domain_labels": [
            {**_label(label), "chwall": sorted(label.chwall)} for label in policy.domain_labels.values()
        ],
        "resource_labels": [_label(label) for label in policy.resource_labels.values()],
    }


def _label(label: Label) -> dict[str, Json]:
    fields: dict[str, Json] = {"name": label.name, "ste": sorted(label.ste)}
    if label.mls is not None:
        fields["mls"] = {"low": _level(label.mls.low), "high": _level(label.mls.high)}
    return fields


def _level(level: Level) -> Json:
    return {"level": level.name, "categories": sorted(level.categories)}


def _text(policy: Policy) -> str:
    lines = [
        f"policy      {policy.name} {policy.version}",
        f"digest      {policy.digest}",
        f"root        {policy.root}",
        f"components  {', '.join(policy.components) or 'none: everything is permitted'}",
        f"bootstrap   {policy.bootstrap}",
    ]
    if policy.lineage is not None:
        lines.append(f"from        {policy.lineage.name} {policy.lineage.version}")
        renames = (policy.lineage.domain_renames, policy.lineage.resource_renames)
        lines += [f"renamed     {old} to {new}" for table in renames for new, old in table.items()]
    if policy.history:
        lines.append("history     counts: what has run on a host excludes as if it ran")
    if policy.levels:
        lines.append(f"levels      {' < '.join(policy.levels)}")
        lines.append(f"trusted     {', '.join(sorted(policy.trusted)) or 'nobody'}")
    lines += [f"conflict    {one.name}: {', '.join(sorted(one.types))}" for one in policy.conflict_sets]
    for label in policy.domain_labels.values():
        chwall = f"; chwall {', '.join(sorted(label.chwall)) or '-'}"
        lines.append(f"domain      {label.name}: {_types(label)}{chwall}{_span(label)}")
    for label in policy.resource_labels.values():
        lines.append(f"resource    {label.name}: {_types(label)}{_span(label)}")
    return "\n".join(lines)


def _types(label: Label) -> str:
    return f"ste {', '.join(sorted(label.ste)) or '-'}"


def _span(label: Label) -> str:
    return "" if label.mls is None else f"; mls {label.mls}"
