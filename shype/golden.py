"""Reference values of a golden host: its options, and the evidence they come from."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attest.evidence import MAX_BYTES, Evidence
from attest.reference import ReferenceValues
from shype import rootfiles
from shype.errors import ShypeUsageError
from shype.files import read

NEEDED: Final = ("nonce", "anchors", "policy")
"""Options without which no evidence can be verified."""


def register(verb: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = verb.add_argument_group("from a golden host, instead of PROFILE")
    group.add_argument("--from-evidence", type=Path, metavar="F", help="evidence of the golden host")
    group.add_argument("--nonce", metavar="HEX|@F", help="your nonce, or a file with it, in hex")
    group.add_argument("--anchors", type=Path, metavar="DIR", help="what you trust")
    group.add_argument("--policy", type=Path, metavar="F", help="the ACM policy to find enforced")
    group.add_argument("--appraisal", default="default", metavar="NAME|F", help="appraisal profile")
    group.add_argument("--enrolment", type=Path, metavar="F", help="enrolment record of this very host")
    group.add_argument("--name", metavar="NAME", help="name of the values (default: the host's)")


def values(args: argparse.Namespace) -> ReferenceValues:
    """Verify the evidence and return its values; raises what a broken, false or missing file raises."""
    from attest.appraisal import AppraisalProfile  # noqa: PLC0415 - only this way verifies
    from attest.verifier.golden import golden_values, nothing_expected  # noqa: PLC0415 - only this way verifies
    from shype import packaged, references, verification  # noqa: PLC0415 - only this way verifies

    _check(args)
    trust = verification.Trust(args.policy, args.nonce, args.anchors, args.appraisal, args.enrolment, None)
    evidence = Evidence.decode(read(args.from_evidence, MAX_BYTES))
    profile = AppraisalProfile.decode(read(packaged.find(trust.profile, "appraisal"), MAX_BYTES))
    empty = nothing_expected(args.name or evidence.host.name, args.issue, profile.bank)
    loaded = references.Loaded(empty, "", None)
    expected = verification.expectation(trust, loaded, evidence.host.name, datetime.now(UTC))
    return golden_values(evidence, expected)


def _check(args: argparse.Namespace) -> None:
    for name in NEEDED:
        if getattr(args, name) is None:
            raise ShypeUsageError(f"--from-evidence needs --{name}, as 'shype verify' does")
    boot = args.profile or args.domain or args.root or args.images or args.host
    if boot or rootfiles.is_given(args):
        raise ShypeUsageError("--from-evidence takes all from the host: leave the boot files away")
