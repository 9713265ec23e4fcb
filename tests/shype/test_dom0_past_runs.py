"""A Chinese Wall that counts past runs in a Domain-0: nothing starts by a history that is not the newest.

The TPM is a swtpm whose platform hierarchy its firmware has disabled; a reboot keeps it and the host's
folder.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attest.eventlog.cel import parse_cel
from attest.runtime_events import HistoryInForce, PolicyLoaded, decode_event
from shype.errors import ShypeUsageError
from tests.schemas import validator
from tests.simulators.dom0 import Machine

if TYPE_CHECKING:
    from shype.host.dom0 import Dom0Host
    from shype.host.socket import Reply
    from tests.shype.conftest import Operator
    from tests.simulators.owner import Owner
    from vtpm.nv import Space
    from vtpm.swtpm import Swtpm

pytestmark = pytest.mark.host
COLA, JUICE, OTHER = "g1", "g3", "g2"
"""Guests of competitors, and one that competes with nobody it meets here."""


@pytest.fixture
def machine(swtpm: Swtpm, short_tmp: Path, repository: Path) -> Machine:
    machine = Machine(swtpm, short_tmp, repository / "configs")
    machine.first_act()
    return machine


@pytest.fixture
def owner(swtpm: Swtpm) -> Iterator[Owner]:
    from tests.simulators.owner import owner_of

    with owner_of(swtpm.channel) as owner:
        yield owner


@pytest.fixture
def spaces() -> tuple[Space, ...]:
    """The counter and the two slots."""
    from shype.host.owner_anchor import COUNTER, SLOTS

    return (COUNTER, *SLOTS)


def counting(machine: Machine) -> bytes:
    return machine.policy.replace(b"chwall:\n", b"chwall:\n  history: true\n")


def ask(host: Dom0Host, verb: str, **arguments: Any) -> Reply:
    from shype.host.service import Service

    return Service(host).answer(verb, arguments)


def launch(machine: Machine, host: Dom0Host, guest: str) -> str:
    """Launch a guest; return the first reason of a refusal, or nothing."""
    reply = ask(host, "launch", config=base64.b64encode(machine.config(guest)).decode())
    assert reply.error is None, reply.error
    document: Any = reply.report.document
    return "" if reply.report.exit == 0 else str(document["reasons"][0]["code"])


def begin(host: Dom0Host) -> Any:
    reply = ask(host, "begin-history", why="ticket 4711")
    assert reply.error is None, reply.error
    assert reply.report.exit == 0
    validator("host-begin-history").validate(reply.report.document)
    return reply.report.document


def history(host: Dom0Host) -> Any:
    document = ask(host, "history").report.document
    validator("host-history").validate(document)
    return document


def measured(host: Dom0Host) -> list[HistoryInForce | PolicyLoaded]:
    """Histories and policies in PCR 12."""
    found = [decode_event(each.untrusted_data) for each in parse_cel(host.log.cel()).events if each.pcr == 12]
    return [each for each in found if isinstance(each, HistoryInForce | PolicyLoaded)]


def has_run(machine: Machine, guest: str) -> None:
    """A host that begins a history, runs a guest, and ends."""
    with machine.host() as host:
        host.load_policy(counting(machine))
        begin(host)
        assert launch(machine, host, guest) == ""


def test_nothing_starts_before_somebody_begins_a_history(machine: Machine) -> None:
    """A host does not begin one by itself: whoever owns the TPM could take all traces of the old one away."""
    with machine.host() as host:
        host.load_policy(counting(machine))
        assert launch(machine, host, OTHER) == "history-missing"
        assert [type(each) for each in measured(host)] == [PolicyLoaded]
        begun = begin(host)["history"]
        assert measured(host)[-1] == HistoryInForce(begun["name"], 0, begun["digest"])
        assert launch(machine, host, OTHER) == ""


def test_a_run_of_before_the_reboot_keeps_the_competitor_out(machine: Machine) -> None:
    has_run(machine, COLA)
    for _ in range(2):
        machine.reboot()
        with machine.host() as host:
            host.load_policy(counting(machine))
            told = history(host)
            assert (told["verdict"], told["history"]["types"]) == ("permit", ["cola"])
            assert [type(each) for each in measured(host)] == [HistoryInForce, PolicyLoaded]
            assert launch(machine, host, JUICE) == "chwall-history"
            assert launch(machine, host, COLA) == ""


def test_a_history_that_was_put_back(machine: Machine) -> None:
    with machine.host() as host:
        host.load_policy(counting(machine))
        begin(host)
        backup = (host.folder / "history").read_bytes()
        assert launch(machine, host, COLA) == ""
    (machine.folder / "history").write_bytes(backup)
    machine.reboot()
    with machine.host() as host:
        host.load_policy(counting(machine))
        assert launch(machine, host, JUICE) == "history-stale"
        assert launch(machine, host, OTHER) == "history-stale"
        begin(host)
        assert launch(machine, host, OTHER) == ""


@pytest.mark.parametrize("kept", ["file of then", "old file", "no file"])
def test_an_owner_that_defines_the_indices_anew(
    kept: str, machine: Machine, owner: Owner, spaces: tuple[Space, ...]
) -> None:
    """With the very records of a time when nobody had run, and the file of that time."""
    with machine.host() as host:
        host.load_policy(counting(machine))
        begin(host)
        backup = (host.folder / "history").read_bytes()
        records = {space: owner.read(space) for space in spaces[1:2]}
        assert launch(machine, host, COLA) == ""
        name = measured(host)[-1]
    for space in spaces:
        owner.undefine(space)
        owner.define(space)
    owner.increment(spaces[0])
    for space, record in records.items():
        owner.write(space, record)
    if kept == "old file":
        (machine.folder / "history").write_bytes(backup)
    elif kept == "no file":
        (machine.folder / "history").unlink()
    machine.reboot()
    with machine.host() as host:
        host.load_policy(counting(machine))
        for guest in (JUICE, OTHER, COLA):
            assert launch(machine, host, guest) == "history-missing"
        assert history(host)["verdict"] == "deny"
        begin(host)
        anew = measured(host)[-1]
        assert isinstance(name, HistoryInForce)
        assert isinstance(anew, HistoryInForce)
        assert anew.name != name.name, "a verifier that remembers the name sees it"


def test_an_index_taken_away_while_the_host_runs(
    machine: Machine, owner: Owner, spaces: tuple[Space, ...]
) -> None:
    """The next run that would be added is refused, and from then on every one."""
    with machine.host() as host:
        host.load_policy(counting(machine))
        begin(host)
        owner.undefine(spaces[0])
        reply = ask(host, "launch", config=base64.b64encode(machine.config(COLA)).decode())
        assert "is gone" in (reply.error or "")
        assert list(machine.xen.guests) == [0]
        assert launch(machine, host, OTHER) == "history-missing"
        begin(host)
        assert launch(machine, host, COLA) == ""


def test_a_foreign_index_is_told_and_kept(machine: Machine, owner: Owner, spaces: tuple[Space, ...]) -> None:
    from tpm2_pytss.constants import TPMA_NV

    public = bytearray(spaces[1].public())
    public[9] |= int(TPMA_NV.AUTHWRITE)
    owner.define(spaces[1], like=bytes(public))
    owner.write(spaces[1], b"\7" * spaces[1].size)
    with machine.host() as host:
        host.load_policy(counting(machine))
        assert launch(machine, host, OTHER) == "history-missing"
        reply = ask(host, "begin-history", why="ticket 4711")
        assert "tpm2_nvundefine -C o 0x1805349" in (reply.error or "")
        assert owner.read(spaces[1]) == b"\7" * spaces[1].size
        assert launch(machine, host, OTHER) == "history-missing"


def test_an_owner_with_a_password_is_obeyed(machine: Machine, owner: Owner) -> None:
    owner.change(b"the owner's own")
    with machine.host() as host:
        host.load_policy(counting(machine))
        reply = ask(host, "begin-history", why="ticket 4711")
        assert "--owner-auth FILE" in (reply.error or "")
        assert launch(machine, host, OTHER) == "history-missing"
    with machine.host(owner=b"the owner's own") as host:
        host.load_policy(counting(machine))
        begin(host)
        assert launch(machine, host, COLA) == ""
        assert "own" not in repr(host._dom0)


def test_a_policy_that_counts_nothing_asks_for_no_history(machine: Machine) -> None:
    with machine.host() as host:
        host.load_policy(machine.policy)
        assert launch(machine, host, COLA) == ""
        assert [type(each) for each in measured(host)] == [PolicyLoaded]


class TestAuthorisationFile:
    @pytest.mark.parametrize(
        ("content", "taken"), [(b"secret\n", b"secret"), (b"a b\r", b"a b\r"), (b"\xff" * 64, b"\xff" * 64)]
    )
    def test_is_taken_as_it_is_but_for_one_line_feed(
        self, content: bytes, taken: bytes, tmp_path: Path
    ) -> None:
        from shype.ownerauth import read_owner_auth

        path = tmp_path / "owner"
        path.write_bytes(content)
        path.chmod(0o600)
        assert read_owner_auth(path) == taken

    @pytest.mark.parametrize(
        ("content", "mode", "said"),
        [
            (b"secret", 0o640, "chmod 600"),
            (b"secret", 0o604, "chmod 600"),
            (b"", 0o600, "1 to 64 bytes"),
            (b"\n", 0o600, "1 to 64 bytes"),
            (b"x" * 65, 0o600, "1 to 64 bytes"),
        ],
        ids=["group", "others", "empty", "blank", "long"],
    )
    def test_is_refused(self, content: bytes, mode: int, said: str, tmp_path: Path) -> None:
        from shype.ownerauth import read_owner_auth

        path = tmp_path / "owner"
        path.write_bytes(content)
        path.chmod(mode)
        with pytest.raises(ShypeUsageError, match=said) as refused:
            read_owner_auth(path)
        assert "secret" not in str(refused.value)

    def test_goes_with_a_real_xen(self, operator: Operator, tmp_path: Path) -> None:
        outcome = operator.shype("host", "boot", tmp_path, "--boot", tmp_path, "--owner-auth", tmp_path / "f")
        assert outcome.exit == 2
        assert "--owner-auth goes with --xen" in outcome.line
