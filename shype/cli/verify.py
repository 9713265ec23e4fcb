"""``shype verify``: the relying party; judges the evidence of a host: a file, or by asking."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from shype.report import Report

EPILOG = """\
With a FILE nothing is asked over a network; with https://HOST:PORT a host agent
(shype host serve) is asked with a fresh nonce, as the owner of the key in
--client, and the answer counts only over this very TLS connection.

FILE is the evidence that 'shype attest' wrote for your nonce. Nothing but the
named files is read, and what the evidence says counts only as far as the
enrolled TPM has signed it. A nonce is good for one verification. With --session
it is the one that 'shype enroll nonce' made, and is used up by the first
answer, right or wrong; with --nonce that is yours to see to: make a new one
each time (openssl rand -hex 32).

--anchors DIR holds the CA certificates of TPM makers (*.pem) and the enrolment
records of your hosts (enrolled/HOST.json, from 'shype enroll'). Beside a record
HOST.clock is written: what the host's TPM said last. It must not go back; take
the file away only for a host whose TPM you know was cleared.

With a URL, --enroll has an unknown host prove its TPM and adds its record; that
this is the TPM of the machine you mean is for you to know. How each host stood
is kept in --state: a failure stays until 'shype result clear', whatever the
host says later.

Every domain of the reference values has to be there, or those that --domain
names. A tenant is shown its own (shype attest --tenant, shype host serve
--tenant), and the result says how many run that were not judged.

Exit: 0 affirming, 1 contraindicated (or warning), 2 wrong usage or a missing
file, 3 not authentic or not well-formed, 4 inconclusive.

Example, after 'shype host boot', 'shype enroll', 'shype attest --nonce $NONCE', and 'shype host serve':
  shype verify evidence.json --reference reference.json --policy policy.yaml \\
    --nonce $NONCE --anchors anchors --profile embedded
  shype verify https://127.0.0.1:8443 --host embedded --enroll --client /tmp/auditor.pem \\
    --reference reference.json --policy policy.yaml --anchors anchors --profile embedded
"""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the group."""
    parser.epilog = EPILOG
    parser.add_argument(
        "evidence", metavar="FILE|URL", help="evidence (shype.evidence/1), or https://HOST:PORT of an agent"
    )
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
    challenge = parser.add_mutually_exclusive_group()
    challenge.add_argument(
        "--nonce", metavar="HEX|@F", help="your nonce, or a file with it, in hex; for a FILE"
    )
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
    asking = parser.add_argument_group("to ask a host agent")
    asking.add_argument("--host", metavar="NAME", help="what it is enrolled as (default: HOST of the URL)")
    asking.add_argument("--client", type=Path, metavar="F", help="your key, from 'shype enroll client-key'")
    asking.add_argument("--enroll", action="store_true", help="enrol it first, into --anchors")
    asking.add_argument(
        "--state", type=Path, metavar="DIR", help="where its standing is kept (default: --anchors)"
    )
    parser.set_defaults(handler=_verify)


def _verify(arguments: argparse.Namespace) -> Report:
    from shype import verification
    from shype.errors import ShypeUsageError

    if "://" in arguments.evidence:
        from shype.remote import verify

        return verify.report(verify.Request.of(arguments))
    named = [name for name in ("host", "client", "state") if getattr(arguments, name) is not None]
    if named or arguments.enroll:
        raise ShypeUsageError(
            f"--{(*named, 'enroll')[0]} is for asking a host: shype verify https://HOST:PORT"
        )
    if arguments.nonce is None and arguments.session is None:
        raise ShypeUsageError("--nonce or --session is needed: what the evidence has to answer")
    arguments.evidence = Path(arguments.evidence)
    return verification.report(verification.Request.of(arguments), datetime.now(UTC))
