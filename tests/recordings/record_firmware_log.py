"""Record the firmware event log of a QEMU machine: boots plain Linux through OVMF and GRUB 2.06 with a swtpm.

Xen started by multiboot2 leaves dom0 without a firmware log, so the log is taken from a boot of plain Linux
on the same machine: GRUB chain-loads the kernel, its EFI stub keeps the log, and a small init prints it with
PCR values. README.md beside this file says how to run it and what it needs.

Exit codes: 0 recorded; 1 a tool, the boot or the check of the log failed; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attest.errors import AttestInputError
from attest.eventlog.replay import replay
from attest.eventlog.tcg import parse_tcg
from attest.predict import authenticode
from vtpm.tpm2.constants import Alg

FIRMWARE: Final = Path("/usr/share/OVMF")
BANKS: Final = ("sha1", "sha256", "sha384")
MODULES: Final = ("tpm", "part_gpt", "fat", "serial", "search", "search_fs_file", "normal", "echo", "chain")
BOOT_SECONDS: Final = 300
TOOL_SECONDS: Final = 300
IMAGE_BYTES: Final = 96 << 20
LOG_BYTES: Final = 1 << 20
END: Final = "=== SHYPE END"

GRUB_CFG: Final = """\
set timeout=0
serial --unit=0 --speed=115200
terminal_output serial
search --file /vmlinuz --set=root
chainloader /vmlinuz initrd=\\\\initrd.img console=ttyS0 quiet loglevel=0
boot
"""

INIT: Final = f"""\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t securityfs security /sys/kernel/security
for bank in {" ".join(BANKS)}; do
  for pcr in 0 1 2 3 4 5 6 7 8 9; do
    echo "=== SHYPE PCR $bank $pcr $(/bin/busybox cat /sys/class/tpm/tpm0/pcr-$bank/$pcr)"
  done
done
log=/sys/kernel/security/tpm0/binary_bios_measurements
echo "=== SHYPE LOG $(/bin/busybox sha256sum < $log)"
/bin/busybox base64 $log
echo "{END}"
/bin/busybox poweroff -f
"""


class RecordingError(Exception):
    """The recording cannot be made; the message is one line."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The parts of QEMU's command line that firmware PCRs depend on."""

    memory: int
    """MiB; OVMF measures a table that names it into PCR 0."""
    cpu: str = "qemu64"
    cpus: int = 1

    def arguments(self) -> list[str]:
        """Machine type, processor and memory."""
        return ["-machine", "q35,accel=tcg", "-cpu", self.cpu, "-smp", str(self.cpus), "-m", str(self.memory)]


@dataclass(frozen=True, slots=True)
class Recording:
    """What the console showed: the log's bytes and PCR 0-9 of each bank as the TPM had them."""

    log: bytes
    pcrs: dict[str, dict[str, str]]


