"""Xen's answers read strictly: listings of the binding, JSON of xl, and the report of the hypervisor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypervisor.errors import XenError
from hypervisor.toolstack import DomainInfo, RunState
from hypervisor.xen import domaininfo, report, xllist
from hypervisor.xen.xllist import ListedDomain
from tests.simulators.xen import FakeXen, Guest

UUID = "0c01a000-0000-4000-8000-000000000001"
ENTRY = Guest(3, UUID, "web", 7, memory_mib=64, vcpus=2, cpu_time=99).entry()
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def context(sid: int) -> str:
    return f"sid {sid}"


def test_an_entry_becomes_a_domain() -> None:
    assert domaininfo.read([ENTRY], context) == (
        DomainInfo(3, UUID, "sid 7", RunState.PAUSED, 2, 99, 64 * 256, 64 * 256 + 1),
    )


@pytest.mark.parametrize(
    ("flags", "state"),
    [
        ({"paused": 0}, RunState.RUNNING),
        ({"paused": 1}, RunState.PAUSED),
        ({"paused": 1, "shutdown": 1}, RunState.ENDED),
        ({"paused": 1, "shutdown": 1, "dying": 1}, RunState.DYING),
    ],
)
def test_the_state_that_counts_most_is_given(flags: dict[str, int], state: RunState) -> None:
    assert domaininfo.read([{**ENTRY, **flags}], context)[0].state is state


@pytest.mark.parametrize(
    "change",
    [
        {"domid": -1},
        {"domid": 0x7FF0},
        {"domid": True},
        {"domid": "3"},
        {"handle": [0] * 15},
        {"handle": [256] + [0] * 15},
        {"handle": bytes(16)},
        {"ssidref": -1},
        {"paused": 2},
        {"cpu_time": -1},
        {"mem_kb": None},
    ],
)
def test_what_xen_cannot_say_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(XenError) as refused:
        domaininfo.read([{**ENTRY, **change}], context)
    assert refused.value.code == "xen-reply"


@pytest.mark.parametrize("name", ["domid", "handle", "ssidref", "paused", "shutdown", "dying", "cpu_time"])
def test_a_missing_field_is_refused(name: str) -> None:
    with pytest.raises(XenError):
        domaininfo.read([{key: value for key, value in ENTRY.items() if key != name}], context)


def test_a_domain_that_is_listed_twice_is_refused() -> None:
    with pytest.raises(XenError, match="listed after"):
        domaininfo.read([ENTRY, ENTRY], context)


@given(ANYTHING)
def test_any_listing_is_read_or_refused(value: object) -> None:
    try:
        domaininfo.read(value, context)
    except XenError:
        return
    assert value == []


def test_names_and_scheduling_are_read_from_xl() -> None:
    xen = FakeXen()
    xen.guests[3] = Guest(3, UUID, "web", 7, weight=512, cap=50)
    assert xllist.parse(xen.xl(("list", "-l"))) == (
        ListedDomain(0, "Domain-0", 256, 0),
        ListedDomain(3, "web", 512, 50),
    )


def test_what_libxl_leaves_out_is_unknown() -> None:
    assert xllist.parse(b'[{"domid": 3, "config": {"new": {"in": [4, 18]}}}]') == (
        ListedDomain(3, "", None, None),
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[1]",
        b'[{"config": {}}]',
        b'[{"domid": null, "config": {}}]',
        b'[{"domid": 1, "domid": 2, "config": {}}]',
        b'[{"domid": 1, "config": {}}, {"domid": 1, "config": {}}]',
        b'[{"domid": 1, "config": {"c_info": []}}]',
        b'[{"domid": 1, "config": {"c_info": {"name": 5}}}]',
        b'[{"domid": 1, "config": {"b_info": {"sched_params": {"weight": -1}}}}]',
        b'[{"domid": 1, "config": {"b_info": {"sched_params": {"weight": 70000}}}}]',
        b'[{"domid": 1.5, "config": {}}]',
        b"[" * 100000,
    ],
)
def test_a_broken_listing_of_xl_is_refused(raw: bytes) -> None:
    with pytest.raises(XenError, match="xl list -l"):
        xllist.parse(raw)


@given(ANYTHING.map(lambda value: json.dumps(value, default=str).encode()))
def test_any_json_is_read_or_refused(raw: bytes) -> None:
    try:
        xllist.parse(raw)
    except XenError:
        return
    assert raw == b"[]"


@pytest.mark.parametrize(
    ("enforcing", "module", "mode"),
    [(1, "flask", "enforcing"), (0, "flask", "permissive"), (None, "none", "disabled")],
)
def test_the_report_says_what_xen_says(enforcing: int | None, module: str, mode: str) -> None:
    found = report.read(FakeXen().xeninfo(), "ab" * 20, enforcing)
    assert (found.version, found.build_id, found.commandline) == (
        "4.17.5-pre",
        "ab" * 20,
        "console=com1 flask=enforcing",
    )
    assert (found.xsm_module, found.xsm_mode) == (module, mode)


@pytest.mark.parametrize(
    ("change", "build_id", "enforcing"),
    [
        ({"xen_major": "4"}, None, None),
        ({"xen_minor": -1}, None, None),
        ({"xen_extra": None}, None, None),
        ({"xen_commandline": "a\nb"}, None, None),
        ({"xen_commandline": "x" * 1025}, None, None),
        ({}, "AB", None),
        ({}, "abc", None),
        ({}, "", None),
        ({}, None, 2),
        ({}, None, -1),
    ],
)
def test_a_report_that_cannot_be_is_refused(
    change: dict[str, object], build_id: str | None, enforcing: int | None
) -> None:
    with pytest.raises(XenError):
        report.read({**FakeXen().xeninfo(), **change}, build_id, enforcing)


RECORDED = {
    "domid": 4,
    "online_vcpus": 1,
    "max_vcpu_id": 0,
    "hvm": 0,
    "dying": 0,
    "crashed": 0,
    "shutdown": 1,
    "paused": 0,
    "blocked": 1,
    "running": 0,
    "mem_kb": 163840,
    "cpu_time": 9031426642,
    "maxmem_kb": 164864,
    "ssidref": 12,
    "shutdown_reason": 0,
    "cpupool": 0,
    "handle": [26, 176, 0, 0, 0, 0, 64, 0, 128, 0, 0, 0, 0, 0, 0, 1],
}
"""A guest that had shut itself down, as the binding of a real Xen 4.17.5 listed it (tests/recordings/xen)."""


def test_a_real_xens_entry_is_read() -> None:
    (found,) = domaininfo.read([RECORDED], context)
    assert found == DomainInfo(
        4, "1ab00000-0000-4000-8000-000000000001", "sid 12", RunState.ENDED, 1, 9031426642, 40960, 41216
    )


def test_a_real_xls_listing_is_read(repository: Path) -> None:
    raw = (repository / "tests/recordings/xen/xl-list.json").read_bytes()
    assert xllist.parse(raw) == (
        ListedDomain(0, "Domain-0", 256, 0),
        ListedDomain(4, "g1", 256, 0),
        ListedDomain(5, "g2", 512, 0),
    )
