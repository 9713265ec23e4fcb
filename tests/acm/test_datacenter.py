"""The example policy keeps its promises."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml

from acm.engine import Operation, Request, decide
from acm.policyfile import load

if TYPE_CHECKING:
    from pathlib import Path

    from acm.policy import Policy

COLA, JUICE = ("cola-web", "cola-db"), ("juice-web", "juice-db")
BANK = ("bank-web", "bank-db", "bank-keys")


@pytest.fixture(scope="module")
def data(repository: Path) -> bytes:
    return (repository / "configs/policies/datacenter.yaml").read_bytes()


@pytest.fixture(scope="module")
def policy(data: bytes) -> Policy:
    return load(data, source="datacenter.yaml")


def permitted(policy: Policy, op: str, subject: str, target: str, *running: str) -> bool:
    return decide(policy, Request(Operation(op), subject, target, running)).permitted


@pytest.mark.parametrize("op", ["share", "read", "write"])
def test_no_two_customers_can_exchange_anything(policy: Policy, op: str) -> None:
    for one, other in itertools.permutations((COLA, JUICE, BANK), 2):
        for subject, target in itertools.product(one, other):
            assert not permitted(policy, op, subject, target)


def test_no_customer_reaches_a_resource_of_another(policy: Policy) -> None:
    for label in (*COLA, *JUICE, *BANK):
        own = label.partition("-")[0]
        for resource in policy.resource_labels:
            if not resource.startswith(own):
                assert not permitted(policy, "read", label, f"res:{resource}")


def test_a_customers_own_domains_reach_each_other_and_their_disks(policy: Policy) -> None:
    for own in ("cola", "juice", "bank"):
        assert permitted(policy, "share", f"{own}-web", f"{own}-db")
        assert permitted(policy, "write", f"{own}-db", f"{own}-disk")
        assert permitted(policy, "write", f"{own}-web", f"{own}-vlan")
        assert not permitted(policy, "read", f"{own}-web", f"{own}-disk")


def test_services_reach_all_customers_without_joining_them(policy: Policy) -> None:
    for own in ("cola", "juice", "bank"):
        assert permitted(policy, "share", "dns", f"{own}-web")
        assert permitted(policy, "share", "backup", f"{own}-db")
        assert not permitted(policy, "read", "dns", f"{own}-disk")
        assert not permitted(policy, "read", "backup", f"{own}-disk")
        assert permitted(policy, "write", "backup", f"{own}-backup-disk")


def test_competitors_never_run_on_one_host(policy: Policy) -> None:
    for one, other in (*itertools.product(COLA, JUICE), *itertools.product(JUICE, COLA)):
        assert not permitted(policy, "start", one, "dom0", other)


def test_the_third_customer_runs_beside_either(policy: Policy) -> None:
    for bank, rival in itertools.product(BANK, (*COLA, *JUICE)):
        assert permitted(policy, "start", bank, "dom0", rival)
        assert permitted(policy, "start", rival, "dom0", bank)


def test_keys_never_run_beside_the_code_of_strangers(policy: Policy) -> None:
    assert not permitted(policy, "start", "batch", "dom0", "bank-keys")
    assert not permitted(policy, "start", "bank-keys", "dom0", "batch")


def test_domain_0_may_run_every_label_and_the_banks_domain_0_only_its_own(policy: Policy) -> None:
    for label in policy.domain_labels:
        assert permitted(policy, "authorize", "dom0", label)
        assert permitted(policy, "start", label, "dom0")
    run = {label for label in policy.domain_labels if permitted(policy, "authorize", "dom0-bank", label)}
    assert run == {"dom0-bank", *BANK}


def test_it_fits_the_schema(repository: Path, data: bytes) -> None:
    schema = json.loads((repository / "configs/schema/policy.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(data))
