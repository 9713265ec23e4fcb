"""GRUB scripts with branches, loops, functions and menus: what real boots had, and which entry runs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.boot.grub import Grub
from attest.errors import AttestInputError
from attest.predict import grub
from attest.predict.grub import GrubRun, Loader
from attest.predict.script import GrubScriptError
from tests.attest.predict.build import FILES, reader

BOOTS = Path(__file__).parent / "boots"
BOOTED: Any = json.loads((BOOTS / "boots.json").read_text())
KNOWN = Loader("hd0", frozenset({"boot/grub/grub.cfg"}))
XEN = b"\nmultiboot2 /xen.gz\nmodule2 /vmlinuz\n"


def run(config: bytes, files: Mapping[str, bytes] = FILES, loader: Loader = KNOWN) -> GrubRun:
    folders = {name.rpartition("/")[0] for name in files} | {"boot", "boot/grub"}
    plain = reader(files)

    def read(path: str) -> bytes:
        if path in folders - {""}:
            raise IsADirectoryError(21, "Is a directory", path)
        return plain(path)

    return grub.run(config, read, ["sha256"], loader)


def commands(found: GrubRun) -> list[str]:
    return [step.what.removeprefix("command ") for step in found.steps if step.what.startswith("command ")]


def echoed(config: bytes, **files: bytes) -> list[str]:
    named = {name.replace("__", "/"): content for name, content in files.items()}
    found = commands(run(config, {**FILES, **named}))
    return [each.removeprefix("echo").strip() for each in found if each.startswith("echo")]


@pytest.mark.parametrize("name", sorted(BOOTED["boots"]))
def test_pcr_8_and_9_are_what_a_real_boot_had(name: str) -> None:
    """Read from the TPM after boots of Xen by GRUB 2.06 with these scripts (QEMU, OVMF, swtpm)."""
    booted = BOOTED["boots"][name]
    files = {path: (BOOTS / file).read_bytes() for path, file in booted["files"].items()}
    files |= {path: path.encode() for path in booted["digests"]}
    loader = Loader(BOOTED["disk"], frozenset(BOOTED["loader"]))
    found = run((BOOTS / booted["config"]).read_bytes(), files, loader)
    stand_ins = {hashlib.sha256(path.encode()).digest(): digest for path, digest in booted["digests"].items()}
    for pcr in (8, 9):
        value = bytes(32)
        for step in found.steps:
            if step.pcr == pcr:
                ((_, digest),) = step.digests
                value = hashlib.sha256(value + bytes.fromhex(stand_ins.get(digest, digest.hex()))).digest()
        assert value.hex() == booted["pcrs"][str(pcr)]


def test_the_menu_of_grub_mkconfig_starts_its_default() -> None:
    found = run((BOOTS / "mkconfig.cfg").read_bytes())
    assert found.xen.arguments.endswith("noreboot no-real-mode edd=off")
    assert [module.path for module in found.modules] == ["/vmlinuz", "/initrd.img"]
    assert "setparams Debian GNU/Linux, with Xen 4.17-amd64 and Linux 6.1.0" in commands(found)


@pytest.mark.parametrize(
    ("default", "title"),
    [
        (b"Debian GNU/Linux, with Xen hypervisor", "Debian GNU/Linux, with Xen hypervisor"),
        (b"xen-gnulinux-simple-1f2e", "Debian GNU/Linux, with Xen hypervisor"),
        (b"1", "Debian GNU/Linux, with Xen hypervisor"),
        (b"0x1", "Debian GNU/Linux, with Xen hypervisor"),
        (b"2>0>0", "Debian GNU/Linux, with Xen 4.17-amd64 and Linux 6.1.0 (recovery mode)"),
        (b"02>0>1", "Debian GNU/Linux, with Xen 4.17-amd64 and Linux 6.1.0"),
        (b"gnulinux-advanced-1f2e", "Debian GNU/Linux, with Xen 4.17-amd64 and Linux 6.1.0 (recovery mode)"),
    ],
)
def test_set_default_decides_which_entry_runs(default: bytes, title: str) -> None:
    script = (BOOTS / "mkconfig.cfg").read_bytes()
    start, end = script.index(b'   set default="gnu'), script.index(b"\nfi\n\nif [ x")
    found = run(script[:start] + b"set default='" + default + b"'" + script[end:])
    assert f"setparams {title}" in commands(found)


@pytest.mark.parametrize("default", [b"0", b"Debian GNU/Linux", b"nobody", b"99", b""])
def test_a_default_that_is_no_xen_entry_is_refused_with_its_line(default: bytes) -> None:
    script = (BOOTS / "mkconfig.cfg").read_bytes()
    start, end = script.index(b'   set default="gnu'), script.index(b"\nfi\n\nif [ x")
    with pytest.raises(GrubScriptError, match="linux") as caught:
        run(script[:start] + b"set default='" + default + b"'" + script[end:])
    lines = script.splitlines()
    assert lines[caught.value.line - 1].strip().startswith(b"linux")


def test_every_byte_of_every_entry_counts_chosen_or_not() -> None:
    script = (BOOTS / "mkconfig.cfg").read_bytes()
    for old, new in [
        (b"ro single", b"ro singlf"),
        (b"fwsetup", b"fwsetuq"),
        (b"\tinsmod gzio", b" insmod gzio"),
    ]:
        assert old in script
        assert run(script.replace(old, new)).steps != run(script).steps


def test_the_loader_s_own_script_goes_on_with_the_one_on_the_disk() -> None:
    files = {**FILES, "boot/grub/grub.cfg": b"menuentry x {" + XEN + b"}\nset timeout=3\n"}
    found = run(b"configfile /boot/grub/grub.cfg\n", files)
    assert [step.what for step in found.steps][:2] == [
        "command configfile /boot/grub/grub.cfg",
        "file /boot/grub/grub.cfg",
    ]
    assert found.xen.path == "/xen.gz"


def test_an_error_in_another_script_names_it_and_the_line() -> None:
    files = {**FILES, "boot/more.cfg": b"echo a\n\nrmmod tpm\n"}
    with pytest.raises(GrubScriptError, match=r"^/boot/more\.cfg: line 3: ") as caught:
        run(b"source /boot/more.cfg\n", files)
    assert caught.value.line == 3


def test_an_error_in_an_entry_names_the_line_of_the_file() -> None:
    script = b"# gone\nset timeout=0\nmenuentry x {\n# gone\n echo a\n if serial; then echo b; fi\n}\n"
    with pytest.raises(GrubScriptError) as caught:
        run(script)
    assert caught.value.line == 6


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (b"menuentry x {" + XEN + b"}", "waits for a person"),
        (b"set timeout=-1\nmenuentry x {" + XEN + b"}", "waits for a person"),
        (b"set timeout=abc\nmenuentry x {" + XEN + b"}", "waits for a person"),
        (b"set timeout=0\nmenuentry x { echo a; }", "no Xen is loaded"),
        (b"set timeout=0\nset superusers=root\nmenuentry x {" + XEN + b"}", "password"),
        (b"set timeout=0\nset superusers=root\nmenuentry x --users me {" + XEN + b"}", "password"),
        (b"echo a", "wait for a person"),
        (b"set timeout=0\nsubmenu a { echo b; }", "no Xen is loaded"),
    ],
)
def test_a_menu_that_waits_or_boots_nothing_is_refused(config: bytes, match: str) -> None:
    with pytest.raises(GrubScriptError, match=match):
        run(config + b"\n")


def test_an_unrestricted_entry_needs_no_password() -> None:
    config = b"set timeout=0\nset superusers=root\nmenuentry x --unrestricted {" + XEN + b"}\n"
    assert run(config).xen.path == "/xen.gz"


BOOT = XEN + b"boot\n"


def test_only_exported_variables_reach_another_config() -> None:
    script = b"set a=1\nset b=2\nexport b\nconfigfile /boot/next.cfg\n"
    assert echoed(script, boot__next=b"", **{"boot__next.cfg": b'echo "[$a][$b]"' + BOOT}) == ["[][2]"]


def test_variables_that_are_never_set_are_empty() -> None:
    assert echoed(b'echo $nothing "$nothing" a$nothing' + BOOT) == ["a"]


def test_what_lies_in_the_loader_is_known_from_the_list_only() -> None:
    script = b"if [ -f $prefix/fonts/x.pf2 -a -d $prefix ]; then echo here; else echo gone; fi" + BOOT
    listed = Loader(None, frozenset({"boot/grub/fonts/x.pf2"}))
    assert "echo here" in commands(run(script, loader=listed))
    assert "echo gone" in commands(run(script, loader=KNOWN))
    with pytest.raises(GrubScriptError, match=r"grub\.memdisk"):
        run(script, loader=Loader())


def test_the_boot_disk_s_name_makes_root_known() -> None:
    script = b"search --file /xen.gz --set=root\necho $root\nmultiboot2 ($root)/xen.gz\nboot\n"
    found = run(script)
    assert "echo hd0" in commands(found)
    assert found.xen.path == "/xen.gz"
    with pytest.raises(GrubScriptError, match=r"grub\.disk"):
        run(script, loader=Loader())


def test_a_test_of_content_opens_the_file_and_one_of_existence_does_not() -> None:
    tested = run(b"if [ -s /vmlinuz ]; then echo a; fi" + BOOT)
    looked = run(b"if [ -f /vmlinuz ]; then echo a; fi" + BOOT)
    assert sum(step.what == "file /vmlinuz" for step in tested.steps) == 2
    assert sum(step.what == "file /vmlinuz" for step in looked.steps) == 1


def test_a_file_that_a_source_line_names_must_be_there() -> None:
    with pytest.raises(FileNotFoundError):
        run(b"source /boot/none.cfg\n")


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        (b"", True),
        (b"''", False),
        (b"a", True),
        (b"! a", False),
        (b"! ''", True),
        (b"a = a -a b = c", False),
        (b"a = b -o b = b", True),
        (b"a = b -a a = b -o a", True),
        (b"-n a -a -z ''", True),
        (b"( a = b ) -o ( c )", True),
        (b"! ( a = a )", False),
        (b"-1 -lt 0x10 -a 010 -eq 8", True),
        (b"a '<' b -a b '>' a -a a '<=' a -a a != b -a a == a", True),
        (b"-n = -n", True),
    ],
)
def test_conditions(words: bytes, holds: bool) -> None:  # noqa: FBT001 - a parametrised case
    for form in (b"[ " + words + b" ]", b"test " + words):
        found = commands(run(b"if " + form + b"; then echo yes; else echo no; fi" + BOOT))
        assert ("echo yes" in found) is holds


@pytest.mark.parametrize(
    "config",
    [
        b"while true; do x=$x; done",
        b"for a in 1 2 3 4 5 6 7 8; do " * 40 + b"echo x; " + b"done; " * 40,
        b"set a='" + b" x" * 30_000 + b"'\nwhile true; do $e; for b in $a; do $e; done; done",
        b"while true; do echo " + b"''" * 60_000 + b"; done",
        b"menuentry " * 10 + b"x {" * 40_000,
        b"if " * 80_000,
        b"if true; then echo a; " * 40 + b"fi; " * 40,
        b"while true; do search --file /xen.gz --set=root; done",
        b"while true; do if [ -s /xen.gz ]; then $e; fi; done",
        b"while [ " + b"( " * 20_000 + b"]; do echo; done",
        b"source /boot/self.cfg",
        b"configfile /boot/self.cfg",
        b"while true; do menuentry x { echo a; }; done",
    ],
    ids=lambda config: config[:24].decode(),
)
def test_a_script_that_does_not_end_is_refused_in_bounded_time(config: bytes) -> None:
    files = {**FILES, "boot/self.cfg": b"source /boot/self.cfg\nconfigfile /boot/self.cfg\n"}
    start = time.process_time()
    with pytest.raises(GrubScriptError):
        run(config + b"\n", files)
    assert time.process_time() - start < 4


TOKENS = st.sampled_from(
    [
        *(
            *"{};\n ab",
            "if ",
            "then ",
            "else ",
            "elif ",
            "fi",
            "; ",
            "\n",
            "true",
            "false",
            "echo a",
            "set a=1",
        ),
        *("for x in a b; do ", "done", "while ", "do ", "function f {", "f", "menuentry 'x' {", "} ", "$a"),
        *("break", "return 1", "! ", "'", '"', "$?", "$1", "#", "boot\n", "set timeout=0\n", "[ a = $a ]"),
        XEN.decode(),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(TOKENS, max_size=30).map("".join))
def test_any_script_gives_steps_or_an_input_error(config: str) -> None:
    try:
        run(config.encode())
    except (AttestInputError, FileNotFoundError):
        return


LINES = st.lists(
    st.sampled_from(
        [
            *(
                "set a=1",
                "set b='x  y'",
                "a=$b",
                'echo $a "$b" ${a}z',
                "search --file /xen.gz --set=root",
                "clear",
            ),
            *(
                "multiboot2 /xen.gz 'a b' $a",
                "module2 --nounzip /initrd.img $b",
                "echo a; echo 'b'",
                "unset a",
            ),
            *(
                "export a",
                "true",
                "insmod fat",
                "serial --unit=0",
                "echo \\\n  $b",
                "# note",
                "terminal_output gfxterm",
            ),
        ]
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(LINES)
def test_a_plain_script_is_predicted_as_it_is_measured(lines: list[str]) -> None:
    """Where the embedded host boots, the prediction exists and is equal; inside a menu entry as well."""
    config = ("multiboot2 /xen.gz\n" + "\n".join(lines)).encode()
    machine = Grub(reader(), ["sha256"])
    machine.run(config + b"\nboot\n")
    measured = [(event.pcr, event.digests["sha256"]) for event in machine.measurements]
    assert [(step.pcr, step.digests[0][1]) for step in run(config + b"\nboot\n").steps] == measured
    inside = run(b"set timeout=0\nmenuentry m {\n" + config + b"\n}\n").steps
    assert [(step.pcr, step.digests[0][1]) for step in inside][3:] == measured[:-1]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["true", "false", "! true", "[ a ]", "[ ]", "test a = b"]), min_size=1, max_size=5
    )
)
def test_the_first_condition_that_holds_decides(conditions: list[str]) -> None:
    truth = {"true": True, "false": False, "! true": False, "[ a ]": True, "[ ]": True, "test a = b": False}
    script = "".join(
        f"{'elif' if place else 'if'} {condition}; then echo {place}\n"
        for place, condition in enumerate(conditions)
    )
    expected = next((str(place) for place, each in enumerate(conditions) if truth[each]), "none")
    assert echoed(f"{script}else echo none; fi".encode() + BOOT) == [expected]
    tried = conditions if expected == "none" else conditions[: int(expected) + 1]
    found = commands(run(f"{script}else echo none; fi".encode() + BOOT))
    assert found[: len(tried)] == tried
