"""Two worlds to collude in, each with a policy and an oracle that was worked out by hand, without :mod:`acm`.

The oracle knows what a label holds, and one rule: bytes may go from one label to another if they have a type
in common and the upper level of the receiver dominates the lower level of the sender.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

from acm import policyfile
from acm.policy import Policy
from hypervisor import hostconfig
from hypervisor.host import XenHost

Level = tuple[int, frozenset[str]]
SLOT = 16
DISKS = ("uuid:00000000-0000-0000-0000-00000000000a", "uuid:00000000-0000-0000-0000-00000000000b")
VLANS = ("vlan:1", "vlan:2")
GROUND: Level = (0, frozenset())


def level(rank: int, categories: str = "") -> Level:
    return rank, frozenset(categories)


def dominates(one: Level, other: Level) -> bool:
    return one[0] >= other[0] and one[1] >= other[1]


@dataclass(frozen=True)
class Holder:
    """What a label holds."""

    types: frozenset[str]
    low: Level = GROUND
    high: Level = GROUND


def holder(types: str, low: Level = GROUND, high: Level | None = None) -> Holder:
    return Holder(frozenset(types.split()), low, low if high is None else high)


@dataclass(frozen=True)
class World:
    """A policy, what its labels hold, and which of them exclude each other; ``resources`` by identity."""

    name: str
    text: bytes
    labels: dict[str, Holder]
    resources: dict[str, str]
    holders: dict[str, Holder]
    excluded: Collection[frozenset[str]] = field(default=frozenset())

    @cached_property
    def policy(self) -> Policy:
        return policyfile.load(self.text)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.labels))

    @property
    def payload(self) -> int:
        """Bytes that hold a slot for the marker of every label."""
        return SLOT * len(self.names)

    def host(self) -> XenHost:
        disks = "".join(
            f'\n  - {{kind: disk, identity: "{each}", label: {label}, access: rw, size: 1 MiB}}'
            for each, label in self.resources.items()
            if each in DISKS
        )
        vlans = "".join(
            f'\n  - {{kind: vlan, id: "{each[5:]}", label: {self.resources[each]}}}' for each in VLANS
        )
        return XenHost(hostconfig.parse(HOST + disks.encode() + vlans.encode()), self.policy)

    def flows(self, source: Holder, target: Holder) -> bool:
        return bool(source.types & target.types) and dominates(target.high, source.low)

    def may(self, subject: str, other: str, *, reads: bool = False, writes: bool = False) -> bool:
        """Tell whether a domain of label ``subject`` may read or write one of label ``other``."""
        return self._may(self.labels[subject], self.labels[other], reads=reads, writes=writes)

    def may_use(self, subject: str, identity: str, *, reads: bool = False, writes: bool = False) -> bool:
        """Tell whether a domain of label ``subject`` may read or write a resource."""
        resource = self.holders[self.resources[identity]]
        return self._may(self.labels[subject], resource, reads=reads, writes=writes)

    def _may(self, subject: Holder, other: Holder, *, reads: bool, writes: bool) -> bool:
        if reads and not self.flows(other, subject):
            return False
        return not writes or self.flows(subject, other)

    def sources(self, label: str, existed: Collection[str]) -> set[str]:
        """Return the labels whose bytes may have come to ``label``, through all that ever existed."""
        nodes = {each: self.labels[each] for each in existed}
        nodes |= {f"res:{each}": self.holders[each] for each in self.resources.values()}
        found, edge = {label}, [label]
        while edge:
            here = nodes[edge.pop()]
            new = {each for each, held in nodes.items() if self.flows(held, here)} - found
            found |= new
            edge += new
        return found

    def marker(self, label: str) -> bytes:
        return f"<{label}>".encode().ljust(SLOT, b".")

    def own(self, label: str) -> bytes:
        """Return the payload of a domain that knows nothing but itself."""
        return b"".join(self.marker(each) if each == label else bytes(SLOT) for each in self.names)

    def known(self, held: bytes) -> set[str]:
        return {each for each in self.names if self.marker(each) in held}


def merged(one: bytes, two: bytes) -> bytes:
    """Each label has a slot; a slot that either side has filled is filled."""
    return bytes(max(left, right) for left, right in zip(one, two, strict=True))


HOST = b"""
schema: shype.host/1
name: test
pcpus: "1"
memory: 16 MiB
dom0: {label: dom0, memory: 1 MiB, vcpus: "1"}
profile: p.yaml
policy: p.yaml
resources:"""

COALITIONS = World(
    name="coalitions",
    text=b"""
format: shype.policy/1
name: test
version: "1.0"
bootstrap: dom0
ste: {types: [red, green, blue]}
chwall: {types: [west, east], conflict_sets: {sides: [west, east]}}
domain_labels:
  dom0: {ste: [red, green, blue]}
  red: {ste: [red]}
  red-west: {ste: [red], chwall: [west]}
  red-east: {ste: [red], chwall: [east]}
  green: {ste: [green]}
  blue: {ste: [blue]}
  red-blue: {ste: [red, blue]}
resource_labels: {red: {ste: red}, green: {ste: green}}
""",
    labels={
        "red": holder("red"),
        "red-west": holder("red"),
        "red-east": holder("red"),
        "green": holder("green"),
        "blue": holder("blue"),
        "red-blue": holder("red blue"),
    },
    resources=dict(zip((*DISKS, *VLANS), ("red", "green", "red", "green"), strict=True)),
    holders={"red": holder("red"), "green": holder("green")},
    excluded={frozenset({"red-west", "red-east"})},
)
LEVELS = World(
    name="levels",
    text=b"""
format: shype.policy/1
name: test
version: "1.0"
bootstrap: dom0
ste: {types: [one, two]}
mls: {levels: [low, middle, high], categories: [a, b], trusted: [dom0, bridge]}
domain_labels:
  dom0: {ste: [one, two], mls: {low: low, high: {level: high, categories: [a, b]}}}
  bottom: {ste: [one], mls: low}
  left: {ste: [one], mls: {level: middle, categories: [a]}}
  right: {ste: [one], mls: {level: middle, categories: [b]}}
  top: {ste: [one], mls: {level: high, categories: [a]}}
  bridge:
    ste: [one, two]
    mls: {low: {level: middle, categories: [a]}, high: {level: high, categories: [a, b]}}
  other: {ste: [two], mls: {level: high, categories: [a, b]}}
resource_labels:
  ground: {ste: one, mls: low}
  store: {ste: one, mls: {level: middle, categories: [a]}}
""",
    labels={
        "bottom": holder("one"),
        "left": holder("one", level(1, "a")),
        "right": holder("one", level(1, "b")),
        "top": holder("one", level(2, "a")),
        "bridge": holder("one two", level(1, "a"), level(2, "ab")),
        "other": holder("two", level(2, "ab")),
    },
    resources=dict(zip((*DISKS, *VLANS), ("ground", "store", "ground", "store"), strict=True)),
    holders={"ground": holder("one"), "store": holder("one", level(1, "a"))},
)
WORLDS = (COALITIONS, LEVELS)
