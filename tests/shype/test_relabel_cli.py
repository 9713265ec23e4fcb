"""``shype host relabel``: compare and swap, by Domain-0's rights, recorded, and for the boots that follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shype.host.embedded import EmbeddedHost
from shype.host.resource_labels import FILE, ResourceLabelsError, decode, keep, load
from tests.shype.processes import Booted

if TYPE_CHECKING:
    from tests.shype.conftest import Operator
    from tests.shype.outcome import Outcome

VLAN = "vlan:102"
HELD = ("juice-vlan", "bank-vlan")


def relabel(operator: Operator, folder: Path, old: str, new: str, resource: str = VLAN) -> Outcome:
    words = ("--from", old, "--to", new, "--why", "ticket 4712", "--json")
    return operator.shype("host", "relabel", folder, resource, *words)


def label(operator: Operator, folder: Path, resource: str = VLAN) -> Any:
    state = json.loads(operator.shype("host", "state", folder).out)
    [found] = [each["label"] for each in state["resources"] if each["identity"] == resource]
    return found


@pytest.mark.host
class TestRelabel:
    def test_swaps_the_label_that_it_was_told_and_records_who_and_why(
        self, serving: Booted, operator: Operator
    ) -> None:
        folder = serving.folder
        assert label(operator, folder) == HELD[0]
        outcome = relabel(operator, folder, *HELD)
        assert outcome.exit == 0, outcome.err
        assert operator.checked("host-relabel", outcome)["to"] == HELD[1]
        assert label(operator, folder) == HELD[1]
        record = operator.shype("host", "audit-log", folder, "--json").document["records"][-1]
        assert (record["who"].split()[0], record["action"], record["outcome"]) == ("operator", "H18", "done")
        assert record["why"] == [["asked", "ticket 4712"]]

    def test_compares_first(self, serving: Booted, operator: Operator) -> None:
        outcome = relabel(operator, serving.folder, "cola-vlan", "bank-vlan")
        assert outcome.exit == 2
        assert "has label juice-vlan, not cola-vlan" in outcome.line
        assert label(operator, serving.folder) == HELD[0]

    def test_leaves_alone_what_is_in_use_unknown_or_denied(self, serving: Booted, operator: Operator) -> None:
        for old, new, resource, said in (
            ("cola-vlan", "bank-vlan", "vlan:101", "in use"),
            ("juice-vlan", "bank-vlan", "vlan:999", "vlan:999"),
        ):
            outcome = relabel(operator, serving.folder, old, new, resource)
            assert outcome.exit == 2
            assert said in outcome.line
        denied = relabel(operator, serving.folder, HELD[0], "nobody")
        assert (denied.exit, denied.document["verdict"]) == (1, "deny")
        assert operator.checked("host-relabel", denied)["reasons"][0]["code"] == "unknown-label"
        assert not (serving.folder / FILE).exists()

    def test_outlives_a_boot(self, machine: Path, boot_files: Path, operator: Operator) -> None:
        for boot in range(2):
            with EmbeddedHost(machine, boot_files) as host:
                host.load_policy(operator.policy.read_bytes())
                if not boot:
                    host.relabel(VLAN, *HELD, "ticket 4712")
                assert host.running().state.resource(VLAN).label == HELD[1]

    def test_where_it_cannot_be_kept_nothing_changes(
        self, machine: Path, boot_files: Path, operator: Operator
    ) -> None:
        with EmbeddedHost(machine, boot_files) as host:
            host.load_policy(operator.policy.read_bytes())
            (machine / FILE).mkdir()
            with pytest.raises(OSError, match=FILE):
                host.relabel(VLAN, *HELD, "ticket 4712")
            assert host.running().state.resource(VLAN).label == HELD[0]
            (machine / FILE).rmdir()


@pytest.mark.host
def test_what_an_update_relabels_outlives_a_boot_too(
    machine: Path, boot_files: Path, operator: Operator
) -> None:
    text = operator.policy.read_bytes()
    newer = renamed(text)
    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(text)
        host.load_policy(newer)
    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(newer)
        assert host.running().state.resource("vlan:103").label == "bank-lan"


def renamed(policy: bytes) -> bytes:
    """The successor of the data centre's policy, in which one VLAN's label has another name."""
    lineage = b'version: "1.1"\nfrom: {name: datacenter, version: "1.0"}\n'
    lineage += b"renames: {resource_labels: {bank-lan: bank-vlan}}"
    newer = policy.replace(b'version: "1.0"', lineage).replace(b"\n  bank-vlan:", b"\n  bank-lan:")
    assert newer.count(b"bank-lan") == 2
    return newer


@pytest.mark.host
def test_an_update_that_cannot_be_measured_leaves_no_label_behind(
    machine: Path, boot_files: Path, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = operator.policy.read_bytes()
    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(text)
        monkeypatch.setattr(host.log, "append", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            host.load_policy(renamed(text))
        assert host.running().state.resource("vlan:103").label == "bank-vlan"
        assert load(machine)["vlan:103"] == "bank-vlan"


class TestFile:
    def test_labels_are_added_and_replaced(self, tmp_path: Path) -> None:
        assert load(tmp_path) == {}
        keep(tmp_path, {"vlan:1": "red", "vlan:2": "__UNLABELED__"})
        keep(tmp_path, {"vlan:1": "green"})
        assert load(tmp_path) == {"vlan:1": "green", "vlan:2": "__UNLABELED__"}
        assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"[]",
            b'{"format": "shype.labels/1"}',
            b'{"format": "shype.labels/2", "labels": {}}',
            b'{"format": "shype.labels/1", "labels": []}',
            b'{"format": "shype.labels/1", "labels": {"vlan:1": 1}}',
            b'{"format": "shype.labels/1", "labels": {"vlan:1": "a:b"}}',
            b'{"format": "shype.labels/1", "labels": {"vlan:1": "__NULL_LABEL__"}}',
            b'{"format": "shype.labels/1", "labels": {"vlan:1": "a", "vlan:1": "b"}}',
            b'{"format": "shype.labels/1", "labels": {}, "more": 1}',
        ],
    )
    def test_another_file_is_refused(self, raw: bytes) -> None:
        with pytest.raises(ResourceLabelsError, match=FILE):
            decode(raw)
