"""Attaching and relabelling resources: once, and only from the label that a resource really has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from acm.labels import INACCESSIBLE, UNLABELED
from hypervisor.attach import AttachResource, RelabelResource
from hypervisor.errors import AccessDenied, BadStateError
from hypervisor.state import DOM0, AccessMode

if TYPE_CHECKING:
    from acm.policy import Policy
    from hypervisor.host import XenHost

Start = Callable[..., int]
RED_DISK = "uuid:00000000-0000-0000-0000-00000000000a"
RED_ROM = "uuid:00000000-0000-0000-0000-00000000000c"


@pytest.mark.parametrize(("identity", "mode"), [("vlan:1", AccessMode.WRITE), (RED_ROM, AccessMode.READ)])
def test_what_is_attached_is_not_attached_again(
    identity: str, mode: AccessMode, host: XenHost, start: Start
) -> None:
    call = AttachResource(DOM0, start("red"), identity, mode)
    host.invoke(call)
    before = host.state
    with pytest.raises(BadStateError, match="already"):
        host.invoke(call)
    assert host.state is before


def test_a_relabel_from_a_label_that_the_resource_does_not_have_is_refused(host: XenHost) -> None:
    """The policy was asked about the label that the caller named, so it has to be the true one."""
    before = host.state
    with pytest.raises(BadStateError) as refused:
        host.invoke(RelabelResource(DOM0, RED_DISK, "blue", "green"))
    assert refused.value.code == "label-changed"
    assert host.state is before


@pytest.mark.parametrize("unusable", [UNLABELED.name, INACCESSIBLE.name])
def test_what_nobody_may_use_can_get_a_label_again(unusable: str, host: XenHost) -> None:
    host.invoke(RelabelResource(DOM0, RED_DISK, "red", unusable))
    assert host.state.resource(RED_DISK).label == unusable
    host.invoke(RelabelResource(DOM0, RED_DISK, unusable, "green"))
    assert host.state.resource(RED_DISK).label == "green"


def test_a_resource_in_use_keeps_its_label(host: XenHost, start: Start) -> None:
    host.invoke(AttachResource(DOM0, start("red"), RED_DISK, AccessMode.READ))
    with pytest.raises(BadStateError, match="detach it first"):
        host.invoke(RelabelResource(DOM0, RED_DISK, "red", "green"))


def test_domain_0_relabels_only_between_labels_that_it_may_read_and_write(
    host: XenHost, edited: Callable[[str, str], Policy]
) -> None:
    host.replace_policy(edited("dom0: {ste: [red, green, blue]}", "dom0: {ste: [red, green]}"))
    for old, new in (("red", "blue"), ("blue", "red")):
        with pytest.raises(AccessDenied) as denied:
            host.invoke(RelabelResource(DOM0, RED_DISK, old, new))
        assert denied.value.code == "ste-no-shared-type"
    host.invoke(RelabelResource(DOM0, RED_DISK, "red", "green"))
