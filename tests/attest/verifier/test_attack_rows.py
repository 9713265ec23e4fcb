"""Attack cases of facts/attest.md 3.2 that a platform verifier meets; the number is the row there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from struct import pack

import pytest
from cryptography.hazmat.primitives import hashes

from acm.merkle import root
from attest.attester import HOST_PCRS, host_qualifying, leaf
from attest.boot.measured import EV_NO_ACTION, Measured, event_log
from attest.evidence import Evidence, FirmwareLog, PcrValue
from attest.quote import qualified_name
from attest.quote_history import QuoteHistory, Told, after
from attest.reference import ReferenceValues
from attest.result import Result, Verdict
from tests.simulators.host import DEFAULT, GOOD_BOOT, INFINEON, NONCE, Host, Tpm, codes, nodes, sha256
from vtpm.record import NO_LABEL
from vtpm.tpm2.attestation import ClockInfo
from vtpm.tpm2.constants import GENERATED, Alg, AttestType, Attributes, Hierarchy
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.signature import Signature
from vtpm.tpm2.wire import Writer


@pytest.fixture
def host() -> Host:
    return Host.serving()


def refused(result: Result, code: str) -> None:
    assert (result.verdict, codes(result)) == (Verdict.NONE, [code])


def qualifying(evidence: Evidence) -> bytes:
    leaves = [leaf(one.binding, one.quote, one.signature) for one in evidence.domains]
    return host_qualifying(NONCE, root(leaves))


def shown(evidence: Evidence, **fields: object) -> Evidence:
    return replace(evidence, host=replace(evidence.host, **fields))  # type: ignore[arg-type]


def signed(host: Host, message: bytes) -> Evidence:
    """The host's evidence with another structure, signed by the enrolled key all the same."""
    return shown(host.evidence(), quote=message, signature=host.tpm.sign(message))


def requoted(host: Host, selection: PcrSelection, values: list[PcrValue]) -> Evidence:
    evidence = host.evidence()
    message = host.tpm.attestation(qualifying(evidence), selection)
    return shown(evidence, quote=message, signature=host.tpm.sign(message), pcrs=tuple(values))


def history(host: Host, clock: ClockInfo, firmware: int = 1) -> QuoteHistory:
    """What the verifier kept of an earlier quote of this host."""
    return after(None, host.enrolment(), Told(clock, firmware))


def values_of(host: Host, pcrs: list[int]) -> list[PcrValue]:
    return [PcrValue("sha256", pcr, host.tpm.pcrs[pcr]) for pcr in pcrs]


class TestRow21NonceOfAnotherHostOrAnEarlierOne:
    def test_evidence_of_another_host(self, host: Host) -> None:
        other = Host.serving(name="xen2.example", tpm=Tpm("other ak"))
        refused(host.verify(other.evidence()), "host-name-mismatch")

    def test_evidence_of_another_host_under_this_name(self, host: Host) -> None:
        other = Host.serving(name="xen2.example", tpm=Tpm("other ak"))
        refused(host.verify(shown(other.evidence(), name=host.name)), "ak-not-enrolled")

    def test_nonce_of_the_vtpms_alone_is_old(self, host: Host) -> None:
        """A fresh host quote over old vTPM quotes: the host vouches for them, the nonce does not."""
        old = host.evidence(nonce=bytes(32))
        message = host.tpm.attestation(qualifying(old), PcrSelection.of(Alg.SHA256, HOST_PCRS))
        result = host.verify(shown(old, quote=message, signature=host.tpm.sign(message)))
        assert result.verdict is Verdict.NONE
        assert codes(result) == ["nonce-mismatch", "nonce-mismatch"]
        assert nodes(result)["platform"] is Verdict.AFFIRMING


