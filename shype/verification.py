"""What ``shype verify`` does: reads the named files, has the evidence judged, shows and signs the result.

Nothing but the named files is read, and nothing is asked over a network.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, Self

from acm import policyfile, yamltree
from attest import appraisal
from attest.ear_issue import Issue, make_ear
from attest.enrolment import MAX_FILE as MAX_ENROLMENT
from attest.enrolment import Enrolment
from attest.evidence import MAX_BYTES, Evidence, EvidenceError
from attest.reasons import sentence
from attest.result import Node, Result, Verdict
from attest.result import document as tree
from attest.signer import MemoryKey, Signer
from attest.verifier.claims import Expectation
from attest.verifier.verify import NOT_EVALUATED, verify
from shype import packaged, references
from shype.anchors import read_anchors
from shype.enrolments import existing_store
from shype.errors import ShypeUsageError
from shype.exits import VERDICTS
from shype.files import read, write
from shype.quotehistory import remembered
from shype.report import Exit, Json, Report

MAX_KEY: Final = 8192
MAX_NONCE_FILE: Final = 1024
WIDTH: Final = 100
MARKS: Final = {
    Verdict.AFFIRMING: "✓",
    Verdict.WARNING: "!",
    Verdict.INCONCLUSIVE: "?",
    Verdict.CONTRAINDICATED: "✗",
    Verdict.NONE: "✗",
}


@dataclass(frozen=True, slots=True)
class Trust:
    """What the relying party names beside evidence and reference values, as it was given."""

    policy: Path
    nonce: str | None
    anchors: Path
    profile: str
    enrolment: Path | None
    domain: list[str] | None

    def record(self, host: str) -> Path:
        """Return where the enrolment of a host stands; ``host`` is a host name, as the decoder admits."""
        return self.enrolment or self.anchors / "enrolled" / f"{host}.json"


@dataclass(frozen=True, slots=True)
class Signing(Trust):
    """Where reference values come from, and what becomes of the result."""

    reference: Path
    reference_key: Path | None
    reference_seen: Path | None
    ear: Path | None
    ear_key: Path | None
    audience: str | None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """Take them from the command line."""
        return cls(**{name: getattr(arguments, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Request(Signing):
    """The arguments of a run that judges a file."""

    evidence: Path
    session: Path | None


def report(request: Request, now: datetime) -> Report:
    """Judge, show, and sign where a key is given; raises what a broken or missing file raises."""
    raw = read(request.evidence, MAX_BYTES)
    shown: Evidence | None
    try:
        shown = Evidence.decode(raw)
    except EvidenceError:
        if request.session is not None:
            raise  # whose session it would use up, it does not say
        shown = None  # the verifier says what is wrong with it
    reference = references.load(request.reference, request.reference_key, request.reference_seen)
    expected = expectation(request, reference, shown.host.name if shown else None, now)
    signer = signer_of(request)
    return conclude(request, _judge(request, shown or raw, expected), expected, signer)


def conclude(request: Signing, result: Result, expected: Expectation, signer: Signer | None) -> Report:
    """Sign a result where a key is given, and show it."""
    token = None if signer is None else _issue(request, result, expected, signer)
    return Report(exit_of(result, expected), document(result, token), text(result), _line(result))


def _judge(request: Request, shown: Evidence | bytes, expected: Expectation) -> Result:
    """Judge by what is expected and, of a host that is enrolled, by what its TPM said before."""
    if isinstance(shown, bytes):
        return verify(shown, expected)
    if expected.enrolment is None:
        return _judge_answer(request, shown, expected)
    record = request.record(shown.host.name)
    with remembered(record, expected.enrolment) as (earlier, remember):
        result = _judge_answer(request, shown, replace(expected, earlier=earlier))
        if result.told is not None:
            remember(result.told)
    return result


def _judge_answer(request: Request, shown: Evidence, expected: Expectation) -> Result:
    """Judge evidence; the nonce of a session that is named is used up before anything else."""
    folder, now = request.session, expected.now
    if folder is None:
        return verify(shown, expected)
    ak_name = None if expected.enrolment is None else expected.enrolment.ak_name
    with existing_store(folder) as store, store.session(shown.host.name) as session:
        nonce = session.receive(shown.host.name, now=now, ak_name=ak_name)
        result = verify(shown, replace(expected, nonce=nonce))
        session.judged(result.verdict, now=now)
    return result


def expectation(request: Trust, reference: references.Loaded, host: str | None, now: datetime) -> Expectation:
    """Read what is named; ``host`` is the one whose enrolment record is looked for among the anchors."""
    profile = read(packaged.find(request.profile, "appraisal"), appraisal.MAX_BYTES)
    policy = read(request.policy, yamltree.MAX_SIZE)
    if not request.anchors.is_dir():
        raise ShypeUsageError(f"{request.anchors}: no such folder; it holds *.pem and enrolled/HOST.json")
    return Expectation(
        reference=reference.values,
        reference_digest=reference.digest,
        reference_expires=reference.expires,
        policy=policyfile.load(policy, request.policy.name),
        profile=appraisal.AppraisalProfile.decode(profile),
        enrolment=_enrolment(request, host),
        nonce=b"" if request.nonce is None else _nonce(request.nonce),
        now=now,
        anchors=read_anchors(request.anchors),
        domains=None if request.domain is None else frozenset(request.domain),
    )


def _enrolment(request: Trust, host: str | None) -> Enrolment | None:
    """Return the record that is named, else that of the host in the evidence, if the anchors have one."""
    if request.enrolment is None and (host is None or not request.record(host).exists()):
        return None
    return Enrolment.decode(read(request.record(host or ""), MAX_ENROLMENT))


def _nonce(given: str) -> bytes:
    digits = given
    if given.startswith("@"):
        digits = read(Path(given[1:]), MAX_NONCE_FILE).decode("ascii", "replace").strip()
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ShypeUsageError("--nonce: hexadecimal digits are needed (openssl rand -hex 32)") from None


def signer_of(request: Signing) -> Signer | None:
    """Return the key for the signed result; read before anything is judged."""
    if (request.ear is None) != (request.ear_key is None):
        raise ShypeUsageError("--ear and --ear-key belong together: a file for the result, a key to sign it")
    return None if request.ear_key is None else MemoryKey.from_pem(read(request.ear_key, MAX_KEY))


def _issue(request: Signing, result: Result, expected: Expectation, signer: Signer) -> str:
    issue = Issue(
        build=f"shype {version('shype')}",
        now=int(expected.now.timestamp()),
        seconds=expected.profile.result_seconds,
        audience=request.audience,
    )
    token = make_ear(result, signer, issue)
    if request.ear is not None:
        write(request.ear, token.encode() + b"\n")
    return token


def exit_of(result: Result, expected: Expectation) -> Exit:
    """Return the exit code of a verdict; only OK lets it pass."""
    admitted = result.verdict is Verdict.WARNING and expected.profile.admit_warning
    return Exit.OK if admitted else VERDICTS[result.verdict]


def _line(result: Result) -> str:
    """Return why nothing can be said, for standard error; empty where something can."""
    refused = [one for _, one in result.reasons() if one.verdict is Verdict.NONE]
    return f"{refused[0].code}: {refused[0].detail}" if result.verdict is Verdict.NONE else ""


def document(result: Result, token: str | None) -> Json:
    """Return the JSON document (configs/schema/verify-result.schema.json)."""
    return {
        "verdict": result.verdict.ear,
        "outcome": str(result.verdict),
        "reasons": [{"code": one.code, "detail": one.detail, "node": path} for path, one in result.reasons()],
        "tree": tree(result.root),
        "ear": token,
    }


def text(result: Result) -> str:
    """Return the tree for a person: one line a node, and under it why it is not good."""
    return "\n".join(_lines(result.root, 0))


def _lines(node: Node, depth: int) -> Iterator[str]:
    mark = "?" if NOT_EVALUATED in node.notes else MARKS[node.verdict]
    indent = "  " * depth
    verdict = "" if node.verdict is Verdict.AFFIRMING and depth else f": {node.verdict}"
    notes = f" ({'; '.join(node.notes)})" if node.notes else ""
    yield f"{indent}{mark} {node.name}{verdict}{notes}"
    for one in node.reasons:
        yield f"{indent}    {sentence(one.code)} [{one.code}]"
        blank = indent + " " * 6
        yield from textwrap.wrap(one.detail, WIDTH, initial_indent=blank, subsequent_indent=blank)
    for child in node.children:
        yield from _lines(child, depth + 1)
