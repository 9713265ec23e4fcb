"""What GRUB measures: checked against boots of GRUB 2.06, and what cannot be told beforehand is refused."""

from __future__ import annotations

import hashlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.boot.grub import Grub
from attest.errors import AttestInputError
from attest.predict import grub
from attest.predict.measuring import Module
from attest.predict.script import GrubScriptError
from attest.reference import Component
from tests.attest.predict.build import FILES, reader

LAB = b"""\
set timeout=0
insmod tpm
insmod multiboot2
insmod part_gpt
insmod fat
insmod serial
serial --unit=0 --speed=115200
terminal_output serial
search --file /xen.gz --set=root
echo booting xen
multiboot2 /xen.gz placeholder console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all dom0_mem=768M \
dom0_max_vcpus=1 ucode=no-scan noreboot
module2 /vmlinuz placeholder console=hvc0 ima_policy=tcb ro quiet
module2 --nounzip /initrd.img
boot
"""
LAB_PCR8 = "cc1bd3fca3c67f1bdbfa440b7944d5c6920f147bdee56f41fd9c6709c35c8180"
"""Read from PCR 8 after a boot of Xen 4.17 by GRUB 2.06 with these lines (QEMU, OVMF, swtpm)."""

EVERYTHING = b"""\
# a comment with an unclosed ' quote
set timeout=0
serial --unit=0 --speed=115200;terminal_output serial # trailing comment
set a='one  two' ; set b="$a three"
set empty=
echo $a "$a" ${b}x '$a' "\\$a" "" '' $empty "$empty" end
echo a\\ b \\$c "q\\"q" "keep\\n" 'it\\s' x#y\ttab\tbetween
echo\tlong \\
# dropped even inside a continuation
  line con\\
tinued  'quoted
over lines' done
x=1
y="$x $x"
echo pre${y}post in if fi ; echo "${y}"
  search --no-floppy --file --set=root /xen.gz
search --set=other -f /vmlinuz
unset x
echo "[$x]" w*ld qu?stion \\*
multiboot2 /xen.gz placeholder "two words" back\\\\slash 'sq"dq' "it's" console=com1 com1=115200,8n1 \
dom0_mem=768M dom0_max_vcpus=1 ucode=no-scan noreboot "" last
module2 /vmlinuz placeholder console=hvc0 ro quiet a="b c"
module2 --nounzip /initrd.img
boot
echo never
"""
EVERYTHING_PCR8 = "1e9d4e41d7328fb506395bbd4f5cbcb0eb60db53884e743ca73ea89012ce3180"
"""Read from PCR 8 on 2026-11-23 after a boot of Xen 4.17 by GRUB 2.06-13+deb12u2 (QEMU, OVMF, swtpm)."""


def predicted(config: bytes) -> grub.GrubRun:
    return grub.run(config, reader(), ["sha256"])


def replay(pairs: list[tuple[int, bytes]], pcr: int) -> str:
    value = bytes(32)
    for number, digest in pairs:
        if number == pcr:
            value = hashlib.sha256(value + digest).digest()
    return value.hex()


def by_prediction(config: bytes) -> list[tuple[int, bytes]]:
    return [(step.pcr, step.digests[0][1]) for step in predicted(config).steps]


def by_measuring(config: bytes) -> list[tuple[int, bytes]]:
    machine = Grub(reader(), ["sha256"])
    machine.run(config)
    return [(event.pcr, event.digests["sha256"]) for event in machine.measurements]


@pytest.mark.parametrize("side", [by_prediction, by_measuring])
@pytest.mark.parametrize(("config", "value"), [(LAB, LAB_PCR8), (EVERYTHING, EVERYTHING_PCR8)])
def test_pcr_8_is_what_a_real_boot_had(side: object, config: bytes, value: str) -> None:
    assert callable(side)
    assert replay(side(config), 8) == value


def test_pcr_9_has_every_file_in_the_order_of_opening() -> None:
    files = [digest for pcr, digest in by_prediction(LAB) if pcr == 9]
    names = ["xen.gz", "xen.gz", "vmlinuz", "initrd.img"]
    assert files == [hashlib.sha256(FILES[name]).digest() for name in names]


