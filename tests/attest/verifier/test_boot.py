"""The boot chain: every difference is laid at the component that the reference values name for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attest.reference import Component
from attest.result import Verdict
from attest.runtime_events import DomainCommitment, DomainEvent
from attest.verifier import steps
from tests.simulators.host import GOOD_BOOT, REPORT, XEN_OPTIONS, Boot, Host, codes, nodes, policy_of

CHANGES = [
    (b"firmware 0", "firmware", "firmware-not-in-reference"),
    (b"firmware 6", "firmware", "firmware-not-in-reference"),
    (b"grub", "loader", "loader-not-in-reference"),
    (b"boot", "loader", "loader-not-in-reference"),
    (b"xen", "xen", "hypervisor-not-in-reference"),
    (XEN_OPTIONS.encode(), "xen", "xen-command-line-not-in-reference"),
    (b"vmlinuz", "dom0", "dom0-not-in-reference"),
    (b"initrd", "dom0", "dom0-not-in-reference"),
    (b"ro", "dom0", "dom0-command-line-not-in-reference"),
]


def without_log(boot: Boot) -> Host:
    return Host.serving(boot=boot, show_firmware_log=False)


@pytest.mark.parametrize(("old", "node", "code"), CHANGES, ids=[change[0].decode() for change in CHANGES])
def test_one_change_is_one_reason_at_its_component(old: bytes, node: str, code: str) -> None:
    result = Host.serving(boot=GOOD_BOOT.replaced(old, b"something else")).verify()
    assert codes(result) == [code]
    bad = {name for name, verdict in nodes(result).items() if verdict is not Verdict.AFFIRMING}
    assert bad == {"host xen1.example", node}


def test_what_pcr_7_holds_and_the_log_does_not_show_is_a_reason_more() -> None:
    result = Host.serving(boot=GOOD_BOOT.replaced(b"firmware 7", b"something else")).verify()
    assert set(codes(result)) == {"firmware-not-in-reference", "firmware-disorder"}


def test_the_reason_says_what_is_missing_in_the_words_of_the_reference() -> None:
    result = Host.serving(boot=GOOD_BOOT.replaced(b"initrd", b"other")).verify()
    [(_, reason)] = result.reasons()
    assert reason.detail == "PCR 9: not file initrd.img"


def test_two_changes_are_two_reasons() -> None:
    boot = GOOD_BOOT.replaced(b"xen", b"other").replaced(b"ro", b"rw")
    result = Host.serving(boot=boot).verify()
    assert codes(result) == ["hypervisor-not-in-reference", "dom0-command-line-not-in-reference"]


def test_a_file_more_is_seen() -> None:
    extra = (9, b"another module", Component.DOM0, "file other")
    result = Host.serving(boot=Boot((*GOOD_BOOT.files, extra))).verify()
    assert codes(result) == ["hypervisor-not-in-reference"]


def test_a_command_less_is_seen() -> None:
    files = tuple(one for one in GOOD_BOOT.files if one[1] != b"ro")
    result = Host.serving(boot=Boot(files)).verify()
    assert codes(result) == ["dom0-command-line-not-in-reference"]


def test_a_swap_of_two_files_is_seen() -> None:
    boot = GOOD_BOOT.replaced(b"vmlinuz", b"-").replaced(b"initrd", b"vmlinuz").replaced(b"-", b"initrd")
    assert codes(Host.serving(boot=boot).verify()) == ["dom0-not-in-reference"]


def test_many_events_do_not_make_the_comparison_slow() -> None:
    flood = tuple((8, b"x", Component.LOADER, "flood") for _ in range(10_000))
    result = Host.booted(boot=Boot((*GOOD_BOOT.files, *flood)))
    result.load_policy(result.expected_policy)
    assert codes(result.verify()) == ["boot-commands-not-in-reference"]


class TestWithoutALog:
    def test_good_values_are_affirmed(self) -> None:
        assert without_log(GOOD_BOOT).verify().verdict is Verdict.AFFIRMING

    def test_a_firmware_register_is_told_by_number(self) -> None:
        result = without_log(GOOD_BOOT.replaced(b"firmware 0", b"other")).verify()
        [(path, reason)] = result.reasons()
        assert reason.code == "firmware-not-in-reference"
        assert reason.detail.startswith("PCR 0 (firmware) is ")
        assert path.endswith("/ firmware")

    def test_a_file_register_names_what_is_in_it_and_leaves_dom0_open(self) -> None:
        result = without_log(GOOD_BOOT.replaced(b"vmlinuz", b"other")).verify()
        [(path, reason)] = result.reasons()
        assert (path, reason.code) == ("host xen1.example / xen", "boot-files-not-in-reference")
        assert reason.detail.startswith("PCR 9 (xen, dom0) is ")
        assert nodes(result)["dom0"] is Verdict.INCONCLUSIVE

    def test_a_command_register_leaves_xen_and_dom0_open(self) -> None:
        result = without_log(GOOD_BOOT.replaced(b"ro", b"rw")).verify()
        assert codes(result) == ["boot-commands-not-in-reference"]
        found = nodes(result)
        assert (found["loader"], found["xen"], found["dom0"]) == (
            Verdict.CONTRAINDICATED,
            Verdict.INCONCLUSIVE,
            Verdict.INCONCLUSIVE,
        )

    def test_a_profile_can_ask_for_a_log(self) -> None:
        host = without_log(GOOD_BOOT)
        result = host.verify(profile=replace(host.profile, require_firmware_log=True))
        assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["firmware-log-missing"])

    def test_exit_boot_services_events_may_be_missing_in_the_log(self) -> None:
        """Many systems read the log before the firmware extends them (PFP 1.06, 10.4.5.3)."""
        host = Host.serving()
        kept = tuple(one for one in GOOD_BOOT.files if not one[1].startswith(b"Exit Boot"))
        host.boot = Boot(kept)
        assert host.verify().verdict is Verdict.AFFIRMING


class TestHypervisorReport:
    def test_missing(self) -> None:
        host = Host.booted(report=None)
        host.load_policy(host.expected_policy)
        result = host.verify()
        assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["hypervisor-report-missing"])

    def test_after_the_policy(self) -> None:
        host = Host.booted(report=None)
        host.load_policy(host.expected_policy)
        host.measure(12, REPORT.encode())
        assert codes(host.verify()) == ["hypervisor-report-missing"]

    def test_nothing_in_pcr_12(self) -> None:
        result = Host.booted(report=None).verify()
        assert codes(result) == ["hypervisor-report-missing", "policy-missing"]

    def test_repeated(self) -> None:
        host = Host.serving()
        host.measure(12, REPORT.encode())
        assert codes(host.verify()) == ["hypervisor-report-repeated"]

    @pytest.mark.parametrize(
        ("field", "value", "code"),
        [
            ("commandline", f"{XEN_OPTIONS} flask=permissive", "hypervisor-report-unlike-reference"),
            ("xsm_mode", "permissive", "hypervisor-report-unlike-reference"),
            ("xsm_module", "dummy", "hypervisor-report-unlike-reference"),
            ("version", "4.16.0", "hypervisor-not-in-reference"),
            ("build_id", "cd" * 20, "hypervisor-not-in-reference"),
            ("build_id", None, "hypervisor-not-in-reference"),
        ],
    )
    def test_says_something_else(self, field: str, value: str, code: str) -> None:
        result = Host.serving(report=replace(REPORT, **{field: value})).verify()
        assert codes(result) == [code]

    def test_another_hypervisor_that_says_so_is_one_reason(self) -> None:
        boot = GOOD_BOOT.replaced(b"xen", b"other xen")
        result = Host.serving(boot=boot, report=replace(REPORT, build_id="cd" * 20)).verify()
        assert codes(result) == ["hypervisor-not-in-reference"]

    def test_a_reference_without_build_admits_any(self) -> None:
        host = Host.serving(report=replace(REPORT, version="5.0", build_id=None))
        known = replace(host.reference().hypervisor, version=None, build_id=None)
        assert host.verify(reference=replace(host.reference(), hypervisor=known)).verdict is Verdict.AFFIRMING

    def test_an_event_in_the_wrong_register(self) -> None:
        host = Host.serving()
        host.measure(13, REPORT.encode())
        assert codes(host.verify()) == ["runtime-event-unexpected"]
        host = Host.serving()
        host.measure(12, DomainCommitment(DomainEvent.STOP, "00" * 32).encode())
        assert codes(host.verify()) == ["runtime-event-unexpected"]


class TestAcmPolicy:
    def test_none_was_measured(self) -> None:
        result = Host.booted().verify()
        assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["policy-missing"])

    def test_the_last_one_counts_and_every_change_is_listed(self) -> None:
        host = Host.booted()
        other = host.expected_policy + b"# changed\n"
        host.load_policy(other)
        host.load_policy(host.expected_policy)
        result = host.verify()
        assert result.verdict is Verdict.AFFIRMING
        [node] = [node for node in result.root.children if node.name == "acm-policy"]
        assert [note.split(":")[0] for note in node.notes] == ["policy 1 of 2", "policy 2 of 2"]
        host.load_policy(other)
        assert codes(host.verify()) == ["policy-mismatch"]

    def test_the_digest_alone_is_not_enough(self) -> None:
        """A host that measures the right digest with another root is not believed either."""
        host = Host.booted()
        host.load_policy(host.expected_policy)
        policy = policy_of(host.expected_policy)
        changed = host.events[-1][1].replace(policy.root.encode(), b"00" * 32)
        host = Host.booted()
        host.measure(12, changed)
        assert codes(host.verify()) == ["policy-mismatch"]


def test_every_table_of_steps_is_full() -> None:
    tables = [getattr(steps, name) for name in vars(steps) if name.isupper()]
    assert len(tables) == 12
    assert all(tables)
