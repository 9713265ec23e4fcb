"""``shype host``: make, boot and look after a host, the embedded one or a real Domain-0."""

from __future__ import annotations

import argparse
import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shype.cli import host_boot, host_serve
from shype.cli.verb import Handler, Verbs, add_verb, verbs_of
from shype.report import Exit, Json, Report

_INIT = """\
The host gets a software TPM whose EK certificate leads to an authority made for it.

Example:
  shype host init /tmp/h --description embedded
"""
_STATUS = """\
tpm2-tools can use the host's TPM as well.

Example:
  shype host status /tmp/h
  TPM2TOOLS_TCTI="cmd:python3 -m vtpm.relay /tmp/h/tpm.sock" tpm2_pcrread sha256:8,9
"""
_POWEROFF = """\
Domains end, vTPMs are wiped, registers are lost; the TPM's state and the records stay.

Example:
  shype host poweroff /tmp/h
"""
_ENDORSEMENT = """\
Example:
  shype host endorsement /tmp/h -o /tmp/endorsement
  shype enroll challenge --host embedded --ek-certificate /tmp/endorsement/ek.crt \\
    --ek /tmp/endorsement/ek.pub --ak /tmp/endorsement/ak.pub \\
    --ca /tmp/h/certificates --state /tmp/registrar -o /tmp/challenge
"""
_ACTIVATE = """\
Example:
  shype host activate /tmp/h --challenge /tmp/challenge -o /tmp/response
  shype enroll complete --host embedded --response /tmp/response --state /tmp/registrar -o /tmp/enrolment.json
"""
_STATE = """\
Domains, resources and all that is bound between them, as shype.state/1: what a policy
update is judged against. It tells who runs here, so a file of it is only for its owner.

Example:
  shype host state /tmp/h -o /tmp/state.json
"""
_HISTORY = """\
Which Chinese Wall types have ever run on this host. Where the policy counts past runs, a
history that is missing, or older than the TPM says, refuses every start: exit code 1.

Example:
  shype host history /tmp/h
"""
_BEGIN_HISTORY = """\
Forgets all past runs: what was kept out by them may start. The history begins with what
runs now; it gets a new name, which the audit trail and PCR 12 tell, so that whoever
verifies this host sees that it was begun anew. On a real Xen somebody has to begin the
first one, too: a host that has lost every trace of its history must not.

Example:
  shype host begin-history /tmp/h --why "disk lost, ticket 4711"
"""
_RELABEL = """\
Gives a disk or VLAN that nobody uses another label: only if it has the label that you
say it has, and only if Domain-0 may read what has the old one and write what has the
new one. RESOURCE is its identity, as shype host state tells. The label outlives a boot.

Exit: 0 done, 1 denied, 2 it has another label or is in use.

Example:
  shype host relabel /tmp/h vlan:102 --from juice-vlan --to bank-vlan --why "ticket 4712"
"""
_AUDIT_LOG = """\
Who asked for what, when, and how it ended, over all boots: refusals, relabels, policy
changes, administrators' actions. A changed, dropped or reordered line is found. A last
line that a crash has cut off is told, and no error.

Example:
  shype host audit-log /tmp/h --denied --since 2026-01-31T08:00
"""

