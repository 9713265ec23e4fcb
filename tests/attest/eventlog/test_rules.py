"""What a good firmware log cannot be: rows 45 to 57 of facts/attest.md 3.2, and published recipes."""

from __future__ import annotations

import pytest

from attest.eventlog.log import EventLog
from attest.eventlog.read import parse
from attest.eventlog.replay import ReplayError, replay, verify_replay
from attest.eventlog.rules import FirmwareState, appraise_firmware
from attest.eventlog.variable import IMAGE_SECURITY, decode_variable
from tests.attest.eventlog.boots import (
    CONFIGURED,
    DB_USED,
    OFF,
    OTHERS,
    SECURE_BOOT,
    SHIM,
    UNUSED,
    data,
    separator,
    variable,
)
from tests.attest.eventlog.build import (
    ACTION,
    AUTHORITY,
    COMPACT_HASH,
    EFI_ACTION,
    FIRMWARE_BLOB,
    IPL,
    NO_ACTION,
    SEPARATION,
    SEPARATOR,
    SHA1,
    SHA256,
    SPDM_DEVICE_AUTHORITY,
    SPDM_DEVICE_POLICY,
    VARIABLE,
    Record,
    agile,
    digest,
)
from tests.conftest import REPOSITORY, VECTORS, Vector, vector_params
from vtpm.tpm2.constants import Alg


def state(*records: Record, pcrs: range = range(8)) -> FirmwareState:
    return state_of(parse(agile(*records)), pcrs)


def state_of(log: EventLog, pcrs: range = range(8), alg: Alg = Alg.SHA256) -> FirmwareState:
    values = replay(log, alg)
    return appraise_firmware(log, verify_replay(log, {pcr: values[pcr] for pcr in pcrs}, alg))


def codes(*pcr7: Record, others: tuple[Record, ...] = OTHERS) -> set[str]:
    found = state(*pcr7, *others)
    if any(finding.pcr == 7 for finding in found.findings):
        assert found.secure_boot is None
        assert not found.variables
    return {finding.code for finding in found.findings}


class TestGood:
    def test_a_boot_with_secure_boot(self) -> None:
        found = state(*CONFIGURED, separator(7), DB_USED, *OTHERS)
        assert found.is_good
        assert found.secure_boot is True
        assert found.variables["db"] == b"list"
        assert [each.value for each in found.authorities] == [b"certificate"]

    def test_a_boot_without(self) -> None:
        found = state(OFF, *CONFIGURED[1:], separator(7), *OTHERS)
        assert (found.is_good, found.secure_boot) == (True, False)

    def test_without_pcr_7_nothing_is_known(self) -> None:
        found = state(*CONFIGURED, separator(7), *OTHERS, pcrs=range(7))
        assert (found.is_good, found.secure_boot) == (True, None)

    def test_more_variables_and_an_authority_before_the_separator(self) -> None:
        more = (variable("AuditMode", b"\0"), variable("dbt", vendor=IMAGE_SECURITY))
        assert codes(*CONFIGURED, *more, DB_USED, separator(7)) == set()

    def test_an_authority_that_shim_logs_with_a_tail(self) -> None:
        tail = data("Shim", b"certificate", SHIM) + b"\0\0\0\0\0\xaf"
        old = Record(7, AUTHORITY, tail, measured=tail[:-1])
        found = state(*CONFIGURED, separator(7), old, *OTHERS)
        assert found.is_good
        assert found.authorities[0].name == "Shim"

    def test_our_own_recording(self) -> None:
        found = state_of(parse((REPOSITORY / "configs/recordings/ovmf-2022.11-q35.bin").read_bytes()))
        assert found.is_good
        assert found.secure_boot is False


class TestCase45EditedVariables:
    def test_bytes_edited_and_digest_kept(self) -> None:
        edited = Record(7, VARIABLE, SECURE_BOOT.data, measured=OFF.data)
        found = codes(edited, *CONFIGURED[1:], separator(7))
        assert found == {"data-mismatch", "variable-unbound", "variable-missing"}


