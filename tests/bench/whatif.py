"""What a policy update would break on a busy host: judged as a whole, beside every question one by one.

1,000 domains run under 1,000 different labels, with 10,000 event channels and a disk each; a tenth of the
labels moves to another type, and a new conflict set keeps two customers apart. Both sides must find the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

from acm import policyfile
from acm.engine import Operation, Request, decide
from acm.errors import RequestError
from acm.livestate import (
    DOM0,
    Attachment,
    Channel,
    LiveDomain,
    LiveResource,
    LiveState,
    Mode,
    PolicyReference,
    ResourceKind,
)
from acm.mending import mend
from acm.policy import Policy
from acm.update import judge
from tests.bench.measure import Pair, Side, Size

DOMAINS: Final = 1000
LABELS: Final = 1000
CHANNELS_EACH: Final = 10
MOVED: Final = 10
"""Every how many labels one moves to another type."""


@contextmanager
def update(folder: Path, size: Size) -> Iterator[Pair]:
    """Judge an update of a host with 1,000 domains and 10,000 channels, and find its mend."""
    del folder
    count = 20 if size is Size.SMALL else DOMAINS
    new, live = successor(min(count, LABELS)), host(count)
    broken = whatif(new, live)
    if (one_by_one(new, live) == 0) != (broken == 0):
        raise AssertionError("the engine finds otherwise")
    sizes = (10, 20) if size is Size.SMALL else (10, 100, 1000, 10_000)
    facts = {f"ms for {each} domains": 1e3 * seconds for each, seconds in growth(sizes)}
    yield Pair(
        Side(f"judged and mended, {count} domains, {len(live.channels)} channels", lambda: whatif(new, live)),
        Side("each question put to the engine, no mend", lambda: one_by_one(new, live)),
        {"channels": float(len(live.channels)), "violations": float(broken), **facts},
    )


def growth(sizes: Sequence[int] = (10, 100, 1000, 10_000)) -> list[tuple[int, float]]:
    """Return (domains, seconds) of judging and mending; ten channels and a disk a domain."""
    found = []
    for count in sizes:
        new, live = successor(min(count, LABELS)), host(count)
        begun = time.perf_counter()
        whatif(new, live)
        found.append((count, time.perf_counter() - begun))
    return found


def whatif(new: Policy, live: LiveState) -> int:
    """Judge and mend; return how much breaks."""
    judged = judge(new, live)
    found = mend(judged)
    assert found is not None
    return len(judged.violations)


def one_by_one(new: Policy, live: LiveState) -> int:
    """Put to the engine what the monitor would ask, each guest beside all before it; count the refusals."""
    labels = {each.domid: f"vm:{each.label}" for each in live.domains}
    resources = {each.identity: f"res:{each.label}" for each in live.resources}
    beside: list[str] = []
    requests = []
    for domid, label in labels.items():
        if domid != DOM0:
            requests.append(Request(Operation.START, label, labels[DOM0], tuple(beside)))
            beside.append(label)
    requests += [
        Request(Operation.EVENT_CHANNEL, labels[one.domain], labels[one.remote]) for one in live.channels
    ]
    requests += [
        Request(Operation.RESOURCE_WRITE, labels[one.domain], resources[one.resource])
        for one in live.attachments
    ]
    return sum(not _permits(new, request) for request in requests)


def _permits(policy: Policy, request: Request) -> bool:
    try:
        return decide(policy, request).permitted
    except RequestError:  # those who run exclude each other already
        return False


def successor(labels: int) -> Policy:
    """Return the new policy: label i shares with its two neighbours, but every tenth has moved away."""
    types = [f"t{i}" for i in range(labels)]
    walls = [f"w{i}" for i in range(labels)]
    document: dict[str, Any] = {
        "format": "shype.policy/1",
        "name": "bench",
        "version": "1.1",
        "from": {"name": "bench", "version": "1.0"},
        "bootstrap": "dom0",
        "ste": {"types": types},
        "chwall": {"types": walls, "conflict_sets": {"apart": walls[:2]}},
        "domain_labels": {"dom0": {"ste": types}},
        "resource_labels": {f"r{i}": {"ste": types[i]} for i in range(labels)},
    }
    for i in range(labels):
        first = (i + 7) % labels if i % MOVED == 0 else i
        held = sorted({types[first], types[(i + 1) % labels]})
        document["domain_labels"][f"l{i}"] = {"ste": held, "chwall": [walls[i]]}
    return policyfile.load(json.dumps(document).encode())


def host(domains: int) -> LiveState:
    """Return so many domains under the old policy, in a ring of neighbours."""
    draw, labels = Random(domains), min(domains, LABELS)
    live = [LiveDomain(DOM0, "Domain-0", "dom0")]
    live += [LiveDomain(domid, f"d{domid}", f"l{domid % labels}") for domid in range(1, domains + 1)]
    ends = [
        (one, one % domains + 1) for one in (draw.randint(1, domains) for _ in range(domains * CHANNELS_EACH))
    ]
    return LiveState(
        policy=PolicyReference("bench", "1.0"),
        domains=tuple(live),
        resources=tuple(LiveResource(ResourceKind.DISK, f"uuid:{i}", f"r{i}") for i in range(labels)),
        attachments=tuple(
            Attachment(domid, f"uuid:{domid % labels}", Mode.WRITE) for domid in range(1, domains + 1)
        ),
        channels=tuple(Channel(one, 2 * i, two, 2 * i + 1) for i, (one, two) in enumerate(ends)),
    )


if __name__ == "__main__":
    for size, seconds in growth():
        print(f"{size:>6} domains, {size * CHANNELS_EACH:>7} channels: {seconds * 1e3:8.1f} ms")