def test_row_24_magic_is_not_generated(host: Host) -> None:
    evidence = host.evidence()
    selection = PcrSelection.of(Alg.SHA256, HOST_PCRS)
    message = host.tpm.attestation(qualifying(evidence), selection, magic=GENERATED ^ 1)
    refused(host.verify(signed(host, message)), "quote-not-generated")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (AttestType.CERTIFY, Writer().sized(b"\x00\x0b" + bytes(32)).sized(b"\x00\x0b" + bytes(32))),
        (AttestType.CREATION, Writer().sized(b"\x00\x0b" + bytes(32)).sized(bytes(32))),
        (AttestType.TIME, Writer().u64(1).u64(1).u32(1).u32(0).u8(1).u64(1)),
        (AttestType.NV, Writer().sized(b"\x00\x0b" + bytes(32)).u16(0).sized(b"x")),
        (AttestType.SESSION_AUDIT, Writer().u8(0).sized(bytes(32))),
    ],
    ids=lambda value: value.name if isinstance(value, AttestType) else "",
)
def test_row_25_another_type_than_quote(host: Host, kind: AttestType, body: Writer) -> None:
    signer = qualified_name(host.tpm.public, Hierarchy.ENDORSEMENT)
    head = Writer().u32(GENERATED).u16(kind).sized(signer).sized(qualifying(host.evidence()))
    message = head.u64(1).u32(7).u32(0).u8(1).u64(1).raw(body.done()).done()
    refused(host.verify(signed(host, message)), "quote-wrong-type")


def test_row_27_values_are_shown_for_other_pcrs_than_were_quoted(host: Host) -> None:
    """CVE-2024-29039: the quote is over 0-9, 12 and 16; the value of 16 is shown as that of 13."""
    host.tpm.pcrs[16] = host.tpm.pcrs[13]
    selection = PcrSelection.of(Alg.SHA256, {*range(10), 12, 16})
    evidence = requoted(host, selection, values_of(host, [*range(10), 12, 13]))
    refused(host.verify(evidence), "pcr-missing")
    superset = PcrSelection.of(Alg.SHA256, {*HOST_PCRS, 16})
    refused(
        host.verify(requoted(host, superset, values_of(host, sorted(HOST_PCRS)))), "pcr-selection-mismatch"
    )


@pytest.mark.parametrize("pcrs", [[], [12], [*range(10), 12]])
def test_row_28_a_pcr_that_is_needed_is_not_quoted(host: Host, pcrs: list[int]) -> None:
    evidence = requoted(host, PcrSelection.of(Alg.SHA256, pcrs), values_of(host, pcrs))
    refused(host.verify(evidence), "pcr-missing")


def test_row_30_a_pcr_value_is_altered(host: Host) -> None:
    evidence = host.evidence()
    first, *rest = evidence.host.pcrs
    refused(
        host.verify(shown(evidence, pcrs=(replace(first, value=bytes(32)), *rest))), "pcr-digest-mismatch"
    )


class TestRow31Banks:
    def test_two_banks_in_one_selection(self, host: Host) -> None:
        selection = PcrSelection(((Alg.SHA256, HOST_PCRS), (Alg.SHA1, frozenset({0}))))
        evidence = requoted(host, selection, values_of(host, sorted(HOST_PCRS)))
        refused(host.verify(evidence), "pcr-bank")

    def test_sha1_where_sha256_is_asked_for(self, host: Host) -> None:
        selection = PcrSelection.of(Alg.SHA1, HOST_PCRS)
        values = [PcrValue("sha1", pcr, bytes(20)) for pcr in sorted(HOST_PCRS)]
        refused(host.verify(requoted(host, selection, values)), "pcr-bank")


class TestRow33And34SignatureSchemes:
    def test_sha1_under_the_signature(self, host: Host) -> None:
        evidence = host.evidence()
        found = Signature.decode(host.tpm.sign(evidence.host.quote, hashes.SHA1()))
        forged = replace(found, hash_alg=Alg.SHA1).encode()
        refused(host.verify(shown(evidence, signature=forged)), "signature-algorithm")

    def test_another_hash_than_the_key_fixes(self, host: Host) -> None:
        evidence = host.evidence()
        found = Signature.decode(host.tpm.sign(evidence.host.quote, hashes.SHA384()))
        refused(
            host.verify(shown(evidence, signature=replace(found, hash_alg=Alg.SHA384).encode())),
            "signature-algorithm",
        )

    def test_another_scheme_than_the_key_fixes(self, host: Host) -> None:
        forged = Signature(Alg.RSAPSS, Alg.SHA256, (bytes(range(1, 65)),)).encode()
        refused(host.verify(shown(host.evidence(), signature=forged)), "signature-algorithm")