ENDORSEMENT_FILES = ("ek.pub", "ek.crt", "ak.pub")
MAX_TRAIL = 256 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the group."""
    verbs = verbs_of(parser)
    init = _verb(verbs, "init", "make a host: its description and a TPM with an EK certificate", _INIT, _init)
    init.add_argument(
        "--description",
        default="embedded",
        metavar="HOST",
        help="a file or a packaged name (default: embedded)",
    )
    host_boot.register(verbs)
    _verb(verbs, "status", "show policy, domains and PCRs of a running host", _STATUS, _status)
    _verb(verbs, "poweroff", "switch a host off", _POWEROFF, _poweroff)
    endorsement = _verb(verbs, "endorsement", "write ek.pub, ek.crt and ak.pub", _ENDORSEMENT, _endorsement)
    endorsement.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the files"
    )
    activate = _verb(verbs, "activate", "open an enrolment challenge with the TPM", _ACTIVATE, _activate)
    activate.add_argument(
        "--challenge", type=Path, required=True, metavar="FILE", help="from shype enroll challenge"
    )
    activate.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="for the secret")
    state = _verb(verbs, "state", "write what lives on a running host", _STATE, _state)
    state.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    _verb(verbs, "history", "show the history of past runs", _HISTORY, _history)
    begin = _verb(
        verbs, "begin-history", "begin the history of past runs anew", _BEGIN_HISTORY, _begin_history
    )
    begin.add_argument("--why", required=True, metavar="TEXT", help="the reason, for the audit trail")
    relabel = _verb(verbs, "relabel", "give a disk or VLAN another label", _RELABEL, _relabel)
    relabel.add_argument("resource", metavar="RESOURCE", help="its identity")
    relabel.add_argument("--from", dest="old", required=True, metavar="LABEL", help="the label that it has")
    relabel.add_argument("--to", dest="new", required=True, metavar="LABEL", help="the label that it gets")
    relabel.add_argument("--why", required=True, metavar="TEXT", help="the reason, for the audit trail")
    trail = _verb(verbs, "audit-log", "read the audit trail of a host", _AUDIT_LOG, _audit_log)
    trail.add_argument("--denied", action="store_true", help="only what was refused")
    trail.add_argument(
        "--since", type=_moment, default=0, metavar="TIME", help="ISO 8601, UTC unless it says otherwise"
    )
    host_serve.register(verbs)


def _verb(verbs: Verbs, name: str, line: str, epilog: str, handler: Handler) -> argparse.ArgumentParser:
    verb = add_verb(verbs, name, line, epilog, handler)
    verb.add_argument("folder", type=Path, metavar="HOSTDIR", help="the host's folder")
    return verb


def _init(arguments: argparse.Namespace) -> Report:
    from acm.yamltree import MAX_SIZE
    from shype import packaged
    from shype.files import read
    from shype.host import creation

    description = read(packaged.find(arguments.description, "hosts"), MAX_SIZE)
    made = creation.create(arguments.folder, description)
    certificates = arguments.folder / creation.CERTIFICATES
    document: dict[str, Json] = {"host": made.name, "certificates": str(certificates)}
    return Report(Exit.OK, document, f"host {made.name} made; its TPM maker's certificates: {certificates}")


def _status(arguments: argparse.Namespace) -> Report:
    return _call(arguments, "status", {})


def _state(arguments: argparse.Namespace) -> Report:
    from shype.files import write_secret

    report = _call(arguments, "state", {})
    if arguments.output is None:
        return report
    write_secret(arguments.output, report.text.encode())
    return Report(Exit.OK, {"state": str(arguments.output)}, f"state written to {arguments.output}")


def _history(arguments: argparse.Namespace) -> Report:
    return _call(arguments, "history", {})


def _begin_history(arguments: argparse.Namespace) -> Report:
    return _call(arguments, "begin-history", {"why": arguments.why})


def _relabel(arguments: argparse.Namespace) -> Report:
    wanted = {"resource": arguments.resource, "from": arguments.old, "to": arguments.new}
    return _call(arguments, "relabel", {**wanted, "why": arguments.why})


def _poweroff(arguments: argparse.Namespace) -> Report:
    return _call(arguments, "poweroff", {})


def _endorsement(arguments: argparse.Namespace) -> Report:
    from shype.files import write

    files = _document(_call(arguments, "endorsement", {}))["files"]
    assert isinstance(files, dict)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in ENDORSEMENT_FILES:
        write(arguments.output / name, base64.b64decode(str(files[name])))
    text = f"{', '.join(ENDORSEMENT_FILES)} written to {arguments.output}"
    return Report(Exit.OK, {"folder": str(arguments.output), "files": list(ENDORSEMENT_FILES)}, text)


def _activate(arguments: argparse.Namespace) -> Report:
    from shype.files import read, write_secret
    from vtpm.tpm2.credential import MAX_CREDENTIAL_FILE, read_credential_file

    raw = read(arguments.challenge, MAX_CREDENTIAL_FILE)
    id_object, encrypted_secret = read_credential_file(raw)
    parts: dict[str, Json] = {
        "id_object": base64.b64encode(id_object).decode(),
        "encrypted_secret": base64.b64encode(encrypted_secret).decode(),
    }
    secret = base64.b64decode(str(_document(_call(arguments, "activate", parts))["secret"]))
    write_secret(arguments.output, secret)
    return Report(Exit.OK, {"response": str(arguments.output)}, f"credential activated: {arguments.output}")


def _audit_log(arguments: argparse.Namespace) -> Report:
    from hypervisor.audit import Outcome, read_trail, without_torn_end
    from shype.files import read_regular
    from shype.host.folder import AUDIT_LOG

    whole, torn = without_torn_end(read_regular(arguments.folder / AUDIT_LOG, MAX_TRAIL))
    records = [
        each
        for each in read_trail(whole)
        if each.time_ns >= arguments.since and (each.outcome is Outcome.DENIED or not arguments.denied)
    ]
    document: list[Json] = [
        {
            "index": each.index,
            "time_ns": each.time_ns,
            "who": each.who,
            "action": each.action,
            "what": each.what,
            "outcome": str(each.outcome),
            "why": [list(pair) for pair in each.why],
        }
        for each in records
    ]
    lines = [
        f"{_shown(e.time_ns)} {e.index:>4} {e.outcome:<7} {e.who}: {e.action} {e.what} {_reasons(e.why)}"
        for e in records
    ]
    if torn:
        lines.append(f"cut off: {len(torn)} bytes of a last record; the next boot takes them away")
    return Report(Exit.OK, {"records": document, "cut_off": len(torn)}, "\n".join(lines))


def _moment(text: str) -> int:
    """Return nanoseconds since 1970."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int((moment - _EPOCH) / timedelta(microseconds=1)) * 1000
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is no time such as 2026-01-31T08:00") from None


def _shown(time_ns: int) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=time_ns // 1000)).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:
        return f"{time_ns} ns"


def _reasons(why: tuple[tuple[str, str], ...]) -> str:
    return "; ".join(f"{code}: {detail}" for code, detail in why)


def _call(arguments: argparse.Namespace, verb: str, values: dict[str, Json]) -> Report:
    from shype.host.socket import call

    return call(arguments.folder, verb, values)


def _document(report: Report) -> dict[str, Json]:
    assert isinstance(report.document, dict)
    return report.document
