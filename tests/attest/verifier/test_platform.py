"""Who made the TPM, who enrolled it, and what the verifier refuses to be asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from attest.endorsement import Anchors
from attest.errors import AttestUsageError
from attest.result import Verdict
from tests.simulators.host import DEFAULT, EMBEDDED, INFINEON, NOW, SWTPM, Ca, Host, codes, nodes


class TestHardware:
    def test_a_program_is_refused_by_the_default_profile(self) -> None:
        result = Host.serving(profile=DEFAULT).verify()
        assert (result.verdict, codes(result)) == (Verdict.CONTRAINDICATED, ["software-tpm"])
        assert nodes(result)["xen"] is Verdict.AFFIRMING

    def test_a_chip_is_affirmed_by_the_default_profile(self) -> None:
        result = Host.serving(profile=DEFAULT, manufacturer=INFINEON).verify()
        assert result.verdict is Verdict.AFFIRMING
        assert result.root.children[0].notes[0] == "hardware TPM"

    def test_that_a_program_was_admitted_is_noted(self) -> None:
        result = Host.serving(profile=EMBEDDED, manufacturer=SWTPM).verify()
        assert result.root.children[0].notes[0] == "software TPM, admitted by the profile"

    def test_the_certificate_decides_and_not_the_record(self) -> None:
        """An enrolment record that claims hardware does not make a swtpm one."""
        host = Host.serving(profile=DEFAULT)
        claimed = replace(host.enrolment(), software=False, manufacturer=INFINEON)
        assert codes(host.verify(enrolment=claimed)) == ["software-tpm"]

    def test_that_its_certificate_is_not_quite_der_is_noted(self) -> None:
        host = Host.serving()
        record = host.enrolment()
        filled = replace(record, ek_certificate=record.ek_certificate + b"\xff" * 9)
        platform = next(
            node for _, node in host.verify(enrolment=filled).root.walk() if node.name == "platform"
        )
        assert any(note.startswith("endorsement-bent: fill: ") for note in platform.notes)

    def test_an_endorsement_by_nobody_who_is_trusted(self) -> None:
        result = Host.serving().verify(anchors=Anchors.decode([Ca("another").pem()]))
        assert (result.verdict, codes(result)) == (Verdict.NONE, ["ek-untrusted"])

    def test_an_endorsement_that_has_expired(self) -> None:
        host = Host.serving()
        later = NOW + timedelta(days=20_000)
        enrolment = replace(host.enrolment(), time=later)
        assert codes(host.verify(now=later, enrolment=enrolment)) == ["ek-untrusted"]


class TestEnrolment:
    def test_there_is_none(self) -> None:
        result = Host.serving().verify(enrolment=None)
        assert (result.verdict, codes(result)) == (Verdict.NONE, ["ak-not-enrolled"])

    def test_it_is_of_another_host(self) -> None:
        host = Host.serving()
        result = host.verify(enrolment=replace(host.enrolment(), host="xen2.example"))
        assert (result.verdict, codes(result)) == (Verdict.NONE, ["host-name-mismatch"])

    @pytest.mark.parametrize("time", [NOW - timedelta(days=366), NOW + timedelta(seconds=1)])
    def test_it_is_too_old_or_from_the_future(self, time: object) -> None:
        host = Host.serving()
        result = host.verify(enrolment=replace(host.enrolment(), time=time))  # type: ignore[arg-type]
        assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["enrolment-expired"])
        assert nodes(result)["domain web"] is Verdict.AFFIRMING


class TestUsage:
    @pytest.mark.parametrize("length", [0, 8, 15, 65, 1000])
    def test_a_nonce_of_another_length(self, length: int) -> None:
        with pytest.raises(AttestUsageError, match="16 to 64 bytes"):
            Host.serving().verify(nonce=bytes(length))

    def test_a_time_without_zone(self) -> None:
        with pytest.raises(AttestUsageError, match="time zone"):
            Host.serving().verify(now=NOW.replace(tzinfo=None))

    @pytest.mark.parametrize("length", [16, 20, 64])
    def test_nonces_of_other_good_lengths(self, length: int) -> None:
        host = Host.serving()
        nonce = bytes(range(length))
        assert host.verify(host.evidence(nonce), nonce=nonce).verdict is Verdict.AFFIRMING


def test_the_inputs_of_the_appraisal_are_named_by_digest() -> None:
    host = Host.serving()
    expected = host.expectation()
    profile, reference, policy = host.verify().policy_ids
    assert profile == f"urn:shype:appraisal:embedded:sha256:{expected.profile.digest}"
    assert reference == f"urn:shype:reference:sha256:{expected.reference_digest}"
    assert policy == f"urn:shype:policy:sha256:{expected.policy.digest}"
