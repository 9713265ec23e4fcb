"""FLASK: it enforces, and its policy is the expected one, as reported or by its measured file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attest.reference import Component, FlaskPolicy, ReferenceEvent, ReferenceValues, ReferenceValuesError
from attest.result import Reason, Verdict
from attest.runtime_events import HypervisorReport
from attest.verifier import steps, xen
from attest.verifier.golden import golden_values
from tests.simulators.host import EMBEDDED, GOOD_BOOT, REPORT, Boot, Host, Tpm, codes, sha256

POLICY = b"\x8c\xff\x7c\xf9XenFlask"
DIGEST = sha256(POLICY).hex()
OTHER = sha256(b"another").hex()
MODULE = (9, POLICY, Component.DOM0, "file /xenpolicy")
FLASK = replace(REPORT, xsm_module="flask", xsm_mode="enforcing")
BOOT = Boot((*GOOD_BOOT.files, MODULE))
BAD, OPEN = Verdict.CONTRAINDICATED, Verdict.INCONCLUSIVE


def host(report: HypervisorReport = FLASK, boot: Boot = BOOT) -> Host:
    found = Host.booted(boot, report)
    found.load_policy(found.expected_policy)
    return found


def reference(policy: FlaskPolicy | None = None, mode: str = "enforcing") -> ReferenceValues:
    """The good boot with a FLASK policy as GRUB's last module."""
    base = Host().reference()
    tpm = Tpm("reference")
    for one in BOOT.measured():
        tpm.extend(one.pcr, one.digests["sha256"])
    hypervisor = replace(base.hypervisor, xsm_module="flask", xsm_mode=mode, flask_policy=policy)
    event = ReferenceEvent(9, sha256(POLICY), Component.DOM0, "file /xenpolicy")
    pcrs = {pcr: tpm.pcrs[pcr] for pcr in range(10)}
    return replace(base, pcrs=pcrs, events=(*base.events, event), hypervisor=hypervisor)


def judged(host: Host, values: ReferenceValues, **changes: object) -> tuple[Verdict, list[str]]:
    result = host.verify(reference=ReferenceValues.decode(values.encode()), **changes)
    return result.verdict, codes(result)


@pytest.mark.parametrize("policy", [None, FlaskPolicy(DIGEST, 9), FlaskPolicy(DIGEST, 4)])
def test_a_policy_that_a_register_covers_is_affirmed(policy: FlaskPolicy | None) -> None:
    assert judged(host(), reference(policy)) == (Verdict.AFFIRMING, [])


def test_another_policy_file_is_another_register() -> None:
    boot = BOOT.replaced(POLICY, POLICY + b"allow all")
    assert judged(host(boot=boot), reference(FlaskPolicy(DIGEST, 9))) == (BAD, ["dom0-not-in-reference"])


def test_no_policy_file_is_another_register() -> None:
    assert judged(host(boot=GOOD_BOOT), reference(FlaskPolicy(DIGEST, 9)))[0] is BAD


def test_permissive_unlike_the_reference() -> None:
    found = judged(host(replace(FLASK, xsm_mode="permissive")), reference(FlaskPolicy(DIGEST, 9)))
    assert found == (BAD, ["hypervisor-report-unlike-reference"])


@pytest.mark.parametrize("mode", ["permissive", "disabled", "late"])
def test_permissive_as_the_reference_says_is_not_good_either(mode: str) -> None:
    found = judged(host(replace(FLASK, xsm_mode=mode)), reference(FlaskPolicy(DIGEST, 9), mode))
    assert found == (BAD, ["flask-not-enforcing"])


def test_a_reported_policy_counts() -> None:
    told = replace(FLASK, flask_policy=DIGEST)
    assert judged(host(told), reference(FlaskPolicy(DIGEST, None))) == (Verdict.AFFIRMING, [])


def test_another_reported_policy() -> None:
    """Loaded since, by whoever may: the file was the right one."""
    told = replace(FLASK, flask_policy=OTHER)
    found = judged(host(told), reference(FlaskPolicy(DIGEST, 9)))
    assert found == (BAD, ["flask-policy-not-in-reference"])


def test_no_report_and_no_register_is_no_answer() -> None:
    found = judged(host(), reference(FlaskPolicy(DIGEST, None)))
    assert found == (OPEN, ["flask-policy-not-measured"])


def test_a_register_that_nobody_asked_for_is_no_answer() -> None:
    profile = replace(EMBEDDED, pcrs=EMBEDDED.pcrs - {9})
    found = judged(host(), reference(FlaskPolicy(DIGEST, 9)), profile=profile)
    assert found == (OPEN, ["flask-policy-not-measured"])


@pytest.mark.parametrize("policy", [FlaskPolicy(OTHER, 9), FlaskPolicy(DIGEST, 7)])
def test_a_reference_whose_register_does_not_cover_its_policy_is_refused(policy: FlaskPolicy) -> None:
    with pytest.raises(ReferenceValuesError, match="flask_policy"):
        ReferenceValues.decode(reference(policy).encode())


def test_a_reference_whose_register_has_no_value_is_refused() -> None:
    values = reference(FlaskPolicy(DIGEST, 4))
    pcrs = {pcr: value for pcr, value in values.pcrs.items() if pcr != 4}
    events = tuple(event for event in values.events if event.pcr != 4)
    with pytest.raises(ReferenceValuesError, match="flask_policy"):
        ReferenceValues.decode(replace(values, pcrs=pcrs, events=events).encode())


@pytest.mark.parametrize(
    ("check", "told", "policy", "mode"),
    [
        (xen.flask_enforcing, replace(FLASK, xsm_mode="permissive"), None, "permissive"),
        (xen.flask_policy, replace(FLASK, flask_policy=OTHER), FlaskPolicy(DIGEST, 9), "enforcing"),
        (xen.flask_policy, FLASK, FlaskPolicy(DIGEST, None), "enforcing"),
    ],
)
def test_without_its_check_the_attack_would_pass(
    check: object,
    told: HypervisorReport,
    policy: FlaskPolicy | None,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert judged(host(told), reference(policy, mode))[0] is not Verdict.AFFIRMING
    monkeypatch.setattr(steps, "XEN", tuple(one for one in steps.XEN if one is not check))
    assert judged(host(told), reference(policy, mode)) == (Verdict.AFFIRMING, [])


def test_a_second_report_that_says_something_better() -> None:
    """The attack: permissive at first, and a report of our own making behind it."""
    found = host(replace(FLASK, xsm_mode="permissive"))
    found.measure(12, FLASK.encode())
    result = found.verify(reference=reference(FlaskPolicy(DIGEST, 9)))
    assert set(codes(result)) == {"hypervisor-report-repeated", "hypervisor-report-unlike-reference"}
    assert result.verdict is BAD


@pytest.mark.parametrize("told", [None, DIGEST])
def test_a_golden_host_gives_what_it_reports(told: str | None) -> None:
    found = host(replace(FLASK, flask_policy=told))
    values = golden_values(found.evidence(), found.expectation())
    expected = None if told is None else FlaskPolicy(told, None)
    assert ReferenceValues.decode(values.encode()).hypervisor.flask_policy == expected


def test_the_reason_names_the_register() -> None:
    profile = replace(EMBEDDED, pcrs=EMBEDDED.pcrs - {9})
    [(_, found)] = host().verify(reference=reference(FlaskPolicy(DIGEST, 9)), profile=profile).reasons()
    assert isinstance(found, Reason)
    assert "PCR 9" in found.detail
