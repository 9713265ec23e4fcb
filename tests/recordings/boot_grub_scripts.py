"""Boot Xen by GRUB 2.06 with the scripts of tests/attest/predict/boots, and record PCR 8 and 9 of each.

Each script is the grub.cfg in the memdisk of a loader of its own; the other files lie on a FAT disk beside
Xen, kernel and ramdisk of a boot folder (tools/boot-files). The ramdisk prints the PCRs. README.md beside
this file says what it needs. ``boots.json`` is replaced when every boot has shown its registers.

Exit codes: 0 recorded; 1 a tool or a boot failed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.machinery
import importlib.util
import json
import re
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.recordings import record_firmware_log as machine

REPOSITORY: Final = Path(__file__).resolve().parents[2]
BOOTS: Final = REPOSITORY / "tests" / "attest" / "predict" / "boots"
MODULES: Final = (
    *("tpm", "multiboot2", "boot", "part_gpt", "fat", "search", "search_fs_file", "search_fs_uuid"),
    *("search_label", "normal", "configfile", "echo", "gzio", "serial", "terminal", "memdisk", "tar", "test"),
    *("true", "sleep", "font", "loadenv", "regexp"),
)
VOLUME: Final = ("-i", "5E4A0001", "-n", "SHYPE")
"""What the scripts search for."""
XEN_FILES: Final = ("xen.gz", "vmlinuz", "initrd.img")


def tool() -> Any:
    """Return tools/boot-files as a module."""
    loader = importlib.machinery.SourceFileLoader("boot_files", str(REPOSITORY / "tools" / "boot-files"))
    spec = importlib.util.spec_from_loader("boot_files", loader)
    assert spec is not None
    found = importlib.util.module_from_spec(spec)
    loader.exec_module(found)
    found.MODULES = MODULES
    return found


def boot_disk(folder: Path, config: bytes, files: dict[str, Path]) -> Path:
    """Make a FAT disk with a loader that holds ``config``, and the other files."""
    work, image = folder / "work", folder / "boot.img"
    work.mkdir()
    boot_files = tool()
    (folder / "BOOTX64.EFI").write_bytes(boot_files.loader(work, boot_files.default_cache(), config))
    with image.open("wb") as disk:
        disk.truncate(machine.IMAGE_BYTES)
    machine.run("mkfs.vfat", *VOLUME, image)
    machine.run("mmd", "-i", image, "::/EFI", "::/EFI/BOOT", "::/boot", "::/boot/grub")
    machine.run("mcopy", "-i", image, folder / "BOOTX64.EFI", "::/EFI/BOOT/BOOTX64.EFI")
    for path, file in files.items():
        machine.run("mcopy", "-i", image, file, f"::/{path}")
    return image


def boot(folder: Path, disk: Path) -> dict[str, str]:
    """Boot once; return PCR 8 and 9 as the ramdisk prints them before it powers the machine off."""
    console = folder / "console.log"
    tpm, control = machine.start_tpm(folder)
    try:
        qemu = machine.start_machine(folder, machine.Machine(2048), disk, control, console)
        try:
            deadline = time.monotonic() + machine.BOOT_SECONDS
            while qemu.poll() is None and time.monotonic() < deadline:
                time.sleep(0.5)
        finally:
            machine.end(qemu)
    finally:
        machine.end(tpm)
    found = dict(re.findall(r"PCR ([89]) ([0-9A-F]{64})", console.read_text(errors="replace")))
    if found.keys() != {"8", "9"}:
        raise machine.RecordingError("the console does not show PCR 8 and 9")
    return {pcr: value.lower() for pcr, value in found.items()}


def record(boots: dict[str, Any], folder: Path) -> None:
    """Boot every script and put its registers, and the digests of Xen's files, into its entry."""
    for name, entry in boots.items():
        xen = {path: folder / path for path in XEN_FILES}
        files = xen | {path: BOOTS / file for path, file in entry["files"].items()}
        with tempfile.TemporaryDirectory(prefix="shype-grub-") as work:
            disk = boot_disk(Path(work), (BOOTS / entry["config"]).read_bytes(), files)
            entry["pcrs"] = boot(Path(work), disk)
        entry["digests"] = {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in xen.items()}
        print(f"{name}: {entry['pcrs']}", file=sys.stderr)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a boot folder, made by tools/boot-files")
    arguments = parser.parse_args()
    file = BOOTS / "boots.json"
    document = json.loads(file.read_text())
    try:
        record(document["boots"], arguments.folder)
    except (machine.RecordingError, OSError) as error:
        print(f"boot_grub_scripts: {error}", file=sys.stderr)
        return 1
    document["recorded"] = datetime.now(UTC).strftime("%Y-%m-%d")
    file.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
