"""``shype attest``: the host side; writes evidence for a verifier's nonce."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

from shype.report import Exit, Json, Report

EPILOG = """\
Draw a nonce for one verification only: openssl rand -hex 32.

With --tenant it is what tenant T may see: the host and T's own domains, which are
those that were launched for T (shype domain launch --tenant), or without a tenant
under a label of that name. Of others it has the salted commitments that PCR 13
holds: how many there are, and not which.

Exit: 0 written, 2 wrong usage, no such host or no domain of T, 3 the host failed.

Example (with a host from shype host boot /tmp/h):
  shype attest --host /tmp/h --nonce 00112233445566778899aabbccddeeff -o evidence.json
  shype attest --host /tmp/h --nonce 8899aabbccddeeff0011223344556677 --tenant cola -o cola.json
"""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("--host", type=Path, required=True, metavar="HOSTDIR", help="the host's folder")
    parser.add_argument(
        "--nonce", required=True, metavar="HEX", help="the verifier's nonce, 16 to 64 bytes in hex"
    )
    parser.add_argument("--tenant", metavar="T", help="only what this tenant may see")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="for the evidence")
    parser.set_defaults(handler=_attest)


def _attest(arguments: argparse.Namespace) -> Report:
    from shype.errors import ShypeInputError, ShypeUsageError
    from shype.files import write
    from shype.host.socket import call

    try:
        nonce = bytes.fromhex(arguments.nonce)
    except ValueError:
        raise ShypeUsageError("--nonce: hexadecimal digits are needed") from None
    asked: dict[str, Json] = {
        "nonce": base64.b64encode(nonce).decode(),
        "tenant": arguments.tenant,
    }
    report = call(arguments.host, "attest", asked)
    if not isinstance(report.document, dict):
        raise ShypeInputError(f"{arguments.host}: the host sent no evidence")
    encoded = base64.b64decode(str(report.document["evidence"]))
    write(arguments.output, encoded)
    document = {
        "evidence": str(arguments.output),
        "bytes": len(encoded),
        "domains": report.document["domains"],
    }
    return Report(Exit.OK, document, f"{report.text}: {arguments.output}")
