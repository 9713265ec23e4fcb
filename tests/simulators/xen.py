"""A Xen as its binding and its toolstack show it: domains in a list, ``xl`` as a function.

It answers in the shapes that ``xen.lowlevel.xc`` of Debian's Xen 4.17 gives, and reads configs through the
descriptors that it inherits, as xl does. It does not decide anything.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypervisor.errors import XenError
from hypervisor.xen.binding import Xc
from hypervisor.xen.driver import XenDriver
from hypervisor.xlsyntax import Number, Text, read

CONTEXTS = {
    0: "system_u:system_r:dom0_t",
    7: "system_u:system_r:domU_t",
    8: "system_u:system_r:isolated_domU_t",
}


@dataclass
class Guest:
    domid: int
    uuid: str
    name: str
    sid: int
    kernel: bytes = b""
    ramdisk: bytes | None = None
    memory_mib: int = 64
    vcpus: int = 1
    weight: int = 256
    cap: int = 0
    config: bytes = b""
    paused: int = 1
    shutdown: int = 0
    dying: int = 0
    cpu_time: int = 0

    def entry(self) -> dict[str, Any]:
        return {
            "domid": self.domid,
            "online_vcpus": self.vcpus,
            "max_vcpu_id": self.vcpus - 1,
            "hvm": 0,
            "dying": self.dying,
            "crashed": 0,
            "shutdown": self.shutdown,
            "paused": self.paused,
            "blocked": 0,
            "running": 0,
            "mem_kb": self.memory_mib << 10,
            "cpu_time": self.cpu_time,
            "maxmem_kb": (self.memory_mib << 10) + 4,
            "ssidref": self.sid,
            "shutdown_reason": 0,
            "cpupool": 0,
            "handle": list(uuid.UUID(self.uuid).bytes),
        }


class Error(Exception):
    """``xen.lowlevel.xc.Error``."""


@dataclass
class FakeXen:
    """``enforcing`` is None for a Xen without FLASK; ``fail_at`` names the step that fails."""

    enforcing: int | None = 1
    guests: dict[int, Guest] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    fail_at: str | None = None
    tamper: dict[str, Any] = field(default_factory=dict)
    commandline: str = "console=com1 flask=enforcing"
    next_domid: int = 1
    Error: type[Exception] = Error

    def __post_init__(self) -> None:
        zero = "00000000-0000-0000-0000-000000000000"
        self.guests[0] = Guest(0, zero, "Domain-0", 0, memory_mib=768, paused=0, cpu_time=10**9)

    # the module and the object of the binding
    def xc(self) -> FakeXen:
        return self

    def _step(self, name: str) -> None:
        if name == self.fail_at:
            raise Error(1, f"{name} failed")
        self.steps.append(name)

    def flask_getenforce(self) -> int:
        if self.enforcing is None:
            raise Error(1, "Operation not permitted")
        return self.enforcing

    def flask_sid_to_context(self, sid: int) -> str:
        return CONTEXTS[sid]

    def xeninfo(self) -> dict[str, Any]:
        return {
            "xen_major": 4,
            "xen_minor": 17,
            "xen_extra": ".5-pre",
            "xen_caps": "xen-3.0-x86_64",
            "xen_pagesize": 4096,
            "platform_params": "virt_start=0xffff800000000000",
            "xen_changeset": "",
            "xen_commandline": self.commandline,
            "cc_compiler": "gcc",
            "cc_compile_by": "pkg",
            "cc_compile_domain": "debian.org",
            "cc_compile_date": "Mon",
        }

    def buildid(self) -> str:
        return "ab" * 20

    def domain_getinfo(self, first: int, most: int) -> list[dict[str, Any]]:
        return [guest.entry() for domid, guest in sorted(self.guests.items()) if domid >= first][:most]

    def domain_pause(self, domid: int) -> int:
        self._step("pause")
        self.guests[domid].paused = 1
        return 0

    def domain_unpause(self, domid: int) -> int:
        self._step("unpause")
        self.guests[domid].paused = 0
        self.guests[domid].cpu_time = 5
        return 0

    # the toolstack
    def xl(self, words: Sequence[str], descriptors: Sequence[int] = ()) -> bytes:
        try:
            self._step(words[0])
            return {"create": self._create, "destroy": self._destroy, "list": self._list}[words[0]](
                words, descriptors
            )
        except Error as error:
            raise XenError("xen-tool", str(error)) from None

    def _create(self, words: Sequence[str], descriptors: Sequence[int]) -> bytes:
        assert words[:-1] == ("create", "-q", "-p", "-e")
        assert all(Path(f"/proc/self/fd/{each}").exists() for each in descriptors)
        config = Path(words[-1]).read_bytes()
        values = {each.key: each.value for each in read(config)}
        strings = {key: each.value for key, each in values.items() if isinstance(each, Text)}
        numbers = {key: each.value for key, each in values.items() if isinstance(each, Number)}
        context = strings.get("seclabel", "system_u:system_r:domU_t")
        guest = Guest(
            domid=self.next_domid,
            uuid=strings["uuid"],
            name=strings["name"],
            sid=next(sid for sid, each in CONTEXTS.items() if each == context)
            if self.enforcing is not None
            else 0,
            kernel=Path(strings["kernel"]).read_bytes(),
            ramdisk=Path(strings["ramdisk"]).read_bytes() if "ramdisk" in strings else None,
            memory_mib=numbers["memory"],
            vcpus=numbers["vcpus"],
            weight=numbers["cpu_weight"],
            cap=numbers["cap"],
            config=config,
        )
        for name, value in self.tamper.items():
            setattr(guest, name, value)
        self.guests[guest.domid] = guest
        self.next_domid += 1
        self._step("created")
        return b""

    def _destroy(self, words: Sequence[str], _: Sequence[int]) -> bytes:
        del self.guests[int(words[1])]
        return b""

    def _list(self, _: Sequence[str], __: Sequence[int]) -> bytes:
        listed = [
            {
                "domid": each.domid,
                "config": {
                    "c_info": {"name": each.name, "uuid": each.uuid, "type": "pv"},
                    "b_info": {"sched_params": {"sched": "credit2", "weight": each.weight, "cap": each.cap}},
                },
            }
            for each in self.guests.values()
            if each.name
        ]
        return json.dumps(listed).encode()

    def stranger(self, name: str = "stranger", number: int = 0xBAD, **more: Any) -> Guest:
        """Start a domain behind everybody's back."""
        guest = Guest(self.next_domid, str(uuid.UUID(int=number)), name, 7, paused=0, **more)
        self.guests[guest.domid] = guest
        self.next_domid += 1
        return guest

    def driver(self, contexts: dict[str, str]) -> XenDriver:
        return XenDriver(Xc(self), self.xl, contexts)