class TestRow36Clock:
    @pytest.mark.parametrize(
        "earlier",
        [
            ClockInfo(1_000_001, 7, 0, safe=True),
            ClockInfo(1, 8, 0, safe=True),
            ClockInfo(1, 7, 1, safe=True),
        ],
        ids=["clock", "resets", "restarts"],
    )
    def test_went_back(self, host: Host, earlier: ClockInfo) -> None:
        refused(host.verify(earlier=history(host, earlier)), "clock-back")

    @pytest.mark.parametrize("clock", [999_999, 1_000_000])
    def test_went_on(self, host: Host, clock: int) -> None:
        earlier = history(host, ClockInfo(clock, 7, 0, safe=True))
        assert host.verify(earlier=earlier).verdict is Verdict.AFFIRMING

    def test_went_on_after_a_reset(self, host: Host) -> None:
        earlier = history(host, ClockInfo(5, 6, 9, safe=True))
        assert host.verify(earlier=earlier).verdict is Verdict.AFFIRMING

    def test_clock_back_after_a_reset_of_a_tpm_that_does_not_doubt_it(self, host: Host) -> None:
        refused(host.verify(earlier=history(host, ClockInfo(1_000_001, 6, 0, safe=True))), "clock-back")

    def test_clock_back_after_a_power_cut_is_inconclusive_and_not_false(self) -> None:
        host = Host.serving(manufacturer=INFINEON, profile=DEFAULT)
        host.tpm.safe = False
        result = host.verify(earlier=history(host, ClockInfo(1_000_001, 6, 0, safe=True)))
        assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["clock-unsafe"])

    def test_clock_that_was_safe_in_this_boot_stays_safe(self, host: Host) -> None:
        host.tpm.safe = False
        refused(host.verify(earlier=history(host, ClockInfo(1_000_000, 7, 0, safe=True))), "clock-back")

    def test_not_safe_is_inconclusive_where_the_profile_cares(self) -> None:
        host = Host.serving(manufacturer=INFINEON, profile=DEFAULT)
        assert host.verify().verdict is Verdict.AFFIRMING
        host.tpm.safe = False
        result = host.verify()
        assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["clock-unsafe"])


def test_row_37_new_boot_with_the_log_of_the_old_one(host: Host) -> None:
    """The whole log is judged at every boot: what PCR 12 and 13 had before the reset explains nothing now."""
    earlier = history(host, ClockInfo(999_999, 7, 0, safe=True))
    kept = host.events
    host.tpm.pcrs[10:17] = [bytes(32)] * 7
    host.tpm.reset_count += 1
    host.events = []
    host.measure(12, kept[0][1])
    rebooted = host.evidence()
    host.events = kept
    old_log = shown(rebooted, runtime_log=host.runtime_log())
    refused(host.verify(old_log, earlier=earlier), "runtime-log-mismatch")


class TestRow39FirmwareOfTheTpm:
    def test_another_version_is_against_policy(self, host: Host) -> None:
        earlier = history(host, ClockInfo(999_999, 7, 0, safe=True), firmware=2)
        result = host.verify(earlier=earlier)
        assert (result.verdict, codes(result)) == (Verdict.CONTRAINDICATED, ["tpm-firmware-changed"])

    def test_it_stays_so_until_the_host_is_enrolled_again(self, host: Host) -> None:
        record = host.enrolment()
        earlier = history(host, ClockInfo(999_999, 7, 0, safe=True), firmware=2)
        told = host.verify(earlier=earlier).told
        assert told is not None
        kept = after(earlier, record, told)
        assert codes(host.verify(earlier=kept)) == ["tpm-firmware-changed"]
        renewed = replace(record, time=record.time + timedelta(hours=1))
        assert codes(host.verify(earlier=kept, enrolment=renewed)) == []
        assert codes(host.verify(earlier=after(kept, renewed, told), enrolment=renewed)) == []


