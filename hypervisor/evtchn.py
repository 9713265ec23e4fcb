"""Event channel hypercalls (Xen: ``event_channel_op``): bound once under policy, then free to send."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hypervisor.errors import BadStateError, NoSuchObjectError, NotPrivileged, OutOfResourceError
from hypervisor.state import DOM0, Domain, HostState, Port, Virq, VirqLine
from hypervisor.table import lowest_free
from hypervisor.transition import Transition, channel

if TYPE_CHECKING:
    from acm.engine import Request

MAX_PORTS: Final = 4096
"""Ports of one domain (EVTCHN_2L_NR_CHANNELS on x86-64); port 0 is never given out."""
_MACHINE: Final = frozenset({Virq.CONSOLE, Virq.DOM_EXC})


@dataclass(frozen=True, slots=True)
class AllocUnbound:
    """Open a port that domain ``remote`` may bind; the result is the port."""

    caller: int
    remote: int


@dataclass(frozen=True, slots=True)
class BindInterdomain:
    """Bind to the unbound port ``remote_port`` of ``remote``; the result is the caller's own new port."""

    caller: int
    remote: int
    remote_port: int


@dataclass(frozen=True, slots=True)
class ClosePort:
    """Close one's own end; the other end becomes unbound again."""

    caller: int
    port: int


@dataclass(frozen=True, slots=True)
class BindVirq:
    """Get a virtual interrupt of one's own vCPU as signals of a port; the result is the port."""

    caller: int
    virq: Virq
    vcpu: int = 0


def alloc_accesses(state: HostState, call: AllocUnbound) -> tuple[Request, ...]:
    """Ask for a channel between the two domains."""
    return (channel(state, call.caller, call.remote),)


def alloc_unbound(state: HostState, call: AllocUnbound) -> Transition:
    """Add the port; raises OutOfResourceError."""
    domain, port = _with_port(state.domain(call.caller), Port(call.remote))
    return Transition(state.with_domain(domain), result=port)


def bind_accesses(state: HostState, call: BindInterdomain) -> tuple[Request, ...]:
    """Ask for a channel between the two domains."""
    return (channel(state, call.caller, call.remote),)


def bind_interdomain(state: HostState, call: BindInterdomain) -> Transition:
    """Join both ends; raises NoSuchObjectError where no port waits for the caller."""
    waiting = state.domain(call.remote).ports.get(call.remote_port)
    if waiting != Port(call.caller):
        raise NoSuchObjectError(
            "no-port", f"domain {call.remote} has no port {call.remote_port} for {call.caller}"
        )
    domain, port = _with_port(state.domain(call.caller), Port(call.remote, call.remote_port))
    state = state.with_domain(domain)
    remote = state.domain(call.remote)
    ports = remote.ports.put(call.remote_port, Port(call.caller, port))
    return Transition(state.with_domain(replace(remote, ports=ports)), result=port)


def close(state: HostState, call: ClosePort) -> Transition:
    """Drop the port; raises NoSuchObjectError."""
    domain = state.domain(call.caller)
    port = domain.ports.get(call.port)
    if port is None:
        raise NoSuchObjectError("no-port", f"domain {call.caller} has no port {call.port}")
    state = state.with_domain(replace(domain, ports=domain.ports.drop(call.port)))
    closed = [(call.caller, call.port)]
    if port.remote_port is not None and (port.remote, port.remote_port) != (call.caller, call.port):
        remote = state.domain(port.remote)
        ports = remote.ports.put(port.remote_port, Port(call.caller))
        state = state.with_domain(replace(remote, ports=ports))
        closed.append((port.remote, port.remote_port))
    return Transition(state, closed=tuple(closed))


def bind_virq(state: HostState, call: BindVirq) -> Transition:
    """Add the port; what the whole machine says is for Domain-0 only.

    Raises NotPrivileged, NoSuchObjectError (vCPU), BadStateError (bound already), OutOfResourceError.
    """
    domain = state.domain(call.caller)
    if call.virq in _MACHINE and domain.domid != DOM0:
        raise NotPrivileged("not-privileged", f"VIRQ {call.virq.name} is for Domain-0 only")
    if not 0 <= call.vcpu < (domain.vcpus if call.virq is Virq.TIMER else 1):
        raise NoSuchObjectError(
            "no-vcpu", f"domain {call.caller} has no VIRQ {call.virq.name} at vCPU {call.vcpu}"
        )
    line = VirqLine(call.virq, call.vcpu)
    if virq_port(domain, line) is not None:
        raise BadStateError("virq-bound", f"domain {call.caller} has bound VIRQ {call.virq.name} already")
    domain, port = _with_port(domain, Port(call.caller, virq=line))
    return Transition(state.with_domain(domain), result=port)


def virq_port(domain: Domain, line: VirqLine) -> int | None:
    """Return the port that a virtual interrupt of this domain signals, if it has bound one."""
    return next((number for number, port in domain.ports.items() if port.virq == line), None)


def peer(state: HostState, domid: int, port: int) -> tuple[int, int]:
    """Return (domain, port) at the other end of a bound channel; raises NoSuchObjectError or BadStateError.

    This is the data path of ``send``: a look-up in the caller's own table, no question to the policy.
    """
    found = state.domain(domid).ports.get(port)
    if found is None:
        raise NoSuchObjectError("no-port", f"domain {domid} has no port {port}")
    if found.remote_port is None:
        raise BadStateError("unbound", f"port {port} of domain {domid} is not bound")
    return found.remote, found.remote_port


def _with_port(domain: Domain, port: Port) -> tuple[Domain, int]:
    number = lowest_free(domain.ports, 1)
    if number >= MAX_PORTS:
        raise OutOfResourceError(
            "no-port-left", f"domain {domain.domid} has all its {MAX_PORTS - 1} ports open"
        )
    return replace(domain, ports=domain.ports.put(number, port)), number
