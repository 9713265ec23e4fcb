"""``shype attest --tenant``: evidence of the host and one tenant's domains, and nothing of its neighbours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attest.attester import vtpm_qualifying
from attest.evidence import Evidence
from attest.runtime_events import DomainLaunch
from tests.disclosure import named
from vtpm.tpm2.attestation import Attest

if TYPE_CHECKING:
    from tests.shype.conftest import Operator, Rented
    from tests.shype.outcome import Outcome, Shype

pytestmark = pytest.mark.host
NEIGHBOUR = "bank-web"


def attest(shype: Shype, host: Path, out: Path, *words: object) -> Outcome:
    return shype("attest", "--host", host, "--nonce", os.urandom(32).hex(), "-o", out, *words)


def names(evidence: Evidence) -> list[str]:
    return [DomainLaunch.decode(each.launch).name for each in evidence.domains]


def test_a_tenant_gets_the_host_and_all_its_domains(
    rented: Rented, shype_command: Shype, operator: Operator, tmp_path: Path
) -> None:
    out, nonce = tmp_path / "own.json", os.urandom(32)
    outcome = shype_command(
        *("attest", "--host", rented.folder, "--nonce", nonce.hex(), "--tenant", "cola", "-o", out, "--json")
    )
    assert (outcome.exit, operator.checked("attest", outcome)["domains"]) == (0, 2)
    own = Evidence.decode(out.read_bytes())
    assert (own.host.name, names(own), own.tree_size) == ("embedded", ["cola-web", "cola-db"], 2)
    for each in own.domains:
        assert Attest.decode(each.quote).extra_data == vtpm_qualifying(nonce, each.binding)


def test_without_a_tenant_at_launch_the_label_is_the_tenant(
    rented: Rented, shype_command: Shype, tmp_path: Path
) -> None:
    out = tmp_path / "own.json"
    assert attest(shype_command, rented.folder, out, "--tenant", "bank-web").exit == 0
    assert names(Evidence.decode(out.read_bytes())) == ["bank-web"]
    refused = attest(shype_command, rented.folder, out, "--tenant", "cola-web")
    assert refused.exit == 2, "its label, but it was launched for another tenant"


@pytest.mark.parametrize(
    ("tenant", "others"), [("cola", ["bank-web"]), ("bank-web", ["cola-web", "cola-db"])]
)
def test_no_neighbour_is_named(
    rented: Rented, shype_command: Shype, tmp_path: Path, tenant: str, others: list[str]
) -> None:
    """Neither name nor label, UUID, vTPM, config or disk, in whatever spelling, logs and records included."""
    words = set[str]().union(*(rented.words(name) for name in others))
    own, whole = tmp_path / "own.json", tmp_path / "whole.json"
    outcome = attest(shype_command, rented.folder, own, "--tenant", tenant)
    assert attest(shype_command, rented.folder, whole).exit == 0
    assert named(whole.read_bytes(), words) == words, "the search finds what is there"
    assert named(own.read_bytes(), words) == set()
    assert named(outcome.out.encode(), words) == set()


class TestATenantWithoutADomain:
    @pytest.mark.parametrize("tenant", ["juice", "col", "COLA", "cola ", "", "x" * 5000, "c\u043ela", "a\nb"])
    def test_gets_one_line_that_tells_of_nobody(
        self, rented: Rented, shype_command: Shype, tmp_path: Path, tenant: str
    ) -> None:
        outcome = attest(shype_command, rented.folder, tmp_path / "own.json", "--tenant", tenant)
        assert (outcome.exit, outcome.out) == (2, "")
        assert outcome.line.endswith(" runs on this host\n")
        assert "no domain of tenant" in outcome.line
        assert named(outcome.err.encode(), rented.words(NEIGHBOUR) | rented.words("cola-db")) == set()
        assert list(tmp_path.iterdir()) == []

    def test_nor_where_no_policy_is_loaded(
        self, booted: object, shype_command: Shype, tmp_path: Path
    ) -> None:
        folder = booted.folder  # type: ignore[attr-defined]
        outcome = attest(shype_command, folder, tmp_path / "own.json", "--tenant", "cola")
        assert (outcome.exit, "no domain of tenant 'cola'" in outcome.line) == (2, True)


def test_a_domain_that_ended_is_shown_no_more(machine: Path, boot_files: Path, operator: Operator) -> None:
    """And a tenant that has the last one's name, label or place is not its heir."""
    from shype.errors import NoDomainError
    from shype.host.embedded import EmbeddedHost

    def shown(host: EmbeddedHost, tenant: str) -> list[str]:
        return names(host.evidence(os.urandom(32), tenant=tenant))

    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(operator.policy.read_bytes())
        for name in ("cola-web", "cola-db"):
            host.launch(operator.config(name).read_bytes(), "cola")
        assert shown(host, "cola") == ["cola-web", "cola-db"]
        host.stop("cola-web")
        assert shown(host, "cola") == ["cola-db"]
        host.launch(operator.config("cola-web").read_bytes(), "pepsi")
        assert shown(host, "cola") == ["cola-db"]
        host.stop("cola-db")
        with pytest.raises(NoDomainError):
            host.evidence(os.urandom(32), tenant="cola")
        assert shown(host, "pepsi") == ["cola-web"]


def test_no_neighbour_pays_for_the_question_or_can_hinder_it(
    machine: Path, boot_files: Path, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vTPM signs nothing: its bill stays as it was, registers that never stand still hold up nobody."""
    from shype.host.embedded import EmbeddedHost
    from shype.host.guests import MeasuredVtpm

    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(operator.policy.read_bytes())
        mine = host.launch(operator.config("cola-web").read_bytes(), "cola")
        other = host.launch(operator.config(NEIGHBOUR).read_bytes())
        quote, asked = MeasuredVtpm.quote, list[str]()

        def note(vtpm: MeasuredVtpm, *arguments: object) -> tuple[bytes, bytes]:
            asked.append(vtpm.vid)
            return quote(vtpm, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(MeasuredVtpm, "quote", note)
        before = host.guests.vtpms[other.vid].operations
        host.evidence(os.urandom(32), tenant="cola")
        assert asked == [mine.vid]
        assert host.guests.vtpms[other.vid].operations == before