def run(*command: str | Path) -> str:
    """Run a tool to its end and return its output; its failure is one line."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RecordingError(f"{words[0]}: {error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise RecordingError(f"{words[0]}: exit code {done.returncode}: {' '.join(last)}")
    return done.stdout


def newc(name: str, mode: int, body: bytes, inode: int) -> bytes:
    """One cpio entry in the newc format (Linux, buffer-format.rst): hex header, name, body, padded to 4."""
    raw = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
    return head + bytes(-len(head) % 4) + body + bytes(-len(body) % 4)


def initrd(busybox: Path) -> bytes:
    """A ramdisk that holds busybox, a console and the init script."""
    parts = [
        ("bin", 0o040755, b""),
        ("bin/busybox", 0o100755, busybox.read_bytes()),
        ("init", 0o100755, INIT.encode()),
        ("TRAILER!!!", 0, b""),
    ]
    archive = b"".join(newc(name, mode, body, number) for number, (name, mode, body) in enumerate(parts, 1))
    return gzip.compress(archive, mtime=0)


def boot_disk(folder: Path, kernel: Path, busybox: Path, sign: Callable[[Path], None] | None = None) -> Path:
    """An unpartitioned FAT disk with GRUB as the removable-media loader, the kernel and the ramdisk.

    For a machine with Secure Boot, ``sign`` signs GRUB and a copy of the kernel, which the firmware checks.
    """
    (folder / "grub.cfg").write_text(GRUB_CFG)
    (folder / "initrd.img").write_bytes(initrd(busybox))
    loader, image = folder / "BOOTX64.EFI", folder / "boot.img"
    modules = [f"--modules={' '.join(MODULES)}", *(("--disable-shim-lock",) if sign else ())]
    run(
        "grub-mkstandalone",
        "-O",
        "x86_64-efi",
        "-o",
        loader,
        *modules,
        f"boot/grub/grub.cfg={folder}/grub.cfg",
    )
    if sign is not None:
        kernel = Path(shutil.copy(kernel, folder / "signed-vmlinuz"))
        sign(loader)
        sign(kernel)
    with image.open("wb") as disk:
        disk.truncate(IMAGE_BYTES)
    run("mkfs.vfat", image)
    run("mmd", "-i", image, "::/EFI", "::/EFI/BOOT")
    run("mcopy", "-i", image, loader, "::/EFI/BOOT/BOOTX64.EFI")
    run("mcopy", "-i", image, kernel, "::/vmlinuz")
    run("mcopy", "-i", image, folder / "initrd.img", "::/initrd.img")
    return image


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started; kill it when it does not listen within five seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)


def start_tpm(folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A new swtpm with the wanted banks active; its control socket is there when this returns."""
    state, control = folder / "tpm", folder / "tpm.ctrl"
    state.mkdir(mode=0o700)
    run("swtpm_setup", "--tpm2", "--tpmstate", state, "--pcr-banks", ",".join(BANKS))
    arguments = ["--tpmstate", f"dir={state}", "--ctrl", f"type=unixio,path={control}", "--terminate"]
    process = subprocess.Popen(["swtpm", "socket", "--tpm2", *arguments])
    deadline = time.monotonic() + 10
    while not control.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            end(process)
            raise RecordingError("swtpm: its control socket did not appear within 10 s")
        time.sleep(0.05)
    return process, control


def start_machine(
    folder: Path, machine: Machine, disk: Path, tpm: Path, console: Path
) -> subprocess.Popen[bytes]:
    """The machine: OVMF with fresh variables, one AHCI disk, a TPM, no network, the console in a file."""
    shutil.copy(FIRMWARE / "OVMF_VARS_4M.fd", folder / "vars.fd")
    flash = "if=pflash,format=raw"
    return subprocess.Popen(
        [
            *("qemu-system-x86_64", *machine.arguments(), "-display", "none", "-no-reboot", "-net", "none"),
            *("-serial", f"file:{console}", "-monitor", "none"),
            *("-drive", f"{flash},readonly=on,file={FIRMWARE}/OVMF_CODE_4M.fd"),
            *("-drive", f"{flash},file={folder}/vars.fd"),
            *("-drive", f"file={disk},format=raw,if=none,id=d0", "-device", "ahci,id=ahci"),
            *("-device", "ide-hd,drive=d0,bus=ahci.0", "-chardev", f"socket,id=ct,path={tpm}"),
            *("-tpmdev", "emulator,id=t0,chardev=ct", "-device", "tpm-tis,tpmdev=t0"),
        ],
        stdin=subprocess.DEVNULL,
    )


def boot(folder: Path, machine: Machine, disk: Path) -> str:
    """Boot once and return the console's text; bounded by ``BOOT_SECONDS``, leaves no process behind."""
    console = folder / "console.log"
    tpm, control = start_tpm(folder)
    try:
        qemu = start_machine(folder, machine, disk, control, console)
        try:
            return wait_for_end(qemu, console)
        finally:
            end(qemu)
    finally:
        end(tpm)


