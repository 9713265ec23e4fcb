"""Errors of the command and its services.

::

    ShypeInputError           the other side is wrong: exit 3
    ├── HostReplyError        the host process answered with something that is no reply
    ├── AgentEndedError       the half of an agent that faces the network ended by itself
    └── ListChangedError      a measurement list was shortened while it was shown
    ShypeUsageError           you called me wrong: exit 2
    ├── HostUnreachableError  no host process answers in that folder
    ├── NoDomainError         no domain of that tenant runs there
    └── HostBusyError         a host process already runs in that folder
"""

from __future__ import annotations


class ShypeInputError(Exception):
    """The other side is wrong; ``code`` is a stable word."""

    code = "input"


class HostReplyError(ShypeInputError):
    """The host process answered with something that is no reply."""

    code = "host-reply"


class AgentEndedError(ShypeInputError):
    """The half of an agent that faces the network ended by itself."""

    code = "agent-ended"


class ListChangedError(ShypeInputError):
    """A measurement list was shortened while it was shown."""

    code = "eventlog-changed"


class ShypeUsageError(Exception):
    """The caller is wrong; ``code`` is a stable word."""

    code = "usage"


class HostUnreachableError(ShypeUsageError):
    """No host process answers in that folder."""

    code = "host-unreachable"


class NoDomainError(ShypeUsageError):
    """No domain of that tenant runs on the host. Nothing is said about anybody else's."""

    code = "no-domain"


class HostBusyError(ShypeUsageError):
    """A host process already runs in that folder."""

    code = "host-busy"