class TestCase46RetypedEvents:
    def test_real_events_retyped_and_forged_ones_appended(self) -> None:
        retyped = [Record(7, UNUSED, record.data) for record in (OFF, *CONFIGURED[1:])]
        forged = (*CONFIGURED, separator(7))
        found = codes(*retyped, Record(7, UNUSED, SEPARATION), *forged)
        assert found >= {"event-type", "separator-twice", "variable-after-separator"}

    def test_retyped_as_anything_else(self) -> None:
        for kind in (ACTION, IPL, EFI_ACTION, AUTHORITY, 0x0000ABCD):
            retyped = Record(7, kind, OFF.data)
            assert "event-type" in codes(retyped, *CONFIGURED, separator(7)), kind

    def test_retyped_with_other_data_beside_the_digest(self) -> None:
        """Nothing binds data or type of a code event; but what SecureBoot's digest can be is known."""
        for kind in (COMPACT_HASH, IPL, FIRMWARE_BLOB):
            for value in (b"", b"\0", b"\1"):
                hidden = Record(7, kind, b"a driver", measured=data("SecureBoot", value))
                assert codes(hidden, *CONFIGURED, separator(7)) == {"event-type"}, (kind, value)

    def test_what_has_no_place_in_pcr_7_and_is_not_shown(self) -> None:
        """An old db may hide under a type that binds nothing, and no one can tell."""
        for kind in (COMPACT_HASH, IPL, FIRMWARE_BLOB, 0x0000ABCD):
            hidden = Record(7, kind, b"a driver", measured=data("db", b"old", IMAGE_SECURITY))
            assert codes(hidden, *CONFIGURED, separator(7)) == {"event-unbound"}, kind
            shown = Record(7, kind, b"a driver")
            assert codes(shown, *CONFIGURED, separator(7)) == {"event-misplaced"}, kind

    def test_devices_have_their_place_there(self) -> None:
        policy = Record(7, SPDM_DEVICE_POLICY, data("devdb", b"list", IMAGE_SECURITY))
        used = Record(7, SPDM_DEVICE_AUTHORITY, data("devdb", b"one", IMAGE_SECURITY))
        assert codes(*CONFIGURED, policy, used, separator(7)) == set()
        unlike = Record(7, SPDM_DEVICE_POLICY, b"x", measured=OFF.data)
        assert codes(unlike, *CONFIGURED, separator(7)) == {"data-mismatch", "event-type"}

    def test_a_second_value_of_a_variable(self) -> None:
        assert codes(OFF, *CONFIGURED, separator(7)) == {"variable-twice"}

    def test_an_unused_event_in_another_pcr(self) -> None:
        found = codes(*CONFIGURED, separator(7), others=(*OTHERS, Record(4, UNUSED, b"application")))
        assert found == {"event-type"}

    def test_a_digest_without_its_data(self) -> None:
        hidden = Record(7, AUTHORITY, b"db", measured=OFF.data)
        assert codes(hidden, *CONFIGURED, separator(7)) == {"data-mismatch", "variable-unbound"}


class TestCase48Separators:
    def test_a_variable_after_the_separator(self) -> None:
        late = (*CONFIGURED[1:], separator(7), SECURE_BOOT)
        assert codes(*late) == {"variable-after-separator", "variable-missing"}
        assert codes(*CONFIGURED, separator(7), variable("MokList", vendor=SHIM)) == {
            "variable-after-separator"
        }

    def test_missing(self) -> None:
        assert codes(*CONFIGURED) == {"separator-missing"}
        assert codes(*CONFIGURED, separator(7), others=OTHERS[1:]) == {"separator-missing"}

    def test_twice(self) -> None:
        assert codes(*CONFIGURED, separator(7), separator(7)) == {"separator-twice"}
        assert codes(*CONFIGURED, separator(7), others=(*OTHERS, separator(2))) == {"separator-twice"}

    def test_under_another_name(self) -> None:
        assert codes(*CONFIGURED, Record(7, ACTION, SEPARATION)) == {"event-type"}

    def test_of_an_error(self) -> None:
        for text in (b"\1\0\0\0", b"\1\0\0\0" + b"what failed"):
            error = Record(7, SEPARATOR, text, measured=b"\1\0\0\0")
            assert "separator-error" in codes(*CONFIGURED, error)
            elsewhere = Record(0, SEPARATOR, text, measured=b"\1\0\0\0")
            assert "separator-error" in codes(*CONFIGURED, separator(7), others=(*OTHERS[1:], elsewhere))

    def test_called_one_and_none(self) -> None:
        assert "event-type" in codes(*CONFIGURED, separator(7), Record(7, SEPARATOR, b"abcd"))

    @pytest.mark.parametrize("left_out", range(5))
    def test_a_missing_variable(self, left_out: int) -> None:
        kept = CONFIGURED[:left_out] + CONFIGURED[left_out + 1 :]
        assert codes(*kept, separator(7)) == {"variable-missing"}

    @pytest.mark.parametrize("again", CONFIGURED)
    def test_a_duplicate_variable(self, again: Record) -> None:
        assert codes(*CONFIGURED, again, separator(7)) == {"variable-twice"}

    def test_a_variable_of_another_vendor(self) -> None:
        other = variable("SecureBoot", b"\1", vendor=SHIM)
        assert codes(other, *CONFIGURED[1:], separator(7)) == {"variable-vendor"}

    @pytest.mark.parametrize("value", [b"", b"\2", b"\1\0"])
    def test_a_value_that_is_neither_on_nor_off(self, value: bytes) -> None:
        assert codes(variable("SecureBoot", value), *CONFIGURED[1:], separator(7)) == {"variable-value"}


