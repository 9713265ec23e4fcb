"""``shype doctor``: fixture trees of machines that lack one thing each, and a real swtpm."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.doctor import Facts, State, TpmAnswers, examine
from attest.predict.unified import CLOSED
from shype.machine import look
from shype.tpmanswers import TpmRefusedError, ask
from tests.attest.eventlog.build import SEPARATION, SEPARATOR, Record, sha1_log
from tests.attest.predict.build import Image, unified
from tests.conftest import REPOSITORY
from tests.schemas import validator
from tests.shype.outcome import Outcome, run
from vtpm.errors import VtpmInputError

GUID = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
TPM = "sys/class/tpm/tpm0"
EFIVARS = "sys/firmware/efi/efivars"
LOADER = "boot/efi/EFI/BOOT/BOOTX64.EFI"
LOG = "sys/kernel/security/tpm0/binary_bios_measurements"
RECORDED = (REPOSITORY / "configs" / "recordings" / "ovmf-2022.11-q35.bin").read_bytes()
GRUB = Image(sections=(b"grub_cmdline_get\0grub_cmd: \0",)).build()
SILENT_GRUB = Image(sections=(b"grub_cmdline_get\0",)).build()


def entry(options: bytes = b"") -> bytes:
    """An EFI variable with an EFI_LOAD_OPTION: four bytes of attributes before it."""
    path = b"\x7f\xff\x04\x00"
    return bytes(4) + struct.pack("<IH", 1, len(path)) + "Xen".encode("utf-16-le") + b"\0\0" + path + options


GOOD: dict[str, bytes] = {
    f"{TPM}/tpm_version_major": b"2\n",
    **{f"{TPM}/pcr-sha256/{pcr}": b"%064X\n" % (pcr + 1) for pcr in range(14)},
    f"{TPM}/pcr-sha1/0": b"%040X\n" % 1,
    "sys/class/dmi/id/sys_vendor": b"Dell Inc.\n",
    "sys/kernel/security/ima/runtime_measurements_count": b"812\n",
    "etc/ima/ima-policy": b"measure func=BPRM_CHECK\n",
    "proc/cmdline": b"placeholder root=/dev/xvda ro\n",
    "sys/hypervisor/type": b"xen\n",
    "sys/hypervisor/version/major": b"4\n",
    "sys/hypervisor/version/minor": b"17\n",
    "sys/hypervisor/version/extra": b".7\n",
    "boot/xen-4.17-amd64.config": b"CONFIG_X86=y\nCONFIG_XSM=y\n",
    LOADER: GRUB,
    f"{EFIVARS}/BootCurrent-{GUID}": bytes(4) + struct.pack("<H", 3),
    f"{EFIVARS}/Boot0003-{GUID}": entry(),
}


class Examined(Outcome):
    """What the command said of a machine."""

    def lacking(self) -> list[str]:
        return [each["code"] for each in self.document["findings"] if each["state"] == "lacks"]

    def of(self, code: str) -> list[dict[str, str]]:
        return [each for each in self.document["findings"] if each["code"] == code]


def again(root: Path, *arguments: str) -> Examined:
    """Look at the machine as it is."""
    return Examined(**vars(run("doctor", "--root", root, *(arguments or ("--json",)))))


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., Examined]:
    def examined(changes: dict[str, bytes | None] | None = None, *arguments: str) -> Examined:
        for path, content in {**GOOD, **(changes or {})}.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                file.write_bytes(content)
            elif file.exists():
                file.unlink()
        return again(tmp_path, *arguments)

    return examined


def test_a_machine_that_lacks_nothing(doctor: Any) -> None:
    found = doctor()
    validator("doctor").validate(found.document)
    assert (found.exit, found.lacking()) == (0, [])
    states = {each["code"]: each["state"] for each in found.document["findings"]}
    skipped = {code for code, state in states.items() if state == "skipped"}
    assert skipped == {"tpm-hardware", "ek-certificate"}
    assert doctor(None, "--no-such").exit == 2


ZERO = b"0" * 64 + b"\n"
LACKS: dict[str, tuple[dict[str, bytes | None], list[str]]] = {
    "TPM 1.2": ({f"{TPM}/tpm_version_major": None}, ["tpm-device"]),
    "firmware does not measure": ({f"{TPM}/pcr-sha256/0": ZERO}, ["firmware-measures"]),
    "GRUB does not measure": ({f"{TPM}/pcr-sha256/8": ZERO}, ["loader-measures"]),
    "GRUB without its tpm module": (
        {f"{TPM}/pcr-sha256/8": ZERO, LOADER: SILENT_GRUB},
        ["loader-measures"],
    ),
    "a firmware log that is cut": ({LOG: RECORDED[:-9]}, ["firmware-log"]),
    "a firmware log of SHA-1 alone": ({LOG: sha1_log(Record(0, SEPARATOR, SEPARATION))}, ["firmware-log"]),
    "no report": ({f"{TPM}/pcr-sha256/12": ZERO}, ["hypervisor-report"]),
    "a virtual machine with swtpm": ({"sys/class/dmi/id/sys_vendor": b"QEMU\n"}, ["tpm-hardware"]),
    "options in the boot entry": (
        {f"{EFIVARS}/Boot0003-{GUID}": entry("xen -- flask=permissive\0".encode("utf-16-le"))},
        ["boot-entry"],
    ),
    "BootNext": ({f"{EFIVARS}/BootNext-{GUID}": bytes(6)}, ["boot-entry"]),
    "not Xen": ({"sys/hypervisor/type": None}, ["firmware-log", "xen"]),
    "Xen without XSM": ({"boot/xen-4.17-amd64.config": b"# CONFIG_XSM is not set\n"}, ["xsm"]),
    "nothing tells of XSM": ({"boot/xen-4.17-amd64.config": None}, ["xsm"]),
    "no IMA": ({"sys/kernel/security/ima/runtime_measurements_count": None}, ["ima"]),
    "IMA without a policy": (
        {"sys/kernel/security/ima/runtime_measurements_count": b"1\n", "etc/ima/ima-policy": None},
        ["ima", "ima-policy"],
    ),
    "the policy tcb": (
        {"etc/ima/ima-policy": None, "proc/cmdline": b"ro ima_policy=tcb\n"},
        ["ima-policy"],
    ),
    "a unified image that takes words of a boot entry": (
        {LOADER: unified(), f"{TPM}/pcr-sha256/8": ZERO},
        ["unified-image"],
    ),
    "a unified image with a part outside": (
        {LOADER: unified(kernel=b"kernel"), f"{TPM}/pcr-sha256/8": ZERO},
        ["unified-image"],
    ),
}


@pytest.mark.parametrize("name", LACKS)
def test_what_lacks_is_found_with_its_mend(doctor: Any, name: str) -> None:
    changes, codes = LACKS[name]
    found = doctor(changes)
    validator("doctor").validate(found.document)
    assert found.lacking() == codes
    assert found.exit == (1 if codes else 0)
    assert found.document["lacks"] == len(codes)


def test_a_firmware_log_is_read(doctor: Any) -> None:
    found = doctor({LOG: RECORDED, "sys/hypervisor/type": None})
    assert found.of("firmware-log")[0]["detail"] == f"a firmware event log of {len(RECORDED)} bytes"


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"")
    found = again(tmp_path / "disk.img")
    assert (found.exit, found.err) == (2, f"shype doctor: {tmp_path / 'disk.img'}: Not a directory\n")


def test_a_bank_that_the_tpm_lacks(doctor: Any, tmp_path: Path) -> None:
    doctor()
    shutil.rmtree(tmp_path / TPM / "pcr-sha256")
    found = again(tmp_path)
    assert found.lacking() == ["tpm-banks"]
    assert "tpm2_pcrallocate sha256:all" in found.of("tpm-banks")[0]["mend"]


def test_an_empty_machine_lacks_all_that_can_be_told(tmp_path: Path) -> None:
    found = again(tmp_path)
    validator("doctor").validate(found.document)
    assert (found.exit, found.lacking()) == (1, ["tpm-device", "firmware-log", "xen", "ima"])


def test_a_unified_image_needs_no_grub(doctor: Any) -> None:
    closed = unified(kernel=b"kernel", ramdisk=b"ramdisk", text=CLOSED)
    found = doctor({LOADER: closed, f"{TPM}/pcr-sha256/8": ZERO})
    assert (found.exit, found.of("unified-image")[0]["state"]) == (0, "ok")


def test_where_pcrs_are_not_shown_the_image_tells_of_grub(doctor: Any) -> None:
    hidden: dict[str, bytes | None] = {f"{TPM}/pcr-sha256/{pcr}": None for pcr in range(14)}
    assert doctor(hidden).of("loader-measures")[0]["state"] == "ok"
    assert doctor({**hidden, LOADER: SILENT_GRUB}).lacking() == ["loader-measures"]


@pytest.mark.parametrize("path", ["boot/efi/EFI", "efi/EFI", "boot/EFI", "EFI"])
def test_the_loader_is_found_on_any_system_partition_and_where_that_is_the_root(
    doctor: Any, path: str
) -> None:
    changes = {LOADER: None, f"{TPM}/pcr-sha256/8": None, f"{path}/debian/grubx64.efi": GRUB}
    (found,) = doctor(changes).of("loader-measures")
    assert (found["state"], f"/{path}/debian/grubx64.efi" in found["detail"]) == ("ok", True)


def test_a_proxy_is_a_program(doctor: Any, tmp_path: Path) -> None:
    doctor()
    (tmp_path / "sys/devices/virtual").mkdir(parents=True)
    (tmp_path / TPM).rename(tmp_path / "sys/devices/virtual/tpm0")
    (tmp_path / TPM).symlink_to("../../devices/virtual/tpm0")
    assert doctor().lacking() == ["tpm-hardware"]


def test_the_text_has_every_mend(doctor: Any, tmp_path: Path) -> None:
    doctor({"boot/xen-4.17-amd64.config": b"# CONFIG_XSM is not set\n"})
    found = run("doctor", "--root", tmp_path)
    assert found.exit == 1
    text = found.out
    assert "✗ Xen 4.17.7 is built without XSM [xsm]\n    mend: build Xen with CONFIG_XSM" in text
    assert text.endswith("1 to mend\n")


def test_a_machine_cannot_write_on_the_terminal(doctor: Any, tmp_path: Path) -> None:
    doctor({"sys/hypervisor/version/extra": b"\x1b[2J\xff\n"})
    assert "\x1b" not in run("doctor", "--root", tmp_path).out


def test_a_link_out_of_the_root_leads_nowhere(doctor: Any, tmp_path: Path) -> None:
    doctor()
    (tmp_path / "etc/ima/ima-policy").unlink()
    (tmp_path / "etc/ima").rmdir()
    (tmp_path / "etc/ima").symlink_to("/etc")
    found = look(tmp_path)
    assert found.ima is not None
    assert not found.ima.own_policy


def test_nothing_is_written(doctor: Any, tmp_path: Path) -> None:
    doctor()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert again(tmp_path).exit == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_missing_root_is_wrong_usage() -> None:
    found = run("doctor", "--root", "/no/such")
    assert found.exit == 2
    assert found.line


def test_a_pipe_in_a_file_s_place_does_not_hang(doctor: Any, tmp_path: Path) -> None:
    doctor()
    (tmp_path / "proc/cmdline").unlink()
    os.mkfifo(tmp_path / "proc/cmdline")
    assert look(tmp_path).ima is not None


@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from(sorted(GOOD)), content=st.binary(max_size=64), place=st.integers(0, 1 << 12))
def test_any_content_gives_findings(
    tmp_path_factory: pytest.TempPathFactory, path: str, content: bytes, place: int
) -> None:
    root = tmp_path_factory.mktemp("machine")
    for name, good in GOOD.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        at = place % (len(good) + 1)
        (root / name).write_bytes(good[:at] + content + good[at:] if name == path else good)
    assert examine(look(root))


def states(**values: Any) -> dict[str, State]:
    facts = Facts(live=True, tpm_version="2", banks=("sha256",), **values)
    return {finding.code: finding.state for finding in examine(facts)}


def test_a_tpm_that_does_not_answer_lacks_access() -> None:
    assert states()["tpm-hardware"] is State.LACKS


def test_a_chip_by_a_known_maker_is_hardware() -> None:
    answers = TpmAnswers("id:49465800", "SLB9670", ())
    found = states(answers=answers)
    assert (found["tpm-hardware"], found["ek-certificate"]) == (State.OK, State.LACKS)


def test_a_broken_certificate_lacks() -> None:
    assert states(answers=TpmAnswers("id:49465800", "", (b"0",)))["ek-certificate"] is State.LACKS


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=12))
def test_any_response_is_an_answer_or_refused(responses: list[bytes]) -> None:
    left = iter(responses)
    try:
        ask(lambda _: next(left, b""))
    except (TpmRefusedError, VtpmInputError):
        return


@pytest.mark.host
def test_swtpm_is_recognised_as_software(short_tmp: Path) -> None:
    from vtpm.manufacture import manufacture
    from vtpm.swtpm import State as SwtpmState
    from vtpm.swtpm import Swtpm
    from vtpm.tpm import Tpm

    state = manufacture(short_tmp / "made", "rack7").state
    with Swtpm.start(state, state=SwtpmState.EXISTING, keys=None) as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        answers = ask(swtpm.channel.exchange)
    assert answers.manufacturer == "id:49424D00"
    found = {each.code: each for each in examine(Facts(live=True, tpm_version="2", answers=answers))}
    assert found["tpm-hardware"].state is State.LACKS
    assert "program" in found["tpm-hardware"].detail
    assert found["ek-certificate"].state is State.OK