def test_blanks_quotes_comments_and_carriage_returns_do_not_count() -> None:
    other = b"# note\r\n" + LAB.replace(b"set timeout=0", b"  set\t'timeout=0'  # now").replace(
        b"\n", b"\r\n"
    )
    assert by_prediction(other) == by_prediction(LAB) == by_measuring(other)


def test_what_is_started() -> None:
    found = predicted(EVERYTHING)
    expected = 'placeholder "two words" back\\\\slash sq\\"dq it\\\'s console=com1 com1=115200,8n1'
    assert found.xen.arguments.startswith(expected)
    assert found.modules[0] == Module("/vmlinuz", 'placeholder console=hvc0 ro quiet "a=b c"')
    assert found.modules[1] == Module("/initrd.img", "")


def test_the_components() -> None:
    found = [(step.pcr, step.component, step.what) for step in predicted(LAB).steps]
    assert (9, Component.XEN, "file /xen.gz") in found
    assert (9, Component.DOM0, "file /initrd.img") in found
    assert (8, Component.LOADER, "command search --file /xen.gz --set=root") in found
    assert (8, Component.DOM0, "arguments") in found
    assert {component for pcr, component, what in found if what == "file /xen.gz"} == {Component.XEN}


def test_a_second_multiboot2_starts_anew() -> None:
    config = b"multiboot2 /vmlinuz a\nmodule2 /initrd.img\nmultiboot2 /xen.gz b\nboot\n"
    found = predicted(config)
    assert (found.xen.path, found.xen.arguments, found.modules) == ("/xen.gz", "b", ())
    assert by_prediction(config) == by_measuring(config)


TAIL = b"\nmultiboot2 /xen.gz\nmodule2 /vmlinuz\nboot\n"

