"""The operations that a policy decides, and what each of them is made of.

One row says what the object may be, which question is put, and in which directions information moves as seen
from the subject; the engine derives everything else from it, so an operation without a row is refused.

===================  ==========  ===========================================  ======  =======
operation            object      meaning                                      reads   writes
===================  ==========  ===========================================  ======  =======
share                domain      any way to exchange something, both ways     yes     yes
read                 either      anything that only comes to the subject      yes
write                either      anything that only leaves the subject                yes
event-channel        domain      bind an event channel: both ends notify      yes     yes
grant-map-read       domain      map a granted page read-only                 yes
grant-map-write      domain      map a granted page writable, hence readable  yes     yes
grant-copy-from      domain      copy out of a granted page                   yes
grant-copy-to        domain      copy into a granted page                             yes
grant-transfer       domain      give a page away with its content                    yes
argo                 domain      send to an Argo ring, which answers          yes     yes
resource-read        resource    attach a disk read-only                      yes
resource-write       resource    attach a disk for reading and writing        yes     yes
vlan-attach          resource    join a VLAN: frames come and go              yes     yes
===================  ==========  ===========================================  ======  =======

``start``, ``resume`` and ``migrate-in`` admit the subject to a host: the object is the label of its Domain-0,
and the running labels and the host's history count. ``authorize`` asks only whether the subject, the label of
a host's Domain-0, may run the object. A copy between two foreign pages is ``grant-copy-from`` the one and
``grant-copy-to`` the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from acm.policy import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping


class Operation(StrEnum):
    """What a subject asks for; see the table above."""

    SHARE = "share"
    READ = "read"
    WRITE = "write"
    START = "start"
    AUTHORIZE = "authorize"
    EVENT_CHANNEL = "event-channel"
    GRANT_MAP_READ = "grant-map-read"
    GRANT_MAP_WRITE = "grant-map-write"
    GRANT_COPY_FROM = "grant-copy-from"
    GRANT_COPY_TO = "grant-copy-to"
    GRANT_TRANSFER = "grant-transfer"
    ARGO = "argo"
    RESOURCE_READ = "resource-read"
    RESOURCE_WRITE = "resource-write"
    VLAN_ATTACH = "vlan-attach"
    RESUME = "resume"
    MIGRATE_IN = "migrate-in"


class Question(StrEnum):
    """What an operation puts to the components."""

    FLOW = "flow"
    """May information move between subject and object in these directions?"""
    ADMISSION = "admission"
    """May the subject run on the host whose Domain-0 is the object, beside what runs and has run there?"""
    AUTHORITY = "authority"
    """May a host whose Domain-0 is the subject run the object?"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: the question, what the object may be, and the directions as seen from the subject."""

    question: Question
    objects: frozenset[Kind]
    reads: bool = False
    writes: bool = False


_DOMAIN: Final = frozenset({Kind.DOMAIN})
_RESOURCE: Final = frozenset({Kind.RESOURCE})
_EITHER: Final = _DOMAIN | _RESOURCE


def _flow(objects: frozenset[Kind], *, reads: bool = False, writes: bool = False) -> Rule:
    return Rule(Question.FLOW, objects, reads, writes)


_ADMISSION: Final = Rule(Question.ADMISSION, _DOMAIN)

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        Operation.SHARE: _flow(_DOMAIN, reads=True, writes=True),
        Operation.READ: _flow(_EITHER, reads=True),
        Operation.WRITE: _flow(_EITHER, writes=True),
        Operation.EVENT_CHANNEL: _flow(_DOMAIN, reads=True, writes=True),
        Operation.GRANT_MAP_READ: _flow(_DOMAIN, reads=True),
        Operation.GRANT_MAP_WRITE: _flow(_DOMAIN, reads=True, writes=True),
        Operation.GRANT_COPY_FROM: _flow(_DOMAIN, reads=True),
        Operation.GRANT_COPY_TO: _flow(_DOMAIN, writes=True),
        Operation.GRANT_TRANSFER: _flow(_DOMAIN, writes=True),
        Operation.ARGO: _flow(_DOMAIN, reads=True, writes=True),
        Operation.RESOURCE_READ: _flow(_RESOURCE, reads=True),
        Operation.RESOURCE_WRITE: _flow(_RESOURCE, reads=True, writes=True),
        Operation.VLAN_ATTACH: _flow(_RESOURCE, reads=True, writes=True),
        Operation.START: _ADMISSION,
        Operation.RESUME: _ADMISSION,
        Operation.MIGRATE_IN: _ADMISSION,
        Operation.AUTHORIZE: Rule(Question.AUTHORITY, _DOMAIN),
    }
)
"""Operation -> its row."""

ADMISSIONS: Final = frozenset(op for op in Operation if RULES[op].question is Question.ADMISSION)
"""Operations that depend on who runs and has run, so that no decision on them may be kept."""
