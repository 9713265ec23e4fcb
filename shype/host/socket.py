"""Requests to a running host, one JSON line each way over a Unix socket.

Trusted: whoever can open the socket administers the host, as whoever can open ``/dev/xen/privcmd`` does.
It lies in the host's folder (mode 0700) with mode 0600, and the peer's user id is checked besides.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attest import canonical_json
from attest.canonical_json import JsonError
from attest.errors import one_line
from shype.errors import (
    HostBusyError,
    HostReplyError,
    HostUnreachableError,
    ShypeInputError,
    ShypeUsageError,
)
from shype.report import Exit, Json, Report

NAME: Final = "host.sock"
MAX_REQUEST: Final = 8 << 20
MAX_REPLY: Final = 64 << 20
REQUEST_SECONDS: Final = 5.0
"""For a whole request: whoever drips bytes does not keep others waiting."""
REPLY_SECONDS: Final = 600.0
"""A day under workload takes minutes."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A report, or the line of an error, and its code, that the caller is to see as its own."""

    report: Report
    error: str | None = None
    code: str = "error"


Answer = Callable[[str, Mapping[str, Json]], Reply]


def call(folder: Path, verb: str, arguments: Mapping[str, Json], seconds: float = REPLY_SECONDS) -> Report:
    """Ask the host in ``folder`` to do ``verb``, for at most ``seconds``; return its report.

    Raises HostUnreachableError when nobody answers, HostReplyError when the answer is no reply,
    ShypeUsageError for arguments that are too large, and for an error of the host itself ShypeUsageError or
    ShypeInputError with the host's own line.
    """
    request = json.dumps({"verb": verb, "arguments": dict(arguments)}).encode() + b"\n"
    if len(request) > MAX_REQUEST:
        raise ShypeUsageError(f"{verb}: {len(request)} bytes are too large a request; {MAX_REQUEST} at most")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as link:
        link.settimeout(seconds)
        try:
            _short_path(folder, link.connect)
        except OSError as error:
            advice = f"start it: shype host boot {folder} --boot DIR"
            raise HostUnreachableError(f"{folder}: no host runs here ({error.strerror}); {advice}") from error
        try:
            link.sendall(request)
            raw = _line(link, MAX_REPLY, seconds)
        except OSError as error:
            raise HostReplyError(f"{folder}: the host went away during {verb!r}: {error}") from error
    try:
        reply = json.loads(raw)
        error_line, error_code = reply["error"], str(reply["code"])
        report = Report(Exit(reply["exit"]), reply["document"], str(reply["text"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HostReplyError(f"{folder}: the host's answer to {verb!r} is no reply; see its log") from error
    if error_line is not None:
        raise _error(report.exit, one_line(str(error_line)), error_code)
    return report


def _error(code: Exit, line: str, word: str) -> Exception:
    error = (ShypeUsageError if code is Exit.USAGE else ShypeInputError)(line)
    error.code = word
    return error


@contextlib.contextmanager
def listening(folder: Path) -> Iterator[socket.socket]:
    """Listen in ``folder`` (mode 0700); raises HostBusyError when a host already answers there."""
    path = folder / NAME
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as server:
        if path.exists():
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
                if _connects(folder, probe):
                    raise HostBusyError(
                        f"{folder}: a host already runs here; stop it: shype host poweroff {folder}"
                    )
            path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            _short_path(folder, server.bind)
        finally:
            os.umask(before)
        server.listen(8)
        try:
            yield server
        finally:
            path.unlink(missing_ok=True)


def serve_one(link: socket.socket, answer: Answer) -> None:
    """Take one request, answer it; a peer that is not us, slow or garbled is dropped."""
    with contextlib.closing(link), contextlib.suppress(OSError):
        if _peer_uid(link) not in {os.getuid(), 0}:
            return
        request = _request(_line(link, MAX_REQUEST, REQUEST_SECONDS))
        if request is None:
            return
        reply = answer(*request)
        link.settimeout(REQUEST_SECONDS)
        report = reply.report
        fields = {"exit": int(report.exit), "document": report.document, "text": report.text}
        link.sendall(json.dumps({**fields, "error": reply.error, "code": reply.code}).encode() + b"\n")


def _request(raw: bytes) -> tuple[str, Mapping[str, Json]] | None:
    try:
        found = canonical_json.decode(raw, "request", MAX_REQUEST)
    except JsonError:
        return None
    if not isinstance(found, dict) or found.keys() != {"verb", "arguments"}:
        return None
    verb, arguments = found["verb"], found["arguments"]
    return (verb, arguments) if isinstance(verb, str) and isinstance(arguments, dict) else None


def _connects(folder: Path, probe: socket.socket) -> bool:
    try:
        _short_path(folder, probe.connect)
    except OSError:
        return False
    return True


def _short_path(folder: Path, act: Callable[[str], None]) -> None:
    """Socket paths end at 108 bytes (unix(7)); a path through a held descriptor is always short."""
    held = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        act(f"/proc/self/fd/{held}/{NAME}")
    finally:
        os.close(held)


def _peer_uid(link: socket.socket) -> int:
    _, uid, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def _line(link: socket.socket, limit: int, seconds: float) -> bytes:
    chunks, deadline = bytearray(), time.monotonic() + seconds
    while not chunks.endswith(b"\n"):
        link.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = link.recv(1 << 16)
        if not chunk or len(chunks) + len(chunk) > limit:
            raise ConnectionError("the message ends early or is too long")
        chunks += chunk
    return bytes(chunks)
