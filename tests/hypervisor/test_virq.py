"""Virtual interrupts: each domain's own, and those of the machine for Domain-0 alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from hypervisor.domctl import DestroyDomain
from hypervisor.errors import BadStateError, NoSuchObjectError, NotPrivileged
from hypervisor.state import DOM0, Virq

if TYPE_CHECKING:
    from hypervisor.host import XenHost

Start = Callable[..., int]


def test_a_timer_signals_its_vcpu_once_when_time_has_come(host: XenHost, start: Start) -> None:
    red = host.guest(start("red", vcpus=2))
    first, second = red.bind_virq(Virq.TIMER), red.bind_virq(Virq.TIMER, 1)
    host.set_timer(red.domid, 1000)
    host.set_timer(red.domid, 2000, vcpu=1)
    host.run(1000)
    assert (red.take_signals(first), red.take_signals(second)) == (1, 0)
    host.run(5000)
    assert (red.take_signals(first), red.take_signals(second)) == (0, 1)


def test_domain_0_hears_that_a_domain_has_ended(host: XenHost, start: Start) -> None:
    red = start("red")
    host.invoke(DestroyDomain(DOM0, red))
    toolstack = host.guest(DOM0)
    port = toolstack.bind_virq(Virq.DOM_EXC)
    host.invoke(DestroyDomain(DOM0, start("red")))
    assert toolstack.take_signals(port) == 1


@pytest.mark.parametrize("virq", [Virq.DOM_EXC, Virq.CONSOLE])
def test_a_guest_hears_nothing_of_the_machine(virq: Virq, host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    before = host.state
    with pytest.raises(NotPrivileged):
        red.bind_virq(virq)
    assert host.state is before
    assert host.guest(DOM0).bind_virq(virq) == 1


def test_lines_are_bound_once_and_belong_to_a_vcpu(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    port = red.bind_virq(Virq.TIMER)
    with pytest.raises(BadStateError, match="already"):
        red.bind_virq(Virq.TIMER)
    for virq, vcpu in ((Virq.TIMER, 1), (Virq.TIMER, -1), (Virq.ARGO, 1)):
        with pytest.raises(NoSuchObjectError):
            red.bind_virq(virq, vcpu)
    with pytest.raises(NoSuchObjectError):
        host.set_timer(red.domid, 5, vcpu=1)
    red.close(port)
    assert red.bind_virq(Virq.TIMER) == port


def test_a_virq_port_leads_nowhere(host: XenHost, start: Start) -> None:
    red, both = host.guest(start("red")), host.guest(start("red-blue"))
    port = red.bind_virq(Virq.TIMER)
    with pytest.raises(BadStateError, match="not bound"):
        red.send(port)
    with pytest.raises(NoSuchObjectError):
        both.bind_interdomain(red.domid, port)
    with pytest.raises(NoSuchObjectError):
        red.bind_interdomain(red.domid, port)
