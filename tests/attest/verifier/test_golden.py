"""Reference values from a golden host: only of evidence that holds, and good for the next boot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attest.reference import Component, Origin, ReferenceValues
from attest.result import Verdict
from attest.verifier.claims import Expectation
from attest.verifier.golden import GoldenError, golden_values, nothing_expected
from attest.verifier.verify import verify
from tests.simulators.host import GOOD_BOOT, NONCE, Host

UPDATED = GOOD_BOOT.replaced(b"vmlinuz", b"new kernel")


def expected(host: Host, **changes: object) -> Expectation:
    return replace(host.expectation(**changes), reference=nothing_expected("rack7", 5, "sha256"))


def golden(host: Host, **changes: object) -> ReferenceValues:
    return golden_values(host.evidence(), expected(host, **changes))


def test_the_values_are_the_host_s_own() -> None:
    host = Host.serving(boot=UPDATED)
    values = golden(host)
    assert (values.name, values.version, values.origin) == ("rack7", 5, Origin.GOLDEN)
    assert values.pcrs == {pcr: host.tpm.pcrs[pcr] for pcr in range(10)}
    assert values.hypervisor == replace(host.reference().hypervisor)
    assert {domain.name for domain in values.domains} == {"web", "keys"}
    assert ReferenceValues.decode(values.encode()) == values


def test_they_affirm_that_host_and_no_other() -> None:
    values = golden(Host.serving(boot=UPDATED))
    for boot, verdict in ((UPDATED, Verdict.AFFIRMING), (GOOD_BOOT, Verdict.CONTRAINDICATED)):
        host = Host.serving(boot=boot)
        assert verify(host.evidence(), replace(host.expectation(), reference=values)).verdict is verdict


def test_texts_of_the_log_are_not_taken_over() -> None:
    values = golden(Host.serving())
    assert {event.what.partition(" ")[0] for event in values.events} == {"measurement"}
    assert {event.component for event in values.events if event.pcr == 9} == {Component.XEN}


def test_without_a_log_there_are_values_and_no_events() -> None:
    values = golden(Host.serving(show_firmware_log=False))
    assert (len(values.pcrs), values.events) == (10, ())


def test_evidence_for_another_nonce_gives_none() -> None:
    host = Host.serving()
    with pytest.raises(GoldenError) as caught:
        golden_values(host.evidence(bytes(32)), expected(host, nonce=NONCE))
    assert caught.value.code == "nonce-mismatch"


def test_a_host_that_is_not_enrolled_gives_none() -> None:
    with pytest.raises(GoldenError) as caught:
        golden(Host.serving(), enrolment=None)
    assert caught.value.code == "ak-not-enrolled"


def test_a_host_without_the_hypervisor_s_report_gives_none() -> None:
    host = Host.booted(report=None)
    with pytest.raises(GoldenError) as caught:
        golden(host)
    assert caught.value.code == "hypervisor-report-missing"


def test_a_host_without_the_expected_policy_gives_none() -> None:
    with pytest.raises(GoldenError) as caught:
        golden(Host.booted())
    assert caught.value.code.startswith("policy-")


def test_a_domain_that_was_not_measured_is_not_taken_over() -> None:
    host, other = Host.serving(), Host.serving(boot=UPDATED)
    shown = replace(host.evidence(), domains=other.evidence().domains)
    with pytest.raises(GoldenError):
        golden_values(shown, expected(host))
