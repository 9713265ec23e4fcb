"""Rows of facts/attest.md 3.2 on logs, policies and results, as ``shype verify`` judges a whole host.

The reference values are always those of the very boot: what is found is found though every register is as
expected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from attest.boot.measured import Measured, event_log
from attest.reference import Component, LoadOptions, ReferenceEvent, ReferenceValues
from attest.result import Result, Verdict
from attest.verifier.golden import GoldenError, golden_values, nothing_expected
from tests.attest.eventlog.boots import CONFIGURED, OFF, OTHERS, UNUSED, separator, variable
from tests.attest.eventlog.build import EFI_ACTION, IPL, NO_ACTION, SEPARATION, Record
from tests.simulators.host import GOOD_BOOT, NOW, Boot, Host, codes, nodes
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import extend

LOADER = [one for one in GOOD_BOOT.measured() if one.pcr >= 8]
BOOT = (*CONFIGURED, separator(7), *OTHERS, Record(4, 0x80000003, b"path", b"grub"))


def measured(records: Sequence[Record]) -> list[Measured]:
    firmware = [
        Measured(
            one.pcr,
            one.type,
            {"sha256": hashlib.sha256(one.data if one.measured is None else one.measured).digest()},
            one.data,
        )
        for one in records
    ]
    return [*firmware, *LOADER]


def judged(*records: Record, extended: Sequence[Record] | None = None) -> Result:
    """Boot, show a log of ``records``, and judge by the values of that very boot."""
    host, reference = booted(*records, extended=extended)
    return host.verify(reference=reference)


def booted(*records: Record, extended: Sequence[Record] | None = None) -> tuple[Host, ReferenceValues]:
    host = Host.booted(Boot(()), firmware_log=event_log(measured(records), ["sha256"]))
    values = {pcr: bytes(32) for pcr in range(10)}
    events = measured(records if extended is None else extended)
    for one in events:
        if one.type != NO_ACTION:
            host.tpm.extend(one.pcr, one.digests["sha256"])
            values[one.pcr] = extend(Alg.SHA256, values[one.pcr], one.digests["sha256"])
    host.load_policy(host.expected_policy)
    parts = {4: Component.LOADER, 8: Component.LOADER, 9: Component.XEN}
    told = tuple(
        ReferenceEvent(
            one.pcr, one.digests["sha256"], parts.get(one.pcr, Component.FIRMWARE), "a measurement"
        )
        for one in events
        if one.type != NO_ACTION
    )
    return host, replace(host.reference(), pcrs=values, events=told)


def told(result: Result) -> tuple[Verdict, list[str]]:
    return result.verdict, codes(result)


UNTRUE = (Verdict.NONE, ["firmware-log-untrue"])
AFFIRMING: tuple[Verdict, list[str]] = (Verdict.AFFIRMING, [])


def test_a_good_boot_is_affirmed_and_says_what_secure_boot_was() -> None:
    assert told(judged(*BOOT)) == AFFIRMING
    off = judged(OFF, *BOOT[1:])
    assert told(off) == AFFIRMING
    firmware = next(node for node in off.root.children if node.name == "firmware")
    assert firmware.notes == ("Secure Boot off",)


@pytest.mark.parametrize("place", range(5), ids=["SecureBoot", "PK", "KEK", "db", "dbx"])
def test_row_45_variable_bytes_edited_and_digest_kept(place: int) -> None:
    honest = CONFIGURED[place]
    edited = replace(honest, data=honest.data[:-1] + b"?", measured=honest.data)
    assert told(judged(*CONFIGURED[:place], edited, *BOOT[place + 1 :])) == UNTRUE


def test_row_46_real_events_retyped_and_forged_ones_appended() -> None:
    real = [Record(7, UNUSED, record.data) for record in (OFF, *CONFIGURED[1:])]
    assert told(judged(*real, Record(7, UNUSED, SEPARATION), *BOOT)) == UNTRUE


@pytest.mark.parametrize(
    "records",
    [
        (*BOOT, variable("dbx", b"late")),
        (*BOOT, separator(7)),
        (*CONFIGURED, *BOOT[6:]),
        (OFF, *BOOT),
    ],
    ids=["a variable behind it", "two", "none", "a variable twice"],
)
def test_row_48_separators_and_variables(records: tuple[Record, ...]) -> None:
    assert told(judged(*records)) == (Verdict.CONTRAINDICATED, ["firmware-disorder"])


def test_row_48_a_separator_of_an_error() -> None:
    error = Record(4, 4, b"\1\0\0\0")
    result = judged(*CONFIGURED, separator(7), *(one for one in OTHERS if one.pcr != 4), error)
    assert result.verdict is Verdict.CONTRAINDICATED
    assert "firmware-unsafe" in codes(result)


def test_row_49_an_event_that_claims_an_extend() -> None:
    claim = Record(7, NO_ACTION, OFF.data)
    assert told(judged(claim, *BOOT)) == UNTRUE


def test_row_49_an_event_that_was_extended_is_not_counted() -> None:
    claim = Record(7, NO_ACTION, OFF.data)
    result = judged(claim, *BOOT, extended=(OFF, *BOOT))
    assert told(result) == (Verdict.NONE, ["firmware-log-mismatch"])


@pytest.mark.parametrize("text", [b"flask=enforcing", b"a signed kernel", b""])
def test_row_54_text_that_no_digest_binds_changes_nothing(text: bytes) -> None:
    """The reference value is of the digest: neither a fitting nor a false text has a part in it."""
    assert told(judged(*BOOT, Record(9, IPL, text, measured=b"kernel"))) == AFFIRMING


def test_row_55_xen_was_booted_and_its_command_line_is_not_measured() -> None:
    """GRUB's tpm module is not in core.img: PCR 8 and 9 are empty, and so they are in the reference."""
    boot = replace(GOOD_BOOT, files=tuple(one for one in GOOD_BOOT.files if one[0] < 8))
    host = Host.serving(boot=boot)
    unmeasured = {**host.reference().pcrs, 8: bytes(32), 9: bytes(32)}
    events = tuple(event for event in host.reference().events if event.pcr < 8)
    result = host.verify(reference=replace(host.reference(), pcrs=unmeasured, events=events))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert set(codes(result)) == {"not-measured"}


