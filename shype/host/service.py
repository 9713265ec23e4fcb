"""The verbs of a running host: each takes JSON arguments and gives a report; the loop that serves them."""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from acm import statefile
from hypervisor.errors import AccessDenied, HypervisorDenied, UpdateRefused
from shype.errors import ShypeUsageError
from shype.exits import exit_for
from shype.host import past_runs
from shype.host.running import RunningHost
from shype.host.socket import Reply, listening, serve_one
from shype.host.update import done, refused, wishes_of
from shype.report import Exit, Json, Report
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

Arguments = Mapping[str, Json]
Verb = Callable[[Arguments], Report]
MAX_WHY: Final = 200
"""Characters of the reason that an operator gives."""


class PowerOff(Exception):  # noqa: N818 - not an error: it ends the loop
    """Somebody asked this host to power off."""


class PowerButton:
    """What SIGTERM and SIGINT press: it ends the wait for a request, and never an operation half done."""

    def __init__(self) -> None:
        self._pressed = False
        self._waiting = False

    def __call__(self, _number: int, _frame: object) -> None:
        """Handle the signal."""
        self._pressed = True
        if self._waiting:
            raise PowerOff

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait in this block; raises PowerOff in it, or at once if the button was pressed before."""
        self._waiting = True
        try:
            if self._pressed:
                raise PowerOff
            yield
        finally:
            self._waiting = False


def serve(host: RunningHost[Any], ready: Callable[[], None], more: Mapping[str, Verb] | None = None) -> None:
    """Answer requests until power-off, SIGTERM or SIGINT; ``ready`` is called when the socket listens.

    Between requests the host looks after itself (``RunningHost.pulse``).
    """
    service, button = Service(host, more), PowerButton()
    with listening(host.folder) as server, contextlib.suppress(PowerOff):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, button)
        ready()
        while not service.off:
            server.settimeout(host.pulse())
            try:
                with button.waiting():
                    link, _ = server.accept()
            except TimeoutError:
                continue
            serve_one(link, service.answer)


class Service:
    """Carries out requests on one host."""

    def __init__(self, host: RunningHost[Any], more: Mapping[str, Verb] | None = None) -> None:
        """Take a host, and verbs that only its kind has."""
        self._host = host
        self.off = False
        self._verbs: dict[str, Verb] = {
            "status": self._status,
            "poweroff": self._poweroff,
            "endorsement": self._endorsement,
            "activate": self._activate,
            "load-policy": self._load_policy,
            "state": self._state,
            "history": self._history,
            "begin-history": self._begin_history,
            "relabel": self._relabel,
            "launch": self._launch,
            "stop": self._stop,
            "attest": self._attest,
            **(more or {}),
        }

    def answer(self, verb: str, arguments: Arguments) -> Reply:
        """Carry out one request; never raises for what the caller or the other side got wrong."""
        act = self._verbs.get(verb)
        if act is None:
            return _error(Exit.USAGE, f"a host does not know {verb[:40]!a}", "verb")
        try:
            return Reply(act(arguments))
        except UpdateRefused as error:
            return Reply(refused(error))
        except HypervisorDenied as error:
            return Reply(_denied(error))
        except OSError as error:
            word = errno.errorcode.get(error.errno or 0, "os-error")
            return _error(Exit.USAGE, f"{error.filename or verb}: {error.strerror or error}", word)
        except Exception as error:
            code = exit_for(error)
            if code is None:
                raise
            return _error(code, str(error), str(getattr(error, "code", "error")))

    def _status(self, _: Arguments) -> Report:
        host = self._host
        selection = PcrSelection.of(Alg.SHA256, host.shown_pcrs)
        values = dict(zip(sorted(host.shown_pcrs), host.tpm.tpm.pcr_read(selection), strict=True))
        policy = host.xen.state.policy if host.xen is not None else None
        document: dict[str, Json] = {
            "host": host.description.name,
            "policy": None
            if policy is None
            else {
                "name": policy.name,
                "version": policy.version,
                "digest": policy.digest,
                "epoch": policy.epoch,
            },
            "domains": [
                {
                    "domid": each.domid,
                    "name": name,
                    "label": host.running().state.domain(each.domid).label,
                    "vid": each.vid,
                }
                for name, each in host.launched.items()
            ],
            "pcrs": {"sha256": {str(pcr): value.hex() for pcr, value in values.items()}},
            **host.more_status(),
        }
        return Report(Exit.OK, document, _status_text(document, host))

    def _poweroff(self, _: Arguments) -> Report:
        self.off = True
        return Report(Exit.OK, {"host": self._host.description.name, "power": "off"}, "powered off")

    def _endorsement(self, _: Arguments) -> Report:
        endorsement = self._host.tpm.endorsement()
        files = {
            "ek.pub": endorsement.key.public.encode_sized(),
            "ek.crt": endorsement.certificate,
            "ak.pub": self._host.tpm.ak.public.encode_sized(),
        }
        shown: dict[str, Json] = {name: base64.b64encode(raw).decode() for name, raw in files.items()}
        document: dict[str, Json] = {"host": self._host.description.name, "files": shown}
        return Report(Exit.OK, document, "EK, EK certificate and AK")

    def _activate(self, arguments: Arguments) -> Report:
        tpm = self._host.tpm
        secret = tpm.tpm.activate_credential(
            tpm.ak,
            tpm.endorsement().key,
            _bytes(arguments, "id_object"),
            _bytes(arguments, "encrypted_secret"),
        )
        return Report(Exit.OK, {"secret": base64.b64encode(secret).decode()}, "credential activated")

    def _load_policy(self, arguments: Arguments) -> Report:
        epoch, update = self._host.load_policy(_bytes(arguments, "policy"), wishes_of(arguments))
        policy = self._host.running().state.policy
        document: dict[str, Json] = {
            "name": policy.name,
            "version": policy.version,
            "digest": policy.digest,
            "root": policy.root,
        }
        return done(update, epoch, document)

    def _state(self, _: Arguments) -> Report:
        live = self._host.running().live_state()
        return Report(Exit.OK, statefile.document(live), statefile.encode(live).decode())

    def _history(self, _: Arguments) -> Report:
        return past_runs.shown(self._host.running())

    def _begin_history(self, arguments: Arguments) -> Report:
        return past_runs.begun(self._host.running(), _why(arguments))

    def _relabel(self, arguments: Arguments) -> Report:
        identity, old, new = (str(arguments.get(key)) for key in ("resource", "from", "to"))
        self._host.relabel(identity, old, new, _why(arguments))
        document: dict[str, Json] = {"verdict": "permit", "resource": identity, "from": old, "to": new}
        return Report(Exit.OK, document, f"{identity} has label {new}, and had {old}")

    def _launch(self, arguments: Arguments) -> Report:
        tenant = arguments.get("tenant")
        if arguments.get("dry_run") is True:
            return self._dry_run(arguments)
        domain = self._host.launch(_bytes(arguments, "config"), None if tenant is None else str(tenant))
        name, label = domain.config.name, domain.config.label
        document: dict[str, Json] = {
            "verdict": "permit",
            "name": name,
            "domid": domain.domid,
            "uuid": domain.uuid,
            "vid": domain.vid,
            "label": label,
            "config_digest": domain.config.digest,
        }
        text = (
            f"{name} runs as domain {domain.domid} under label {label};"
            f" launch measured into PCR 13, vTPM {domain.vid}"
        )
        return Report(Exit.OK, document, text)

    def _dry_run(self, arguments: Arguments) -> Report:
        config = self._host.dry_run(_bytes(arguments, "config"))
        document: dict[str, Json] = {
            "verdict": "permit",
            "name": config.name,
            "label": config.label,
            "config_digest": config.digest,
            "dry_run": True,
        }
        text = f"{config.name} would be launched now under label {config.label}; nothing was done"
        return Report(Exit.OK, document, text)

    def _stop(self, arguments: Arguments) -> Report:
        name = str(arguments.get("name"))
        self._host.stop(name)
        return Report(Exit.OK, {"verdict": "permit", "name": name}, f"{name} stopped; measured into PCR 13")

    def _attest(self, arguments: Arguments) -> Report:
        channel = None if arguments.get("channel") is None else _bytes(arguments, "channel")
        tenant = arguments.get("tenant")
        if tenant is not None and not isinstance(tenant, str):
            raise ShypeUsageError("tenant: a name is needed")
        evidence = self._host.evidence(_bytes(arguments, "nonce"), channel, tenant)
        encoded = evidence.encode()
        document: dict[str, Json] = {
            "evidence": base64.b64encode(encoded).decode(),
            "domains": len(evidence.domains),
        }
        text = f"evidence of {evidence.host.name} with {len(evidence.domains)} domains: {len(encoded)} bytes"
        return Report(Exit.OK, document, text)


def _error(code: Exit, line: str, word: str) -> Reply:
    return Reply(Report(code, None, ""), line, word)


def _denied(error: HypervisorDenied) -> Report:
    given = error.decision.reasons if isinstance(error, AccessDenied) else ()
    pairs = [(str(each.code), each.detail) for each in given] or [(error.code, str(error))]
    document: Json = {
        "verdict": "deny",
        "reasons": [{"code": code, "detail": detail} for code, detail in pairs],
    }
    return Report(
        Exit.REFUSED, document, "\n".join(["deny", *(f"  {code}: {detail}" for code, detail in pairs)])
    )


def _why(arguments: Arguments) -> str:
    why = arguments.get("why")
    if not isinstance(why, str) or not 0 < len(why) <= MAX_WHY or not why.isprintable():
        raise ShypeUsageError(f"why: 1 to {MAX_WHY} printable characters are needed")
    return why


def _bytes(arguments: Arguments, name: str) -> bytes:
    value = arguments.get(name)
    try:
        return base64.b64decode(value.encode("ascii") if isinstance(value, str) else b"!", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ShypeUsageError(f"{name}: base64 is needed") from None


def _status_text(document: Mapping[str, Json], host: RunningHost[Any]) -> str:
    policy, domains, pcrs = document["policy"], document["domains"], document["pcrs"]
    assert isinstance(domains, list)
    assert isinstance(pcrs, dict)
    lines = [f"host {document['host']}"]
    lines.append(
        f"policy {policy['name']} {policy['version']} epoch {policy['epoch']}"
        if isinstance(policy, dict)
        else "policy none"
    )
    lines += [f"domain {each['domid']} {each['name']} label {each['label']}" for each in domains]
    lines += host.status_lines()
    lines += [f"PCR {pcr:>2} {value}" for pcr, value in pcrs["sha256"].items()]
    return "\n".join(lines)
