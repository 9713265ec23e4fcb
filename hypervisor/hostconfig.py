"""The description of a host (YAML, ``shype.host/1``): size, Domain-0, policy, labelled resources.

::

    schema: shype.host/1
    name: embedded
    pcpus: 2
    memory: 4096 MiB
    dom0: {label: dom0, memory: 512 MiB, vcpus: 1}
    profile: ../profiles/embedded.yaml     # PCR profile of the boot folder, relative to this file
    policy: ../policies/datacenter.yaml    # relative to this file
    resources:
      - {kind: disk, identity: "uuid:…", path: /dev/vg0/web, label: web-disk, access: rw, size: 64 MiB}
      - {kind: vlan, id: 101, label: web-vlan}
    flask: {web: "system_u:system_r:domU_t"}   # only for a real Xen: the FLASK context of each label

Values are strings, as in policy files (:mod:`acm.yamltree`), or numbers, with or without quotes. A disk's
label belongs to its identity: ``uuid:`` (of its file system or partition), ``wwn:`` (16 or 32 hex digits),
``sha256:`` of its whole content, or ``verity:`` with the root hash of its dm-verity tree. A disk that is
known by what it holds is read-only; the tree of the last kind stands in the file at ``path``, behind ``size``
of data (:mod:`hypervisor.verity`). ``path`` only says where a disk is found; two disks never share one.

``flask`` says under which context Xen is to run a domain of a label. Two labels may share a context: FLASK
then does not tell them apart, and only the ACM policy at launch does.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from acm import fields, yamltree
from acm.errors import PolicyFileError
from acm.labels import UNLABELED
from acm.yamltree import Mark, Node, flaw
from hypervisor.errors import HostConfigError
from hypervisor.state import AccessMode, Resource, ResourceKind

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = "shype.host/1"
MAX_PCPUS: Final = 4095
MAX_MEMORY_MIB: Final = 1 << 24
MAX_RESOURCES: Final = 4096
MAX_DOM0_VCPUS: Final = 128

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
_PATH: Final = re.compile(r"[A-Za-z0-9_./+@:-]{1,255}")
_MIB: Final = re.compile(r"([1-9][0-9]{0,8}) MiB")
_IDENTITY: Final = re.compile(
    r"(?:sha256|verity):[0-9a-f]{64}|uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|wwn:(?:[0-9a-f]{16}|[0-9a-f]{32})"
)
MAX_CONTEXTS: Final = 4096
_CONTEXT: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}(?::[A-Za-z0-9_.,-]{1,64}){2,4}")
_OF_CONTENT: Final = ("sha256:", "verity:")
_TOP: Final = ("schema", "name", "pcpus", "memory", "dom0", "profile", "policy", "resources", "flask")
_DISK: Final = ("kind", "identity", "path", "label", "access", "size")
_VLAN: Final = ("kind", "id", "label")


@dataclass(frozen=True, slots=True)
class HostDescription:
    """A host as described; ``profile`` and ``policy`` are paths relative to the description.

    ``flask`` leads from ACM labels to FLASK contexts, as a read-only mapping. ``digest`` is SHA-256 over the
    exact bytes, in hex.
    """

    name: str
    pcpus: int
    memory_mib: int
    dom0_label: str
    dom0_memory_mib: int
    dom0_vcpus: int
    profile: str
    policy: str
    resources: tuple[Resource, ...]
    digest: str
    flask: Mapping[str, str] = field(default_factory=dict)

    def disk(self, target: str) -> Resource | None:
        """Return the disk that a domain config's target names, by identity or by path."""
        for resource in self.resources:
            if resource.kind is ResourceKind.DISK and target in (resource.identity, resource.path):
                return resource
        return None

    def vlan(self, number: int) -> Resource | None:
        """Return the VLAN of that number."""
        wanted = vlan_identity(number)
        return next((each for each in self.resources if each.identity == wanted), None)


def vlan_identity(number: int) -> str:
    """Return the identity under which a VLAN is labelled."""
    return f"vlan:{number}"


def parse(data: bytes) -> HostDescription:
    """Parse a host description of at most 4 MiB. Raises HostConfigError with code, line and column."""
    try:
        return _description(yamltree.read(data, "host description"), hashlib.sha256(data).hexdigest())
    except PolicyFileError as error:
        raise HostConfigError(error.code, str(error), line=error.line, column=error.column) from None


