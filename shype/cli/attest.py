"""``shype attest``: the host side; writes evidence for a verifier's nonce."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

from shype.report import Exit, Report

EPILOG = """\
Draw a nonce for one verification only: openssl rand -hex 32.

Exit: 0 written, 2 wrong usage or no such host, 3 the host failed.

Example (with a host from shype host boot /tmp/h):
  shype attest --host /tmp/h --nonce 00112233445566778899aabbccddeeff -o evidence.json
"""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("--host", type=Path, required=True, metavar="HOSTDIR", help="the host's folder")
    parser.add_argument(
        "--nonce", required=True, metavar="HEX", help="the verifier's nonce, 16 to 64 bytes in hex"
    )
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
    report = call(arguments.host, "attest", {"nonce": base64.b64encode(nonce).decode()})
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
