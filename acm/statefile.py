"""The state file ``shype.state/1``: what lives on a host, as JSON that a host or an outsider writes.

::

    {"format": "shype.state/1",
     "policy": {"name": "datacenter", "version": "1.0", "digest": HEX64},     # digest may be left out
     "domains": [{"domid": 0, "name": "Domain-0", "label": "dom0"},
                 {"domid": 1, "name": "web", "label": "cola-web"}],
     "resources": [{"kind": "disk", "identity": "uuid:…", "label": "cola-disk"},
                   {"kind": "vlan", "identity": "vlan:101", "label": "cola-vlan"}],
     "attachments": [{"domain": 1, "resource": "vlan:101", "mode": "rw"}],    # mode: r, rw
     "channels": [{"domain": 1, "port": 3, "remote": 0, "remote_port": 9}],   # bound event channels
     "grants": [{"granter": 1, "ref": 8, "grantee": 0, "handle": 4, "mode": "rw"}],   # mapped pages
     "argo": [{"domain": 1, "port": 80, "partner": 2, "anybody": false}],     # who may send to a ring
     "past_types": ["cola"]}             # Chinese Wall types that have run; left out without a history

Only ``format``, ``policy`` and ``domains`` must be there, and Domain-0 among the domains. Domains refer to
each other by ``domid``. The same rules for other programs: ``configs/schema/state.schema.json``; what a
schema cannot say (references that lead nowhere, identifiers that stand twice) is checked here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from acm import strictjson
from acm.errors import StateFileError
from acm.labels import INACCESSIBLE, UNLABELED, is_name, is_reserved
from acm.livestate import (
    DOM0,
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

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping
    from enum import StrEnum

FORMAT: Final = "shype.state/1"
MAX_SIZE: Final = 32 << 20
"""Bytes of the largest file."""
MAX_DOMAINS: Final = 0x7FF0
"""Domain identifiers below DOMID_FIRST_RESERVED of Xen's public header."""
MAX_RESOURCES: Final = 65536
MAX_SHARINGS: Final = 262144
"""Entries of each list of what is bound."""
MAX_TYPES: Final = 16384
_U32: Final = (1 << 32) - 1
_TEXT: Final = 256

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_VERSION: Final = re.compile(r"(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})")
_T = TypeVar("_T")


def decode(data: bytes, source: str = "state") -> LiveState:
    """Return the state in the bytes of a file; ``source`` names it in errors.

    Raises StateFileError with a code and the JSON path of one flaw, and nothing else.
    """
    document = strictjson.read(data, MAX_SIZE, lambda code, what: StateFileError(code, f"{source}: {what}"))
    top = _Object(source, "$", document, _TOP, ("format", "policy", "domains"))
    if top.text("format") != FORMAT:
        raise top.flaw("format", "format", f"this program reads format '{FORMAT}' only")
    state = LiveState(
        policy=_policy(top),
        domains=top.list("domains", MAX_DOMAINS, _DOMAIN, _domain),
        resources=top.list("resources", MAX_RESOURCES, _RESOURCE, _resource),
        attachments=top.list("attachments", MAX_SHARINGS, _ATTACHMENT, _attachment),
        channels=top.list("channels", MAX_SHARINGS, _CHANNEL, _channel),
        grants=top.list("grants", MAX_SHARINGS, _GRANT, _grant),
        argo=top.list("argo", MAX_SHARINGS, _ARGO, _argo),
        past_types=_past_types(top),
    )
    _check_unique(top, state)
    _check_references(top, state)
    return state


def document(state: LiveState) -> dict[str, Any]:
    """Return a state as the JSON document of its file."""
    policy = {"name": state.policy.name, "version": state.policy.version}
    if state.policy.digest is not None:
        policy["digest"] = state.policy.digest
    found: dict[str, Any] = {"format": FORMAT, "policy": policy}
    for name, fields in _LISTS.items():
        found[name] = [{key: getattr(one, key) for key in fields} for one in getattr(state, name)]
    if state.past_types is not None:
        found["past_types"] = sorted(state.past_types)
    return found


