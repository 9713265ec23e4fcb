"""A machine that runs a Xen, up to the host of its Domain-0: a swtpm, and a Xen as its binding shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hypervisor.xen import binding
from shype.firstact import first_act
from tests.simulators.device import device
from tests.simulators.xen import FakeXen

if TYPE_CHECKING:
    from shype.host.dom0 import Dom0Host
    from vtpm.swtpm import Swtpm

IMA = b"measurement list"


class Machine:
    """A machine under Xen whose firmware is done; after ``first_act``, ``host()`` begins its host.

    The host's folder is on a disk, the runtime log in memory.
    """

    def __init__(self, swtpm: Swtpm, folder: Path, configs: Path) -> None:
        self.swtpm = swtpm
        self.folder = folder / "host"
        self.log = folder / "run" / "runtime.log"
        self.log.parent.mkdir(mode=0o700)
        self.configs = configs
        self.images = folder / "images"
        self.images.mkdir()
        (self.images / "vmlinuz").write_bytes(b"K" * 5000)
        (self.images / "initrd.img").write_bytes(b"R" * 4096)
        self.ima = folder / "ima"
        self.ima.write_bytes(IMA)
        self.xen = FakeXen()
        self._firmware_ends()

    def reboot(self) -> None:
        """Switch off and on, as far as the first act."""
        from vtpm.tpm import Tpm

        self.swtpm.initialise()
        with Tpm(self.swtpm.channel) as tpm:
            tpm.startup()
        self._firmware_ends()
        self.log.unlink()
        self.xen = FakeXen()
        self.first_act()

    def first_act(self) -> None:
        with device(self.swtpm.channel.exchange) as raw:
            first_act(binding.Xc(self.xen).report(), "console=hvc0 ro", raw, self.log)

    def _firmware_ends(self) -> None:
        from tests.simulators.owner import firmware_ends

        firmware_ends(self.swtpm.channel)

    def host(self, owner: bytes = b"") -> Dom0Host:
        from shype.host.dom0 import Dom0, Dom0Host

        dom0 = Dom0(
            images=self.images,
            log=self.log,
            ima=self.ima,
            driver=lambda contexts: self.xen.driver(dict(contexts)),
            tpm=lambda: nullcontext(self.swtpm.channel),
            poll_seconds=0.2,
            owner=owner,
        )
        return Dom0Host(self.folder, (self.configs / "lab" / "host.yaml").read_bytes(), dom0)

    @contextmanager
    def serving(self, host: Dom0Host, serve: Callable[..., None]) -> Iterator[None]:
        """Serve in a thread of this process, which has no signals to handle there."""
        ready = threading.Event()
        thread = threading.Thread(target=serve, args=(host, ready.set), daemon=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("signal.signal", lambda *_: None)
            thread.start()
            assert ready.wait(30)
            yield
            thread.join(30)
        assert not thread.is_alive()

    def config(self, guest: str) -> bytes:
        return (self.configs / "lab" / f"{guest}.cfg").read_bytes()

    @property
    def policy(self) -> bytes:
        return (self.configs / "policies" / "datacenter.yaml").read_bytes()