class TestCase49NoAction:
    def test_one_that_claims_an_extend(self) -> None:
        claim = Record(
            7, NO_ACTION, OFF.data, digests=((SHA1, bytes(20)), (SHA256, digest(SHA256, OFF.data)))
        )
        assert codes(claim, *CONFIGURED, separator(7)) == {"no-action-digest"}

    def test_one_in_no_register_is_let_be(self) -> None:
        """Real firmware writes digests there (an option ROM's log in the vectors)."""
        claim = Record(0xFFFFFFFF, NO_ACTION, b"x", digests=((SHA1, b"\1" * 20), (SHA256, b"\1" * 32)))
        assert codes(claim, *CONFIGURED, separator(7)) == set()


class TestCase54UnboundText:
    def test_no_text_of_an_event_becomes_a_fact_without_its_digest(self) -> None:
        text = Record(8, IPL, b"grub_cmd: set secure_boot=1", measured=b"set x=1")
        proved = verify_replay(parse(agile(text)), {8: replay(parse(agile(text)), Alg.SHA256)[8]}, Alg.SHA256)
        assert proved.events[0].measured is None
        assert text.data == proved.events[0].untrusted_data


class TestCase57Actions:
    @pytest.mark.parametrize(
        ("text", "code"),
        [(b"UEFI Debug Mode", "debug-mode"), (b"DMA Protection Disabled", "dma-protection-disabled")],
    )
    def test_found_under_any_name(self, text: bytes, code: str) -> None:
        assert codes(Record(7, EFI_ACTION, text), *CONFIGURED, separator(7)) == {code}
        for kind in (ACTION, UNUSED, 0x0000ABCD):
            assert code in codes(Record(7, kind, text), *CONFIGURED, separator(7))
            elsewhere = Record(1, kind, b"", measured=text)
            assert code in codes(*CONFIGURED, separator(7), others=(*OTHERS, elsewhere))

    @pytest.mark.parametrize("text", ["UEFI Debug Mode", "DMA Protection Disabled"])
    def test_spelt_in_another_way(self, text: str) -> None:
        for spelt in (f"{text}\0".encode(), text.encode("utf-16-le"), f"{text}\0".encode("utf-16-le")):
            found = codes(Record(7, EFI_ACTION, spelt), *CONFIGURED, separator(7))
            assert found <= {"debug-mode", "dma-protection-disabled"}
            assert len(found) == 1

    def test_another_action_has_no_place_in_pcr_7(self) -> None:
        assert codes(Record(7, EFI_ACTION, b"Returning"), *CONFIGURED, separator(7)) == {"event-misplaced"}


class TestVariables:
    @pytest.mark.parametrize("raw", [b"", bytes(31), data("x", b"y") + b"z", data("x", b"y")[:-1]])
    def test_no_variable(self, raw: bytes) -> None:
        assert decode_variable(raw) is None

    def test_a_name_that_is_no_utf16(self) -> None:
        assert decode_variable(data("x", b"y").replace(b"x\0", b"\0\xd8")) is None


UNUSUAL = {
    "variable-value": "SecureBoot is empty: a platform that cannot say",
    "variable-after-separator": "shim 15 measured MokList as a configuration",
    "separator-missing": "a log of which only a part was published",
}
"""Findings in logs of real machines that their origins accept, each explained."""


@pytest.mark.parametrize("vector", vector_params("eventlog/sha1", "eventlog/agile"))
def test_logs_of_real_machines(vector: Vector) -> None:
    log = parse(vector.read())
    alg = Alg.SHA256 if Alg.SHA256 in log.banks else Alg.SHA1
    if not {event.pcr for event in log.events} >= set(range(8)):
        return
    found = state_of(log, alg=alg)
    assert {finding.code for finding in found.findings} <= UNUSUAL.keys()
    stated = vector.expect.get("secureboot", {}).get("enabled")
    assert stated is None or found.secure_boot == stated


RECIPES = VECTORS / "_recipes"


@pytest.mark.skipif(not RECIPES.is_dir(), reason="../shared/vectors is not here")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pcr7_separator_renamed_then_secureboot.bin", {"event-type", "variable-after-separator"}),
        ("secureboot_event_as_no_action.bin", {"no-action-digest", "variable-missing"}),
    ],
)
def test_recipes_replay_and_are_not_believed(name: str, expected: set[str]) -> None:
    found = state_of(parse((RECIPES / name).read_bytes()))
    assert {finding.code for finding in found.findings} == expected
    assert found.secure_boot is None


def test_a_pcr_that_was_not_proved_is_not_judged() -> None:
    log = parse(agile(*CONFIGURED, separator(7), *OTHERS))
    with pytest.raises(ReplayError):
        verify_replay(log, {7: bytes(32)}, Alg.SHA256)
