"""Why two boots differ: the file, line or event, from events on both sides or on one."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import AttestInputError, AttestUsageError
from attest.predict import document, pcrread
from attest.predict.explain import Change, Explanation, Kind, RegisterEvent, Registers, explain
from attest.predict.prediction import Prediction, predict
from attest.predict.wording import changed
from tests.attest.predict.build import CONFIG, FILES, RECORDING, Image, reader

LOADER = "EFI/BOOT/BOOTX64.EFI"
DOM0 = "module2 /vmlinuz placeholder ro"


def predicted(files: Mapping[str, bytes] = FILES) -> Prediction:
    return predict(files["grub.cfg"], reader(files), ["sha256"], recording=RECORDING, loader=LOADER)


def registers(files: Mapping[str, bytes] = FILES, *, events: bool = True) -> Registers:
    found = predicted(files)
    behind = (
        RegisterEvent(each.pcr, dict(each.digests), each.component.value, each.what) for each in found.events
    )
    return Registers(found.pcrs, tuple(behind) if events else ())


def details(found: Explanation) -> dict[int, list[str]]:
    return {each.pcr: [change.detail for change in each.changes] for each in found.differences}


def other(name: str, content: bytes) -> dict[str, bytes]:
    return {**FILES, name: content}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("xen.gz", b"other", {9: ["/xen.gz differs"]}),
        ("vmlinuz", b"other", {9: ["/vmlinuz differs"]}),
        (LOADER, Image(sections=(b"other",)).build(), {4: [f"{LOADER} differs"]}),
        (
            "grub.cfg",
            CONFIG.replace(b"quiet", b"init=/bin/sh"),
            {
                8: [
                    f"in the command '{DOM0} quiet' 'quiet' is now 'init=/bin/sh'",
                    "in the arguments 'placeholder ro quiet' 'quiet' is now 'init=/bin/sh'",
                ]
            },
        ),
        ("grub.cfg", b"echo more\n" + CONFIG, {8: ["the command 'echo more' is new"]}),
        ("grub.cfg", CONFIG.replace(b"set timeout=0\n", b""), {8: ["the command 'set timeout=0' is gone"]}),
        (
            "grub.cfg",
            CONFIG.replace(b"module2 --nounzip /initrd.img\n", b""),
            {
                8: ["the command 'module2 --nounzip /initrd.img' is gone", "the arguments '' is gone"],
                9: ["/initrd.img is gone"],
            },
        ),
    ],
)
def test_what_an_update_changes_is_named(name: str, content: bytes, expected: dict[int, list[str]]) -> None:
    found = explain(registers(), registers(other(name, content)))
    assert details(found) == expected
    assert set(found.equal) == set(range(10)) - set(expected)


def test_a_line_inside_a_menu_entry_is_named() -> None:
    entry = b"set timeout=0\nmenuentry 'Xen' {\n insmod fat\n" + CONFIG.replace(b"boot\n", b"}\n")
    changed = entry.replace(b"insmod fat", b"insmod ext2")
    found = explain(registers(other("grub.cfg", entry)), registers(other("grub.cfg", changed)))
    assert details(found)[8] == [
        "in the command 'menuentry Xen {' the line 'insmod fat' is now 'insmod ext2'",
        "in the command 'insmod fat' 'fat' is now 'ext2'",
    ]


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (
            "x " * 90 + "flask=enforcing",
            "x " * 90 + "flask=permissive",
            "'flask=enforcing' is now 'flask=permissive'",
        ),
        ("a b c", "a b c flask=permissive", "'flask=permissive' is new"),
        ("a iommu=force c", "a c", "'iommu=force' is gone"),
        ("a b c d", "x b y d", "'a' is now 'x', and 'c' is now 'y'"),
    ],
)
def test_the_words_that_differ_are_named_however_long_the_line(a: str, b: str, said: str) -> None:
    found = changed(f"arguments {a}", f"arguments {b}")
    assert found.startswith("in the arguments '")
    assert found.endswith(f"' {said}")


def test_lines_without_a_word_in_common_are_told_whole() -> None:
    assert changed("command a b", "command c d") == "the command 'a b' is now 'c d'"


def test_the_component_comes_with_it() -> None:
    found = explain(registers(), registers(other("initrd.img", b"other")))
    (change,) = found.differences[0].changes
    what = "file /initrd.img"
    assert change == Change(Kind.CHANGED, "dom0", what, what, "/initrd.img differs")


def test_two_lines_that_change_places_are_moved() -> None:
    a, b = (b"echo 1\necho 2\necho 3\n" + CONFIG, b"echo 2\necho 3\necho 1\n" + CONFIG)
    found = explain(registers(other("grub.cfg", a)), registers(other("grub.cfg", b)))
    assert details(found) == {8: ["the command 'echo 1' comes at another place"]}


def test_equal_sides_have_no_difference() -> None:
    found = explain(registers(), registers())
    assert (found.differences, found.equal) == ((), tuple(range(10)))


def test_registers_of_one_side_alone_are_told() -> None:
    values = dict(registers().pcrs["sha256"])
    smaller = Registers({"sha256": {pcr: values[pcr] for pcr in (4, 8)} | {12: bytes(32)}})
    found = explain(registers(), smaller)
    assert (found.equal, found.only_a, found.only_b) == ((4, 8), (0, 1, 2, 3, 5, 6, 7, 9), (12,))


@pytest.mark.parametrize("pcrs", [{}, {"sha1": {8: bytes(20)}}, {"sha256": {}}, {"sha256": {12: bytes(32)}}])
def test_nothing_in_common_is_wrong_usage(pcrs: dict[str, dict[int, bytes]]) -> None:
    with pytest.raises(AttestUsageError, match="nothing to compare"):
        explain(registers(), Registers(pcrs))


@pytest.mark.parametrize(
    ("config", "kind", "detail"),
    [
        (CONFIG.replace(b"set timeout=0\n", b""), Kind.REMOVED, "the command 'set timeout=0' is gone"),
        (
            CONFIG.replace(b"set timeout=0\n", b"set timeout=0\n" * 2),
            Kind.REPEATED,
            "the command 'set timeout=0' comes twice",
        ),
        (
            b"search --file /xen.gz --set=root\nset timeout=0\nm" + CONFIG.partition(b"\nm")[2],
            Kind.MOVED,
            "the command 'set timeout=0' comes at another place",
        ),
        (b"echo something else\n" + CONFIG, Kind.UNKNOWN, None),
    ],
)
def test_values_alone_tell_a_small_change(config: bytes, kind: Kind, detail: str | None) -> None:
    """A TPM's values have no events: what was left out, came twice or moved is found by trying."""
    found = explain(registers(), registers(other("grub.cfg", config), events=False))
    change = next(each.changes[0] for each in found.differences if each.pcr == 8)
    assert change.kind is kind
    assert detail is None or change.detail == detail


