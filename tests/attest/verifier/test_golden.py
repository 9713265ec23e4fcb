"""Reference values from a golden host: only of evidence that holds, and good for the next boot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attest.reference import Component, Origin, ReferenceValues
from attest.result import Verdict
from attest.verifier.claims import Expectation
from attest.verifier.golden import GoldenError, golden_values, nothing_expected
from attest.verifier.verify import verify
from tests.attest.ima.build import Made, ng, old, violation
from tests.simulators.host import EMBEDDED, GOOD_BOOT, NONCE, Host, codes
from tests.simulators.user_land import PROGRAMS, MeasuringHost, files_of

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


class TestUserLand:
    def test_the_files_are_those_that_were_measured(self) -> None:
        values = golden(MeasuringHost.running())
        assert values.ima == files_of(PROGRAMS)
        assert ReferenceValues.decode(values.encode()) == values

    def test_they_affirm_hosts_that_run_no_more(self) -> None:
        values = golden(MeasuringHost.running())
        host = MeasuringHost.running()
        assert host.verify(reference=values).verdict is Verdict.AFFIRMING
        host.execute("/run/nc", b"netcat")
        assert codes(host.verify(reference=values)) == ["ima-not-allowed"]

    def test_what_was_measured_behind_the_quote_is_not_taken_over(self) -> None:
        host = MeasuringHost.running()
        evidence = host.evidence()
        host.execute("/run/nc", b"netcat")
        later = replace(evidence, host=replace(evidence.host, ima_log=host.ima_log()))
        assert golden_values(later, expected(host)).ima == files_of(PROGRAMS)

    def test_a_profile_that_does_not_ask_takes_none(self) -> None:
        assert golden(MeasuringHost.running(profile=EMBEDDED)).ima is None

    @pytest.mark.parametrize(
        ("made", "code"),
        [
            (violation("/usr/sbin/xl"), "ima-violation"),
            (old("/usr/sbin/xl"), "ima-algorithm"),
            (ng("/usr/sbin/xl", name="sha512"), "ima-not-allowed"),
            (ng("/usr/sbin/xl", pcr=11), "ima-other-pcr"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_no_reference_values_can_say_makes_none(self, made: Made, code: str) -> None:
        host = MeasuringHost.running({})
        host.listed(made, ng("/usr/sbin/last"))
        with pytest.raises(GoldenError) as caught:
            golden(host)
        assert caught.value.code == code

    def test_a_host_without_its_list_gives_none(self) -> None:
        host = MeasuringHost.running()
        evidence = host.evidence()
        with pytest.raises(GoldenError) as caught:
            golden_values(replace(evidence, host=replace(evidence.host, ima_log=None)), expected(host))
        assert caught.value.code == "ima-list-missing"
