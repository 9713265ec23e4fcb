"""``shype host serve``: a host answers verifiers outside."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shype.cli.verb import Verbs, add_verb
from shype.report import Exit, Json, Report

if TYPE_CHECKING:
    from shype.agent.allow import AllowList

_SERVE = """\
Answers verifiers outside with endorsement, activation and evidence over HTTPS
(TLS 1.3), and nothing else; the host must be on. --allow has the certificates of
those who may ask for all of it, --tenant T=FILE of those who get tenant T's part
only: the host and T's own domains. One certificate stands in one list.

Two processes: what reads the network gives up its rights (started by root it
becomes --user), what reaches the host never reads it. One line a request goes to
standard error. Ends at SIGTERM or SIGINT.

Example:
  shype enroll client-key --name auditor -o /tmp/auditor.pem --certificate /tmp/auditor.crt
  shype enroll client-key --name cola -o /tmp/cola.pem --certificate /tmp/cola.crt
  shype host serve /tmp/h --listen 127.0.0.1:8443 --allow /tmp/auditor.crt --tenant cola=/tmp/cola.crt &
"""


def register(verbs: Verbs) -> None:
    """Add the verb."""
    serve = add_verb(verbs, "serve", "answer verifiers outside over HTTPS", _SERVE, _serve)
    serve.add_argument("folder", type=Path, metavar="HOSTDIR", help="the host's folder")
    serve.add_argument(
        "--listen", required=True, metavar="ADDRESS:PORT", help="where; port 0 takes a free one"
    )
    serve.add_argument(
        "--allow", type=Path, metavar="FILE", help="certificates of those who may ask for all of it (PEM)"
    )
    serve.add_argument(
        "--tenant",
        action="append",
        type=_tenant,
        default=[],
        metavar="T=FILE",
        help="certificates of those who get tenant T's part (PEM); may be given many times",
    )
    serve.add_argument(
        "--user", default="nobody", metavar="NAME", help="what root becomes (default: %(default)s)"
    )


def _tenant(text: str) -> tuple[str, Path]:
    tenant, equals, file = text.partition("=")
    if not (tenant and equals and file):
        raise argparse.ArgumentTypeError(f"{text[:80]!a}: T=FILE is needed, such as cola=cola.crt")
    return tenant, Path(file)


def _listed(file: Path) -> AllowList:
    from shype.agent.allow import MAX_ALLOW, AllowError, AllowList
    from shype.files import read

    try:
        return AllowList.decode(read(file, MAX_ALLOW))
    except AllowError as error:
        raise AllowError(f"{file}: {error}") from None


def _serve(arguments: argparse.Namespace) -> Report:
    from shype.agent.clients import Clients
    from shype.agent.serve import Up, serve
    from shype.errors import ShypeUsageError

    whole = None if arguments.allow is None else _listed(arguments.allow)
    tenants: dict[str, AllowList] = {}
    for tenant, file in arguments.tenant:
        if tenant in tenants:
            raise ShypeUsageError(
                f"--tenant {tenant[:80]!a} is given twice: put its certificates in one file"
            )
        tenants[tenant] = _listed(file)
    clients = Clients.of(whole, tenants)
    where = sys.stderr if arguments.json else sys.stdout

    def greet(up: Up) -> None:
        print(
            f"agent of {up.host} answers at https://{up.place}, key {up.channel.hex()}",
            file=where,
            flush=True,
        )

    up = serve(arguments.folder, arguments.listen, clients, arguments.user, greet)
    document: Json = {"host": up.host, "listen": up.place, "key": up.channel.hex(), "agent": "ended"}
    return Report(Exit.OK, document, f"agent of {up.host} ended")