def test_values_alone_are_tried_in_the_other_direction_too() -> None:
    shorter = registers(other("grub.cfg", CONFIG.replace(b"set timeout=0\n", b"")), events=False)
    found = explain(shorter, registers())
    assert details(found) == {8: ["the command 'set timeout=0' is new"]}


def test_a_boot_that_ended_early_is_told() -> None:
    good = registers()
    value = bytes(32)
    for event in [event for event in good.events if event.pcr == 8][:3]:
        value = hashlib.sha256(value + event.digests["sha256"]).digest()
    found = explain(good, Registers({"sha256": {**good.pcrs["sha256"], 8: value}}))
    assert details(found) == {
        8: ["the command 'multiboot2 /xen.gz placeholder console=com1' is the last that was measured"]
    }


def test_a_register_that_was_never_extended_is_told() -> None:
    good = registers()
    found = explain(good, Registers({"sha256": {**good.pcrs["sha256"], 8: bytes(32), 9: bytes(32)}}))
    assert details(found) == {pcr: [f"PCR {pcr} was never extended in B"] for pcr in (8, 9)}


def test_what_cannot_be_told_is_narrowed_down() -> None:
    found = explain(registers(), registers(other("vmlinuz", b"other"), events=False))
    assert details(found) == {9: ["which one is not known: /xen.gz, /vmlinuz, /initrd.img"]}