def encode(state: LiveState) -> bytes:
    """Return the bytes of a state's file: one line an entry, so that two states can be compared."""
    lines = []
    for name, value in document(state).items():
        if isinstance(value, list):
            inside = ",\n".join(f"  {json.dumps(one)}" for one in value)
            lines.append(f"{json.dumps(name)}: [\n{inside}\n]" if value else f"{json.dumps(name)}: []")
        else:
            lines.append(f"{json.dumps(name)}: {json.dumps(value)}")
    return ("{" + ",\n".join(lines) + "}\n").encode("ascii")


_DOMAIN: Final = ("domid", "name", "label")
_RESOURCE: Final = ("kind", "identity", "label")
_ATTACHMENT: Final = ("domain", "resource", "mode")
_CHANNEL: Final = ("domain", "port", "remote", "remote_port")
_GRANT: Final = ("granter", "ref", "grantee", "handle", "mode")
_ARGO: Final = ("domain", "port", "partner", "anybody")
_LISTS: Final = {
    "domains": _DOMAIN,
    "resources": _RESOURCE,
    "attachments": _ATTACHMENT,
    "channels": _CHANNEL,
    "grants": _GRANT,
    "argo": _ARGO,
}
_TOP: Final = ("format", "policy", *_LISTS, "past_types")


@dataclass(frozen=True, slots=True)
class _Object:
    """A JSON object at a path, with exactly known keys; every access checks and names its place."""

    source: str
    path: str
    value: Any
    known: tuple[str, ...]
    needed: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.value, dict):
            raise self.flaw("", "wrong-type", f"an object must stand here, with: {', '.join(self.known)}")
        for key in self.value:
            if key not in self.known:
                what = f"key {key[:40]!a} is none of: {', '.join(self.known)}"
                raise self.flaw("", "unknown-key", what)
        for key in self.needed:
            if key not in self.value:
                raise self.flaw("", "missing-key", f"key '{key}' is missing")

    def flaw(self, key: str, code: str, what: str) -> StateFileError:
        """Return the error for a flaw at a key of this object."""
        return StateFileError(code, f"{self.source}: {self.path}{f'.{key}' if key else ''}: {what}")

    def text(self, key: str) -> str:
        """Return a string of 1 to 256 printable ASCII characters."""
        value = self.value[key]
        if not isinstance(value, str):
            raise self.flaw(key, "wrong-type", "a string must stand here")
        if not 0 < len(value) <= _TEXT or not (value.isascii() and value.isprintable()):
            raise self.flaw(key, "bad-value", f"1 to {_TEXT} printable ASCII characters")
        return value

    def matching(self, key: str, pattern: re.Pattern[str], what: str) -> str:
        """Return a string of this form."""
        value = self.text(key)
        if not pattern.fullmatch(value):
            raise self.flaw(key, "bad-value", what)
        return value

    def number(self, key: str, high: int = _U32) -> int:
        """Return a whole number of 0 to ``high``."""
        value = self.value[key]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.flaw(key, "wrong-type", "a whole number must stand here")
        if not 0 <= value <= high:
            raise self.flaw(key, "out-of-range", f"0 to {high}")
        return value

    def truth(self, key: str) -> bool:
        """Return true or false."""
        value = self.value[key]
        if not isinstance(value, bool):
            raise self.flaw(key, "wrong-type", "true or false must stand here")
        return value

    def one_of(self, key: str, kind: type[StrEnum]) -> str:
        """Return one of the words of ``kind``."""
        value = self.text(key)
        if value not in tuple(kind):
            raise self.flaw(key, "bad-value", f"one of: {', '.join(kind)}")
        return value

    def label(self, key: str, *reserved: str) -> str:
        """Return the name of a label, or one of these reserved ones."""
        value = self.text(key)
        if value not in reserved and (not is_name(value) or is_reserved(value)):
            raise self.flaw(key, "name", f"{value[:80]!a} is no name of a label")
        return value

    def items(self, key: str, most: int) -> list[Any]:
        """Return a list of at most ``most`` entries; an empty one where the key is left out."""
        value = self.value.get(key, [])
        if not isinstance(value, list):
            raise self.flaw(key, "wrong-type", "a list must stand here")
        if len(value) > most:
            raise self.flaw(key, "too-many", f"{len(value)} entries, more than {most}")
        return value

    def list(
        self, key: str, most: int, fields: tuple[str, ...], make: Callable[[_Object], _T]
    ) -> tuple[_T, ...]:
        """Return a list of objects with exactly these keys."""
        return tuple(
            make(_Object(self.source, f"{self.path}.{key}[{index}]", one, fields, fields))
            for index, one in enumerate(self.items(key, most))
        )


