"""``shype verify``: the relying party; judges the evidence of a host, offline."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from shype.report import Report

EPILOG = """\
FILE is the evidence that 'shype attest' wrote for your nonce. Nothing but the
named files is read, nothing is asked over a network, and what the evidence
says counts only as far as the enrolled TPM has signed it. A nonce is good for
one verification. With --session it is the one that 'shype enroll nonce' made,
and is used up by the first answer, right or wrong; with --nonce that is yours
to see to: make a new one each time (openssl rand -hex 32).

--anchors DIR holds the CA certificates of TPM makers (*.pem) and the enrolment
records of your hosts (enrolled/HOST.json, from 'shype enroll'). Beside a record
HOST.clock is written: what the host's TPM said last. It must not go back.

Exit: 0 affirming, 1 contraindicated (or warning), 2 wrong usage or a missing
file, 3 not authentic or not well-formed, 4 inconclusive.

Example, after 'shype host boot', 'shype enroll' and 'shype attest --nonce $NONCE':
  shype verify evidence.json --reference reference.json --policy policy.yaml \\
    --nonce $NONCE --anchors anchors --profile embedded
"""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the group."""
    parser.epilog = EPILOG
    parser.add_argument("evidence", type=Path, metavar="FILE", help="evidence (shype.evidence/1)")
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="F", help="reference values, plain or a signed set"
    )
    parser.add_argument(
        "--reference-key", type=Path, metavar="F", help="public key (PEM or JWK) that signs the reference set"
    )
    parser.add_argument(
        "--reference-seen",
        type=Path,
        metavar="F",
        help="keeps the highest version seen: no set is rolled back",
    )
    parser.add_argument(
        "--policy", type=Path, required=True, metavar="F", help="the ACM policy to find enforced"
    )
    challenge = parser.add_mutually_exclusive_group(required=True)
    challenge.add_argument("--nonce", metavar="HEX|@F", help="your nonce, or a file with it, in hex")
    challenge.add_argument(
        "--session", type=Path, metavar="FOLDER", help="the registrar's folder, where the nonce is kept"
    )
    parser.add_argument("--anchors", type=Path, required=True, metavar="DIR", help="what you trust")
    parser.add_argument(
        "--profile", default="default", metavar="NAME|F", help="appraisal profile (default: default)"
    )
    parser.add_argument("--enrolment", type=Path, metavar="F", help="enrolment record of this very host")
    parser.add_argument(
        "--domain", action="append", metavar="NAME", help="judge this domain only; may be given many times"
    )
    parser.add_argument("--ear", type=Path, metavar="OUT", help="write the signed result (EAR) here")
    parser.add_argument("--ear-key", type=Path, metavar="PEM", help="private key on P-256 that signs it")
    parser.add_argument("--audience", metavar="NAME", help="relying party that the signed result is for")
    parser.set_defaults(handler=_verify)


def _verify(arguments: argparse.Namespace) -> Report:
    from shype import verification

    return verification.report(verification.Request.of(arguments), datetime.now(UTC))
