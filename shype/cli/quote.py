"""``shype quote``: judge a TPM quote from the files that tpm2-tools write."""

from __future__ import annotations

import argparse
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from shype.cli.verb import add_verb, verbs_of
from shype.report import Json, Report

if TYPE_CHECKING:
    from attest.ima.source import ListSource
    from attest.quote import VerifiedQuote
    from attest.quote_verdict import QuoteVerdict
    from vtpm.tpm2.pcrs import PcrSelection

_VERIFY = """\
It judges a quote, not a platform: what a bare key cannot prove (attributes of a
PEM key, enrolment) stands under not_checked.

  --ak         tpm2_createak -u, -f tss or -f pem
  --message    tpm2_quote -m
  --signature  tpm2_quote -s, -f tss or -f plain
  --pcrs       tpm2_quote -o, -F serialized or -F values
  --eventlog   binary_bios_measurements, a measurement list of IMA, or a CEL-JSON log
  --enrolment  record of the host ('shype enroll complete'): the key must be its
  --session    the registrar's folder: record, nonce (used up by this) and last clock
               of --host
  --earlier-…  message and signature of a quote by this key that you judged before

Exit: 0 affirming, 1 contraindicated, 2 wrong usage, 3 not authentic or not
well-formed, 4 inconclusive.

Example:
  tpm2_quote -c ak.ctx -l sha256:0,1,7 -q 5f3a9c17 -m quote.msg -s quote.sig -o quote.pcrs
  shype quote verify --ak ak.pub --message quote.msg --signature quote.sig \\
    --nonce 5f3a9c17 --pcrs quote.pcrs --require-pcrs sha256:0,7
"""