def _description(root: Node, digest: str) -> HostDescription:
    top = fields.fields(root, _TOP)
    if _text(top, "schema", root.at) != SCHEMA:
        raise flaw("schema", f"schema must be {SCHEMA}", top["schema"].at)
    dom0_node = fields.required(top, "dom0", root.at)
    dom0 = fields.fields(dom0_node, ("label", "memory", "vcpus"))
    memory = _mebibytes(top, "memory", root.at)
    dom0_memory = _mebibytes(dom0, "memory", dom0_node.at)
    if dom0_memory >= memory:
        raise flaw("out-of-range", "Domain-0 must leave memory for guests", dom0["memory"].at)
    return HostDescription(
        name=_matching(top, "name", _NAME, root.at),
        pcpus=_number(top, "pcpus", MAX_PCPUS, root.at),
        memory_mib=memory,
        dom0_label=_label(dom0, dom0_node.at),
        dom0_memory_mib=dom0_memory,
        dom0_vcpus=_number(dom0, "vcpus", MAX_DOM0_VCPUS, dom0_node.at),
        profile=_matching(top, "profile", _PATH, root.at),
        policy=_matching(top, "policy", _PATH, root.at),
        resources=_resources(fields.required(top, "resources", root.at)),
        digest=digest,
        flask=_contexts(top["flask"]) if "flask" in top else MappingProxyType({}),
    )


def _contexts(node: Node) -> Mapping[str, str]:
    found = {}
    for name, value in fields.named(node, MAX_CONTEXTS):
        if not _CONTEXT.fullmatch(fields.text(value)):
            raise flaw(
                "bad-value", "a FLASK context has the form user:role:type or user:role:type:level", value.at
            )
        found[name] = fields.text(value)
    return MappingProxyType(found)


def _resources(node: Node) -> tuple[Resource, ...]:
    nodes = fields.items(node)
    if len(nodes) > MAX_RESOURCES:
        raise flaw("too-many", f"at most {MAX_RESOURCES} resources", node.at)
    seen: dict[str, Mark] = {}
    found = []
    for each in nodes:
        resource = _resource(each)
        for name in (resource.identity, resource.path):
            if name in seen:
                raise flaw(
                    "duplicate-resource", f"{name} stands twice, first in line {seen[name].line}", each.at
                )
            if name is not None:
                seen[name] = each.at
        found.append(resource)
    return tuple(found)


def _resource(node: Node) -> Resource:
    kinds = {ResourceKind.DISK: _disk, ResourceKind.VLAN: _vlan}
    kind = fields.text(fields.required(fields.fields(node, {*_DISK, *_VLAN}), "kind", node.at))
    if kind not in tuple(ResourceKind):
        raise flaw("bad-value", f"kind is one of {', '.join(ResourceKind)}, not {kind[:40]!r}", node.at)
    return kinds[ResourceKind(kind)](node)


def _disk(node: Node) -> Resource:
    entry = fields.fields(node, _DISK)
    identity = _matching(entry, "identity", _IDENTITY, node.at)
    access = _text(entry, "access", node.at)
    if access not in tuple(AccessMode):
        raise flaw("bad-value", "access is r or rw", entry["access"].at)
    if identity.startswith(_OF_CONTENT) and (access != AccessMode.READ or "path" not in entry):
        raise flaw("content", "a disk known by its content is read-only (access: r) and has a path", node.at)
    return Resource(
        kind=ResourceKind.DISK,
        identity=identity,
        label=_label(entry, node.at),
        access=AccessMode(access),
        path=_matching(entry, "path", _PATH, node.at) if "path" in entry else None,
        size_mib=_mebibytes(entry, "size", node.at),
    )


def _vlan(node: Node) -> Resource:
    entry = fields.fields(node, _VLAN)
    number = _number(entry, "id", 4094, node.at)
    return Resource(ResourceKind.VLAN, vlan_identity(number), _label(entry, node.at), AccessMode.WRITE)


def _label(entry: Mapping[str, Node], at: Mark) -> str:
    node = fields.required(entry, "label", at)
    return UNLABELED.name if fields.text(node) == UNLABELED.name else fields.name(node)


def _text(entry: Mapping[str, Node], key: str, at: Mark) -> str:
    return fields.text(fields.required(entry, key, at))


def _matching(entry: Mapping[str, Node], key: str, pattern: re.Pattern[str], at: Mark) -> str:
    value = _text(entry, key, at)
    if not pattern.fullmatch(value):
        raise flaw("bad-value", f"{key} does not have the form {pattern.pattern}", entry[key].at)
    return value


def _number(entry: Mapping[str, Node], key: str, high: int, at: Mark) -> int:
    return fields.integer(fields.required(entry, key, at), 1, high)


def _mebibytes(entry: Mapping[str, Node], key: str, at: Mark) -> int:
    found = _MIB.fullmatch(_text(entry, key, at))
    if found is None or int(found[1]) > MAX_MEMORY_MIB:
        raise flaw(
            "bad-value", f"{key} is a size such as 512 MiB, at most {MAX_MEMORY_MIB} MiB", entry[key].at
        )
    return int(found[1])
