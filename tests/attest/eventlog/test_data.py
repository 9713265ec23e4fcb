"""Which event data a digest vouches for."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from attest.eventlog.data import RULES, Binding, Rule, binding
from attest.eventlog.log import Event
from attest.eventlog.read import parse
from attest.eventlog.types import EventType
from tests.attest.eventlog.build import (
    APPLICATION,
    AUTHORITY,
    BOOT,
    IPL,
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
    variable,
)
from vtpm.tpm2.constants import Alg

LINUX_INITRD = struct.pack("<II", 0x8F3B22EC, 13) + b"Linux initrd\0"
WINDOWS_TAG = struct.pack("<II", 0x40010001, 4) + b"\1\0\0\0"
SHIM = variable("Shim", b"certificate") + b"\0\0\0\0\0\xaf"


def judged(record: Record, banks: tuple[int, ...] = (SHA1, SHA256)) -> Binding:
    return binding(event_of(record, banks))


def event_of(record: Record, banks: tuple[int, ...] = (SHA1, SHA256)) -> Event:
    return parse(agile(record, banks=banks)).events[1]


@pytest.mark.parametrize(
    ("record", "rule", "measured"),
    [
        (Record(0, SEPARATOR, SEPARATION), Rule.WHOLE, SEPARATION),
        (Record(7, VARIABLE, variable("SecureBoot", b"\1")), Rule.WHOLE, variable("SecureBoot", b"\1")),
        (Record(1, BOOT, variable("BootOrder", b"\1\0")), Rule.WHOLE, variable("BootOrder", b"\1\0")),
        (Record(1, BOOT, variable("Boot0001", b"xy"), measured=b"xy"), Rule.VARIABLE_VALUE, b"xy"),
        (Record(7, AUTHORITY, SHIM, measured=SHIM[:-1]), Rule.SHIM_VARIABLE, SHIM[:-1]),
        (Record(8, IPL, b"grub_cmd: boot\0", measured=b"boot"), Rule.TEXT_AFTER_PREFIX, b"boot"),
        (Record(8, IPL, b"grub_cmd set x=1\0", measured=b"set x=1\0"), Rule.TEXT_AFTER_PREFIX, b"set x=1\0"),
        (Record(8, IPL, b"module_cmdline: /x a b\0", measured=b"/x a b"), Rule.TEXT_AFTER_PREFIX, b"/x a b"),
        (Record(8, IPL, b"r\0w\0", measured=b"r\0w\0\0"), Rule.WITH_NUL, b"r\0w\0\0"),
        (Record(12, TAG, WINDOWS_TAG), Rule.WHOLE, WINDOWS_TAG),
    ],
    ids=lambda value: value.value if isinstance(value, Rule) else "",
)
def test_data_that_their_digest_is_of(record: Record, rule: Rule, measured: bytes) -> None:
    assert judged(record) == Binding(matches=True, rule=rule, measured=measured)


@pytest.mark.parametrize(
    "record",
    [
        Record(4, APPLICATION, b"device path", measured=b"image"),
        Record(9, IPL, b"(hd0)/vmlinuz\0", measured=b"kernel"),
        Record(9, TAG, LINUX_INITRD, measured=b"initrd"),
        Record(0, 0x40E, b"", measured=b"stm"),
        Record(0, NO_ACTION, b"SP800-155 Event3"),
    ],
    ids=["application", "grub-file", "linux-initrd", "unnamed", "no-action"],
)
def test_data_that_only_describe_what_was_measured(record: Record) -> None:
    assert judged(record) == Binding(matches=None)


@pytest.mark.parametrize(
    "record",
    [
        Record(0, SEPARATOR, SEPARATION),
        Record(4, 5, b"Calling INT 19h"),
        Record(4, 0x80000007, b"Calling EFI Application from Boot Option"),
        Record(0, 8, b"version"),
        Record(5, 0x80000006, b"EFI PART"),
        Record(7, VARIABLE, variable("SecureBoot", b"\1")),
        Record(1, BOOT, variable("BootOrder", b"\1\0")),
        Record(7, AUTHORITY, variable("db", b"cert")),
        Record(12, TAG, WINDOWS_TAG),
        Record(8, IPL, b"grub_cmd: boot\0", measured=b"boot"),
        Record(8, IPL, b"kernel_cmdline: /vmlinuz root=/dev/sda1\0", measured=b"/vmlinuz root=/dev/sda1"),
    ],
    ids=lambda record: f"{record.type:#x}",
)
def test_one_changed_byte_of_bound_data_is_named(record: Record) -> None:
    event = event_of(record)
    assert binding(event).matches is True
    for at in range(prefix(record.data), len(record.data.removesuffix(b"\0"))):
        changed = bytearray(record.data)
        changed[at] ^= 0x20
        forged = Record(record.pcr, record.type, bytes(changed), digests=event.digests)
        assert judged(forged).matches is False, at


def prefix(data: bytes) -> int:
    return data.find(b": ") + 2 if b": " in data else 0


def test_the_name_of_a_boot_variable_is_not_bound_where_only_its_value_is_hashed() -> None:
    digests = tuple((alg, digest(alg, b"xy")) for alg in (SHA1, SHA256))
    renamed = Record(1, BOOT, variable("Boot0002", b"xy"), digests=digests)
    assert judged(renamed) == Binding(matches=True, rule=Rule.VARIABLE_VALUE, measured=b"xy")


def test_a_variable_whose_sizes_lie_is_named() -> None:
    for at in (16, 24):
        data = bytearray(variable("Boot0001", b"xy"))
        data[at] += 1
        assert judged(Record(1, BOOT, bytes(data), measured=b"xy")).matches is False
    assert judged(Record(1, BOOT, b"short", measured=b"xy")).matches is False
    assert judged(Record(7, AUTHORITY, b"short", measured=b"xy")).matches is False


def test_every_bank_must_agree() -> None:
    """A forged SHA-1 alone does not make altered data true, and a judged bank is the one that counts."""
    forged = Record(
        4, 5, b"altered", digests=((SHA1, digest(SHA1, b"altered")), (SHA256, digest(SHA256, b"x")))
    )
    event = event_of(forged)
    assert binding(event).matches is False
    assert binding(event, (Alg.SHA256,)).matches is False
    assert binding(event, (Alg.SHA1,)).matches is True


def test_a_bank_that_nothing_here_computes_is_not_judged() -> None:
    assert (
        judged(Record(0, SEPARATOR, SEPARATION, digests=((0x12, bytes(32)),)), banks=(0x12,)).matches is None
    )


def test_the_table_in_the_docs_is_the_table_in_the_code(repository: Path) -> None:
    rows = {}
    for line in (repository / "docs" / "eventlog.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `EV_") and len(cells) == 3:
            for name in cells[0].replace("`", "").split(", "):
                rows[name] = (cells[1], tuple(cells[2].replace("`", "").split(", ")))
    assert rows.keys() == RULES.keys()
    for name, rules in RULES.items():
        null, named = rows[name]
        assert named == (tuple(rule.value for rule in rules.rules) or ("none",)), name
        samples = (b"", b"text", b"grub_cmd: boot", LINUX_INITRD, WINDOWS_TAG)
        assert (null == "no") == (not any(map(rules.describes, samples))), name
        assert (null == "always") == all(map(rules.describes, samples)), name
    assert RULES.keys() <= EventType.__members__.keys()
