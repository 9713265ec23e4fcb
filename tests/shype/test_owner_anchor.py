"""The anchor of past runs in indices of the TPM's owner, and what whoever may act as the owner can do to it.

Each TPM is a real swtpm whose platform hierarchy is disabled, as firmware leaves it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from acm.history import Anchor, History, refusal
from hypervisor.history_store import FileHistoryStore

if TYPE_CHECKING:
    from shype.host.owner_anchor import OwnerAnchor
    from tests.simulators.owner import Owner
    from vtpm.nv import Space
    from vtpm.swtpm import Swtpm
    from vtpm.tpm import Tpm

pytestmark = pytest.mark.host
BEGUN: Final = Anchor(0, "00" * 32)
GROWN: Final = Anchor(1, "11" * 32)
LATER: Final = Anchor(2, "22" * 32)
OTHER_INDEX: Final = 0x0180_0001


@pytest.fixture
def tpm(swtpm: Swtpm) -> Iterator[Tpm]:
    from tests.simulators.owner import firmware_ends
    from vtpm.tpm import Tpm

    firmware_ends(swtpm.channel)
    with Tpm(swtpm.channel) as tpm:
        yield tpm


@pytest.fixture
def owner(swtpm: Swtpm) -> Iterator[Owner]:
    from tests.simulators.owner import owner_of

    with owner_of(swtpm.channel) as owner:
        yield owner


@pytest.fixture
def anchors(tpm: Tpm) -> OwnerAnchor:
    from shype.host.owner_anchor import OwnerAnchor

    return OwnerAnchor(tpm.nv)


@pytest.fixture
def spaces(tpm: Tpm) -> tuple[Space, ...]:
    """The counter and the two slots."""
    del tpm
    from shype.host.owner_anchor import COUNTER, SLOTS

    return (COUNTER, *SLOTS)


@pytest.fixture
def store(tmp_path: Path, anchors: OwnerAnchor) -> FileHistoryStore:
    store = FileHistoryStore(tmp_path / "history", anchors)
    store.begin(bytes(32))
    return store


def count(owner: Owner, counter: Space) -> int:
    return int.from_bytes(owner.read(counter), "big")


@pytest.mark.parametrize(("how", "code"), [("disabled", "locked"), ("random password", "auth")])
def test_whatever_firmware_did_to_the_platform_hierarchy(how: str, code: str, swtpm: Swtpm) -> None:
    """The embedded host's way does not do there, the owner's does. OVMF gives it a random password."""
    from shype.host.owner_anchor import OwnerAnchor
    from tests.simulators.owner import firmware_ends
    from vtpm.errors import ResponseError
    from vtpm.tpm import Tpm

    if how == "disabled":
        firmware_ends(swtpm.channel)
    else:
        with Tpm(swtpm.channel) as firmware:
            firmware.lock_platform()
    with Tpm(swtpm.channel) as tpm:
        with pytest.raises(ResponseError) as refused:
            tpm.nv.publish(0x0140_5348, b"x")
        assert refused.value.code == code
        anchors = OwnerAnchor(tpm.nv)
        anchors.write(BEGUN)
        assert anchors.read() == BEGUN


def test_an_anchor_outlives_a_reset(anchors: OwnerAnchor, swtpm: Swtpm) -> None:
    from shype.host.owner_anchor import OwnerAnchor
    from tests.simulators.owner import firmware_ends
    from vtpm.tpm import Tpm

    assert anchors.read() is None
    for anchor in (BEGUN, GROWN, LATER):
        anchors.write(anchor)
        assert anchors.read() == anchor
    swtpm.initialise()
    with Tpm(swtpm.channel) as again:
        again.startup()
        firmware_ends(swtpm.channel)
        assert OwnerAnchor(again.nv).read() == LATER


def test_a_history_that_grows_without_one_that_began_has_no_anchor(anchors: OwnerAnchor) -> None:
    with pytest.raises(OSError, match="is gone"):
        anchors.write(GROWN)
    assert anchors.read() is None


def test_an_older_file_is_stale(store: FileHistoryStore, tmp_path: Path) -> None:
    backup = (tmp_path / "history").read_bytes()
    first, _ = store.load()
    assert first is not None
    store.save(first.with_run(frozenset({"cola"})))
    (tmp_path / "history").write_bytes(backup)
    refused = refusal(*store.load())
    assert refused is not None
    assert refused.code == "history-stale"


def test_a_file_with_a_run_taken_out_is_another_history(store: FileHistoryStore, tmp_path: Path) -> None:
    first, _ = store.load()
    assert first is not None
    store.save(first.with_run(frozenset({"cola"})))
    (tmp_path / "history").write_bytes(History(first.origin, 1, frozenset({"bank"})).encode())
    refused = refusal(*store.load())
    assert refused is not None
    assert refused.code == "history-mismatch"


@pytest.mark.parametrize("which", ["counter", "slots", "all"])
def test_undefined_and_defined_anew_with_the_very_records_of_before(
    which: str, anchors: OwnerAnchor, owner: Owner, spaces: tuple[Space, ...]
) -> None:
    """The owner keeps a copy of each index, and puts it back: the counter has gone on."""
    counter, *slots = spaces
    anchors.write(BEGUN)
    old = {slot: owner.read(slot) for slot in slots[:1]}
    counted = count(owner, counter)
    anchors.write(GROWN)
    old |= {slot: owner.read(slot) for slot in slots[1:]}
    for space in {"counter": [counter], "slots": slots, "all": spaces}[which]:
        owner.undefine(space)
        assert anchors.read() is None if space is counter else True
        owner.define(space)
    if which != "slots":
        assert anchors.read() is None, "a counter that was never written"
        owner.increment(counter)
    for slot, record in old.items():
        owner.write(slot, record)
    assert count(owner, counter) > counted
    if which == "slots":
        # Nothing was taken back: the counter's own record is the newest one, and no older one is in force.
        assert anchors.read() == GROWN
        owner.write(slots[1], old[slots[0]])
    assert anchors.read() is None


def test_a_count_of_before_does_not_come_back_however_often_it_is_tried(
    anchors: OwnerAnchor, owner: Owner, spaces: tuple[Space, ...]
) -> None:
    counter = spaces[0]
    anchors.write(BEGUN)
    seen = {count(owner, counter)}
    for _ in range(20):
        owner.undefine(counter)
        owner.define(counter)
        owner.increment(counter)
        assert count(owner, counter) > max(seen)
        seen.add(count(owner, counter))
        assert anchors.read() is None


def test_a_tpm_that_was_cleared(anchors: OwnerAnchor, owner: Owner, spaces: tuple[Space, ...]) -> None:
    """TPM2_Clear takes the owner's indices, and not the memory of the highest count."""
    counter = spaces[0]
    anchors.write(BEGUN)
    anchors.write(GROWN)
    before = count(owner, counter)
    record = owner.read(spaces[2])
    owner.clear()
    assert anchors.read() is None
    for space in spaces:
        owner.define(space)
    owner.increment(counter)
    owner.write(spaces[2], record)
    assert count(owner, counter) > before
    assert anchors.read() is None
    anchors.write(BEGUN)
    assert anchors.read() == BEGUN