def test_row_55_a_unified_image_leaves_the_registers_of_grub_empty() -> None:
    """Xen and its parts are in PCR 4: there is no GRUB that should have measured."""
    files = [one for one in GOOD_BOOT.files if one[0] < 8 and one[2] is not Component.LOADER]
    unified = Boot((*files, (4, b"xen.efi", Component.XEN, "application xen.efi (Authenticode)")))
    host = Host.serving(boot=unified)
    events = tuple(
        ReferenceEvent(pcr, hashlib.sha256(content).digest(), component, what)
        for pcr, content, component, what in unified.files
    )
    pcrs = {pcr: host.tpm.pcrs[pcr] for pcr in range(10)}
    closed = replace(host.reference().hypervisor, load_options=LoadOptions.IGNORED)
    good = replace(host.reference(), pcrs=pcrs, events=events, hypervisor=closed)
    assert told(host.verify(reference=good)) == AFFIRMING
    silent = replace(good, events=())
    assert told(host.verify(reference=silent)) == (Verdict.INCONCLUSIVE, ["not-measured", "not-measured"])
    # Words of a boot entry can write dom0's memory before they are reported (docs/image.md).
    for taken in (LoadOptions.TAKEN, None):
        other = replace(good, hypervisor=replace(closed, load_options=taken))
        assert told(host.verify(reference=other)) == (Verdict.WARNING, ["load-options-open"])


def test_commands_in_pcr_8_that_nobody_asks_for_leave_the_command_lines_open() -> None:
    host = Host.serving()
    assert told(host.verify()) == AFFIRMING
    asked = replace(host.profile, pcrs=host.profile.pcrs - {8})
    assert told(host.verify(profile=asked)) == (Verdict.WARNING, ["load-options-open"])


@pytest.mark.parametrize("text", [b"UEFI Debug Mode", b"DMA Protection Disabled"])
def test_row_57_an_unsafe_firmware(text: bytes) -> None:
    assert told(judged(Record(1, EFI_ACTION, text), *BOOT)) == (Verdict.CONTRAINDICATED, ["firmware-unsafe"])
    hidden = Record(1, 1, b"a post code", measured=text)
    assert told(judged(hidden, *BOOT)) == (Verdict.CONTRAINDICATED, ["firmware-unsafe"])


def test_row_58_an_older_loader_with_a_valid_signature() -> None:
    """Firmware would start it, for its key is in db; the reference values know the newer one only."""
    host, reference = booted(*BOOT)
    older = booted(*BOOT[:-1], Record(4, 0x80000003, b"path", b"grub 2.04, signed"))[0]
    assert host.verify(reference=reference).verdict is Verdict.AFFIRMING
    result = older.verify(reference=reference)
    assert told(result) == (Verdict.CONTRAINDICATED, ["loader-not-in-reference"])


def test_row_61_the_host_reboots_into_another_kernel() -> None:
    """A verdict belongs to one piece of evidence: nothing is remembered as good."""
    host = Host.serving()
    assert host.verify().verdict is Verdict.AFFIRMING
    rebooted = Host.serving(boot=GOOD_BOOT.replaced(b"vmlinuz", b"another kernel"))
    rebooted.tpm.reset_count, rebooted.tpm.clock = 8, 2_000_000
    result = rebooted.verify()
    assert result.verdict is Verdict.CONTRAINDICATED
    assert nodes(result)["dom0"] is Verdict.CONTRAINDICATED


class TestRow85:
    """Of the XSM policy: test_flask.py."""

    def test_the_vtpm_of_another_domain_under_this_uuid(self) -> None:
        """The domain is tied to its vTPM by record, key and measured launch, not by a UUID in xenstore."""
        host = Host.serving()
        web, keys = host.domains["web"], host.domains["keys"]
        web.launch, keys.launch = keys.launch, web.launch
        result = host.verify()
        assert result.verdict in {Verdict.NONE, Verdict.CONTRAINDICATED}
        assert nodes(result)["web vtpm"] is not Verdict.AFFIRMING
        assert nodes(result)["keys vtpm"] is not Verdict.AFFIRMING


class TestGoldenHost:
    """No reference values are made of a host that lies, or that says itself that it is unsafe."""

    @pytest.mark.parametrize(
        ("records", "code"),
        [
            ((Record(7, NO_ACTION, OFF.data), *BOOT), "firmware-log-untrue"),
            ((Record(1, EFI_ACTION, b"UEFI Debug Mode"), *BOOT), "firmware-unsafe"),
            ((*BOOT, separator(7)), "firmware-disorder"),
        ],
    )
    def test_refused(self, records: tuple[Record, ...], code: str) -> None:
        host, _ = booted(*records)
        empty = nothing_expected("golden", 1, "sha256")
        with pytest.raises(GoldenError) as caught:
            golden_values(host.evidence(), host.expectation(reference=empty, now=NOW))
        assert caught.value.code == code