_MAX_SHOWN = 64 * 1024
"""Bytes of a quote file; larger ones are refused by their parsers, which then see one byte more."""
_MAX_PCRS = 8 << 20
_NONCE = re.compile(r"(?:[0-9a-fA-F]{2}){1,64}")
_RANGE = re.compile(r"([0-9]{1,2})(?:-([0-9]{1,2}))?")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the group."""
    verify = add_verb(verbs_of(parser), "verify", "judge one quote", _VERIFY, _verify)
    verify.add_argument("--ak", required=True, type=Path, metavar="FILE", help="attestation key, public part")
    verify.add_argument("--message", required=True, type=Path, metavar="FILE", help="what the TPM signed")
    verify.add_argument("--signature", required=True, type=Path, metavar="FILE", help="its signature")
    challenge = verify.add_mutually_exclusive_group(required=True)
    challenge.add_argument("--nonce", type=_nonce, metavar="HEX", help="the whole challenge")
    challenge.add_argument(
        "--session", type=Path, metavar="FOLDER", help="where 'shype enroll nonce' keeps it; needs --host"
    )
    verify.add_argument("--host", metavar="NAME", help="whose session it is")
    verify.add_argument("--enrolment", type=Path, metavar="FILE", help="enrolment record of the host")
    verify.add_argument("--pcrs", type=Path, metavar="FILE", help="PCR values that belong to the quote")
    verify.add_argument("--eventlog", type=Path, metavar="FILE", help="event log to replay to these values")
    verify.add_argument("--earlier-message", type=Path, metavar="FILE", help="of a quote judged before")
    verify.add_argument("--earlier-signature", type=Path, metavar="FILE", help="of a quote judged before")
    verify.add_argument(
        "--require-pcrs",
        type=_selection,
        metavar="ALG:LIST",
        help="PCRs that must be in the quote, and its only banks: sha256:0,1,7 or sha256:0-7+sha384:0",
    )


def _verify(arguments: argparse.Namespace) -> Report:
    with ExitStack() as opened:
        return _judged(arguments, opened)


def _judged(arguments: argparse.Namespace, opened: ExitStack) -> Report:
    from attest.enrolment import MAX_FILE, Enrolment
    from attest.quote_verdict import ShownQuote, judge_quote
    from shype.errors import ShypeUsageError
    from shype.exits import VERDICTS
    from shype.files import read
    from shype.quoteanswer import judge_answer

    before = (arguments.earlier_message, arguments.earlier_signature)
    if (before[0] is None) != (before[1] is None):
        raise ShypeUsageError("--earlier-message and --earlier-signature belong together")
    shown = ShownQuote(
        ak=read(arguments.ak, _MAX_SHOWN),
        message=read(arguments.message, _MAX_SHOWN),
        signature=read(arguments.signature, _MAX_SHOWN),
        pcrs=read(arguments.pcrs, _MAX_PCRS) if arguments.pcrs else None,
        eventlog=_eventlog(arguments.eventlog, opened) if arguments.eventlog else None,
        earlier=(read(before[0], _MAX_SHOWN), read(before[1], _MAX_SHOWN)) if all(before) else None,
    )
    if (arguments.session is None) != (arguments.host is None) or (arguments.session and arguments.enrolment):
        raise ShypeUsageError("--session and --host belong together, and the record is in that folder")
    if arguments.session is None:
        record = Enrolment.decode(read(arguments.enrolment, MAX_FILE)) if arguments.enrolment else None
        answer = judge_quote(shown, nonce=arguments.nonce, required=arguments.require_pcrs, enrolment=record)
    else:
        answer = judge_answer(arguments.session, arguments.host, shown, arguments.require_pcrs)
    reason = answer.refusal
    line = f"{reason.code}: {reason.detail}" if reason else ""
    return Report(VERDICTS[answer.verdict], _document(answer), _text(answer), line)


def _eventlog(path: Path, opened: ExitStack) -> bytes | ListSource:
    """Return the log; a measurement list stays in its file, open as long as ``opened``."""
    from attest.eventlog.read import is_list
    from attest.ima.log import FIRST, MAX_LIST_SIZE
    from attest.ima.source import ListSource
    from shype.heldfile import holding

    held = opened.enter_context(holding(path))
    return ListSource(held.chunks) if is_list(held.read(FIRST)) else held.read(MAX_LIST_SIZE)


def _document(answer: QuoteVerdict) -> Json:
    return {
        "verdict": answer.verdict.ear,
        "reasons": [{"code": reason.code, "detail": reason.detail} for reason in answer.reasons],
        "checked": list(answer.checked),
        "not_checked": list(answer.not_checked),
        "quote": _quote(answer.quote) if answer.quote else None,
    }


def _quote(quote: VerifiedQuote) -> Json:
    return {
        "pcr_select": {alg.hash_name: sorted(pcrs) for alg, pcrs in quote.select.banks},
        "clock": quote.clock.clock,
        "reset_count": quote.clock.reset_count,
        "restart_count": quote.clock.restart_count,
        "safe": quote.clock.safe,
        "firmware_version": quote.firmware_version,
    }


def _text(answer: QuoteVerdict) -> str:
    lines = [str(answer.verdict), *(f"  {reason.code}: {reason.detail}" for reason in answer.reasons)]
    if answer.quote:
        select = [
            f"{alg.hash_name}:{','.join(map(str, sorted(pcrs)))}" for alg, pcrs in answer.quote.select.banks
        ]
        clock = answer.quote.clock
        lines.append(f"quoted       {'+'.join(select)}")
        lines.append(
            f"clock        {clock.clock} ms, {clock.reset_count} resets, {clock.restart_count} restarts"
        )
        lines.append(f"firmware     {answer.quote.firmware_version:#018x}")
    lines.append(f"checked      {', '.join(answer.checked) or 'nothing'}")
    lines.append(f"not checked  {', '.join(answer.not_checked) or 'nothing'}")
    return "\n".join(lines)


def _nonce(text: str) -> bytes:
    if not _NONCE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:20]!a} is not 1 to 64 bytes in hexadecimal")
    return bytes.fromhex(text)


def _selection(text: str) -> PcrSelection:
    """Read tpm2-tools' notation: banks joined by ``+``, PCRs by ``,``; ``0-7`` and ``all`` too."""
    from vtpm.errors import VtpmUsageError
    from vtpm.tpm2.constants import Alg
    from vtpm.tpm2.pcrs import PcrSelection

    banks = []
    try:
        for bank in text.split("+"):
            name, _, pcrs = bank.partition(":")
            banks.append((Alg.from_name(name), _pcrs(pcrs)))
        return PcrSelection(tuple(banks))
    except (ValueError, VtpmUsageError) as error:
        raise argparse.ArgumentTypeError(f"{text[:40]!a}: {error}; write sha256:0,1,7") from None


def _pcrs(text: str) -> frozenset[int]:
    if text == "all":
        return frozenset(range(24))
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"{part[:20]!a} is no PCR")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < 24:  # noqa: PLR2004 - PCRs of a PC Client platform
            raise ValueError(f"{part!a} is not within 0 to 23")
        found.update(range(first, last + 1))
    return frozenset(found)
