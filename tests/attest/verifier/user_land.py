"""What tests of dom0's user land ask of a result."""

from __future__ import annotations

from dataclasses import replace

from attest.evidence import Evidence
from attest.result import Result, Verdict
from tests.simulators.host import codes, nodes


def shown(evidence: Evidence, ima_log: bytes | None) -> Evidence:
    return replace(evidence, host=replace(evidence.host, ima_log=ima_log))


def refused(result: Result, code: str) -> None:
    """The platform is not authentic: nothing else is read."""
    assert (result.verdict, codes(result)) == (Verdict.NONE, [code])
    assert set(nodes(result).values()) == {Verdict.NONE}


def dom0_is(result: Result, verdict: Verdict, *found: str) -> list[str]:
    """Only dom0 is at fault, for these reasons; returns their details."""
    assert (result.verdict, codes(result)) == (verdict, list(found))
    verdicts = nodes(result)
    assert verdicts.pop("dom0") is verdicts.pop("host xen1.example") is verdict
    assert set(verdicts.values()) <= {Verdict.AFFIRMING}
    return [reason.detail for _, reason in result.reasons()]


def notes(result: Result) -> tuple[str, ...]:
    [node] = [node for node in result.root.children if node.name == "dom0"]
    return node.notes