def _policy(top: _Object) -> PolicyReference:
    entry = _Object(
        top.source, "$.policy", top.value["policy"], ("name", "version", "digest"), ("name", "version")
    )
    digest = (
        entry.matching("digest", _DIGEST, "64 lower-case hex digits") if "digest" in entry.value else None
    )
    version = entry.matching("version", _VERSION, 'two numbers of five digits at most, such as "1.0"')
    return PolicyReference(entry.label("name"), version, digest)


def _domain(entry: _Object) -> LiveDomain:
    domid = entry.number("domid", MAX_DOMAINS - 1)
    return LiveDomain(domid, entry.text("name"), entry.label("label", UNLABELED.name))


def _resource(entry: _Object) -> LiveResource:
    kind = ResourceKind(entry.one_of("kind", ResourceKind))
    label = entry.label("label", UNLABELED.name, INACCESSIBLE.name)
    return LiveResource(kind, entry.text("identity"), label)


def _attachment(entry: _Object) -> Attachment:
    return Attachment(entry.number("domain"), entry.text("resource"), Mode(entry.one_of("mode", Mode)))


def _channel(entry: _Object) -> Channel:
    return Channel(*(entry.number(key) for key in _CHANNEL))


def _grant(entry: _Object) -> GrantMapping:
    return GrantMapping(
        granter=entry.number("granter"),
        ref=entry.number("ref"),
        grantee=entry.number("grantee"),
        handle=entry.number("handle"),
        mode=Mode(entry.one_of("mode", Mode)),
    )


def _argo(entry: _Object) -> ArgoRing:
    numbers = (entry.number("domain"), entry.number("port"), entry.number("partner"))
    return ArgoRing(*numbers, anybody=entry.truth("anybody"))


def _past_types(top: _Object) -> frozenset[str] | None:
    if "past_types" not in top.value:
        return None
    types = top.items("past_types", MAX_TYPES)
    if not all(isinstance(each, str) and is_name(each) and not is_reserved(each) for each in types):
        raise top.flaw("past_types", "name", "a list of names of Chinese Wall types")
    if len(set(types)) != len(types):
        raise top.flaw("past_types", "duplicate", "a type stands twice")
    return frozenset(types)


def _check_unique(top: _Object, state: LiveState) -> None:
    keys: Mapping[str, Iterable[Hashable]] = {
        "domains": [key for each in state.domains for key in (each.domid, each.name)],
        "resources": [each.identity for each in state.resources],
        "attachments": [(each.domain, each.resource) for each in state.attachments],
        "channels": [
            end
            for each in state.channels
            for end in ((each.domain, each.port), (each.remote, each.remote_port))
        ],
        "grants": [(each.grantee, each.handle) for each in state.grants],
        "argo": [(each.domain, each.port, each.partner, each.anybody) for each in state.argo],
    }
    for name, found in keys.items():
        seen: set[Hashable] = set()
        for key in found:
            if key in seen:
                raise top.flaw(name, "duplicate", f"{key!a} stands twice")
            seen.add(key)


def _check_references(top: _Object, state: LiveState) -> None:
    domains = {each.domid for each in state.domains}
    if DOM0 not in domains:
        raise top.flaw("domains", "no-domain-0", "the domain of domid 0 is missing: no host is without it")
    used = {
        "attachments": [each.domain for each in state.attachments],
        "channels": [end for each in state.channels for end in (each.domain, each.remote)],
        "grants": [end for each in state.grants for end in (each.granter, each.grantee)],
        "argo": [end for each in state.argo for end in (each.domain, each.partner)],
    }
    for name, found in used.items():
        for domid in found:
            if domid not in domains:
                raise top.flaw(name, "no-such-domain", f"there is no domain {domid} in 'domains'")
    identities = {each.identity for each in state.resources}
    for each in state.attachments:
        if each.resource not in identities:
            what = f"there is no resource {each.resource!a} in 'resources'"
            raise top.flaw("attachments", "no-such-resource", what)
