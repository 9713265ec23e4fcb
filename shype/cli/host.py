"""``shype host``: make, boot and look after an embedded host."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

from shype.cli.verb import Handler, Verbs, add_verb, verbs_of
from shype.report import Exit, Json, Report

_INIT = """\
The host gets a software TPM whose EK certificate leads to an authority made for it.

Example:
  shype host init /tmp/h --description embedded
"""
_BOOT = """\
Measures firmware, loader, Xen and Domain-0 into the TPM, reports, and serves the host
in the foreground until shype host poweroff, SIGTERM or SIGINT.

Example:
  shype host init /tmp/h
  shype host boot /tmp/h --boot build/boot &
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
_AUDIT_LOG = """\
Who asked for what, when, and how it ended; a changed, dropped or reordered line is found.

Example:
  shype host audit-log /tmp/h
"""


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
    boot = _verb(verbs, "boot", "switch a host on and serve it", _BOOT, _boot)
    boot.add_argument(
        "--boot", type=Path, required=True, metavar="DIR", help="loader, Xen, kernel and ramdisk"
    )
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
    _verb(verbs, "audit-log", "read the audit trail of a host", _AUDIT_LOG, _audit_log)


def _verb(verbs: Verbs, name: str, line: str, epilog: str, handler: Handler) -> argparse.ArgumentParser:
    verb = add_verb(verbs, name, line, epilog, handler)
    verb.add_argument("folder", type=Path, metavar="HOSTDIR", help="the host's folder")
    return verb


def _init(arguments: argparse.Namespace) -> Report:
    from shype import packaged
    from shype.host import embedded

    description = packaged.find(arguments.description, "hosts").read_bytes()
    made = embedded.create(arguments.folder, description)
    certificates = arguments.folder / embedded.CERTIFICATES
    document: dict[str, Json] = {"host": made.name, "certificates": str(certificates)}
    return Report(Exit.OK, document, f"host {made.name} made; its TPM maker's certificates: {certificates}")


def _boot(arguments: argparse.Namespace) -> Report:
    from shype.host.embedded import EmbeddedHost
    from shype.host.service import serve

    with EmbeddedHost(arguments.folder, arguments.boot) as host:
        name = host.description.name
        count = len(host.boot.measured.measurements)
        serve(host, lambda: print(f"host {name} is up: {count} boot measurements extended", flush=True))
    return Report(Exit.OK, {"host": name, "power": "off"}, f"host {name} is off")


def _status(arguments: argparse.Namespace) -> Report:
    return _call(arguments, "status", {})


def _poweroff(arguments: argparse.Namespace) -> Report:
    return _call(arguments, "poweroff", {})


def _endorsement(arguments: argparse.Namespace) -> Report:
    files = _document(_call(arguments, "endorsement", {}))["files"]
    assert isinstance(files, dict)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (arguments.output / name).write_bytes(base64.b64decode(str(raw)))
    text = f"{', '.join(files)} written to {arguments.output}"
    return Report(Exit.OK, {"folder": str(arguments.output), "files": list(files)}, text)


def _activate(arguments: argparse.Namespace) -> Report:
    from shype.files import write_secret
    from vtpm.tpm2.credential import read_credential_file

    id_object, encrypted_secret = read_credential_file(arguments.challenge.read_bytes())
    parts: dict[str, Json] = {
        "id_object": base64.b64encode(id_object).decode(),
        "encrypted_secret": base64.b64encode(encrypted_secret).decode(),
    }
    secret = base64.b64decode(str(_document(_call(arguments, "activate", parts))["secret"]))
    write_secret(arguments.output, secret)
    return Report(Exit.OK, {"response": str(arguments.output)}, f"credential activated: {arguments.output}")


def _audit_log(arguments: argparse.Namespace) -> Report:
    from hypervisor.audit import read_trail
    from shype.host.embedded import AUDIT_LOG

    records = read_trail((arguments.folder / AUDIT_LOG).read_bytes())
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
    lines = [f"{e.index:>4} {e.outcome:<7} {e.who}: {e.action} {e.what} {e.why or ''}" for e in records]
    return Report(Exit.OK, {"records": document}, "\n".join(lines))


def _call(arguments: argparse.Namespace, verb: str, values: dict[str, Json]) -> Report:
    from shype.host.socket import call

    return call(arguments.folder, verb, values)


def _document(report: Report) -> dict[str, Json]:
    assert isinstance(report.document, dict)
    return report.document
