"""``shype result``: the relying party of a signed attestation result (EAR)."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from shype.cli.verb import add_verb, verbs_of
from shype.report import Report

_VERIFY: Final = """\
TOKEN is the file that 'shype verify --ear' wrote. Only ES256 is accepted, and
nothing in the token is read before its signature holds.

Exit: 0 affirming, 1 warning or contraindicated, 2 wrong usage, 3 a token that
must be refused, 4 a good token that says "none".

Example:
  shype result jwk ear-key.pem > ear-key.jwk
  shype result verify ear.jwt --key ear-key.jwk --nonce $NONCE
"""

_JWK: Final = """\
Prints the public key that relying parties need, as a JWK (RFC 7517).

Example:
  openssl ecparam -name prime256v1 -genkey -noout -out ear-key.pem
  shype result jwk ear-key.pem > ear-key.jwk
"""

_STANDING: Final = """\
DIR is the folder in which 'shype verify https://…' remembers (--state, or its
--anchors). A good verdict is good for as long as its profile says; a failure
stays until it is cleared; a host that was asked and did not answer is silent.

Exit: 0 all are good, 1 one failed, 2 wrong usage, 3 a broken record, 4 one is
stale, silent or unknown.

Example:
  shype result standing anchors
"""

_CLEAR: Final = """\
For a person who has looked into it: the failure of a host is taken away, with
the reason, and the host has to be asked anew.

Example:
  shype result clear anchors --host embedded --why "kernel 6.1.99 was a planned update"
"""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the group."""
    verbs = verbs_of(parser)
    verify = add_verb(verbs, "verify", "check a signed result and show what it says", _VERIFY, _check)
    verify.add_argument("token", type=Path, metavar="TOKEN", help="file with the token (a compact JWS)")
    verify.add_argument("--key", type=Path, required=True, metavar="JWK", help="the verifier's public key")
    verify.add_argument("--nonce", metavar="HEX", help="the nonce that the result must be for")
    verify.add_argument("--audience", metavar="NAME", help="who you are, for a result made for somebody")
    verify.add_argument(
        "--submod",
        action="append",
        default=[],
        metavar="NAME",
        help="part that must be in the result (platform, domain:NAME); may be given many times",
    )
    jwk = add_verb(verbs, "jwk", "print the public half of a signing key", _JWK, _jwk)
    jwk.add_argument("pem", type=Path, metavar="PEM", help="private key on P-256")
    standing = add_verb(verbs, "standing", "show how the hosts stand that were asked", _STANDING, _standing)
    clear = add_verb(verbs, "clear", "take a host's failure away, with a reason", _CLEAR, _clear)
    for verb in (standing, clear):
        verb.add_argument("state", type=Path, metavar="DIR", help="where verify keeps standings")
    standing.add_argument("--host", metavar="NAME", help="this one alone")
    clear.add_argument("--host", required=True, metavar="NAME", help="the host")
    clear.add_argument("--why", required=True, metavar="TEXT", help="what the failure was; one line")


def _standing(arguments: argparse.Namespace) -> Report:
    from shype import standingreport

    return standingreport.show(arguments.state, datetime.now(UTC), arguments.host)


def _clear(arguments: argparse.Namespace) -> Report:
    from shype import standingreport

    return standingreport.clear(arguments.state, arguments.host, arguments.why, datetime.now(UTC))


def _check(arguments: argparse.Namespace) -> Report:
    from shype import earcheck

    return earcheck.check(
        arguments.token,
        arguments.key,
        int(time.time()),
        nonce=arguments.nonce,
        audience=arguments.audience,
        submods=arguments.submod,
    )


def _jwk(arguments: argparse.Namespace) -> Report:
    from shype import earcheck

    return earcheck.jwk(arguments.pem)