REFUSED = [
    (b"insmod fat\nif serial; then echo a; fi", 2, "grub-unresolved"),
    (b"\nif true\nthen\n if terminfo; then echo a; fi\nfi", 4, "grub-unresolved"),
    (b"serial\nif [ $? = 0 ]; then echo a; fi", 2, "grub-unresolved"),
    (b"while sleep 1; do echo a; done", 1, "grub-unresolved"),
    (b"while true; do echo a; done", 1, "grub-unresolved"),
    (b"while $nothing; do $nothing; done", 1, "grub-unresolved"),
    (b"function f { f; }\nf", 1, "grub-unresolved"),
    (b"if [ a -nt b ]; then echo a; fi", 1, "grub-unresolved"),
    (b"if [ x -eq 1 ]; then echo a; fi", 1, "grub-unresolved"),
    (b"if [ -f (hd7)/x ]; then echo a; fi", 1, "grub-command"),
    (b"if [ -f (memdisk)/x ]; then echo a; fi", 1, "grub-unresolved"),
    (b"if [ -s $prefix/grubenv ]; then load_env; fi", 1, "grub-unresolved"),
    (b"load_env", 1, "grub-unresolved"),
    (b"if loadfont unicode; then echo a; fi", 1, "grub-unresolved"),
    (b"echo $cmdpath", 1, "grub-unresolved"),
    (b"echo $net_default_ip", 1, "grub-unresolved"),
    (b"echo $lockdown", 1, "grub-unresolved"),
    (b"echo $?", 1, "grub-unresolved"),
    (b'echo $"text"', 1, "grub-unresolved"),
    (b"search --file /xen.gz --set=root\necho $root", 2, "grub-unresolved"),
    (b"search --label x --set=dev\nif [ a = a$dev ]; then echo a; fi", 2, "grub-unresolved"),
    (b"multiboot2 /xen.gz\necho $gfxpayload", 2, "grub-unresolved"),
    (b"echo /boot/vm*", 1, "grub-unresolved"),
    (b"echo (hd?)/x", 1, "grub-unresolved"),
    (b"for x in /boot/*; do echo $x; done", 1, "grub-unresolved"),
    (b"search --file /xen.gz", 1, "grub-unresolved"),
    (b"set locale_dir=/boot/grub/locale", 1, "grub-unresolved"),
    (b"set secondary_locale_dir=(hd0)/x", 1, "grub-unresolved"),
    (b"set check_signatures=enforce", 1, "grub-unresolved"),
    (b"prefix=(hd0)/grub", 1, "grub-unresolved"),
    (b"menuentry --wild x { boot; }", 1, "grub-unresolved"),
    (b"linux /vmlinuz", 1, "grub-command"),
    (b"if true; then linux /vmlinuz; fi", 1, "grub-command"),
    (b"eval 'echo a'", 1, "grub-command"),
    (b"rmmod tpm", 1, "grub-command"),
    (b"insmod /evil.mod", 1, "grub-command"),
    (b"set a", 1, "grub-command"),
    (b"unset prefix", 1, "grub-command"),
    (b"export", 1, "grub-command"),
    (b"loadfont", 1, "grub-command"),
    (b"loadfont /xen.gz /vmlinuz", 1, "grub-unresolved"),
    (b"if loadfont /xen.gz; then echo a; fi", 1, "grub-unresolved"),
    (b"return", 1, "grub-command"),
    (b"setparams a", 1, "grub-command"),
    (b"for x in a; do break 0; done", 1, "grub-command"),
    (b"function f { shift 2; }\nf a", 1, "grub-command"),
    (b"!", 1, "grub-command"),
    (b"echo a { echo b; }", 1, "grub-command"),
    (b"menuentry x", 1, "grub-command"),
    (b"menuentry { echo a; }", 1, "grub-command"),
    (b"menuentry x --class", 1, "grub-command"),
    (b"source", 1, "grub-command"),
    (b"module2 /vmlinuz", 1, "grub-command"),
    (b"multiboot2", 1, "grub-command"),
    (b"multiboot2 xen.gz", 1, "grub-command"),
    (b"multiboot2 (hd0)/xen.gz", 1, "grub-command"),
    (b"multiboot2 /../xen.gz", 1, "grub-command"),
    (b"search --set=a --file --label x", 1, "grub-command"),
    (b"search --set=a --wild --file x", 1, "grub-command"),
    (b"boot", 1, "grub-command"),
    (b"echo 'open", 1, "grub-syntax"),
    (b'echo "open', 1, "grub-syntax"),
    (b'echo "$"', 1, "grub-syntax"),
    (b"echo a && echo b", 1, "grub-syntax"),
    (b"echo a > b", 1, "grub-syntax"),
    (b"echo a;; echo b", 1, "grub-syntax"),
    (b"; echo b", 1, "grub-syntax"),
    (b"if true then echo a; fi", 1, "grub-syntax"),
    (b"if true; then fi", 1, "grub-syntax"),
    (b"if true; then if true; then echo a; fi fi", 1, "grub-syntax"),
    (b"if true; then echo a; else; echo b; fi", 1, "grub-syntax"),
    (b"fi", 1, "grub-syntax"),
    (b"echo }", 1, "grub-syntax"),
    (b"{ echo a; }", 1, "grub-syntax"),
    (b"menuentry x { }", 1, "grub-syntax"),
    (b"menuentry x {\n\necho a\n", 7, "grub-syntax"),
    (b"menuentry x { echo a; } more", 1, "grub-syntax"),
    (b"menuentry x { function f { echo a; }; }", 1, "grub-syntax"),
    (b"function f { echo a }", 1, "grub-syntax"),
    (b"function 'f' { echo a; }", 1, "grub-syntax"),
    (b"for 1 in a; do echo a; done", 1, "grub-syntax"),
    (b"for x a; do echo a; done", 1, "grub-syntax"),
    (b"[[ a ]]", 1, "grub-syntax"),
    (b"echo \xff", 1, "grub-syntax"),
    (b"echo a\x01b", 1, "grub-syntax"),
]


