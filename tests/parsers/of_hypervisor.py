"""What the package hypervisor reads from outside."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from acm import history
from acm.history import Anchor
from hypervisor import audit, hostconfig, verity, xlconfig, xlsyntax
from hypervisor.audit import AuditEvent, AuditTrail, Outcome
from hypervisor.audit_file import AuditFile
from hypervisor.folder import FolderSource
from hypervisor.history_store import FileHistoryStore
from hypervisor.xen import xllist
from tests.hypervisor.test_verity import IMAGE as DISK
from tests.hypervisor.test_verity import MIB, ROOT
from tests.parsers.parser import Parser, folder, good
from tests.simulators.desk import GUESTS
from tests.simulators.xen import FakeXen


@cache
def _trail() -> bytes:
    lines: list[bytes] = []
    trail = AuditTrail(lines.append)
    for number in range(3):
        trail.append(
            AuditEvent(
                time_ns=number,
                epoch=1,
                who="domain 0",
                action="domctl-create",
                what=f"web{number}",
                outcome=Outcome.DENIED,
                why=(("chwall-conflict", "label é"),),
            )
        )
    return b"".join(lines)


def _configs() -> list[bytes]:
    return [good(f"{guest}.cfg") for guest in GUESTS]


def _file(raw: bytes) -> bytes:
    """A name out of a domain config, looked for in the image folder."""
    return FolderSource(folder() / "boot").read(raw.decode(errors="surrogateescape"), 1000)


def _in_a_file(raw: bytes, read: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as room:
        path = Path(room) / "file"
        path.write_bytes(raw)
        read(path)


def _trail_file(path: Path) -> None:
    with AuditFile(path) as file:
        file.trail(0)


class _NoAnchor:
    """An anchor's keeper that has never kept one."""

    def read(self) -> None:
        return None

    def write(self, anchor: Anchor) -> None:
        raise AssertionError(anchor)


PARSERS: Final = (
    Parser("hypervisor.audit:read_trail", lambda: [_trail()], audit.read_trail),
    Parser("hypervisor.audit:follow", lambda: [_trail()], lambda raw: list(audit.follow(raw.splitlines()))),
    Parser("hypervisor.audit:without_torn_end", lambda: [_trail()], audit.without_torn_end),
    Parser(
        "hypervisor.audit_file:AuditFile.__init__",
        lambda: [_trail()],
        lambda raw: _in_a_file(raw, _trail_file),
        files=True,
    ),
    Parser(
        "hypervisor.history_store:FileHistoryStore.__init__",
        lambda: [history.begin(bytes(32), frozenset({"web"})).encode()],
        lambda raw: _in_a_file(raw, lambda path: FileHistoryStore(path, _NoAnchor()).load()),
        files=True,
    ),
    Parser("hypervisor.hostconfig:parse", lambda: [good("embedded.yaml")], hostconfig.parse),
    Parser("hypervisor.verity:data_of", lambda: [DISK], lambda raw: verity.data_of(raw, MIB, ROOT)),
    Parser("hypervisor.xlconfig:parse", _configs, xlconfig.parse),
    Parser("hypervisor.xlsyntax:read", _configs, xlsyntax.read),
    Parser("hypervisor.xen.xllist:parse", lambda: [FakeXen().xl(("list", "-l"))], xllist.parse),
    Parser("hypervisor.folder:FolderSource.read", lambda: [b"xen.gz"], _file, files=True),
)

NOT_PARSERS: Final = {
    "hypervisor.audit:AuditTrail.__init__": "where lines are written",
    "hypervisor.audit_file:AuditFile.append": "a line that AuditTrail wrote",
    "hypervisor.blkif:*": "a disk's content and sectors, carried and not read",
    "hypervisor.folder:FolderSource.__init__": "only keeps the folder",
    "hypervisor.guest:*": "a guest's own memory, carried and not read",
    "hypervisor.history_store:FileHistoryStore.begin": "random bytes of the caller",
    "hypervisor.host:XenHost.connect_disk": "a disk's content, hashed and not read",
    "hypervisor.launch:Launcher.dry_run": "hypervisor.xlconfig:parse reads it",
    "hypervisor.launch:Launcher.launch": "hypervisor.xlconfig:parse reads it",
    "hypervisor.memory:*": "memory, carried and not read",
    "hypervisor.monitor:ReferenceMonitor.begin_history": "random bytes of the caller",
    "hypervisor.netif:*": "frames between guests; tests/hypervisor/test_devices.py sends broken ones",
    "hypervisor.past_runs:PastRuns.begin": "random bytes of the caller",
    "hypervisor.toolstack:*": "a disk's content, hashed and not read",
    "hypervisor.xen.binding:*": "folders of the installed Xen",
    "hypervisor.xen.host:GuardedXen.connect_disk": "refuses every disk",
    "hypervisor.xen.sealed:sealed": "kernels and ramdisks, carried and not read",
    "hypervisor.xen.xl:XlProgram.__init__": "a folder of the installed Xen",
    "hypervisor.ring:*": "entries of a ring; tests/hypervisor/test_devices.py writes broken ones",
}