def test_events_that_do_not_replay_to_the_value_are_not_used() -> None:
    good = registers()
    forged = tuple(event for event in good.events if event.what != "file /vmlinuz")
    found = explain(good, Registers({"sha256": {**good.pcrs["sha256"], 9: b"\1" * 32}}, forged))
    assert details(found) == {9: ["which one is not known: /xen.gz, /vmlinuz, /initrd.img"]}


def test_many_events_take_bounded_time() -> None:
    def many(first: int) -> Registers:
        events = tuple(
            RegisterEvent(8, {"sha256": (n % 7).to_bytes(32, "big")}, "loader", f"command {n}")
            for n in range(first, first + 16_000)
        )
        value = bytes(32)
        for event in events:
            value = hashlib.sha256(value + event.digests["sha256"]).digest()
        return Registers({"sha256": {8: value}}, events)

    start = time.process_time()
    a = many(0)
    for b in (many(3), Registers({"sha256": {8: b"\1" * 32}})):
        assert explain(a, b).differences
    assert time.process_time() - start < 3


def test_a_prediction_survives_its_document() -> None:
    import json

    found = predicted()
    raw = json.dumps(document.document("rack7", ["sha256"], found)).encode()
    again = document.decode(raw)
    assert (again.profile, again.pcrs, again.events) == ("rack7", found.pcrs, found.events)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 4000), st.binary(max_size=6), st.integers(0, 6))
def test_an_altered_document_is_read_or_refused(place: int, noise: bytes, skip: int) -> None:
    import json

    raw = json.dumps(document.document("rack7", ["sha256"], predict(CONFIG, reader(), ["sha256"]))).encode()
    place %= len(raw)
    with contextlib.suppress(AttestInputError):
        document.decode(raw[:place] + noise + raw[place + skip :])


PCRREAD = (
    b"  sha1:\n    0 : 0x"
    + b"AB" * 20
    + b"\n  sha256:\n    8 : 0x"
    + b"01" * 32
    + b"\n    10: 0x"
    + b"02" * 32
    + b"\n"
)


def test_the_values_that_tpm2_pcrread_prints_are_read() -> None:
    expected = {"sha1": {0: b"\xab" * 20}, "sha256": {8: b"\1" * 32, 10: b"\2" * 32}}
    assert pcrread.decode(PCRREAD) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"  sha256:\n",
        b"    8 : 0x" + b"01" * 32 + b"\n",
        b"  md5:\n    8 : 0x" + b"01" * 32,
        PCRREAD + b"  sha256:\n",
        PCRREAD + b"    8 : 0x" + b"01" * 32,
        PCRREAD + b"    24: 0x" + b"01" * 32,
        PCRREAD + b"    9 : 0x" + b"01" * 20,
        PCRREAD + b"    9 : 0x" + b"01" * 31 + b"\n",
        PCRREAD + b"more\n",
        PCRREAD + "\u00e9".encode(),
        b" " * 70_000,
    ],
)
def test_other_text_is_refused(raw: bytes) -> None:
    with pytest.raises(AttestInputError, match="PCR values"):
        pcrread.decode(raw)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(PCRREAD)), st.binary(max_size=8), st.integers(0, 8))
def test_altered_text_is_read_or_refused(place: int, noise: bytes, skip: int) -> None:
    with contextlib.suppress(AttestInputError):
        pcrread.decode(PCRREAD[:place] + noise + PCRREAD[place + skip :])
