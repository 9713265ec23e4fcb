"""Host descriptions, and the ones that are shipped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from acm import policyfile
from hypervisor import hostconfig, xlconfig
from hypervisor.errors import HostConfigError, HypervisorInputError
from hypervisor.state import AccessMode, ResourceKind

if TYPE_CHECKING:
    from pathlib import Path

UUID = "uuid:00000000-0000-0000-0000-00000000000a"
GOOD = f"""schema: shype.host/1
name: h
pcpus: "2"
memory: 64 MiB
dom0: {{label: dom0, memory: 8 MiB, vcpus: "1"}}
profile: p.yaml
policy: p.yaml
resources:
  - {{kind: disk, identity: "{UUID}", path: /dev/a, label: a, access: rw, size: 1 MiB}}
  - {{kind: vlan, id: "7", label: a}}
"""


def test_a_description_is_read_and_resources_are_found() -> None:
    host = hostconfig.parse(GOOD.encode())
    assert (host.name, host.pcpus, host.memory_mib, host.dom0_vcpus) == ("h", 2, 64, 1)
    disk = host.disk("/dev/a")
    assert disk is not None
    assert disk == host.disk(UUID)
    assert (disk.kind, disk.access) == (ResourceKind.DISK, AccessMode.WRITE)
    assert host.disk("vlan:7") is None
    assert host.disk("/dev/b") is None
    vlan = host.vlan(7)
    assert vlan is not None
    assert vlan.identity == "vlan:7"
    assert host.vlan(8) is None


def test_numbers_are_written_with_or_without_quotes() -> None:
    plain = hostconfig.parse(GOOD.replace('"2"', "2").replace('"1"', "1").replace('"7"', "7").encode())
    quoted = hostconfig.parse(GOOD.encode())
    assert (plain.pcpus, plain.dom0_vcpus, plain.vlan(7)) == (2, 1, quoted.vlan(7))


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("shype.host/1", "shype.host/2", "schema", 1),
        ("name: h", "name: h h", "bad-value", 2),
        ("name: h\n", "", "missing-key", 1),
        ("name: h", "name: h\nname: h", "duplicate-key", 3),
        ("name: h", "nome: h", "unknown-key", 2),
        ('pcpus: "2"', "pcpus: 2.0", "bad-value", 3),
        ('pcpus: "2"', "pcpus: 0x2", "bad-value", 3),
        ('pcpus: "2"', "pcpus: [2]", "wrong-type", 3),
        ('pcpus: "2"', 'pcpus: "02"', "bad-value", 3),
        ('pcpus: "2"', 'pcpus: "0"', "out-of-range", 3),
        ('pcpus: "2"', "pcpus: 4096", "out-of-range", 3),
        ("name: h", "name: 7", "not-a-string", 2),
        ('pcpus: "2"', 'pcpus: "4096"', "out-of-range", 3),
        ("64 MiB", "64 GiB", "bad-value", 4),
        ("memory: 8 MiB", "memory: 64 MiB", "out-of-range", 5),
        ("label: dom0", 'label: "a:b"', "name", 5),
        ("p.yaml\nres", "../p yaml\nres", "bad-value", 7),
        ("kind: disk", "kind: tape", "bad-value", 9),
        (UUID, "uuid:0", "bad-value", 9),
        (UUID, "/dev/a", "bad-value", 9),
        (UUID, "sha256:" + "0" * 64, "content", 9),
        (UUID, "verity:" + "0" * 64, "content", 9),
        (UUID, "verity:" + "0" * 63, "bad-value", 9),
        ("access: rw", "access: w", "bad-value", 9),
        ("access: rw", "access: rw, color: red", "unknown-key", 9),
        ('id: "7"', 'id: "4095"', "out-of-range", 10),
        ('id: "7"', 'id: "7", path: /dev/x', "unknown-key", 10),
        ('{kind: vlan, id: "7", label: a}',
         f'{{kind: disk, identity: "{UUID}", label: a, access: r, size: 1 MiB}}',
         "duplicate-resource", 10),
        ('{kind: vlan, id: "7", label: a}',
         '{kind: disk, identity: "wwn:0000000000000001", path: /dev/a, label: b, access: r, size: 1 MiB}',
         "duplicate-resource", 10),
    ],
)  # fmt: skip
def test_flaws_have_a_code_and_a_line(old: str, new: str, code: str, line: int) -> None:
    assert old in GOOD
    with pytest.raises(HostConfigError) as refused:
        hostconfig.parse(GOOD.replace(old, new, 1).encode())
    assert (refused.value.code, refused.value.line) == (code, line)
    assert str(refused.value).startswith(f"host description:{line}:")


@settings(deadline=None, max_examples=150)
@given(
    data=st.binary(max_size=200)
    | st.tuples(st.integers(0, len(GOOD) - 1), st.text(max_size=3)).map(
        lambda change: (GOOD[: change[0]] + change[1] + GOOD[change[0] + 1 :]).encode()
    )
)
def test_any_input_is_read_or_refused(data: bytes) -> None:
    try:
        hostconfig.parse(data)
    except HypervisorInputError as error:
        refused = error
    else:
        return
    assert "\n" not in str(refused)


def test_the_schema_agrees_with_the_parser(repository: Path) -> None:
    schema = json.loads((repository / "configs/schema/host.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(yaml.safe_load(GOOD))
    validator.validate(yaml.safe_load(GOOD.replace('"2"', "2").replace('"7"', "7")))
    validator.validate(yaml.safe_load((repository / "configs/hosts/embedded.yaml").read_text()))
    for old, new in (
        (UUID, "sha256:" + "0" * 64),
        (UUID, "verity:" + "0" * 64),
        ("64 MiB", "64 GiB"),
        ("name: h", "nome: h"),
        ('"2"', "0"),
        ('"2"', "2.5"),
    ):
        assert not validator.is_valid(yaml.safe_load(GOOD.replace(old, new, 1)))


def test_the_shipped_host_fits_the_shipped_policy(repository: Path) -> None:
    folder = repository / "configs/hosts"
    host = hostconfig.parse((folder / "embedded.yaml").read_bytes())
    policy = policyfile.load((folder / host.policy).read_bytes())
    assert host.dom0_label == policy.bootstrap
    assert {resource.label for resource in host.resources} <= set(policy.resource_labels)
    assert (folder / host.profile).is_file()


def test_the_shipped_domain_configs_fit_the_shipped_host(repository: Path) -> None:
    folder = repository / "configs/hosts"
    host = hostconfig.parse((folder / "embedded.yaml").read_bytes())
    policy = policyfile.load((folder / host.policy).read_bytes())
    configs = {path.stem: xlconfig.parse(path.read_bytes()) for path in folder.glob("*.cfg")}
    assert set(configs) == {"cola-web", "cola-db", "bank-web", "juice-web", "cola-reports"}
    for stem, config in configs.items():
        assert (config.name, config.policy) == (stem, policy.name)
        assert config.label in policy.domain_labels
        assert all(host.disk(disk.target) for disk in config.disks)
        assert all(host.vlan(vif.vlan) for vif in config.vifs)
    assert len({config.uuid for config in configs.values()}) == len(configs)


CONTEXT = "system_u:system_r:domU_t"


def test_labels_have_flask_contexts() -> None:
    flask = "flask: {a: system_u:system_r:domU_t, b.c: system_u:system_r:domU_t:s0-s1}\n"
    host = hostconfig.parse((GOOD + flask).encode())
    assert host.flask == {"a": CONTEXT, "b.c": f"{CONTEXT}:s0-s1"}
    assert hostconfig.parse(GOOD.encode()).flask == {}


@pytest.mark.parametrize(
    ("flask", "code"),
    [
        ("[a]", "wrong-type"),
        ("{a: domU_t}", "bad-value"),
        ("{a: 'u:r:t\"'}", "bad-value"),
        ("{a: 'u:r:t t'}", "bad-value"),
        ("{a: 'u:r:t:l:l:l'}", "bad-value"),
        ("{a: [u]}", "wrong-type"),
        ("{'a:b': u:r:t}", "name"),
        ("{__UNLABELED__: u:r:t}", "reserved-name"),
        ("{a: u:r:t, a: u:r:t}", "duplicate-key"),
    ],
)
def test_a_map_of_contexts_with_a_flaw_is_refused(flask: str, code: str, repository: Path) -> None:
    text = f"{GOOD}flask: {flask}\n"
    with pytest.raises(HostConfigError) as refused:
        hostconfig.parse(text.encode())
    assert (refused.value.code, refused.value.line) == (code, 11)
    if code in ("wrong-type", "bad-value"):
        schema = json.loads((repository / "configs/schema/host.schema.json").read_text())
        assert not jsonschema.Draft202012Validator(schema).is_valid(yaml.safe_load(text))


def test_the_labs_host_fits_its_policy_and_its_guests(repository: Path) -> None:
    folder = repository / "configs/lab"
    raw = (folder / "host.yaml").read_bytes()
    host = hostconfig.parse(raw)
    policy = policyfile.load((folder / host.policy).read_bytes())
    schema = json.loads((repository / "configs/schema/host.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(raw))
    assert host.dom0_label == policy.bootstrap
    assert host.flask.keys() <= policy.domain_labels.keys()
    guests = [
        xlconfig.parse(path.read_bytes())
        for path in sorted(folder.glob("*.cfg"))
        if not path.name.endswith(".grub.cfg")
    ]
    assert {"g1", "g2", "g3"} <= {each.name for each in guests}
    assert {each.label for each in guests} <= host.flask.keys()
