"""A host whose dom0 measures what it runs and maps into PCR 10, and the attacks on its user land."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from attest.attester import Logs
from attest.ima.reference import FileReference
from attest.reference import ReferenceValues
from tests.attest.ima.build import Made, binary_of, ng
from tests.simulators.host import EMBEDDED, Host, sha256

USER_LAND: Final = replace(EMBEDDED, name="user-land", pcrs=EMBEDDED.pcrs | {10})
"""The embedded host's profile, and PCR 10."""
PROGRAMS: Final = {
    "/init": b"busybox",
    "/usr/sbin/xl": b"xl",
    "/usr/bin/python3.11": b"python",
    "/usr/lib/x86_64-linux-gnu/libc.so.6": b"libc",
}
"""What dom0 of a good host runs and maps."""


def files_of(programs: Mapping[str, bytes], *anywhere: bytes) -> FileReference:
    """Reference values for these programs, and for contents that may lie anywhere."""
    files = {path: frozenset({sha256(content).hex()}) for path, content in programs.items()}
    return FileReference(files, frozenset(sha256(content).hex() for content in anywhere))


@dataclass
class MeasuringHost(Host):
    """A host with IMA in dom0; ``ima`` is the kernel's list, ``files`` what the relying party knows."""

    ima: list[Made] = field(default_factory=list)
    files: FileReference | None = field(default_factory=lambda: files_of(PROGRAMS))

    @classmethod
    def running(cls, programs: Mapping[str, bytes] = PROGRAMS, **values: object) -> Self:
        """A good host with two domains whose dom0 ran these programs."""
        host = cls.serving(**{"profile": USER_LAND, **values})
        assert isinstance(host, cls)
        host.start_ima()
        for path, content in programs.items():
            host.execute(path, content)
        return host

    def start_ima(self) -> None:
        """Dom0's kernel loads its IMA policy: the list begins with what was booted."""
        self.listed(ng("boot_aggregate", b"".join(self.tpm.pcrs[:10])))

    def execute(self, path: str, content: bytes) -> None:
        """Run a program in dom0, or map a library: the kernel lists and measures it first."""
        self.listed(ng(path, content))

    def listed(self, *entries: Made) -> None:
        """Append entries to the list and extend their register, as the kernel does."""
        for made in entries:
            self.ima.append(made)
            self.tpm.extend(made.pcr, made.extended("sha256"))

    def ima_log(self) -> bytes:
        """What the kernel shows in binary_runtime_measurements."""
        return binary_of(*self.ima)

    def logs(self) -> Logs:
        return replace(super().logs(), ima=self.ima_log)

    def reference(self) -> ReferenceValues:
        return replace(super().reference(), ima=self.files)