class TestRow88Resumed:
    def test_restart_count_rose_and_no_log_can_tell(self, host: Host) -> None:
        earlier = history(host, ClockInfo(999_999, 7, 0, safe=True))
        host.tpm.restart_count = 1
        result = host.verify(earlier=earlier)
        assert (result.verdict, codes(result)) == (Verdict.CONTRAINDICATED, ["tpm-resumed"])

    def test_it_stays_so_until_a_reset(self, host: Host) -> None:
        record = host.enrolment()
        kept = history(host, ClockInfo(999_999, 7, 0, safe=True))
        host.tpm.restart_count = 1
        for _ in range(3):
            result = host.verify(earlier=kept)
            assert codes(result) == ["tpm-resumed"]
            assert result.told is not None
            kept = after(kept, record, result.told)
        host.tpm.reset_count, host.tpm.restart_count = 8, 0
        assert set(codes(host.verify(earlier=kept))) == {"binding-stale"}  # of the vTPMs, by themselves

    def test_host_that_is_seen_first_after_a_restart_is_the_beginning(self, host: Host) -> None:
        host.tpm.restart_count = 5
        told = host.verify().told
        assert told is not None
        assert codes(host.verify(earlier=after(None, host.enrolment(), told))) == []


def test_what_is_not_authentic_tells_nothing(host: Host) -> None:
    assert host.verify(nonce=bytes(range(1, 33))).told is None
    assert host.verify(earlier=history(host, ClockInfo(2_000_000, 7, 0, safe=True))).told is None


class TestRow42LabelRegisterThatNobodyWrote:
    def test_pcr_17_of_the_vtpm_is_all_ff(self, host: Host) -> None:
        host.domains["web"].pcrs[17] = NO_LABEL
        result = host.verify()
        assert (result.verdict, codes(result)) == (Verdict.CONTRAINDICATED, ["vtpm-unlabelled"])

    def test_pcr_17_holds_another_record(self, host: Host) -> None:
        host.domains["web"].pcrs[17] = bytes(32)
        result = host.verify()
        assert (result.verdict, codes(result)) == (Verdict.NONE, ["vtpm-record-mismatch"])


class TestRow43LogsThatDoNotReplay:
    def test_firmware_log(self, host: Host) -> None:
        log = event_log(GOOD_BOOT.replaced(b"xen", b"other").measured(), ["sha256"])
        refused(
            host.verify(shown(host.evidence(), firmware_log=FirmwareLog("x", log))), "firmware-log-mismatch"
        )

    def test_runtime_log_without_its_last_event(self, host: Host) -> None:
        host.events.pop()
        refused(host.verify(), "runtime-log-mismatch")

    def test_runtime_log_with_one_event_more(self, host: Host) -> None:
        host.events.append(host.events[-1])
        refused(host.verify(), "runtime-log-mismatch")

    @pytest.mark.parametrize("log", [b"", b"[", b"{}", b"[{}]", b"\x00" * 40])
    def test_what_is_no_log(self, host: Host, log: bytes) -> None:
        refused(host.verify(shown(host.evidence(), runtime_log=log)), "runtime-log-malformed")
        result = host.verify(shown(host.evidence(), firmware_log=FirmwareLog("x", log)))
        assert codes(result)[0] in {"firmware-log-malformed", "firmware-log-mismatch"}


class TestRow49EventsThatNeverExtend:
    def test_a_no_action_event_does_not_count_as_extended(self, host: Host) -> None:
        events = GOOD_BOOT.measured()
        extra = Measured(0, EV_NO_ACTION, {"sha256": bytes(32)}, b"a note")
        log = event_log([*events, extra], ["sha256"])
        result = host.verify(shown(host.evidence(), firmware_log=FirmwareLog("x", log)))
        assert result.verdict is Verdict.AFFIRMING

    def test_a_no_action_event_cannot_hide_an_extend(self, host: Host) -> None:
        first, *rest = GOOD_BOOT.measured()
        log = event_log([replace(first, type=EV_NO_ACTION), *rest], ["sha256"])
        refused(
            host.verify(shown(host.evidence(), firmware_log=FirmwareLog("x", log))), "firmware-log-mismatch"
        )