def test_an_owner_hierarchy_that_is_switched_off(anchors: OwnerAnchor, owner: Owner) -> None:
    """Until the next reset the TPM knows none of its owner's indices."""
    anchors.write(BEGUN)
    owner.switch_off()
    assert anchors.read() is None
    with pytest.raises(OSError, match="hierarchy is not enabled"):
        anchors.write(BEGUN)


def test_somebody_else_counts(anchors: OwnerAnchor, owner: Owner, spaces: tuple[Space, ...]) -> None:
    anchors.write(BEGUN)
    owner.increment(spaces[0])
    assert anchors.read() is None


@pytest.mark.parametrize("what", ["undefined", "anew", "counted", "older"])
def test_a_host_that_runs_mends_nothing(
    what: str, tpm: Tpm, anchors: OwnerAnchor, owner: Owner, spaces: tuple[Space, ...]
) -> None:
    """What was changed under its hands is found when a run is added, and stays as it is."""
    from vtpm.nv import Found

    counter, slot, _ = spaces
    anchors.write(BEGUN)
    anchors.write(GROWN)
    if what == "counted":
        owner.increment(counter)
    elif what == "older":
        owner.write(spaces[2], struct.pack(">QQ32s", count(owner, counter), 0, bytes(32)))
    else:
        owner.undefine(counter)
        if what == "anew":
            owner.define(counter)
            owner.increment(counter)
    held = owner.read(slot)
    with pytest.raises(OSError, match="is gone, or is another one"):
        anchors.write(LATER)
    assert owner.read(slot) == held
    assert (tpm.nv.find(counter) is Found.ABSENT) == (what == "undefined")
    assert anchors.read() != LATER


