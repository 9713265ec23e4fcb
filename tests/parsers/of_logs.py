"""What logs that a verifier is shown are read by: firmware's, the runtime's, and the runtime's journal."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from attest import runtime_events
from attest.eventlog import cel, data, notes, read, replay, tcg
from attest.eventlog.log import EventLog
from attest.runtime_journal import confirm, intent, parse_journal
from attest.runtime_log import RuntimeLog
from tests.conftest import vectors
from tests.parsers.parser import Parser, good
from tests.simulators.host import Host
from vtpm.tpm2.constants import Alg

_HOST: Final = Host.serving()
_HOST.measure_history()
_HOST.find("behind")


def _whole(raw: bytes, parse: Callable[[bytes], EventLog] = read.parse) -> None:
    """Everything that is done with a log that was accepted."""
    log = parse(raw)
    bindings = [data.binding(event) for event in log.events]
    notes.notes(log, bindings)
    for bank in set(log.banks) & set(Alg):
        values = replay.replay(log, bank)
        replay.verify_replay(log, values, bank)


def _logs() -> list[bytes]:
    shared = vectors("eventlog/sha1", "eventlog/agile")
    return [good("ovmf.bin"), *(each.read() for each in shared[::7] if each.path.stat().st_size < 1 << 16)]


def _journal() -> bytes:
    events = [cel.new_event(at, 12, raw) for at, (_, raw) in enumerate(_HOST.events[:3])]
    return b"".join(intent(event) + confirm(event) for event in events)


def _reopen(raw: bytes) -> None:
    """Open a journal beside PCRs that fit the good one."""
    values = {12: bytes(32), 13: bytes(32)}

    def extend(pcr: int, digests: Mapping[Alg, bytes]) -> None:
        values[pcr] = Alg.SHA256.digest(values[pcr] + digests[Alg.SHA256])

    for event in parse_journal(_journal()).events:
        extend(event.pcr, dict(event.digests))
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as folder:
        path = Path(folder) / "runtime.log"
        path.write_bytes(raw)
        RuntimeLog(path, extend, lambda pcr: values[pcr]).close()


def _events(kind: str) -> list[bytes]:
    opened = [domain.launch for domain in _HOST.domains.values()]
    found = [*opened, *_HOST.found, *(raw for _, raw in _HOST.events)]
    return [raw for raw in found if json.loads(raw)["type"] == kind]


PARSERS: Final = (
    Parser(
        "attest.eventlog.cel:parse_cel",
        lambda: [_HOST.runtime_log()],
        lambda raw: _whole(raw, cel.parse_cel),
    ),
    Parser("attest.eventlog.read:parse", lambda: [*_logs(), _HOST.runtime_log()], _whole),
    Parser("attest.eventlog.tcg:parse_tcg", _logs, lambda raw: _whole(raw, tcg.parse_tcg)),
    Parser(
        "attest.eventlog.replay:verify_replay",
        lambda: [_HOST.tpm.pcrs[12] + _HOST.tpm.pcrs[13]],
        lambda raw: replay.verify_replay(
            read.parse(_HOST.runtime_log()), {12: raw[:32], 13: raw[32:]}, Alg.SHA256
        ),
    ),
    *(
        Parser(
            f"attest.runtime_events:{kind.__name__}.decode",
            lambda kind=kind: _events(kind.TYPE),  # type: ignore[misc]
            kind.decode,
        )
        for kind in (
            runtime_events.HypervisorReport,
            runtime_events.PolicyLoaded,
            runtime_events.HistoryInForce,
            runtime_events.DomainCommitment,
            runtime_events.DomainFound,
            runtime_events.DomainLaunch,
        )
    ),
    Parser(
        "attest.runtime_events:decode_event",
        lambda: [raw for _, raw in _HOST.events],
        runtime_events.decode_event,
    ),
    Parser("attest.runtime_journal:parse_journal", lambda: [_journal()], parse_journal),
    Parser("attest.runtime_log:RuntimeLog.__init__", lambda: [_journal()], _reopen, files=True),
)

NOT_PARSERS: Final = {
    "attest.eventlog.cel:new_event": "makes an event",
    "attest.runtime_events:*.of": "what decode goes on with",
    "attest.runtime_events:DomainFound.listed": "makes an event, and takes any text",
    "attest.runtime_log:RuntimeLog.append": "measures bytes, and does not read them",
}
