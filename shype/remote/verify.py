"""What ``shype verify https://…`` does: asks a host, judges, remembers how it stands, shows and signs."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from attest.enrolment import check_host
from attest.nonce import NONCE_SIZE
from attest.result import Result
from attest.verifier.claims import Expectation
from shype import references, standings, verification
from shype.errors import ShypeUsageError
from shype.remote.client import Client
from shype.remote.interview import Interview, with_standing
from shype.remote.link import Place
from shype.report import Exit, Report

NOT_ENROLLED: Final = ("enrolment-refused",)
"""Nothing was judged: there is no host yet that could have failed."""


@dataclass(frozen=True, slots=True)
class Request(verification.Signing):
    """The arguments of a run that asks a host."""

    evidence: str
    """The URL."""
    session: Path | None
    host: str | None
    client: Path | None
    state: Path | None
    enroll: bool

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """Take them from the command line; raises ShypeUsageError where they do not go together."""
        made = cls(**{name: getattr(arguments, name) for name in cls.__dataclass_fields__})
        if made.nonce is not None or made.session is not None:
            raise ShypeUsageError(
                "--nonce, --session: for evidence in a file; a host is asked with a fresh one"
            )
        if made.client is None:
            raise ShypeUsageError("--client: your key is needed (shype enroll client-key)")
        if made.enroll and made.enrolment is not None:
            raise ShypeUsageError("--enroll makes an enrolment record, --enrolment names one: choose")
        return made


def report(request: Request) -> Report:
    """Ask, judge, remember, show and sign; raises what a broken or missing file of one's own raises."""
    place = Place.of(request.evidence)
    host = request.host or place.host
    check_host(host)
    assert request.client is not None
    reference = references.load(request.reference, request.reference_key, request.reference_seen)
    expected = replace(
        verification.expectation(request, reference, host, datetime.now(UTC)), nonce=os.urandom(NONCE_SIZE)
    )
    signer = verification.signer_of(request)
    record = request.record(host)
    interview = Interview(
        place,
        host,
        Client.load(request.client),
        request.anchors,
        record,
        _to_enrol(request, record, expected),
    )
    with standings.hold(request.state or request.anchors, host) as kept:
        before = kept.standing
        kept.put(before.asked(datetime.now(UTC)))
        result = interview.hold()
        passes, codes = verification.exit_of(result, expected), _codes(result)
        if passes is not Exit.INCONCLUSIVE and codes != NOT_ENROLLED:
            kept.put(
                kept.standing.judged(
                    result.verdict,
                    codes,
                    good=passes is Exit.OK,
                    now=datetime.now(UTC),
                    lifetime=timedelta(seconds=expected.profile.result_seconds),
                )
            )
    result = with_standing(result, before.failures, before.failed_at)
    return verification.conclude(request, result, expected, signer)


def _to_enrol(request: Request, record: Path, expected: Expectation) -> Expectation:
    """Return the expectation with no record where the host is to be enrolled; else there has to be one."""
    if request.enroll:
        return replace(expected, enrolment=None)
    if expected.enrolment is None:
        raise ShypeUsageError(f"{record}: no such file: this host is not enrolled; enrol it: --enroll")
    return expected


def _codes(result: Result) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.code for _, one in result.reasons()))