def test_somebody_counts_between_a_record_and_its_count(
    tpm: Tpm, anchors: OwnerAnchor, owner: Owner, spaces: tuple[Space, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is then for a count that is over: it was not written in vain without a word."""
    anchors.write(BEGUN)
    really = tpm.nv.write

    def written(space: Space, data: bytes) -> None:
        really(space, data)
        owner.increment(spaces[0])

    monkeypatch.setattr(tpm.nv, "write", written)
    with pytest.raises(OSError, match="somebody else counts"):
        anchors.write(GROWN)
    assert anchors.read() is None


def altered(space: Space, change: str) -> bytes:
    """Return the public area of an index that is not quite ours (TPMS_NV_PUBLIC; the policy is empty)."""
    from tpm2_pytss.constants import TPMA_NV

    index, alg, attributes, policy, size = struct.unpack(">IHIHH", space.public())
    more = {"authwrite": TPMA_NV.AUTHWRITE, "policywrite": TPMA_NV.POLICYWRITE, "orderly": TPMA_NV.ORDERLY}
    less = {"lockout": TPMA_NV.NO_DA, "not for all": TPMA_NV.AUTHREAD}
    if change in more:
        attributes |= int(more[change])
    elif change in less:
        attributes &= ~int(less[change])
    elif change == "size":
        size += 8
    elif change == "kind":
        attributes ^= 0x10
        attributes &= ~int(TPMA_NV.WRITEALL)
        size = 8
    elif change == "hash":
        alg = 0x000C
    raw = struct.pack(">IHIHH", index, alg, attributes, policy, size)
    if change == "policy":
        raw = struct.pack(">IHIH32sH", index, alg, attributes, 32, b"\1" * 32, size)
    return raw


@pytest.mark.parametrize("change", ["authwrite", "policywrite", "lockout", "not for all", "hash", "policy"])
@pytest.mark.parametrize("at", [0, 1, 2], ids=["counter", "slot", "other slot"])
def test_an_index_with_another_attribute_is_no_anchor_and_is_left_alone(
    at: int, change: str, anchors: OwnerAnchor, owner: Owner, spaces: tuple[Space, ...]
) -> None:
    space = spaces[at]
    owner.define(space, like=altered(space, change))
    owner.increment(space) if space.counter else owner.write(space, b"\7" * space.size)
    held = owner.read(space)
    assert anchors.read() is None
    with pytest.raises(OSError, match=f"tpm2_nvundefine -C o {space.index:#x}"):
        anchors.write(BEGUN)
    assert owner.read(space) == held
    assert anchors.read() is None
    owner.undefine(space)
    anchors.write(BEGUN)
    assert anchors.read() == BEGUN


@pytest.mark.parametrize(("at", "change"), [(0, "kind"), (1, "kind"), (1, "size"), (0, "orderly")], ids=str)
def test_an_index_of_another_kind_or_size(
    at: int, change: str, anchors: OwnerAnchor, owner: Owner, spaces: tuple[Space, ...]
) -> None:
    """An orderly counter jumps after a power cut; an ordinary index in its place can be set to any count."""
    anchors.write(BEGUN)
    space = spaces[at]
    counted = owner.read(spaces[0])
    owner.undefine(space)
    owner.define(space, like=altered(space, change))
    if at == 0 and change == "kind":
        owner.write(space, counted)
    elif change != "size":
        owner.increment(space)
    if at == 0:
        assert anchors.read() is None
    with pytest.raises(OSError, match="is not as this host makes it"):
        anchors.write(BEGUN)


def test_an_owner_with_a_password(tpm: Tpm, anchors: OwnerAnchor, owner: Owner) -> None:
    """Without it nothing is written; to read needs none; a wrong one does not count towards the lockout."""
    owner.change(b"the owner's own")
    for wrong in (b"", b"wrong"):
        tpm.nv.authorise_owner(wrong)
        for _ in range(5):
            with pytest.raises(OSError, match="--owner-auth FILE") as refused:
                anchors.write(BEGUN)
            assert "wrong" not in str(refused.value)
    assert owner.failures == 0
    tpm.nv.authorise_owner(b"the owner's own")
    anchors.write(BEGUN)
    tpm.nv.authorise_owner(b"wrong")
    assert anchors.read() == BEGUN
    with pytest.raises(OSError, match="--owner-auth FILE"):
        anchors.write(GROWN)
    assert anchors.read() == BEGUN
    assert owner.failures == 0


def test_a_tpm_in_lockout_reads_and_writes_it(anchors: OwnerAnchor, owner: Owner) -> None:
    """A guest of another program that guesses passwords does not keep this host from starting."""
    anchors.write(BEGUN)
    owner.lock_out(OTHER_INDEX)
    assert anchors.read() == BEGUN
    anchors.write(GROWN)
    assert anchors.read() == GROWN


@pytest.mark.parametrize("step", ["define", "write", "increment"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_step_leaves_the_old_history_or_the_new_one(
    step: str, when: str, tpm: Tpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shype.host.owner_anchor import OwnerAnchor
    from vtpm.errors import ProcessError

    store, done = FileHistoryStore(tmp_path / "history", OwnerAnchor(tpm.nv)), when == "after"
    really = getattr(tpm.nv, step)

    def cut(*words: object) -> None:
        if done:
            really(*words)
        raise ProcessError("the plug is pulled", code="ended")

    def crash(act: Callable[[], object]) -> None:
        monkeypatch.setattr(tpm.nv, step, cut)
        with pytest.raises(OSError, match="plug"):
            act()
        monkeypatch.undo()

    crash(lambda: store.begin(b"\1" * 32))
    assert refusal(*store.load()) is not None, "half a beginning is none"
    first = store.begin(bytes(32))
    assert store.load() == (first, first.anchor)
    grown = first.with_run(frozenset({"cola"}))
    if step == "define":
        store.save(grown)
    else:
        crash(lambda: store.save(grown))
    expected = grown if step == "define" or (step == "increment" and done) else first
    assert store.load() == (expected, expected.anchor)
    after = expected.with_run(frozenset({"bank"}))
    store.save(after)
    assert store.load() == (after, after.anchor)


def test_two_folders_of_one_machine_do_not_take_turns(
    tpm: Tpm, store: FileHistoryStore, tmp_path: Path
) -> None:
    """Who begins a history in another folder ends the one of the first."""
    from shype.host.owner_anchor import OwnerAnchor

    first, _ = store.load()
    assert first is not None
    other = FileHistoryStore(tmp_path / "other", OwnerAnchor(tpm.nv))
    assert other.load() == (None, first.anchor)
    second = other.begin(b"\2" * 32)
    with pytest.raises(OSError, match="another one"):
        store.save(first.with_run(frozenset({"cola"})))
    assert store.load() == (first, second.anchor)
    assert other.load() == (second, second.anchor)
