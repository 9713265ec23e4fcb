"""Verbs that only a model host has: its guests act, its time passes, its records are signed."""

from __future__ import annotations

import contextlib
from typing import Final

from hypervisor.state import GrantKind
from metering.log import read_published
from shype.errors import ShypeUsageError
from shype.host.embedded import EmbeddedHost
from shype.host.service import Arguments, Service, Verb
from shype.host.usage import Workload
from shype.report import Exit, Json, Report

MAX_SECONDS: Final = 86_400
GREETING: Final = b"hello from across a grant"


class ModelVerbs:
    """Carries out requests on one embedded host."""

    def __init__(self, host: EmbeddedHost) -> None:
        self._host = host

    def verbs(self) -> dict[str, Verb]:
        """Return the verbs by name."""
        return {"connect": self._connect, "run": self._run, "sign": self._sign}

    def _connect(self, arguments: Arguments) -> Report:
        xen = self._host.running()
        first, second = (self._host.domain(str(arguments.get(key))) for key in ("from", "to"))
        left, right = xen.guest(first.domid), xen.guest(second.domid)
        with contextlib.ExitStack() as ends:
            port = left.alloc_unbound(second.domid)
            ends.callback(left.close, port)
            bound = right.bind_interdomain(first.domid, port)
            ends.callback(right.close, bound)
            left.write(0, 0, GREETING)
            ref = left.grant_access(second.domid, 0, GrantKind.READ)
            ends.callback(left.end_access, ref)
            handle = right.map_grant(first.domid, ref, writable=False)
            ends.callback(right.unmap_grant, handle)
            left.send(port)
            received = right.read_mapped(handle, 0, len(GREETING)) if right.take_signals(bound) else b""
        names = f"{first.config.name} -> {second.config.name}"
        text = f"{names}: event channel bound, grant mapped, {len(received)} bytes read"
        return Report(Exit.OK, {"verdict": "permit", "bytes": len(received)}, text)

    def _run(self, arguments: Arguments) -> Report:
        seconds = arguments.get("seconds")
        if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 < seconds <= MAX_SECONDS:
            raise ShypeUsageError(f"seconds: 1 to {MAX_SECONDS} are needed")
        self._host.run(seconds, Workload())
        document: dict[str, Json] = {"now_ns": self._host.running().now_ns, "records": self._host.meter.size}
        return Report(Exit.OK, document, f"{seconds} s have passed; {self._host.meter.size} usage records")

    def _sign(self, _: Arguments) -> Report:
        note = self._host.checkpoint()
        leaves, _note = read_published(self._host.folder / "usage")
        document: dict[str, Json] = {"size": len(leaves), "checkpoint": note.decode()}
        return Report(Exit.OK, document, f"checkpoint over {len(leaves)} records signed in the TPM")


def service(host: EmbeddedHost) -> Service:
    """Return what answers all requests to an embedded host."""
    return Service(host, ModelVerbs(host).verbs())
