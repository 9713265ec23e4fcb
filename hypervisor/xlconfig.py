"""xl domain configs as values: strict, bounded, nothing ignored in silence.

A key that is not in the tables below is refused, because a setting without effect looks like one with effect.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from acm.labels import UNLABELED
from hypervisor import xlspec
from hypervisor.xlspec import DiskSpec, LabelSpec, VifSpec
from hypervisor.xlsyntax import Items, Mark, Number, Setting, Text, Value, flaw, read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ACCEPTED: Final = frozenset({"on_crash", "on_poweroff", "on_reboot"})
"""Keys that are taken and change nothing here: a domain that ends is never started again by itself."""

MAX_MEMORY_MIB: Final = 1 << 24
MAX_VCPUS: Final = 128
MAX_WEIGHT: Final = 65535
MAX_CAP: Final = 100 * MAX_VCPUS
MAX_TEXT: Final = 4096
MAX_DEVICES: Final = 64

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
_TYPES: Final = ("pv", "pvh")
T = TypeVar("T", DiskSpec, VifSpec)


@dataclass(frozen=True, slots=True)
class DomainConfig:
    """A domain as its config describes it.

    ``label`` is that of ``access_control``, else ``__UNLABELED__`` with ``policy`` None. ``cmdline`` joins
    ``root`` and ``extra`` as xl does. ``digest`` is SHA-256 over the exact bytes, in hex.
    """

    name: str
    kernel: str
    ramdisk: str | None
    cmdline: str
    memory_mib: int
    vcpus: int
    weight: int
    cap: int
    disks: tuple[DiskSpec, ...]
    vifs: tuple[VifSpec, ...]
    label: str
    policy: str | None
    uuid: str | None
    type: str
    digest: str


def parse(data: bytes) -> DomainConfig:
    """Parse an xl domain config of at most 256 KiB. Raises ConfigError with code, line and column."""
    settings = _Settings({setting.key: setting for setting in read(data)})
    config = _config(settings, hashlib.sha256(data).hexdigest())
    settings.refuse_rest()
    return config


def _config(settings: _Settings, digest: str) -> DomainConfig:
    memory = settings.number("memory", 1, MAX_MEMORY_MIB)
    vcpus = settings.number("vcpus", 1, MAX_VCPUS, default=1)
    settings.same("maxmem", memory)
    settings.same("maxvcpus", vcpus)
    label = settings.label()
    return DomainConfig(
        name=settings.matching("name", _NAME),
        kernel=settings.text("kernel"),
        ramdisk=settings.optional("ramdisk"),
        cmdline=settings.cmdline(),
        memory_mib=memory,
        vcpus=vcpus,
        weight=settings.number("cpu_weight", 1, MAX_WEIGHT, default=256),
        cap=settings.number("cap", 0, MAX_CAP, default=0),
        disks=settings.devices("disk", xlspec.disk, lambda disk: (disk.target, disk.vdev)),
        vifs=settings.devices("vif", xlspec.vif, lambda vif: (vif.vlan, vif.mac)),
        label=UNLABELED.name if label is None else label.label,
        policy=None if label is None else label.policy,
        uuid=settings.uuid(),
        type=settings.choice("type", _TYPES),
        digest=digest,
    )


class _Settings:
    """Takes settings out one by one, checked; what is left at the end is not known."""

    def __init__(self, settings: dict[str, Setting]) -> None:
        self._settings: Mapping[str, Setting] = settings
        self._taken: set[str] = set()

    def refuse_rest(self) -> None:
        for key, setting in self._settings.items():
            if key in ACCEPTED:
                self.optional(key)
            elif key not in self._taken:
                raise flaw("unknown-key", f"{key} is not supported: remove it", setting.at)

    def text(self, key: str) -> str:
        value = self.optional(key)
        if not value:
            raise self._missing(key)
        return value

    def optional(self, key: str) -> str | None:
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, Text):
            raise flaw("wrong-type", f"{key} is a string in quotes", value.at)
        if len(value.value) > MAX_TEXT:
            raise flaw("too-long", f"{key} has at most {MAX_TEXT} characters", value.at)
        return value.value

    def matching(self, key: str, pattern: re.Pattern[str]) -> str:
        value = self.text(key)
        if not pattern.fullmatch(value):
            raise flaw("bad-value", f"{key} does not have the form {pattern.pattern}", self._at(key))
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.optional(key) or choices[0]
        if value not in choices:
            raise flaw("bad-value", f"{key} is one of {', '.join(choices)}", self._at(key))
        return value

    def number(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self._take(key)
        if value is None:
            if default is None:
                raise self._missing(key)
            return default
        if not isinstance(value, Number):
            raise flaw("wrong-type", f"{key} is a number without quotes", value.at)
        if not low <= value.value <= high:
            raise flaw("out-of-range", f"{key} is {low} to {high}", value.at)
        return value.value

    def same(self, key: str, expected: int) -> None:
        if self.number(key, 0, MAX_MEMORY_MIB, default=expected) != expected:
            raise flaw(
                "bad-value", f"{key} must be {expected}: nothing is added to a running domain", self._at(key)
            )

    def cmdline(self) -> str:
        whole, root, extra = (self.optional(key) for key in ("cmdline", "root", "extra"))
        if whole is not None:
            if root is not None or extra is not None:
                raise flaw(
                    "conflict",
                    "cmdline makes xl ignore root and extra: write one or the other",
                    self._at("cmdline"),
                )
            return whole
        return " ".join(part for part in (f"root={root}" if root else "", extra or "") if part)

    def uuid(self) -> str | None:
        text = self.optional("uuid")
        if text is None:
            return None
        try:
            found = uuid.UUID(text)
        except ValueError:
            found = None
        if found is None or str(found) != text.lower() or not found.int:
            raise flaw("bad-value", "uuid is 8-4-4-4-12 hexadecimal digits, not all zero", self._at("uuid"))
        return str(found)

    def label(self) -> LabelSpec | None:
        texts = self._texts("access_control")
        if len(texts) > 1:
            raise flaw("label", "access_control holds one policy and label", texts[1].at)
        return xlspec.access_control(texts[0]) if texts else None

    def devices(
        self, key: str, parse_one: Callable[[Text], T], names: Callable[[T], tuple[object, ...]]
    ) -> tuple[T, ...]:
        found: list[T] = []
        seen: set[object] = set()
        for text in self._texts(key):
            device = parse_one(text)
            for name in names(device):
                if name is not None and name in seen:
                    raise flaw("duplicate-device", f"{key}: {name} is used twice", text.at)
                seen.add(name)
            found.append(device)
        return tuple(found)

    def _texts(self, key: str) -> tuple[Text, ...]:
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, Items):
            raise flaw("wrong-type", f"{key} is a list of strings", value.at)
        texts: list[Text] = []
        for item in value.values:
            if not isinstance(item, Text):
                raise flaw("wrong-type", f"{key} is a list of strings", item.at)
            texts.append(item)
        if len(texts) > MAX_DEVICES:
            raise flaw("too-long", f"{key} has at most {MAX_DEVICES} entries", texts[MAX_DEVICES].at)
        return tuple(texts)

    def _take(self, key: str) -> Value | None:
        self._taken.add(key)
        setting = self._settings.get(key)
        return None if setting is None else setting.value

    def _at(self, key: str) -> Mark:
        return self._settings[key].value.at

    def _missing(self, key: str) -> Exception:
        return flaw("missing-key", f"{key} is missing", Mark(1, 1))