def wait_for_end(qemu: subprocess.Popen[bytes], console: Path) -> str:
    """Wait for the last line that init prints."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        ended = qemu.poll() is not None
        text = console.read_text(errors="replace") if console.exists() else ""
        if END in text:
            return text
        if ended or time.monotonic() > deadline:
            last = " / ".join(text.splitlines()[-3:])
            raise RecordingError(f"the machine {'stopped' if ended else 'hangs'}; last console lines: {last}")
        time.sleep(0.5)


def read_console(text: str) -> Recording:
    """Take log and PCR values from the console's text; the log must have the digest that init printed."""
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines()]
    pcrs: dict[str, dict[str, str]] = {bank: {} for bank in BANKS}
    for line in lines:
        if found := re.fullmatch(r"=== SHYPE PCR (\w+) (\d) ([0-9A-F]+)", line):
            pcrs[found[1]][found[2]] = found[3].lower()
    start = next((n for n, line in enumerate(lines) if line.startswith("=== SHYPE LOG ")), None)
    if start is None or any(len(values) != 10 for values in pcrs.values()):
        raise RecordingError("the console shows no log or not every PCR")
    body = "".join(line for line in lines[start + 1 : lines.index(END)] if line)
    try:
        log = base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise RecordingError(f"the log on the console is not base64: {error}") from error
    if len(log) > LOG_BYTES or hashlib.sha256(log).hexdigest() != lines[start].split()[3]:
        raise RecordingError("the log was altered on its way through the console: record again")
    return Recording(log, pcrs)


def check(recording: Recording, loader: bytes) -> None:
    """Refuse a log that does not replay to the PCRs that the TPM showed, or that starts another loader."""
    log = parse_tcg(recording.log)
    for bank in BANKS:
        values = replay(log, Alg.from_name(bank))
        for pcr, value in recording.pcrs[bank].items():
            if values[int(pcr)].hex() != value:
                raise RecordingError(f"the log does not replay to {bank} PCR {pcr} of the TPM")
    started = next(
        event for event in log.events if event.untrusted_type == "EV_EFI_BOOT_SERVICES_APPLICATION"
    )
    if started.digest(Alg.SHA256) != authenticode.digests(loader, ["sha256"])["sha256"]:
        raise RecordingError("the first application that the log starts is not our loader")


def versions(kernel: Path) -> dict[str, str]:
    """Debian package versions of what took part."""
    packages = ("ovmf", "qemu-system-x86", "swtpm", "grub-efi-amd64-bin", "busybox-static")
    found = {name: run("dpkg-query", "-W", "-f", "${Version}", name) for name in packages}
    return {**found, "kernel sha256": hashlib.sha256(kernel.read_bytes()).hexdigest()}


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kernel", type=Path, help="a Debian kernel: vmlinuz of tools/boot-files")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the log; FILE.json lies beside it")
    parser.add_argument("--busybox", type=Path, default=Path("/bin/busybox"), help="a static busybox")
    parser.add_argument("--memory", type=int, default=2048, help="MiB of memory (default 2048)")
    return parser.parse_args()


def main() -> int:
    """Record, check, write."""
    arguments = parse_arguments()
    machine = Machine(arguments.memory)
    try:
        with tempfile.TemporaryDirectory(prefix="shype-rec-") as name:
            folder = Path(name)
            disk = boot_disk(folder, arguments.kernel, arguments.busybox)
            recording = read_console(boot(folder, machine, disk))
            check(recording, (folder / "BOOTX64.EFI").read_bytes())
        about = {
            "schema": "shype.recording/1",
            "recorded": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": " ".join(machine.arguments()),
            "sha256": hashlib.sha256(recording.log).hexdigest(),
            "versions": versions(arguments.kernel),
            "pcrs": recording.pcrs,
        }
        arguments.output.write_bytes(recording.log)
        arguments.output.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
    except (RecordingError, AttestInputError, OSError) as error:
        print(f"record_firmware_log: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.output}: {len(recording.log)} bytes, {about['sha256']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
