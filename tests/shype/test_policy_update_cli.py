"""``policy load`` on a host that runs, ``host state``, ``policy diff``: asked first, then all or nothing."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metering.log import read_leaves
from metering.record import SALT_BYTES, Kind, decode
from tests.shype.processes import Booted
from tests.shype.test_host_cli import policy_events

if TYPE_CHECKING:
    from tests.shype.conftest import Operator
    from tests.shype.outcome import Outcome

pytestmark = pytest.mark.host

GUEST = "cola-web"
DISK = "uuid:5b0e7c54-6f0c-4f0e-9c39-7a1f8f2c1a01"
VLAN = "vlan:101"
NEWER = 'version: "1.1"\nfrom: {name: datacenter, version: "1.0"}'
APART = ("ste: [cola, cola-net, dns-cola]", "ste: [cola, dns-cola]")
"""Takes disk and VLAN from the guest."""
RENAMED_AWAY = (f"\n  {GUEST}:\n", "\n  cola-shop:\n")
"""Leaves the guest without a label."""


def update(operator: Operator, folder: Path, *changes: tuple[str, str]) -> Path:
    text = operator.policy.read_text().replace('version: "1.0"', NEWER)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "update.yaml"
    path.write_text(text)
    return path


def diff(operator: Operator, host: Path, policy: Path, folder: Path) -> Any:
    """What ``policy diff`` says of the host as it is now."""
    state = folder / "state.json"
    written = operator.shype("host", "state", host, "-o", state, "--json")
    assert written.exit == 0, written.err
    operator.checked("host-state", written)
    outcome = operator.shype("policy", "diff", operator.policy, policy, "--state", state, "--json")
    document = operator.checked("policy-diff", outcome)
    assert outcome.exit == (0 if document["verdict"] == "permit" else 1)
    return document


def load(operator: Operator, host: Path, policy: Path, *words: object) -> Outcome:
    outcome = operator.shype("policy", "load", policy, "--host", host, *words, "--json")
    if outcome.exit in {0, 1}:
        operator.checked("policy-load", outcome)
    return outcome


def snapshot(operator: Operator, host: Path) -> tuple[object, object, int]:
    """Everything that a refusal must leave as it was."""
    state = operator.shype("host", "state", host, "--json").document
    return operator.status(host), state, len(policy_events(host))


def kinds(host: Path) -> list[Kind]:
    return [decode(leaf[SALT_BYTES:]).kind for leaf in read_leaves(host / "usage")]


def test_the_state_of_a_host_is_its_owner_s_and_fits_the_schema(
    standing: Booted, operator: Operator, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    assert operator.shype("host", "state", standing.folder, "-o", state).exit == 0
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    shown = operator.shype("host", "state", standing.folder)
    assert json.loads(shown.out) == json.loads(state.read_bytes())
    document = operator.checked("host-state", operator.shype("host", "state", standing.folder, "--json"))
    assert document == json.loads(state.read_bytes())
    assert [each["name"] for each in document["domains"]] == ["Domain-0", GUEST]
    assert {each["resource"] for each in document["attachments"]} == {DISK, VLAN}
    assert len(document["channels"]) == len(document["attachments"]), "one channel a device"


def test_what_diff_says_is_what_load_does_and_a_refusal_changes_nothing(
    standing: Booted, operator: Operator, tmp_path: Path
) -> None:
    policy = update(operator, tmp_path, APART)
    said = diff(operator, standing.folder, policy, tmp_path)
    before = snapshot(operator, standing.folder)
    refused = load(operator, standing.folder, policy)
    assert (refused.exit, refused.document["verdict"], said["verdict"]) == (1, "deny", "deny")
    assert refused.document["violations"] == said["violations"]
    assert refused.document["mend"] == said["mend"]
    assert {each["code"] for each in said["violations"]} == {"disk-refused", "vlan-refused"}
    assert snapshot(operator, standing.folder) == before, "nothing happened, and nothing was measured"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--stop", "nobody"), "no domain 'nobody' runs here"),
        (("--relabel", "vlan:4000=cola-vlan"), "no resource"),
        (("--relabel", f"{VLAN}=nothing"), "no resource label"),
        (("--relabel", VLAN), "IDENTITY=LABEL"),
        (("--revoke", "--stop", "Domain-0"), "no domain 'Domain-0' runs here"),
    ],
)
def test_wishes_for_what_is_not_there_change_nothing(
    standing: Booted, operator: Operator, tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    before = snapshot(operator, standing.folder)
    outcome = load(operator, standing.folder, update(operator, tmp_path, APART), *words)
    assert outcome.exit == 2
    assert line in outcome.err
    assert snapshot(operator, standing.folder) == before


@pytest.mark.parametrize("words", [(), ("--revoke",)])
def test_a_guest_without_a_label_is_not_stopped_unless_it_is_named(
    standing: Booted, operator: Operator, tmp_path: Path, words: tuple[str, ...]
) -> None:
    before = snapshot(operator, standing.folder)
    refused = load(operator, standing.folder, update(operator, tmp_path, RENAMED_AWAY), *words)
    assert refused.exit == 1
    assert refused.document["violations"][0]["code"] == "label-deleted"
    assert [each["action"] for each in refused.document["mend"]["actions"]] == ["stop"]
    assert snapshot(operator, standing.folder) == before


def test_no_successor_is_refused_and_not_measured(standing: Booted, operator: Operator) -> None:
    before = snapshot(operator, standing.folder)
    refused = load(operator, standing.folder, operator.policy)
    assert refused.exit == 1
    assert [each["code"] for each in refused.document["reasons"]] == ["lineage-missing"]
    assert snapshot(operator, standing.folder) == before


def test_revoke_detaches_what_breaks_and_the_guest_runs_on(
    serving: Booted, operator: Operator, tmp_path: Path
) -> None:
    host, policy = serving.folder, update(operator, tmp_path, APART)
    loaded = load(operator, host, policy, "--revoke")
    assert loaded.exit == 0, loaded.out
    assert loaded.document["done"] == [
        f"revoked {DISK} attached rw to 1",
        f"revoked {VLAN} attached rw to 1",
    ]
    state = operator.shype("host", "state", host, "--json").document
    assert (state["attachments"], state["channels"], state["grants"]) == ([], [], [])
    assert state["policy"]["version"] == "1.1"
    assert [each.version for each in policy_events(host)] == ["1.0", "1.1"]
    assert operator.domain(host, "run", "60").exit == 0, "it has no disk to write to any more"
    assert [each["name"] for each in operator.status(host)["domains"]] == [GUEST]
    told = operator.shype("host", "audit-log", host, "--json").document["records"]
    why = [detail for each in told for _, detail in each["why"]]
    assert f"revoked {DISK} attached rw to 1" in why


def test_stop_ends_a_named_guest_as_a_stop_does(serving: Booted, operator: Operator, tmp_path: Path) -> None:
    host, policy = serving.folder, update(operator, tmp_path, RENAMED_AWAY)
    loaded = load(operator, host, policy, "--stop", GUEST)
    assert loaded.exit == 0, loaded.out
    assert loaded.document["done"] == [f"stopped {GUEST}"]
    assert operator.status(host)["domains"] == []
    assert list((host / "vtpm").iterdir()) == [], "its vTPM is wiped"
    assert Kind.FINAL in kinds(host), "its last reading is on the bill"
    assert operator.domain(host, "stop", GUEST).exit == 2
    evidence = operator.shype("attest", "--host", host, "--nonce", "11" * 32, "-o", tmp_path / "e", "--json")
    assert evidence.document["domains"] == 0
    shop = tmp_path / "shop.cfg"
    shop.write_text(operator.config(GUEST).read_text().replace(f"label={GUEST}", "label=cola-shop"))
    assert operator.launch(host, shop).exit == 0


def test_a_mend_by_relabel_keeps_the_guest_at_work(
    serving: Booted, operator: Operator, tmp_path: Path
) -> None:
    """The labels of disk and VLAN are gone; another one keeps both in use."""
    host = serving.folder
    gone = (("  cola-web-disk: {ste: cola-net}\n", ""), ("  cola-vlan:", "  cola-wire:"))
    policy = update(operator, tmp_path, *gone)
    mended = diff(operator, host, policy, tmp_path)["mend"]
    assert [(each["resource"], each["to"]) for each in mended["actions"]] == [
        (DISK, "cola-wire"),
        (VLAN, "cola-wire"),
    ]
    words = [word for each in mended["actions"] for word in ("--relabel", f"{each['resource']}={each['to']}")]
    loaded = load(operator, host, policy, *words)
    assert loaded.exit == 0, loaded.out
    assert operator.domain(host, "run", "60").exit == 0
    state = operator.shype("host", "state", host, "--json").document
    assert {each["identity"]: each["label"] for each in state["resources"]}[DISK] == "cola-wire"
    assert len(state["attachments"]) == 2
