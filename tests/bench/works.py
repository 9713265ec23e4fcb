"""What is measured: the rows of the table, with the aims of the design."""

from __future__ import annotations

from typing import Final

from tests.bench import eventlog, ima, keylime_peer, metering, monitor, policy, quote, verifier, vtpm, whatif
from tests.bench.measure import Clock, Work

CPU: Final = Clock.PROCESSOR

PEERS: Final = ("pycasbin", "cedarpy")
SINGLE: Final = {
    "verdict": "a single cold verdict",
    "decision": "a single cold decision, its reasons at hand",
    "cached": "a cached decision",
}

_MATRIX: Final = tuple(
    Work(
        f"matrix-{peer}",
        f"a decision of the matrix of 1,000 labels ({peer})",
        policy.matrix_beside(peer),
        100.0,
        15,
        CPU,
    )
    for peer in PEERS
)
_SINGLE: Final = tuple(
    Work(f"{way}-{peer}", f"{what} ({peer})", policy.single_beside(peer, way), 100.0, 15, CPU)
    for way, what in SINGLE.items()
    for peer in PEERS
)

WORKS: Final = (
    Work("eventlog", "parse and replay a boot log of 100 events", eventlog.library, 3.0, 25),
    Work("eventlog-keylime", "the same, beside Keylime's log path", keylime_peer.log, 10.0, 15),
    Work("eventlog-process", "the same, as a command", eventlog.process, None, 9),
    Work("ima", "check an IMA list of 100,000 entries", ima.check, 4.0, 5, CPU),
    Work("vtpm", "a new vTPM: ready, labelled, EK certificate, AK", vtpm.new, 25.0, 11),
    Work("append", "append and persist a tick of 50 domains", metering.append, 30.0, 15),
    Work("audit", "audit a tenant-month of 43,200 records", metering.audit_beside_pymerkle, 5.0, 5, CPU),
    Work(
        "audit-own", "the same, beside our own single proofs", metering.audit_beside_own_proofs, 5.0, 5, CPU
    ),
    Work("judge", "judge a host with one guest, 20 times", verifier.judge, 1 / 2, 21, CPU),
    Work("channel", "bind and close an event channel, warm cache", monitor.channel, 1 / 1.1, 51, CPU),
    Work("grant", "map and unmap a granted page, warm cache", monitor.grant, 1 / 1.1, 51, CPU),
    Work("data-path", "signal a channel and read a mapped page", monitor.data_path, 1 / 1.1, 51, CPU),
    *_MATRIX,
    *_SINGLE,
    Work("whatif", "what an update breaks: 1,000 domains, 10,000 channels", whatif.update, None, 9, CPU),
    Work("quote", "check a quote", quote.library, None, 25),
    Work("quote-keylime", "50 quotes, beside Keylime's check", keylime_peer.quote, None, 21, CPU),
    Work("quote-process", "the same, as a command", quote.process, None, 9),
)
