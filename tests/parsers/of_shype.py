"""What the package shype reads from outside; the files of its commands stand in tests/simulators/desk.py."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attest.enrolment import Enrolment
from shype import (
    anchors,
    bootfiles,
    earcheck,
    enrolments,
    firstact,
    ownerauth,
    policies,
    quotehistory,
    references,
)
from shype.host import creation, resource_labels
from shype.host import socket as host_socket
from shype.host.socket import NAME, Reply
from shype.report import Exit, Json, Report
from tests.parsers import of_attest
from tests.parsers.parser import Parser, folder, good, replaced

_REPLY: Final = (
    b'{"exit": 0, "document": {"host": "embedded"}, "text": "up", "error": null, "code": "error"}\n'
)
_REQUEST: Final = b'{"verb": "launch", "arguments": {"config": "bmFtZT0idyIK", "tenant": null}}\n'


_LABELS: Final = b'{"format": "shype.labels/1", "labels": {"vlan:101": "cola-vlan"}}\n'


def _labels(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as room:
        (Path(room) / resource_labels.FILE).write_bytes(raw)
        resource_labels.load(Path(room))


def _anchors(raw: bytes) -> None:
    with replaced("anchors/maker.pem", raw) as desk:
        anchors.read_anchors(desk / "anchors")


def _profile(raw: bytes) -> None:
    with replaced("rack7.yaml", raw) as desk:
        bootfiles.open_profile(str(desk / "rack7.yaml"), None)


def _check(name: str, raw: bytes) -> None:
    with replaced(name, raw) as desk:
        earcheck.check(desk / "ear.jwt", desk / "ear-key.jwk", 0, nonce=None, audience=None, submods=())


def _jwk(raw: bytes) -> None:
    with replaced("ear-key.pem", raw) as desk:
        earcheck.jwk(desk / "ear-key.pem")


def _references(raw: bytes) -> None:
    with replaced("reference.json", raw) as desk:
        references.load(desk / "reference.json", None, None)


def _enrolled(raw: bytes) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as room,
        enrolments.open_store(Path(room)) as store,
    ):
        (Path(room) / "enrolled" / "xen1.example.json").write_bytes(raw)
        store.known()


def _kept(raw: bytes) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as room,
        enrolments.open_store(Path(room)) as store,
    ):
        (Path(room) / "sessions" / "xen1.json").write_bytes(raw)
        with store.session("xen1"):
            pass


def _remembered(raw: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as room:
        (Path(room) / "xen1.example.clock").write_bytes(raw)
        enrolment = Enrolment.decode(good("anchors/enrolled/xen1.example.json"))
        with quotehistory.remembered(Path(room) / "xen1.example.json", enrolment):
            pass


def _started_with(raw: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as room:
        (Path(room) / "cmdline").write_bytes(raw)
        firstact.dom0_commandline(Path(room) / "cmdline")


def _authorised(raw: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as room:
        path = Path(room) / "owner"
        path.touch(mode=0o600)
        path.write_bytes(raw)
        ownerauth.read_owner_auth(path)


def _created(raw: bytes) -> None:
    """A description that is accepted would make a TPM: the folder is in the way before that."""
    with contextlib.suppress(FileExistsError):
        creation.create(folder(), raw)


def _called(raw: bytes) -> None:
    """Ask a host that answers with these bytes."""
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as room:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(f"{room}/{NAME}")
        server.listen(1)
        thread = threading.Thread(target=_answer, args=(server, raw))
        thread.start()
        try:
            host_socket.call(Path(room), "status", {})
        finally:
            thread.join()


def _answer(server: socket.socket, raw: bytes) -> None:
    with contextlib.closing(server):
        link, _ = server.accept()
        with contextlib.closing(link), contextlib.suppress(OSError):
            link.recv(1 << 16)
            link.sendall(raw)
            link.shutdown(socket.SHUT_WR)
            link.recv(1)


def _served(raw: bytes) -> None:
    """Send a host these bytes as a request."""
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        ours.sendall(raw[: 1 << 16])
        ours.shutdown(socket.SHUT_WR)
        host_socket.serve_one(theirs, _echo)


def _echo(verb: str, arguments: Mapping[str, Json]) -> Reply:
    return Reply(Report(Exit.OK, {"verb": verb, **arguments}, ""))


def _policies(name: str, raw: bytes) -> object:
    with replaced(name, raw) as folder:
        return (
            policies.load_history(folder / name) if name.endswith(".json") else policies.load(folder / name)
        )


PARSERS: Final = (
    Parser("shype.anchors:read_anchors", lambda: [good("anchors/maker.pem")], _anchors, files=True),
    Parser("shype.bootfiles:open_profile", lambda: [good("rack7.yaml")], _profile, files=True),
    Parser(
        "shype.earcheck:check",
        lambda: [good("ear.jwt")],
        lambda raw: _check("ear.jwt", raw),
        "token",
        files=True,
    ),
    Parser(
        "shype.earcheck:check",
        lambda: [good("ear-key.jwk")],
        lambda raw: _check("ear-key.jwk", raw),
        "key",
        files=True,
    ),
    Parser("shype.references:load", lambda: [good("reference.json")], _references, files=True),
    Parser("shype.references:public_key", lambda: [good("ear-key.jwk")], references.public_key),
    Parser("shype.earcheck:jwk", lambda: [good("ear-key.pem")], _jwk, files=True),
    Parser(
        "shype.enrolments:open_store",
        lambda: [good("anchors/enrolled/xen1.example.json")],
        _enrolled,
        "enrolled",
        files=True,
    ),
    Parser("shype.enrolments:open_store", of_attest.sessions, _kept, "sessions", files=True),
    Parser("shype.quotehistory:remembered", of_attest.quote_history, _remembered, files=True),
    Parser("shype.ownerauth:read_owner_auth", lambda: [b"the owner's own\n"], _authorised, files=True),
    Parser("shype.host.creation:create", lambda: [good("embedded.yaml")], _created),
    Parser("shype.host.resource_labels:decode", lambda: [_LABELS], resource_labels.decode),
    Parser("shype.host.resource_labels:load", lambda: [_LABELS], _labels, files=True),
    Parser("shype.host.socket:call", lambda: [_REPLY], _called, files=True),
    Parser(
        "shype.policies:load",
        lambda: [good("wall.yaml")],
        lambda raw: _policies("wall.yaml", raw),
        files=True,
    ),
    Parser(
        "shype.policies:load_history",
        lambda: [good("history.json")],
        lambda raw: _policies("history.json", raw),
        files=True,
    ),
    Parser("shype.firstact:dom0_commandline", lambda: [b"console=hvc0 ro quiet\n"], _started_with),
    Parser("shype.host.socket:serve_one", lambda: [_REQUEST], _served),
)

NOT_PARSERS: Final = {
    "shype.enrolments:existing_store": "open_store, for a folder that is there",
    "shype.enrolments:record_of": "a record, as open_store reads it",
    "shype.quoteanswer:*": "what judge_quote judges, and sessions as open_store reads them",
    "shype.demo.*": "the demo's own folders and processes",
    "shype.domainfiles:*": "hypervisor.xlconfig:parse and hypervisor.hostconfig:parse read them",
    "shype.heldfile:holding": "gives bytes of any kind",
    "shype.files:*": "reads and writes bytes of any kind",
    "shype.firstact:first_act": "where the log is to be",
    "shype.host.dom0:Dom0Host.*": "what it reads, hostconfig, policyfile and xlconfig parse",
    "shype.host.folder:owned": "a host's own folder",
    "shype.host.running:RunningHost.*": "what it reads, acm.policyfile and hypervisor.xlconfig parse",
    "shype.host.embedded:EmbeddedHost.*": "what it reads, acm.policyfile and hypervisor.xlconfig parse",
    "shype.host.guests:*": "values for a TPM",
    "shype.host.maker:*": "a folder that it makes",
    "shype.host.past_runs:kept": "opens hypervisor.history_store",
    "shype.host.past_runs:open_store": "opens hypervisor.history_store",
    "shype.host.resource_labels:keep": "writes what load reads",
    "shype.host.resource_labels:kept": "writes what load reads",
    "shype.host.socket:listening": "makes a socket",
    "shype.rootfiles:programs": "hashes files of any kind",
    "shype.host.tpm:*": "values for a TPM, and a folder that only swtpm reads",
}
