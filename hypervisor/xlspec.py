"""The small languages inside strings of a domain config: disks, vifs and sHype's ``access_control``.

Sources: xl-disk-configuration(5), xl-network-configuration(5); ``access_control`` is that of Xen 3.x.
Only what this hypervisor enforces is taken; any other key is refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from acm.labels import is_name
from hypervisor.state import AccessMode
from hypervisor.xlsyntax import Mark, Text, flaw

FORMATS: Final = ("raw", "qcow", "qcow2", "vhd", "qed")
_VDEV: Final = re.compile(r"(?:xvd|hd|sd)[a-z]{1,3}(?:[1-9][0-9]?)?")
_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_VLAN: Final = re.compile(r"([1-9][0-9]{0,3})p?")
_BRIDGE: Final = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_MODES: Final = {
    "r": AccessMode.READ,
    "ro": AccessMode.READ,
    "w": AccessMode.WRITE,
    "rw": AccessMode.WRITE,
    "": AccessMode.WRITE,
}
_POSITIONS: Final = ("target", "format", "vdev", "access")
_MAX_VLAN: Final = 4094
_MULTICAST: Final = 1


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """A disk as the config names it: ``target`` is an identity or a path, ``vdev`` what the guest sees."""

    target: str
    vdev: str
    access: AccessMode
    format: str = "raw"


@dataclass(frozen=True, slots=True)
class VifSpec:
    """A network interface in VLAN ``vlan`` (1-4094); ``mac`` and ``bridge`` as in xl, or None."""

    vlan: int
    mac: str | None = None
    bridge: str | None = None


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """The label of the domain, and the policy that the label is of."""

    policy: str
    label: str


def disk(text: Text) -> DiskSpec:
    """Return the disk that a DISKSPEC names. Raises ConfigError at the string's place."""
    fields = _disk_fields(text)
    target, vdev, access = fields.get("target", ""), fields.get("vdev", ""), fields.get("access", "")
    form = fields.get("format", "") or "raw"
    if not target:
        raise flaw("disk-target", "a disk needs a target: an identity or a path", text.at)
    if not _VDEV.fullmatch(vdev):
        raise flaw("disk-vdev", f"a disk needs a vdev such as xvda, not {vdev[:40]!r}", text.at)
    if access not in _MODES:
        raise flaw("disk-access", f"access is r, ro, w or rw, not {access[:40]!r}", text.at)
    if form not in FORMATS:
        raise flaw("disk-format", f"format is one of {', '.join(FORMATS)}, not {form[:40]!r}", text.at)
    return DiskSpec(target, vdev, _MODES[access], form)


def _disk_fields(text: Text) -> dict[str, str]:
    fields: dict[str, str] = {}
    rest: str | None = text.value
    while rest is not None:
        rest = rest.lstrip(" \t")
        if rest.startswith("target="):
            # A named target takes the whole rest: the only way to write one with commas or colons.
            _put(fields, "target", rest.removeprefix("target="), text.at)
            break
        part, comma, tail = rest.partition(",")
        rest = tail if comma else None
        key, equals, value = part.partition("=")
        if equals:
            if key not in _POSITIONS:
                raise flaw("disk-key", f"disk parameter {key[:40]!r} is not supported", text.at)
            _put(fields, key, value, text.at)
        else:
            _put_position(fields, part, text.at)
    return fields


def _put_position(fields: dict[str, str], value: str, at: Mark) -> None:
    free = [position for position in _POSITIONS if position not in fields]
    if not free:
        raise flaw("disk-key", f"disk parameter {value[:40]!r} is one too many", at)
    if free[0] == "target" and ":" in value:
        raise flaw("disk-prefix", "a target with a colon must be named and come last: target=…", at)
    fields[free[0]] = value


def _put(fields: dict[str, str], key: str, value: str, at: Mark) -> None:
    if fields.get(key):
        raise flaw("disk-key", f"disk parameter {key} is given twice", at)
    fields[key] = value


def vif(text: Text) -> VifSpec:
    """Return the interface that a vif string names. Raises ConfigError; a VLAN is mandatory."""
    fields = _pairs(text, ("vlan", "mac", "bridge"), "vif")
    vlan = _VLAN.fullmatch(fields.get("vlan", ""))
    if vlan is None or int(vlan[1]) > _MAX_VLAN:
        raise flaw(
            "vif-vlan",
            "a vif needs one VLAN, vlan=1 to vlan=4094: a network without one has no label",
            text.at,
        )
    mac = fields.get("mac")
    if mac is not None:
        mac = mac.lower()
        if not _MAC.fullmatch(mac) or int(mac[:2], 16) & _MULTICAST:
            raise flaw(
                "vif-mac", f"mac is six hexadecimal pairs of a single station, not {mac[:40]!r}", text.at
            )
    bridge = fields.get("bridge")
    if bridge is not None and not _BRIDGE.fullmatch(bridge):
        raise flaw("vif-bridge", f"bridge is the name of a network interface, not {bridge[:40]!r}", text.at)
    return VifSpec(int(vlan[1]), mac, bridge)


def access_control(text: Text) -> LabelSpec:
    """Return policy and label of ``policy=NAME,label=LABEL``. Raises ConfigError."""
    fields = _pairs(text, ("policy", "label"), "access_control")
    for key in ("policy", "label"):
        if not is_name(fields.get(key, "")):
            raise flaw(
                "label", f"access_control needs {key}=NAME with a name of the policy language", text.at
            )
    return LabelSpec(fields["policy"], fields["label"])


def _pairs(text: Text, known: tuple[str, ...], what: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in text.value.split(",") if text.value else ():
        key, equals, value = part.partition("=")
        key = key.strip(" \t")
        if not equals or key not in known:
            raise flaw(f"{what}-key", f"{what} parameter {key[:40]!r} is not supported", text.at)
        if key in fields:
            raise flaw(f"{what}-key", f"{what} parameter {key} is given twice", text.at)
        fields[key] = value.strip(" \t")
    return fields
