"""The config that xl gets: canonical, complete, and nothing in it can be read otherwise than it was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypervisor.errors import UnsupportedError
from hypervisor.toolstack import DomainOrder
from hypervisor.xen.rendering import render
from hypervisor.xlsyntax import Number, Text, read

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=200)


def order(**more: object) -> DomainOrder:
    values: dict[str, object] = {
        "uuid": "00000000-0000-4000-8000-000000000001",
        "name": "web",
        "label": "cola-web",
        "memory_mib": 160,
        "vcpus": 2,
        "weight": 512,
        "cap": 50,
        "cmdline": "console=hvc0",
        "kernel": b"K",
        "ramdisk": b"R",
        "config_digest": "0" * 64,
    }
    return DomainOrder(**{**values, **more})  # type: ignore[arg-type]  # values of any field


def test_a_config_is_these_bytes() -> None:
    assert render(order(), "/proc/self/fd/5", "/proc/self/fd/6", "system_u:system_r:domU_t") == (
        b'name = "web"\n'
        b'uuid = "00000000-0000-4000-8000-000000000001"\n'
        b'type = "pv"\n'
        b'kernel = "/proc/self/fd/5"\n'
        b'ramdisk = "/proc/self/fd/6"\n'
        b'cmdline = "console=hvc0"\n'
        b"memory = 160\nmaxmem = 160\nvcpus = 2\nmaxvcpus = 2\ncpu_weight = 512\ncap = 50\n"
        b'seclabel = "system_u:system_r:domU_t"\n'
        b'on_poweroff = "destroy"\non_reboot = "destroy"\non_watchdog = "destroy"\non_crash = "destroy"\n'
        b'on_soft_reset = "destroy"\n'
    )


def test_what_is_not_there_is_not_written() -> None:
    keys = {each.key for each in read(render(order(ramdisk=None, cmdline=""), "/k", None, None))}
    assert keys.isdisjoint({"ramdisk", "cmdline", "seclabel"})


@given(PRINTABLE, st.integers(1, 1 << 24), st.integers(1, 128), st.integers(1, 65535), st.integers(0, 12800))
def test_whatever_is_rendered_reads_back(
    cmdline: str, memory: int, vcpus: int, weight: int, cap: int
) -> None:
    """No text of an operator ends its string and begins a setting of its own."""
    asked = order(cmdline=cmdline, memory_mib=memory, vcpus=vcpus, weight=weight, cap=cap)
    found = {each.key: each.value for each in read(render(asked, "/k", "/r", "a:b:c"))}
    texts = {key: each.value for key, each in found.items() if isinstance(each, Text)}
    numbers = {key: each.value for key, each in found.items() if isinstance(each, Number)}
    assert texts.get("cmdline", "") == cmdline
    assert (texts["kernel"], texts["ramdisk"], texts["seclabel"]) == ("/k", "/r", "a:b:c")
    assert numbers == {
        "memory": memory,
        "maxmem": memory,
        "vcpus": vcpus,
        "maxvcpus": vcpus,
        "cpu_weight": weight,
        "cap": cap,
    }


@pytest.mark.parametrize("bad", ["a\nb = 1", "ü", "\x7f", "tab\there", "\u2028"])
def test_text_that_xl_would_read_otherwise_is_refused(bad: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        render(order(cmdline=bad), "/k", None, None)
    assert refused.value.code == "not-ascii"