def test_row_52_a_log_without_the_quoted_bank(host: Host) -> None:
    records = [
        pack("<II20sI", one.pcr, one.type, sha256(one.data)[:20], len(one.data)) + one.data
        for one in GOOD_BOOT.measured()
    ]
    evidence = shown(host.evidence(), firmware_log=FirmwareLog("sha1", b"".join(records)))
    refused(host.verify(evidence), "firmware-log-mismatch")


class TestRow55GrubDidNotMeasure:
    @pytest.mark.parametrize("log", [True, False])
    def test_its_registers_are_empty(self, *, log: bool) -> None:
        boot = replace(GOOD_BOOT, files=tuple(one for one in GOOD_BOOT.files if one[0] < 8))
        host = Host.serving(boot=boot, show_firmware_log=log)
        result = host.verify()
        assert result.verdict is Verdict.INCONCLUSIVE
        assert codes(result) == ["not-measured", "not-measured"]
        assert nodes(result)["loader"] is nodes(result)["xen"] is Verdict.INCONCLUSIVE


class TestRow60ReferenceThatSaysNothing:
    def test_no_values_at_all(self, host: Host) -> None:
        empty: ReferenceValues = replace(host.reference(), pcrs={}, events=())
        result = host.verify(reference=empty)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert set(codes(result)) == {"reference-empty"}

    def test_values_of_another_bank(self, host: Host) -> None:
        assert host.verify(reference=replace(host.reference(), bank="sha384")).verdict is Verdict.INCONCLUSIVE

    def test_no_value_for_one_register(self, host: Host) -> None:
        values = host.reference()
        less = replace(
            values,
            pcrs={pcr: value for pcr, value in values.pcrs.items() if pcr != 8},
            events=tuple(event for event in values.events if event.pcr != 8),
        )
        result = host.verify(reference=less)
        assert (result.verdict, codes(result)) == (Verdict.INCONCLUSIVE, ["reference-empty"])


class TestKeys:
    def test_row_1_the_enrolled_key_may_sign_anything(self) -> None:
        tpm = Tpm("host ak")
        tpm.public = replace(tpm.public, attributes=tpm.public.attributes & ~Attributes.RESTRICTED)
        refused(Host.serving(tpm=tpm).verify(), "ak-attributes")

    def test_the_quote_names_another_signer(self, host: Host) -> None:
        other = Tpm("another")
        message = other.attestation(qualifying(host.evidence()), PcrSelection.of(Alg.SHA256, HOST_PCRS))
        other.pcrs = host.tpm.pcrs
        refused(host.verify(signed(host, message)), "signature-invalid")

    def test_a_key_under_the_enrolled_ek_is_accepted(self, host: Host) -> None:
        """tpm2_createak puts the key under the EK; its Qualified Name says so (Part 1, 16.3)."""
        ek = b"\x00\x0b" + sha256(b"ek")
        parent = b"\x00\x0b" + sha256(Hierarchy.ENDORSEMENT.to_bytes(4, "big") + ek)
        signer = b"\x00\x0b" + sha256(parent + host.tpm.public.name())
        evidence = host.evidence()
        own = qualified_name(host.tpm.public, Hierarchy.ENDORSEMENT)
        message = evidence.host.quote.replace(own, signer)
        result = host.verify(shown(evidence, quote=message, signature=host.tpm.sign(message)))
        assert result.verdict is Verdict.AFFIRMING

    def test_row_18_one_bit_of_signature_or_message(self, host: Host) -> None:
        evidence = host.evidence()
        for name in ("signature", "quote"):
            raw = bytearray(getattr(evidence.host, name))
            raw[-1] ^= 1
            result = host.verify(shown(evidence, **{name: bytes(raw)}))
            refused(result, "signature-invalid")
