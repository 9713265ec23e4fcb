"""Random small policies, their successors, and hosts that live under them; each from one number."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from acm.livestate import (
    ArgoRing,
    Attachment,
    Channel,
    GrantMapping,
    LiveDomain,
    LiveResource,
    LiveState,
    Mode,
    PolicyReference,
    ResourceKind,
)
from acm.policyfile import load

if TYPE_CHECKING:
    from acm.policy import Policy

STE = ["a", "b", "c"]
WALL = ["x", "y", "z"]
LEVELS = ["low", "high"]
LABELS = ["one", "two", "three", "four"]
RESOURCES = ["ra", "rb", "rc"]


@dataclass(frozen=True)
class Case:
    """An update of a host: the document of the new policy, the policy, what lives under the old one."""

    document: dict[str, Any]
    new: Policy
    live: LiveState


def case(seed: int, guests: int = 4, resources: int = 2) -> Case:
    """Return one case; the same number gives the same one."""
    draw = Random(seed)
    document = successor(draw)
    return Case(document, load(json.dumps(document).encode()), host(draw, guests, resources))


def successor(draw: Random) -> dict[str, Any]:
    """The document of a policy that follows policy 'old' 1.0; labels are gone, renamed or new at random."""
    walls, levels = draw.random() < 0.7, draw.random() < 0.4
    sets = {f"set{i}": draw.sample(WALL, draw.randint(2, 3)) for i in range(draw.randint(1, 2))}
    names = [*(name for name in LABELS if draw.random() < 0.9), *draw.sample(["new"], draw.randint(0, 1))]
    resources = [name for name in [*RESOURCES, "rnew"] if draw.random() < 0.8]

    def label() -> dict[str, Any]:
        found: dict[str, Any] = {"ste": draw.sample(STE, draw.randint(1, 3))}
        if walls:
            held = draw.sample(WALL, draw.choice([0, 1, 1, 1, 2]))
            good = all(len(set(held) & set(one)) < 2 for one in sets.values())
            found["chwall"] = held if good else held[:1]
        return found | ({"mls": draw.choice(LEVELS)} if levels else {})

    document: dict[str, Any] = {
        "format": "shype.policy/1",
        "name": "new",
        "version": "1.1",
        "from": {"name": "old", "version": "1.0"},
        "bootstrap": "dom0",
        "ste": {"types": STE},
        "domain_labels": {"dom0": {"ste": STE if draw.random() < 0.8 else STE[:2]}},
    }
    if levels:
        document["mls"] = {"levels": LEVELS, "trusted": ["dom0"]}
        document["domain_labels"]["dom0"]["mls"] = {"low": "low", "high": "high"}
    if walls:
        document["chwall"] = {"types": WALL, "conflict_sets": sets, "history": draw.random() < 0.2}
        document["domain_labels"]["dom0"]["chwall"] = draw.sample(WALL, draw.choice([0, 0, 0, 1]))
    document["domain_labels"].update((name, label()) for name in names)
    document["resource_labels"] = {
        name: {"ste": draw.choice(STE)} | ({"mls": draw.choice(LEVELS)} if levels else {})
        for name in resources
    }
    lost = [name for name in LABELS if name not in names]
    if lost and "new" in names:
        document["renames"] = {"domain_labels": {"new": lost[0]}}
    return document


def host(draw: Random, guests: int, resources: int) -> LiveState:
    """What lives on a host under policy 'old' 1.0: a few guests, and something bound between them."""
    names = ["dom0", *(draw.choice(LABELS) for _ in range(draw.randint(0, guests)))]
    kinds = [draw.choice(list(ResourceKind)) for _ in range(draw.randint(0, resources))]
    disks = tuple(LiveResource(kind, f"res{i}", draw.choice(RESOURCES)) for i, kind in enumerate(kinds))
    domids = range(len(names))

    def pairs() -> list[tuple[int, int, int]]:
        return [(i, draw.choice(domids), draw.choice(domids)) for i in range(draw.randint(0, 3))]

    def mode() -> Mode:
        return draw.choice(list(Mode))

    return LiveState(
        policy=PolicyReference("old", "1.0"),
        domains=tuple(LiveDomain(domid, f"d{domid}", label) for domid, label in enumerate(names)),
        resources=disks,
        attachments=tuple(
            Attachment(domid, each.identity, mode())
            for each in disks
            for domid in domids
            if draw.random() < 0.6
        ),
        channels=tuple(Channel(a, 10 + i, b, 20 + i) for i, a, b in pairs()),
        grants=tuple(GrantMapping(a, 8 + i, b, i, mode()) for i, a, b in pairs()),
        argo=tuple(ArgoRing(a, i, b) for i, a, b in pairs()),
        past_types=None if draw.random() < 0.3 else frozenset(draw.sample(WALL, draw.randint(0, 2))),
    )
