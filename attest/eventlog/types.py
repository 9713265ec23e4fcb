"""Event types of TCG logs and their names.

Sources: PC Client Platform Firmware Profile 1.06, table "Events" (0x0-0x13, 0x80000000 and up);
Intel TXT Software Development Guide, appendix "Event types" (0x400-0x4FF).
An event's type is not part of what is measured: it is a hint of the log's writer.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class EventType(IntEnum):
    """Event types that have a name; any other number is written as ``0x`` and 8 hex digits."""

    EV_PREBOOT_CERT = 0x00
    EV_POST_CODE = 0x01
    EV_UNUSED = 0x02
    EV_NO_ACTION = 0x03
    EV_SEPARATOR = 0x04
    EV_ACTION = 0x05
    EV_EVENT_TAG = 0x06
    EV_S_CRTM_CONTENTS = 0x07
    EV_S_CRTM_VERSION = 0x08
    EV_CPU_MICROCODE = 0x09
    EV_PLATFORM_CONFIG_FLAGS = 0x0A
    EV_TABLE_OF_DEVICES = 0x0B
    EV_COMPACT_HASH = 0x0C
    EV_IPL = 0x0D
    EV_IPL_PARTITION_DATA = 0x0E
    EV_NONHOST_CODE = 0x0F
    EV_NONHOST_CONFIG = 0x10
    EV_NONHOST_INFO = 0x11
    EV_OMIT_BOOT_DEVICE_EVENTS = 0x12
    EV_POST_CODE2 = 0x13

    EV_TXT_PCRMAPPING = 0x401
    EV_TXT_HASH_START = 0x402
    EV_TXT_COMBINED_HASH = 0x403
    EV_TXT_MLE_HASH = 0x404
    EV_TXT_BIOSAC_REG_DATA = 0x40A
    EV_TXT_CPU_SCRTM_STAT = 0x40B
    EV_TXT_LCP_CONTROL_HASH = 0x40C
    EV_TXT_ELEMENTS_HASH = 0x40D
    EV_TXT_STM_HASH = 0x40E
    EV_TXT_OSSINITDATA_CAP_HASH = 0x40F
    EV_TXT_SINIT_PUBKEY_HASH = 0x410
    EV_TXT_LCP_HASH = 0x411

    EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001
    EV_EFI_VARIABLE_BOOT = 0x80000002
    EV_EFI_BOOT_SERVICES_APPLICATION = 0x80000003
    EV_EFI_BOOT_SERVICES_DRIVER = 0x80000004
    EV_EFI_RUNTIME_SERVICES_DRIVER = 0x80000005
    EV_EFI_GPT_EVENT = 0x80000006
    EV_EFI_ACTION = 0x80000007
    EV_EFI_PLATFORM_FIRMWARE_BLOB = 0x80000008
    EV_EFI_HANDOFF_TABLES = 0x80000009
    EV_EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000000A
    EV_EFI_HANDOFF_TABLES2 = 0x8000000B
    EV_EFI_VARIABLE_BOOT2 = 0x8000000C
    EV_EFI_GPT_EVENT2 = 0x8000000D
    EV_EFI_HCRTM_EVENT = 0x80000010
    EV_EFI_VARIABLE_AUTHORITY = 0x800000E0
    EV_EFI_SPDM_FIRMWARE_BLOB = 0x800000E1
    EV_EFI_SPDM_FIRMWARE_CONFIG = 0x800000E2
    EV_EFI_SPDM_DEVICE_POLICY = 0x800000E3
    EV_EFI_SPDM_DEVICE_AUTHORITY = 0x800000E4


NAMES: Final[dict[int, str]] = {int(member): member.name for member in EventType}
"""Number -> name, for the parser's inner loop."""

NO_ACTION: Final = EventType.EV_NO_ACTION.name
"""The type of an event that informs and is never extended."""

SYSTEMD: Final = "systemd"
"""The type of a measurement of systemd in a Canonical Event Log."""


def type_name(number: int) -> str:
    """Return the standard's name of an event type, or ``0x0000040e`` where it has none."""
    return NAMES.get(number) or f"0x{number:08x}"
