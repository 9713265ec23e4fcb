"""Firmware logs beside a quote of a real swtpm: rows of facts/attest.md 3.2, and what resembles them.

The TPM is extended by what the log of each case says was extended, or by what the case says: a log that
replays is the point of most of these attacks.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attest.eventlog.read import parse
from attest.quote_verdict import QuoteVerdict, ShownQuote, judge_quote
from attest.result import Verdict
from tests.attest.eventlog.boots import (
    CONFIGURED,
    DB_USED,
    OFF,
    OTHERS,
    SECURE_BOOT,
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
    LOCALITY,
    NO_ACTION,
    SEPARATION,
    SEPARATOR,
    SHA1,
    SHA256,
    TAG,
    VARIABLE,
    Record,
    agile,
    digest,
    sha1_log,
)
from tests.conftest import VECTORS
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

if TYPE_CHECKING:
    from vtpm.tpm import Key, Tpm

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(shutil.which("swtpm") is None, reason="not installed: swtpm"),
]

NONCE = b"a nonce of twenty-six bytes"
PCRS = range(10)
GOOD = (*CONFIGURED, separator(7), DB_USED, *OTHERS, Record(4, 0x80000003, b"a device path", b"shim"))


class Machine:
    """A TPM that was extended by a boot, and quotes PCR 0 to 9."""

    def __init__(self, tpm: Tpm, ak: Key) -> None:
        self.tpm, self.ak = tpm, ak

    def boot(self, digests: Iterable[tuple[int, bytes]]) -> None:
        for pcr, value in digests:
            self.tpm.pcr_extend(pcr, {Alg.SHA256: value})

    def judge(self, log: bytes, pcrs: Iterable[int] = PCRS) -> QuoteVerdict:
        selection = PcrSelection.of(Alg.SHA256, pcrs)
        message, signature = self.tpm.quote(self.ak, NONCE, selection)
        values = b"".join(self.tpm.pcr_read(selection))
        shown = ShownQuote(self.ak.public.encode_sized(), message, signature, values, log)
        return judge_quote(shown, nonce=NONCE)

    def judged(self, *records: Record) -> QuoteVerdict:
        """Boot what a log of these records says, and judge the two together."""
        log = agile(*records)
        self.boot(extends(log))
        return self.judge(log)


def extends(log: bytes) -> list[tuple[int, bytes]]:
    return [(each.pcr, each.digest(SHA256) or b"") for each in parse(log).events if each.extends]


def told(answer: QuoteVerdict) -> tuple[Verdict, list[str]]:
    return answer.verdict, [reason.code for reason in answer.reasons]


UNTRUE = (Verdict.NONE, ["event-log-untrue"])
UNSAFE = (Verdict.CONTRAINDICATED, ["firmware-unsafe"])
DISORDER = (Verdict.CONTRAINDICATED, ["firmware-disorder"])
OTHER = (Verdict.NONE, ["event-log-mismatch"])
BROKEN = (Verdict.NONE, ["event-log-malformed"])


@pytest.fixture
def machine(short_tmp: Path) -> Any:
    from vtpm.swtpm import State, Swtpm
    from vtpm.tpm import Tpm

    with Swtpm.start(short_tmp / "tpm", state=State.NEW, keys=None) as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        yield Machine(tpm, tpm.create_ak())


def test_a_good_boot_is_affirmed(machine: Machine) -> None:
    answer = machine.judged(*GOOD)
    assert told(answer) == (Verdict.AFFIRMING, [])
    assert "secure-boot" not in answer.not_checked


def test_row_43_the_log_of_another_boot(machine: Machine) -> None:
    machine.boot(extends(agile(*GOOD, Record(4, IPL, b"another loader"))))
    assert told(machine.judge(agile(*GOOD))) == OTHER


@pytest.mark.parametrize("place", range(5), ids=["SecureBoot", "PK", "KEK", "db", "dbx"])
class TestRow45VariableBytesEditedAndDigestKept:
    def test_the_value(self, machine: Machine, place: int) -> None:
        honest = CONFIGURED[place]
        edited = replace(honest, data=honest.data[:-1] + b"?", measured=honest.data)
        assert told(machine.judged(*CONFIGURED[:place], edited, *GOOD[place + 1 :])) == UNTRUE

    def test_the_name(self, machine: Machine, place: int) -> None:
        honest = CONFIGURED[place]
        edited = replace(honest, data=honest.data[:32] + b"X" + honest.data[33:], measured=honest.data)
        assert told(machine.judged(*CONFIGURED[:place], edited, *GOOD[place + 1 :])) == UNTRUE

    def test_the_digest_of_the_bank_that_is_not_quoted(self, machine: Machine, place: int) -> None:
        """SHA-1 says one thing, SHA-256 another: a reader of the other bank would be deceived."""
        honest = CONFIGURED[place]
        pairs = ((SHA1, digest(SHA1, honest.data + b"x")), (SHA256, digest(SHA256, honest.data)))
        split = replace(honest, digests=pairs)
        assert told(machine.judged(*CONFIGURED[:place], split, *GOOD[place + 1 :])) == UNTRUE


class TestRow46RealEventsRetypedForgedOnesExtended:
    @pytest.mark.parametrize("kind", [UNUSED, ACTION, IPL, TAG, EFI_ACTION, AUTHORITY, SEPARATOR, 0xABCD])
    def test_secure_boot_was_off_and_is_said_to_be_on(self, machine: Machine, kind: int) -> None:
        verdict, codes = told(machine.judged(Record(7, kind, OFF.data), *GOOD))
        assert verdict is Verdict.NONE
        assert codes[0] == "event-log-untrue"

    def test_all_of_pcr_7_retyped_and_a_new_one_written_behind_it(self, machine: Machine) -> None:
        real = [Record(7, UNUSED, record.data) for record in (OFF, *CONFIGURED[1:])]
        hidden = Record(7, UNUSED, SEPARATION)
        assert told(machine.judged(*real, hidden, *GOOD))[1][0] == "event-log-untrue"

    @pytest.mark.parametrize("kind", [IPL, COMPACT_HASH, FIRMWARE_BLOB, 0xABCD])
    def test_a_real_one_of_which_only_the_digest_is_left(self, machine: Machine, kind: int) -> None:
        """Its data are gone; what the digest of SecureBoot can be is known."""
        assert told(machine.judged(Record(7, kind, b"", measured=OFF.data), *GOOD)) == UNTRUE

    @pytest.mark.parametrize("kind", [IPL, COMPACT_HASH, FIRMWARE_BLOB, 0xABCD])
    def test_an_old_db_of_which_only_the_digest_is_left(self, machine: Machine, kind: int) -> None:
        """Nobody can say what it was, and nothing of that kind is measured into PCR 7."""
        assert told(machine.judged(Record(7, kind, b"", measured=b"old db"), *GOOD)) == DISORDER

    def test_the_refusal_is_the_lie_and_not_what_was_found_beside_it(self, machine: Machine) -> None:
        answer = machine.judged(Record(7, UNUSED, OFF.data), *CONFIGURED, *OTHERS)
        assert told(answer) == (Verdict.NONE, ["event-log-untrue", "firmware-disorder"])
        assert answer.refusal is answer.reasons[0]

    @pytest.mark.parametrize("kind", [UNUSED, ACTION, IPL, EFI_ACTION, VARIABLE, 0xABCD])
    def test_a_separator_under_another_name_in_pcr_7(self, machine: Machine, kind: int) -> None:
        renamed = Record(7, kind, SEPARATION)
        verdict, codes = told(machine.judged(*CONFIGURED, renamed, *OTHERS, SECURE_BOOT, separator(7)))
        assert verdict is Verdict.NONE
        assert codes[0] == "event-log-untrue"


class TestRow48SeparatorsAndVariables:
    @pytest.mark.parametrize(
        "records",
        [
            (*CONFIGURED, separator(7), variable("dbx", b"late"), *OTHERS),
            (*CONFIGURED, separator(7), SECURE_BOOT, *OTHERS),
            (*CONFIGURED, separator(7), separator(7), *OTHERS),
            (*CONFIGURED, *OTHERS),
            (*CONFIGURED, separator(7), *OTHERS[1:]),
            (*CONFIGURED, separator(7), *OTHERS, separator(4)),
            (OFF, *CONFIGURED, separator(7), *OTHERS),
            (*CONFIGURED, CONFIGURED[1], separator(7), *OTHERS),
        ],
        ids=[
            "a variable after it",
            "SecureBoot again after it",
            "two in PCR 7",
            "none in PCR 7",
            "none in PCR 0",
            "two in PCR 4",
            "SecureBoot twice",
            "PK twice",
        ],
    )
    def test_against_policy(self, machine: Machine, records: tuple[Record, ...]) -> None:
        assert told(machine.judged(*records)) == DISORDER

    @pytest.mark.parametrize("pcr", range(8))
    def test_an_error_separator(self, machine: Machine, pcr: int) -> None:
        error = Record(pcr, SEPARATOR, b"\1\0\0\0")
        others = [record for record in (*OTHERS, separator(7)) if record.pcr != pcr]
        verdict, codes = told(machine.judged(*CONFIGURED, *others, error))
        assert verdict is Verdict.CONTRAINDICATED
        assert "firmware-unsafe" in codes


class TestRow49NoAction:
    def test_one_that_claims_an_extend(self, machine: Machine) -> None:
        claims = Record(7, NO_ACTION, OFF.data, digests=((SHA256, digest(SHA256, OFF.data)),))
        assert told(machine.judged(claims, *GOOD)) == UNTRUE

    def test_one_that_was_extended_is_not_counted(self, machine: Machine) -> None:
        hidden = Record(7, NO_ACTION, OFF.data, digests=((SHA256, digest(SHA256, OFF.data)),))
        log = agile(hidden, *GOOD)
        machine.boot([(7, digest(SHA256, OFF.data)), *extends(log)])
        assert told(machine.judge(log)) == OTHER

    def test_a_note_in_no_register_says_nothing(self, machine: Machine) -> None:
        note = Record(0xFFFFFFFF, NO_ACTION, b"StartupRoutine")
        assert told(machine.judged(note, *GOOD)) == (Verdict.AFFIRMING, [])

    @pytest.mark.parametrize("where", ["after an extend of PCR 0", "twice"])
    def test_a_locality_that_is_claimed_late(self, machine: Machine, where: str) -> None:
        claim = Record(0, NO_ACTION, LOCALITY + b"\3")
        records = (*GOOD, claim) if where.startswith("after") else (claim, claim, *GOOD)
        machine.boot(extends(agile(*GOOD)))
        assert told(machine.judge(agile(*records))) == BROKEN

    def test_a_locality_that_the_tpm_did_not_have(self, machine: Machine) -> None:
        machine.boot(extends(agile(*GOOD)))
        assert told(machine.judge(agile(Record(0, NO_ACTION, LOCALITY + b"\3"), *GOOD))) == OTHER


def test_row_51_two_logs_one_behind_the_other(machine: Machine) -> None:
    machine.boot(extends(agile(*GOOD)) * 2)
    assert told(machine.judge(agile(*GOOD) * 2)) == BROKEN


class TestRow52Banks:
    def test_an_event_without_the_digest_of_the_quoted_bank(self, machine: Machine) -> None:
        gap = Record(4, IPL, b"loader", digests=((SHA1, digest(SHA1, b"loader")),))
        machine.boot(extends(agile(*GOOD)))
        assert told(machine.judge(agile(*GOOD, gap))) == (Verdict.NONE, ["event-log-digest-missing"])

    def test_a_sha1_log_for_a_sha256_quote(self, machine: Machine) -> None:
        machine.boot(extends(agile(*GOOD)))
        assert told(machine.judge(sha1_log(*GOOD))) == (Verdict.NONE, ["event-log-bank"])


class TestRow54TextIsAHintOnly:
    @pytest.mark.parametrize("text", [b"Secure Boot: on", b"UEFI Debug Mode", b"grub_cmd: \xff", b""])
    @pytest.mark.parametrize("kind", [0x80000003, 0x80000002, 1])
    def test_what_a_digest_does_not_bind_changes_no_verdict(
        self, machine: Machine, text: bytes, kind: int
    ) -> None:
        """A device path, a boot variable's name, a post code's label."""
        honest = data("Boot0001", b"option")
        told_by = text if kind != 0x80000002 else honest.replace(b"1\0", b"7\0")
        record = Record(4, kind, told_by, measured=b"option")
        assert told(machine.judged(*GOOD, record)) == (Verdict.AFFIRMING, [])

    def test_a_grub_command_that_was_not_the_one_hashed(self, machine: Machine) -> None:
        edited = Record(8, IPL, b"grub_cmd: multiboot2 /xen.gz flask=enforcing\0", measured=b"multiboot2")
        assert told(machine.judged(*GOOD, edited)) == UNTRUE

    def test_a_tag_that_was_not_the_one_hashed(self, machine: Machine) -> None:
        edited = Record(5, TAG, b"\1\0\0\0\2\0\0\0ok", measured=b"bad")
        assert told(machine.judged(*GOOD, edited)) == UNTRUE


class TestRow57Actions:
    @pytest.mark.parametrize("text", [b"UEFI Debug Mode", b"DMA Protection Disabled"])
    @pytest.mark.parametrize("pcr", [0, 1, 7])
    def test_found_by_its_digest_wherever_it_stands(self, machine: Machine, text: bytes, pcr: int) -> None:
        assert told(machine.judged(Record(pcr, EFI_ACTION, text), *GOOD)) == UNSAFE

    def test_found_though_its_text_and_type_are_others(self, machine: Machine) -> None:
        hidden = Record(1, 1, b"a post code", measured=b"UEFI Debug Mode")
        assert told(machine.judged(hidden, *GOOD)) == UNSAFE


def test_row_63_a_log_that_is_cut_gives_nothing(machine: Machine) -> None:
    log = agile(*GOOD)
    machine.boot(extends(log))
    for size in (1, 31, 32, 60, len(log) // 2, len(log) - 1):
        verdict, codes = told(machine.judge(log[:size]))
        assert verdict is Verdict.NONE
        assert codes[0] in {"event-log-malformed", "event-log-mismatch", "event-log-untrue"}


RECIPES = VECTORS / "_recipes"


@pytest.mark.skipif(not RECIPES.is_dir(), reason="../shared/vectors is not here")
@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.bin")), ids=lambda path: path.stem)
@pytest.mark.parametrize("naive", [False, True], ids=["as we replay", "as a naive TPM was extended"])
def test_recipes_are_not_believed_though_the_tpm_agrees(machine: Machine, path: Path, *, naive: bool) -> None:
    log = path.read_bytes()
    events = [event for event in parse(log).events if event.extends or (naive and event.index)]
    machine.boot([(event.pcr, event.digest(SHA256) or b"") for event in events])
    verdict, codes = told(machine.judge(log))
    assert verdict is Verdict.NONE
    assert codes[0] in {"event-log-untrue", "event-log-mismatch"}


class TestRow42RegistersThatProveNothing:
    """An appraisal profile cannot ask for them (test_appraisal.py); of a bare quote it is said."""

    def judge(self, machine: Machine, pcrs: list[int]) -> QuoteVerdict:
        machine.boot([(16, hashlib.sha256(b"what a policy wants").digest())])
        selection = PcrSelection.of(Alg.SHA256, pcrs)
        message, signature = machine.tpm.quote(machine.ak, NONCE, selection)
        values = b"".join(machine.tpm.pcr_read(selection))
        shown = ShownQuote(machine.ak.public.encode_sized(), message, signature, values)
        return judge_quote(shown, nonce=NONCE, required=selection)

    def test_what_any_program_resets_is_named(self, machine: Machine) -> None:
        answer = self.judge(machine, [0, 16, 23])
        assert told(answer) == (Verdict.AFFIRMING, [])
        assert {"resettable:sha256:16", "resettable:sha256:23"} <= set(answer.not_checked)

    @pytest.mark.parametrize("pcr", range(17, 23))
    def test_what_no_dynamic_launch_has_written(self, machine: Machine, pcr: int) -> None:
        answer = self.judge(machine, [0, pcr])
        assert told(answer) == (Verdict.CONTRAINDICATED, ["pcr-no-dynamic-launch"])
