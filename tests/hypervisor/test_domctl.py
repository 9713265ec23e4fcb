"""Domain-0's calls on whole domains at their limits: nothing is made, moved or renamed beyond them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hypervisor.domctl import (
    FIRST_RESERVED_DOMID,
    MAX_VCPUS,
    MAX_WEIGHT,
    BuildDomain,
    CreateDomain,
    PauseDomain,
    RelabelDomain,
    ScheduleDomain,
    UnpauseDomain,
    free_domid,
)
from hypervisor.errors import BadStateError, NoSuchObjectError, OutOfResourceError
from hypervisor.state import DOM0
from hypervisor.table import Table

if TYPE_CHECKING:
    from hypervisor.host import XenHost

Start = Callable[..., int]
NEW = CreateDomain(DOM0, "u-new", "new", "red", 2, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"vcpus": 0},
        {"vcpus": MAX_VCPUS + 1},
        {"weight": 0},
        {"weight": MAX_WEIGHT + 1},
        {"cap": -1},
        {"cap": 201},
        {"domid": DOM0},
        {"domid": 1},
        {"domid": FIRST_RESERVED_DOMID},
        {"domid": -1},
        {"name": "taken"},
        {"uuid": "u-taken"},
    ],
)
def test_a_domain_that_cannot_be_is_not_made(change: dict[str, object], host: XenHost) -> None:
    assert host.invoke(replace(NEW, uuid="u-taken", name="taken")) == 1
    before = host.state
    with pytest.raises(BadStateError):
        host.invoke(replace(NEW, **change))
    assert host.state is before


@pytest.mark.parametrize(
    "change",
    [
        {"vcpus": MAX_VCPUS},
        {"weight": 1},
        {"weight": MAX_WEIGHT},
        {"cap": 200},
        {"domid": FIRST_RESERVED_DOMID - 1},
    ],
)
def test_a_domain_at_the_limit_is_made(change: dict[str, object], host: XenHost) -> None:
    domid = host.invoke(replace(NEW, **change))
    made = host.state.domain(domid)
    assert {name: getattr(made, name) for name in change} == change


def test_where_every_identifier_is_in_use_nothing_is_made(host: XenHost) -> None:
    dom0 = host.state.domain(DOM0)
    crowded = replace(host.state, domains=Table((domid, dom0) for domid in range(FIRST_RESERVED_DOMID)))
    with pytest.raises(OutOfResourceError, match="destroy a domain first"):
        free_domid(crowded)
    assert free_domid(replace(crowded, domains=crowded.domains.drop(5))) == 5


@pytest.mark.parametrize("memory_mib", [0, -1, 57, 1 << 40])
def test_a_domain_gets_what_is_free_and_no_less_than_a_page(memory_mib: int, host: XenHost) -> None:
    before = host.state
    with pytest.raises(OutOfResourceError):
        host.invoke(replace(NEW, memory_mib=memory_mib))
    assert host.state is before
    host.invoke(replace(NEW, memory_mib=56))
    assert not len(host.state.free)


@pytest.mark.parametrize(("weight", "cap"), [(0, 0), (MAX_WEIGHT + 1, 0), (1, -1), (1, 201)])
def test_no_domain_is_scheduled_beyond_the_limits(weight: int, cap: int, host: XenHost, start: Start) -> None:
    for domid in (DOM0, start("red")):
        before = host.state
        with pytest.raises(BadStateError, match="weight is"):
            host.invoke(ScheduleDomain(DOM0, domid, weight, cap))
        assert host.state is before


@pytest.mark.parametrize(
    ("gfn", "size", "fits"),
    [(0, 0, True), (0, 2 << 20, True), (511, 4096, True), (511, 4097, False), (-1, 1, False)],
)
def test_an_image_lies_within_the_memory_of_a_domain(
    gfn: int, size: int, host: XenHost, *, fits: bool
) -> None:
    domid = host.invoke(NEW)
    if fits:
        assert host.invoke(BuildDomain(DOM0, domid, gfn, bytes(size))) == -(-size // 4096)
    else:
        with pytest.raises(OutOfResourceError):
            host.invoke(BuildDomain(DOM0, domid, gfn, bytes(size)))


def test_a_guest_that_writes_into_its_image_keeps_the_rest_and_spoils_no_other_copy(host: XenHost) -> None:
    image, guests = b"I" * 4096 + b"end", []
    for number in range(2):
        domid = host.invoke(replace(NEW, uuid=f"u{number}", name=f"n{number}"))
        host.invoke(BuildDomain(DOM0, domid, 3, image))
        host.invoke(UnpauseDomain(DOM0, domid))
        guests.append(host.guest(domid))
    guests[0].write(3, 1, b"x")
    guests[0].write(4, 1, b"x")
    assert guests[0].read(3, 0, 4096) == b"Ix" + b"I" * 4094
    assert guests[0].read(4, 0, 5) == b"exd\0\0"
    assert guests[1].read(3, 0, 4096) == b"I" * 4096


def test_nothing_is_placed_in_a_domain_that_has_run(host: XenHost, start: Start) -> None:
    red = start("red")
    for _ in range(2):
        with pytest.raises(BadStateError, match="has run"):
            host.invoke(BuildDomain(DOM0, red, 0, b"image"))
        if host.state.domain(red).status == "running":
            host.invoke(PauseDomain(DOM0, red))


def test_a_domain_is_paused_once_and_unpaused_once(host: XenHost, start: Start) -> None:
    red = start("red")
    with pytest.raises(BadStateError, match="running already"):
        host.invoke(UnpauseDomain(DOM0, red))
    host.invoke(PauseDomain(DOM0, red))
    with pytest.raises(BadStateError, match="paused already"):
        host.invoke(PauseDomain(DOM0, red))


def test_a_host_pauses_and_unpauses(host: XenHost, start: Start) -> None:
    red = start("red")
    host.pause(red)
    assert host.domains()[1].state == "paused"
    host.unpause(red)
    assert host.domains()[1].state == "running"


@pytest.mark.parametrize("call", [PauseDomain, UnpauseDomain])
def test_domain_0_is_no_guest(call: type[PauseDomain], host: XenHost) -> None:
    with pytest.raises(NoSuchObjectError, match="not a guest"):
        host.invoke(call(DOM0, DOM0))
    with pytest.raises(NoSuchObjectError, match="not a guest"):
        host.invoke(BuildDomain(DOM0, DOM0, 0, b"image"))
    with pytest.raises(NoSuchObjectError, match="not a guest"):
        host.invoke(RelabelDomain(DOM0, DOM0, "dom0", "red"))


@pytest.mark.parametrize(
    ("state", "code"),
    [("other label", "label-changed"), ("sealed", "label-sealed"), ("has run", "label-sealed")],
)
def test_only_a_fresh_domain_is_relabelled_from_the_label_that_it_has(
    state: str, code: str, host: XenHost
) -> None:
    domid = host.invoke(replace(NEW, label_sealed=state == "sealed"))
    if state == "has run":
        host.invoke(UnpauseDomain(DOM0, domid))
        with pytest.raises(BadStateError, match="is running"):
            host.invoke(RelabelDomain(DOM0, domid, "red", "green"))
        host.invoke(PauseDomain(DOM0, domid))
    before = host.state
    with pytest.raises(BadStateError) as refused:
        host.invoke(RelabelDomain(DOM0, domid, "blue" if state == "other label" else "red", "green"))
    assert refused.value.code == code
    assert host.state is before
