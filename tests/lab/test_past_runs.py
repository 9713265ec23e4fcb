"""A Chinese Wall that counts past runs, over a reboot of one host: its disk and its TPM stay.

The firmware has locked the TPM's platform hierarchy by then, so the history's anchor is the owner's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Prepared, Shelf, note_boot
from tests.lab.live import HOST, POLICY, LiveHost, booted, table, wait_for_agent
from tests.lab.machine import Tpm
from tests.lab.parts import Parts
from tests.lab.tool import run
from tests.lab.variants import PCRS

pytestmark = [pytest.mark.lab, pytest.mark.heavy]
OWN_DISK = 32 << 20
COUNTING = "lab-policy.yaml"
"""By this name dom0 knows that the disk is the host's, and what policy to begin with."""


@pytest.fixture(scope="module")
def counting(work: Path) -> Path:
    """The policy of the lab, with past runs that count."""
    folder = work / "own"
    folder.mkdir()
    text = POLICY.read_text()
    assert text.count("\nchwall:\n") == 1
    (folder / COUNTING).write_text(text.replace("\nchwall:\n", "\nchwall:\n  history: true\n"))
    return folder / COUNTING


@pytest.fixture(scope="module")
def own(work: Path, counting: Path) -> Path:
    """The host's own disk."""
    disk = work / "own.img"
    with disk.open("wb") as file:
        file.truncate(OWN_DISK)
    run("mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", counting.parent, disk)
    return disk


@pytest.fixture(scope="module")
def menu(prepared: Shelf) -> Prepared:
    return prepared["menu"]


class Bench:
    """Boots the one host by the menu of GRUB, with its disk and its TPM."""

    def __init__(self, parts: Parts, work: Path, tpm: Tpm, own: Path, menu: Prepared) -> None:
        self._parts, self._work, self._tpm, self._own, self._menu = parts, work, tpm, own, menu

    @contextmanager
    def boot(self, name: str) -> Iterator[LiveHost]:
        """Boot it, with the registers that were predicted, and wait until its agent listens."""
        place, predicted = self._work / name.replace(" ", "-"), self._menu.reference.pcrs
        desk = self._work / "desk"
        with booted(place, self._menu.folder, self._parts, self._tpm, desk, own=self._own) as host:
            read = note_boot(name, host, predicted)
            print("\n" + table(predicted, read))
            assert {pcr: read[pcr] for pcr in PCRS} == dict(predicted)
            wait_for_agent(host)
            yield host


@pytest.fixture(scope="module")
def bench(parts: Parts, work: Path, tpm: Tpm, own: Path, menu: Prepared) -> Bench:
    return Bench(parts, work, tpm, own, menu)


def launched(host: LiveHost, *configs: str) -> None:
    for config in configs:
        answer = host.launch(config)
        assert answer.code == 0, answer.output


def refused(host: LiveHost, config: str, code: str) -> None:
    answer = host.launch(config)
    assert (answer.code, code in answer.output) == (1, True), answer.output


def history(host: LiveHost) -> Any:
    return host.document("host", "history", HOST)["history"]


def begin(host: LiveHost) -> None:
    answer = host.shype("host", "begin-history", HOST, "--why", "'the lab, ticket 1'")
    assert answer.code == 0, answer.output


def test_a_run_of_before_the_reboot_keeps_the_competitor_out(
    bench: Bench, counting: Path, menu: Prepared
) -> None:
    with bench.boot("menu") as host:
        refused(host, "g2.cfg", "history-missing")
        begin(host)
        host.shell.check(f"cp {HOST}/history {HOST}/history.then")
        launched(host, "g1.cfg", "g2.cfg")
        judged = host.verify(menu.reference, policy=counting)
        assert (judged.exit, judged.verdict) == (0, "affirming"), judged.details
        kept = history(host)
        assert (kept["sequence"], kept["types"]) == (1, ["cola"])
        assert kept["digest"] in judged.details
        host.shell.check(f"shype domain stop g1 --host {HOST}")
        refused(host, "g3.cfg", "chwall-history")
    with bench.boot("menu once more") as host:
        assert history(host) == kept
        refused(host, "g3.cfg", "chwall-history")
        launched(host, "g1.cfg", "g2.cfg")
        judged = host.verify(menu.reference, policy=counting)
        assert (judged.exit, judged.verdict) == (0, "affirming"), judged.details
        assert kept["digest"] in judged.details
        _as_the_owner(host)
        refused(host, "g2.cfg", "history-missing")
        begin(host)
        launched(host, "g2.cfg")
        assert history(host)["name"] != kept["name"]


def _as_the_owner(host: LiveHost) -> None:
    """Put back the file of the time before the run, define the counter anew, and begin the host again."""
    counter, attributes = "0x1805348", "'ownerwrite|ownerread|authread|no_da|nt=counter'"
    start = f"shype host boot {HOST} --xen /etc/shype/lab/host.yaml --boot /boot/guest"
    host.shell.check(f"shype host poweroff {HOST} && cp {HOST}/history.then {HOST}/history")
    host.shell.check(
        "export TPM2TOOLS_TCTI=device:/dev/tpmrm0"
        f" && tpm2_nvundefine -C o {counter} && tpm2_nvdefine -C o -a {attributes} {counter}"
        f" && tpm2_nvincrement -C o {counter}"
    )
    host.shell.check(
        f"({start} >/tmp/again.log 2>&1 &); for try in $(seq 60); do"
        f" shype policy load {HOST}/{COUNTING} --host {HOST} && exit 0; sleep 1; done;"
        " cat /tmp/again.log; exit 1"
    )
