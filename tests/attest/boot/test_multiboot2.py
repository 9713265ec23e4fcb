"""A boot of the embedded host: what it measures, what its log tells, and where it stops."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.boot.errors import BootError
from attest.boot.multiboot2 import boot
from attest.boot.recording import play
from attest.errors import AttestInputError, AttestUsageError
from attest.eventlog.tcg import parse_tcg
from tests.attest.predict.build import CONFIG, FILES, RECORDING, reader
from vtpm.tpm2.constants import Alg


def test_the_log_is_well_formed_and_tells_of_every_measurement() -> None:
    found = boot(RECORDING, reader(), ["sha256", "sha384"])
    log = parse_tcg(found.event_log)
    assert log.banks == (Alg.SHA256, Alg.SHA384)
    told = [
        (event.pcr, event.digest(Alg.SHA256), event.untrusted_data) for event in log.events if event.extends
    ]
    assert told == [(event.pcr, event.digests["sha256"], event.data) for event in found.measurements]


def test_grub_s_events_carry_its_own_descriptions() -> None:
    data = [event.data for event in boot(RECORDING, reader(), ["sha256"]).measurements if event.pcr in {8, 9}]
    assert data == [
        b"grub_cmd: set timeout=0\0",
        b"grub_cmd: search --file /xen.gz --set=root\0",
        b"(hd0)/xen.gz\0",
        b"grub_cmd: multiboot2 /xen.gz placeholder console=com1\0",
        b"/xen.gz\0",
        b"kernel_cmdline: placeholder console=com1\0",
        b"grub_cmd: module2 /vmlinuz placeholder ro quiet\0",
        b"/vmlinuz\0",
        b"module_cmdline: placeholder ro quiet\0",
        b"grub_cmd: module2 --nounzip /initrd.img\0",
        b"/initrd.img\0",
        b"module_cmdline: \0",
        b"grub_cmd: boot\0",
    ]


def test_the_order_is_firmware_loader_grub_and_the_end_of_boot_services() -> None:
    pcrs = [event.pcr for event in boot(RECORDING, reader(), ["sha256"]).measurements]
    first, last = pcrs.index(8), len(pcrs) - 2
    assert pcrs[first - 1] == 4
    assert pcrs[last:] == [5, 5]
    assert set(pcrs[first:last]) == {8, 9}


def test_what_xen_and_dom0_are_started_with() -> None:
    found = boot(RECORDING, reader(), ["sha256"])
    assert (found.xen_commandline, found.dom0_commandline) == (
        "placeholder console=com1",
        "placeholder ro quiet",
    )
    assert found.build_id == bytes(range(20)).hex()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("EFI/BOOT/BOOTX64.EFI", b"not an image", "boot-image"),
        ("grub.cfg", b"if true; then boot; fi\n", "boot-script"),
        ("grub.cfg", b"echo no boot\n", "boot-script"),
        ("grub.cfg", b"boot\n", "boot-script"),
        ("grub.cfg", CONFIG.replace(b"/vmlinuz", b"vmlinuz"), "boot-file"),
        ("grub.cfg", CONFIG.replace(b"/vmlinuz", b"(hd1)/vmlinuz"), "boot-file"),
        ("grub.cfg", b"echo 'open\n" + CONFIG, "boot-script"),
        ("grub.cfg", b"set lang=de\n" + CONFIG, "boot-script"),
    ],
)
def test_the_boot_stops(name: str, content: bytes, code: str) -> None:
    with pytest.raises(BootError) as caught:
        boot(RECORDING, reader({**FILES, name: content}), ["sha256"])
    assert caught.value.code == code


def test_a_missing_file_stops_the_boot() -> None:
    files = {name: content for name, content in FILES.items() if name != "initrd.img"}
    with pytest.raises(FileNotFoundError):
        boot(RECORDING, reader(files), ["sha256"])


@pytest.mark.parametrize("banks", [[], ["md5"], ["sha256", "md5"]])
def test_wrong_banks_are_wrong_usage(banks: list[str]) -> None:
    with pytest.raises(AttestUsageError):
        boot(RECORDING, reader(), banks)


def test_a_bank_that_was_not_recorded_stops_the_boot() -> None:
    with pytest.raises(BootError, match="sha512"):
        boot(RECORDING, reader(), ["sha512"])


def test_a_start_at_another_locality_is_refused() -> None:
    header = 32 + int.from_bytes(RECORDING[28:32], "little")
    data = b"StartupLocality\0\x03"
    digests = b"".join(
        number.to_bytes(2, "little") + bytes(size) for number, size in ((4, 20), (0xB, 32), (0xC, 48))
    )
    event = bytes(4) + (3).to_bytes(4, "little") + (3).to_bytes(4, "little") + digests
    event += len(data).to_bytes(4, "little") + data
    with pytest.raises(BootError, match="locality"):
        play(RECORDING[:header] + event + RECORDING[header:], ["sha256"])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(RECORDING)), st.binary(max_size=8), st.integers(0, 16))
def test_an_altered_recording_is_played_or_refused(place: int, noise: bytes, skip: int) -> None:
    with contextlib.suppress(AttestInputError):
        play(RECORDING[:place] + noise + RECORDING[place + skip :], ["sha256"])
