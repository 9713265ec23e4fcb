"""Boot entries with load options in OVMF's variable file, as an attacker with the firmware's shell sets them.

EFI_LOAD_OPTION: attributes, length of the device path, description, device path, options (UEFI 2.10, 3.1.3).
The file is written by virt-firmware.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.lab.machine import VARIABLES
from tests.lab.tool import run

GLOBAL: Final = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
OWN: Final = "1ab0e5f1-0000-4000-8000-000000000001"
ENTRY: Final = 0x99
ACTIVE: Final = 1
NON_VOLATILE: Final = 7
"""NON_VOLATILE, BOOTSERVICE_ACCESS and RUNTIME_ACCESS (UEFI 2.10, 8.2)."""
LOADER: Final = "\\EFI\\BOOT\\BOOTX64.EFI"


def load_option(options: str) -> bytes:
    """Return an entry that starts the removable-media loader with ``options``."""
    path = LOADER.encode("utf-16-le") + b"\0\0"
    device = struct.pack("<BBH", 4, 4, 4 + len(path)) + path + struct.pack("<BBH", 0x7F, 0xFF, 4)
    head = struct.pack("<IH", ACTIVE, len(device))
    return head + "lab".encode("utf-16-le") + b"\0\0" + device + options.encode("utf-16-le") + b"\0\0"


def variables(folder: Path, options: str, *, once: bool, others: Mapping[str, bytes] | None = None) -> Path:
    """Make a variable file whose entry is started: ``once`` by BootNext outside BootOrder, else by that.

    ``others`` are variables of the attacker's own, which mean nothing to the firmware.
    """
    number = struct.pack("<H", ENTRY)
    wanted = {f"Boot{ENTRY:04X}": load_option(options), "BootNext" if once else "BootOrder": number}
    document = {
        "version": 2,
        "variables": [
            {"name": name, "guid": guid, "attr": NON_VOLATILE, "data": data.hex()}
            for guid, found in ((GLOBAL, wanted), (OWN, others or {}))
            for name, data in found.items()
        ],
    }
    source, target = folder / "variables.json", folder / "variables.fd"
    source.write_text(json.dumps(document))
    tool = Path(sys.executable).with_name("virt-fw-vars")
    run(tool, "--input", VARIABLES, "--set-json", source, "--output", target)
    return target
