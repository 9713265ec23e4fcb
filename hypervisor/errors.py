"""Every error that this package raises.

::

    HypervisorInputError          the other side is wrong: bytes or a guest (CLI exit 3)
    +-- ConfigError               an xl domain config, at a line and column
    +-- HostConfigError           a host description, at a line and column
    +-- ResourceMismatchError     a disk whose content is not what its identity says
    +-- RingError                 a front end wrote nonsense into a shared ring
    +-- XenError                  a real Xen, or one of its tools, failed or answered with nonsense
    HypervisorUsageError          you called me wrong (CLI exit 2)
    +-- NoSuchObjectError         a domain, port, grant, mapping or resource that is not there
    +-- BadStateError             it is there, and not in a state that allows this
    +-- OutOfResourceError        no memory, ports or domain identifiers left
    +-- PageFaultError            access to a page that the domain does not have, or not that way
    +-- UnsupportedError          a config asks for what this kind of host does not give
    HypervisorDenied              the reference monitor said no (CLI exit 1)
    +-- AccessDenied              carries the decision of the policy engine
    +-- Undecided                 the policy engine had no answer: refused
    +-- NotPrivileged             the caller is not Domain-0
    +-- PolicyMismatch            a config was written for another policy than the enforced one
    +-- UpdateRefused             a new policy is no successor, or something that lives would violate it
    +-- NoContext                 FLASK is on, and the host's description has no context for the label
    +-- StrangerRuns              a domain runs that nobody launched here: nothing else starts beside it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acm.decision import Decision
    from acm.update import Update


class HypervisorInputError(Exception):
    """Bytes or a guest broke a format. ``code`` is stable; the message is one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _PositionedError(HypervisorInputError):
    """``line`` and ``column`` count from 1, columns in characters; the message says them too."""

    def __init__(self, code: str, message: str, *, line: int, column: int) -> None:
        super().__init__(code, message)
        self.line = line
        self.column = column


class ConfigError(_PositionedError):
    """An xl domain config does not fit :mod:`hypervisor.xlconfig`."""


class HostConfigError(_PositionedError):
    """A host description does not fit ``shype.host/1`` (:mod:`hypervisor.hostconfig`)."""


class ResourceMismatchError(HypervisorInputError):
    """A resource's content does not have the identity under which it is labelled."""


class RingError(HypervisorInputError):
    """A shared ring holds indices or requests that its protocol forbids."""


class XenError(HypervisorInputError):
    """Xen or a tool of it failed, did not answer in time, or answered with what cannot be.

    ``code``: ``xen-call``, ``xen-reply``, ``xen-tool``, ``xen-binding``, ``xen-domain`` (not as ordered).
    """


class HypervisorUsageError(Exception):
    """The caller asked for what cannot be. ``code`` is stable; the message is one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoSuchObjectError(HypervisorUsageError):
    """A named domain, port, grant, mapping or resource does not exist."""


class BadStateError(HypervisorUsageError):
    """The object exists, and its state does not allow the operation."""


class OutOfResourceError(HypervisorUsageError):
    """Memory, ports or identifiers are used up."""


class PageFaultError(HypervisorUsageError):
    """The domain has no such page, or may not access it this way."""


class UnsupportedError(HypervisorUsageError):
    """A domain config, or an operation, asks for what this kind of host does not give."""


class HypervisorDenied(Exception):  # noqa: N818 - a refusal is no error of the program
    """The reference monitor refused. ``code`` is that of the first reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class AccessDenied(HypervisorDenied):
    """An operation against policy; ``decision`` holds verdict and all reasons."""

    def __init__(self, operation: str, decision: Decision) -> None:
        reasons = "; ".join(f"{reason.code}: {reason.detail}" for reason in decision.reasons)
        code = decision.reasons[0].code if decision.reasons else "denied"
        super().__init__(code, f"{operation} denied: {reasons or 'no reason given'}")
        self.operation = operation
        self.decision = decision


class Undecided(HypervisorDenied):
    """The engine could not decide (an unknown label, an impossible running set): that is a no."""


class NotPrivileged(HypervisorDenied):
    """A guest asked for what only Domain-0 may do."""


class PolicyMismatch(HypervisorDenied):
    """A domain config names a policy that is not the enforced one."""


class UpdateRefused(HypervisorDenied):
    """A policy update that cannot take effect; ``update`` says all that breaks."""

    def __init__(self, update: Update) -> None:
        lines = [f"{one.code}: {one.detail}" for one in update.lineage]
        lines += [str(one) for one in update.violations]
        codes = [*(one.code for one in update.lineage), *(str(one.code) for one in update.violations)]
        more = f" (and {len(lines) - 1} more; see: shype policy diff)" if len(lines) > 1 else ""
        super().__init__(codes[0], f"policy update refused: {lines[0]}{more}")
        self.update = update


class NoContext(HypervisorDenied):
    """FLASK is on, and no context is known for a label: nothing would keep the domain to its label."""


class StrangerRuns(HypervisorDenied):
    """A domain runs that was not launched here: its label is unknown, so nothing can be decided beside it."""