@pytest.mark.parametrize(("start", "line", "code"), REFUSED, ids=[repr(start) for start, _, _ in REFUSED])
def test_a_script_that_cannot_be_predicted_is_refused_with_its_line(
    start: bytes, line: int, code: str
) -> None:
    with pytest.raises(GrubScriptError, match=rf"grub\.cfg: line {line}: ") as caught:
        predicted(start + TAIL)
    assert (caught.value.line, caught.value.code) == (line, code)


def test_a_script_without_boot_is_refused() -> None:
    with pytest.raises(GrubScriptError, match="boot"):
        predicted(b"echo a\n")


def test_a_backslash_at_the_end_of_the_file_is_refused() -> None:
    with pytest.raises(GrubScriptError, match="backslash"):
        predicted(b"echo a\\\n")


def test_lines_after_boot_are_never_read() -> None:
    assert by_prediction(LAB + b"menuentry { $x '\n") == by_prediction(LAB)


def test_a_missing_file_is_an_os_error_that_names_it() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        predicted(b"multiboot2 /none.gz\nboot\n")
    assert caught.value.filename == "none.gz"


@pytest.mark.parametrize(
    "config",
    [
        b"a=xxxxxxxx\n" + b"a=$a$a\n" * 40 + TAIL,
        b"a='x x x x x x x x'\n" + b'a="$a $a"\n' * 40 + b"echo $a" + TAIL,
        b"echo " + b"x" * 200_000 + TAIL,
        b"echo " + b"x " * 100_000 + TAIL,
        b"echo " + b"\\x" * 100_000 + TAIL,
        b'echo "' + b"\\\\" * 100_000 + b'"' + TAIL,
        b"x" * 300_000,
    ],
    ids=["doubling", "doubling words", "long word", "many words", "escapes", "quoted escapes", "large file"],
)
def test_growth_is_bounded_on_both_sides(config: bytes) -> None:
    start = time.process_time()
    for side in (by_prediction, by_measuring):
        try:
            side(config)
        except AttestInputError:
            pass
        else:
            assert side is by_measuring  # its bound is wider
    assert time.process_time() - start < 5


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_steps_or_an_input_error(config: bytes) -> None:
    for side in (by_prediction, by_measuring):
        try:
            side(config)
        except (AttestInputError, FileNotFoundError):
            continue


CHARACTERS = st.sampled_from([*"ab=$ \t'\"\\;#\n{}*?/x1_-", "${a}", "$b", "set a=", "echo ", "b="])


@settings(max_examples=500, deadline=None)
@given(st.lists(CHARACTERS, max_size=24).map("".join))
def test_what_is_predicted_is_what_is_measured(middle: str) -> None:
    """Each side knows scripts that the other refuses; of no script do they say different things."""
    config = b"set a='1 2'\nb=\n" + middle.encode() + TAIL
    try:
        expected, measured = by_prediction(config), by_measuring(config)
    except (AttestInputError, FileNotFoundError):
        return
    assert measured == expected


WORD = st.text(st.sampled_from("abc012=,/.:_- '\"\\$#"), min_size=1, max_size=8)


def quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(WORD, min_size=1, max_size=4), min_size=1, max_size=5))
def test_quoted_words_are_measured_as_they_are(commands: list[list[str]]) -> None:
    lines = ["echo " + "  ".join(map(quoted, words)) for words in commands]
    found = [digest for pcr, digest in by_prediction("\n".join(lines).encode() + TAIL) if pcr == 8]
    wanted = [hashlib.sha256(" ".join(["echo", *words]).encode()).digest() for words in commands]
    assert found[: len(wanted)] == wanted


@settings(max_examples=200, deadline=None)
@given(st.lists(WORD, max_size=5))
def test_loader_arguments_are_escaped_alike_on_both_sides(words: list[str]) -> None:
    line = " ".join(["multiboot2 /xen.gz", *map(quoted, words)])
    config = line.encode() + b"\nmodule2 /vmlinuz\nboot\n"
    assert by_prediction(config) == by_measuring(config)
