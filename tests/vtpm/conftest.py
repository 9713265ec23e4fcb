"""Real swtpms, and what the tests need to talk to them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.conftest import memory_folder
from vtpm.record import LabelRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vtpm.manufacture import Manufactured
    from vtpm.swtpm import Swtpm
    from vtpm.tpm import Tpm
    from vtpm.vtpm_manager import VtpmManager


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(scope="session")
def manufactured() -> Iterator[Manufactured]:
    """A host TPM as swtpm_setup makes it; copy its state, do not run it."""
    from vtpm.manufacture import manufacture

    with memory_folder() as folder:
        yield manufacture(Path(folder) / "host", "host.example")


@dataclass(frozen=True, slots=True)
class Host:
    swtpm: Swtpm
    tpm: Tpm


@pytest.fixture
def host(manufactured: Manufactured, private: Path) -> Iterator[Host]:
    """A started host TPM with a locked platform."""
    from vtpm.swtpm import State, Swtpm
    from vtpm.tpm import Tpm

    state = private / "host"
    shutil.copytree(manufactured.state, state)
    state.chmod(0o700)
    with Swtpm.start(state, state=State.EXISTING, keys=None) as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        tpm.lock_platform()
        yield Host(swtpm, tpm)


@pytest.fixture
def manager(private: Path) -> VtpmManager:
    """A vTPM manager with a CA of its own."""
    from cryptography.hazmat.primitives.asymmetric import ec

    from vtpm.ek_certificate import EkIssuer, Validity, self_signed
    from vtpm.vtpm_manager import VtpmManager

    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    validity = Validity(now - timedelta(hours=1), now + timedelta(days=9000))
    authority = self_signed(key, "vTPM CA of a test", serial=1, validity=validity)
    return VtpmManager(private / "vtpms", os.urandom(32), EkIssuer(key, authority))


@pytest.fixture
def make_record() -> Callable[..., LabelRecord]:
    """Makes a label record; name the fields that matter to the test."""

    def make(**fields: Any) -> LabelRecord:
        values: dict[str, Any] = {
            "vid": uuid4().hex,
            "domain": str(uuid4()),
            "label": "bank.red",
            "ste_types": ("disk.red", "net.red"),
            "chwall_types": ("bank",),
            "mls": None,
            "policy_digest": "5a" * 32,
            "policy_version": "1.0",
            "generation": 1,
        }
        return LabelRecord(**values | fields)

    return make
