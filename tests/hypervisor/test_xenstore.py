"""The configuration store: one's own values, what is shared with whom, and what no permission can give."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from hypervisor.domctl import DestroyDomain
from hypervisor.errors import AccessDenied, BadStateError, NoSuchObjectError, OutOfResourceError
from hypervisor.state import DOM0, AccessMode
from hypervisor.xenstore import MAX_NODES, MAX_READERS, MAX_VALUE

if TYPE_CHECKING:
    from acm.policy import Policy
    from hypervisor.host import XenHost

Start = Callable[..., int]


def test_a_domain_finds_its_own_configuration(host: XenHost, start: Start) -> None:
    red = host.guest(start("red", "web"))
    values = {
        path: red.read_store(red.domid, path) for path in ("name", "memory/target", "memory/static-max")
    }
    assert values == {"name": b"web", "memory/target": b"1024", "memory/static-max": b"1024"}


def test_a_value_is_for_its_owner_until_it_is_shared(host: XenHost, start: Start) -> None:
    red, both = host.guest(start("red")), host.guest(start("red-blue"))
    both.write_store(both.domid, "device/vbd/0/state", b"4")
    with pytest.raises(NoSuchObjectError):
        red.read_store(both.domid, "device/vbd/0/state")
    both.share_store("device/vbd/0/state", red.domid, AccessMode.READ)
    assert red.read_store(both.domid, "device/vbd/0/state") == b"4"
    with pytest.raises(NoSuchObjectError):
        red.write_store(both.domid, "device/vbd/0/state", b"5")
    both.share_store("device/vbd/0/state", red.domid, AccessMode.WRITE)
    red.write_store(both.domid, "device/vbd/0/state", b"5")
    assert both.read_store(both.domid, "device/vbd/0/state") == b"5"
    with pytest.raises(NoSuchObjectError):
        red.write_store(both.domid, "device/vbd/0/other", b"5")
    with pytest.raises(NoSuchObjectError):
        red.remove_store(both.domid, "device/vbd/0/state")
    both.share_store("device/vbd/0/state", red.domid, None)
    with pytest.raises(NoSuchObjectError):
        red.read_store(both.domid, "device/vbd/0/state")


def test_no_permission_joins_unlike_domains(host: XenHost, start: Start) -> None:
    red, green = host.guest(start("red")), host.guest(start("green"))
    with pytest.raises(AccessDenied):
        green.share_store("name", red.domid, AccessMode.READ)
    for act in (
        lambda: red.read_store(green.domid, "name"),
        lambda: red.write_store(green.domid, "name", b"x"),
        lambda: red.remove_store(green.domid, "name"),
    ):
        with pytest.raises(AccessDenied):
            act()


def test_a_new_policy_ends_what_a_permission_gave(
    host: XenHost, start: Start, edited: Callable[[str, str], Policy]
) -> None:
    red, both = host.guest(start("red")), host.guest(start("red-blue"))
    both.share_store("name", red.domid, AccessMode.WRITE)
    red.read_store(both.domid, "name")
    host.replace_policy(edited("red-blue: {ste: [red, blue]}", "red-blue: {ste: [blue]}"))
    with pytest.raises(AccessDenied):
        red.read_store(both.domid, "name")
    with pytest.raises(AccessDenied):
        red.write_store(both.domid, "name", b"x")


def test_what_is_not_there_is_not_shared(host: XenHost, start: Start) -> None:
    red, other = host.guest(start("red")), start("red")
    for mode in (AccessMode.READ, None):
        with pytest.raises(NoSuchObjectError, match="no value"):
            red.share_store("nothing", other, mode)


def test_domain_0_reaches_what_it_may_run(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    toolstack = host.guest(DOM0)
    toolstack.write_store(red.domid, "control/shutdown", b"poweroff")
    assert red.read_store(red.domid, "control/shutdown") == b"poweroff"
    toolstack.remove_store(red.domid, "control")
    with pytest.raises(NoSuchObjectError):
        toolstack.read_store(red.domid, "control/shutdown")


def test_a_removed_path_takes_what_lies_below_and_nothing_beside(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    for path in ("a", "a/b", "a/b/c", "ab"):
        red.write_store(red.domid, path, b"")
    red.remove_store(red.domid, "a/b")
    assert {path for path in host.state.domain(red.domid).store if path[0] == "a"} == {"a", "ab"}


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "a b", "a.b", "ä", "a\0", "a\nb", "x" * 257, ".."])
def test_paths_have_a_form(host: XenHost, start: Start, path: str) -> None:
    red = host.guest(start("red"))
    with pytest.raises(BadStateError):
        red.write_store(red.domid, path, b"")


def test_values_readers_and_values_of_a_domain_are_bounded(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    with pytest.raises(BadStateError):
        red.write_store(red.domid, "big", bytes(MAX_VALUE + 1))
    others = [start("red") for _ in range(MAX_READERS + 1)]
    for domid in others[:-1]:
        red.share_store("name", domid, AccessMode.READ)
    with pytest.raises(OutOfResourceError):
        red.share_store("name", others[-1], AccessMode.READ)
    red.share_store("name", others[0], AccessMode.WRITE)
    for number in range(MAX_NODES - len(host.state.domain(red.domid).store)):
        red.write_store(red.domid, f"n/{number}", b"")
    with pytest.raises(OutOfResourceError):
        red.write_store(red.domid, "one/more", b"")
    red.write_store(red.domid, "n/0", b"again")


def test_a_successor_inherits_no_permission_and_no_value(host: XenHost, start: Start) -> None:
    both, red = host.guest(start("red-blue")), host.guest(start("red"))
    both.share_store("name", red.domid, AccessMode.READ)
    red.write_store(red.domid, "secret", b"x")
    host.invoke(DestroyDomain(DOM0, red.domid))
    heir = host.guest(start("red"))
    assert heir.domid == red.domid
    with pytest.raises(NoSuchObjectError):
        heir.read_store(both.domid, "name")
    with pytest.raises(NoSuchObjectError):
        heir.read_store(heir.domid, "secret")
