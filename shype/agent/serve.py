"""An agent is two processes: the gate, which we are, reaches the host; its child, the front, the network.

The front is forked before anything else runs in this process, gives up its rights (``confine``) and only then
reads from the network. Either ends with the other: their socket pair ends with each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from shype.agent import gate, identity
from shype.agent.allow import AllowList
from shype.agent.clients import Clients
from shype.agent.confine import confine, find_user
from shype.agent.front import Front
from shype.agent.journal import Journal
from shype.errors import AgentEndedError, ShypeUsageError
from shype.host.socket import call

BACKLOG: Final = 64
MAX_PORT: Final = 65_535
END_SECONDS: Final = 10.0
_FAILED: Final = 70
"""Exit code of a front that could not begin (sysexits.h, EX_SOFTWARE)."""


class _Stopped(Exception):  # noqa: N818 - not an error: it ends the service
    """SIGTERM or SIGINT."""


@dataclass(frozen=True, slots=True)
class Up:
    """What an agent is, once it listens."""

    host: str
    address: str
    port: int
    channel: bytes

    @property
    def place(self) -> str:
        """ADDRESS:PORT."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def serve(folder: Path, listen: str, clients: Clients, user: str, ready: Callable[[Up], None]) -> Up:
    """Serve the host in ``folder`` at ``listen`` until SIGTERM or SIGINT; ``ready`` is told once it listens.

    Raises HostUnreachableError where no host runs there, ShypeUsageError for an address or user that is none,
    OSError where the address cannot be had, AgentEndedError where the front ends by itself.
    """
    to_be = find_user(user)
    host = str(_document(folder)["host"])
    with _listener(listen) as listener:
        address, port = listener.getsockname()[:2]
        ours, theirs = socket.socketpair()
        with ours:
            child = os.fork()
            if child == 0:
                ours.close()
                _front(listener, theirs, clients.listed, to_be)
            theirs.close()
            listener.close()
            up: list[Up] = []

            def begin(channel: bytes) -> None:
                up.append(Up(host, address, port, channel))
                ready(up[0])

            try:
                _stop_at_signals()
                gate.keep(ours, folder, clients, begin)
                raise AgentEndedError("the agent's network half ended by itself; see its log")
            except _Stopped:
                return up[0] if up else Up(host, address, port, b"")
            finally:
                _end(child)


def _document(folder: Path) -> dict[str, object]:
    found = call(folder, "endorsement", {}, gate.HOST_SECONDS).document
    assert isinstance(found, dict)
    return found


def _listener(listen: str) -> socket.socket:
    address, colon, digits = listen.rpartition(":")
    if not (colon and digits.isascii() and digits.isdigit() and int(digits) <= MAX_PORT and address):
        raise ShypeUsageError(f"--listen {listen[:80]!a}: ADDRESS:PORT is needed, such as 127.0.0.1:8443")
    bare = address.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    return socket.create_server((bare, int(digits)), family=family, backlog=BACKLOG)


def _front(
    listener: socket.socket, link: socket.socket, allowed: AllowList, user: pwd.struct_passwd | None
) -> NoReturn:
    """Be the front; never comes back into the parent's code."""
    code = _FAILED
    try:
        own = identity.make(allowed)
        confine(user)
        asyncio.run(Front(listener, own, allowed, Journal(sys.stderr)).run(link))
        code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, this process ends here
        print(f"front: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def _stop_at_signals() -> None:
    """Let the first SIGTERM or SIGINT raise _Stopped, and no later one anything."""

    def stop(_number: int, _frame: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise _Stopped

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _end(child: int) -> None:
    """Have the front end, by force if it must be."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + END_SECONDS
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
