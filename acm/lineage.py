"""Where a policy comes from: its predecessor, and which labels it renamed.

A policy that replaces another one names it (``from``) and has a higher version; the versions of a policy are
ordered number by number, so 1.10 is newer than 1.9. A label keeps its identity over an update by its name, or
by an entry of the rename map; whatever has an old name that is neither is a label of the past.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def version_number(version: str) -> tuple[int, ...]:
    """Return the numbers of a version that a policy file can have ("1.10" is (1, 10)), for comparison."""
    return tuple(int(part) for part in version.split("."))


@dataclass(frozen=True, slots=True)
class Lineage:
    """The predecessor that a policy names, and its renames, each from new name to old name.

    ``acm.policyfile`` checks: the predecessor's version is lower; every new name is a label of this policy;
    every old name stands once, and is a label of this policy only if that label has been renamed as well.
    """

    name: str
    version: str
    domain_renames: Mapping[str, str] = field(default_factory=dict)
    resource_renames: Mapping[str, str] = field(default_factory=dict)

    def is_from(self, name: str, version: str) -> bool:
        """Tell whether the policy of this name and version is the predecessor."""
        return (self.name, self.version) == (name, version)
