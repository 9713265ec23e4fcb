"""Reference values from a golden host: what a verified host has measured, and the relying party calls good.

The host is authenticated first; then its own values become the reference values, and the whole appraisal with
them must be affirming: the policy is the expected one, the hypervisor has reported, every domain that is
shown is as it was measured. Texts of its logs are not taken over, since no digest binds them. Where the
profile demands PCR 10, the files of dom0's measurement list become reference values too; those names are
bound, by the template digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from attest.errors import AttestInputError
from attest.eventlog.replay import VerifiedEvents
from attest.evidence import Evidence
from attest.ima.appraise import list_entries
from attest.ima.reference import FileReference
from attest.reference import (
    PCRS,
    Component,
    DomainReference,
    FlaskPolicy,
    HypervisorReference,
    Origin,
    ReferenceEvent,
    ReferenceValues,
)
from attest.result import Reason, Verdict
from attest.runtime_events import DomainLaunch
from attest.verifier.claims import Expectation, VerifiedClaims
from attest.verifier.verify import authenticate, verify

_OWNERS: Final = {4: Component.LOADER, 8: Component.LOADER, 9: Component.XEN}


class GoldenError(AttestInputError):
    """Evidence that no reference values can be made of; ``code`` is that of the reason."""

    @classmethod
    def of(cls, reason: Reason) -> GoldenError:
        """Return the error for a reason of the verifier."""
        return cls(f"golden host: {reason.detail}", code=reason.code)


def nothing_expected(name: str, version: int, bank: str) -> ReferenceValues:
    """Return reference values that say nothing: what a golden host is authenticated with."""
    return ReferenceValues(
        name, version, bank, {}, (), HypervisorReference(None, "", "none", "none", None), ()
    )


def golden_values(evidence: Evidence, expected: Expectation) -> ReferenceValues:
    """Return the host's values under name, version and bank of the reference values in ``expected``.

    Raises ``GoldenError`` for evidence that is not authentic or not affirming with its own values.
    """
    claims, reasons = authenticate(evidence, expected)
    if claims is None:
        raise GoldenError.of(next(one for one in reasons if one.verdict is Verdict.NONE))
    values = _values(evidence, claims, expected.reference)
    own = replace(expected, reference=values, reference_digest=hashlib.sha256(values.encode()).hexdigest())
    result = verify(evidence, own)
    if result.verdict is not Verdict.AFFIRMING:
        found = [one for _, one in result.reasons()]
        raise GoldenError.of(max(found, key=lambda one: one.verdict.rank))
    return values


def _values(evidence: Evidence, claims: VerifiedClaims, base: ReferenceValues) -> ReferenceValues:
    report = claims.runtime.report
    if report is None:
        message = "golden host: PCR 12 does not begin with the hypervisor's report"
        raise GoldenError(message, code="hypervisor-report-missing")
    hypervisor = HypervisorReference(
        version=report.version,
        commandline=report.commandline,
        xsm_module=report.xsm_module,
        xsm_mode=report.xsm_mode,
        build_id=report.build_id,
        flask_policy=None if report.flask_policy is None else FlaskPolicy(report.flask_policy, None),
        dom0_commandline=report.dom0_commandline,
    )
    return replace(
        base,
        pcrs={pcr: value for pcr, value in claims.pcrs.items() if pcr in PCRS},
        events=() if claims.firmware is None else tuple(_events(claims.firmware, claims)),
        hypervisor=hypervisor,
        domains=tuple(_domain(shown.launch) for shown in evidence.domains),
        origin=Origin.GOLDEN,
        ima=_files(evidence.host.ima_log, claims),
    )


def _files(raw: bytes | None, claims: VerifiedClaims) -> FileReference | None:
    """Return the files of the entries that the quote proves; None where the profile does not ask for them."""
    if raw is None or claims.ima is None:
        return None
    return FileReference.from_entries(islice(list_entries((raw,)), 1, claims.ima.entries))


def _events(log: VerifiedEvents, claims: VerifiedClaims) -> Iterator[ReferenceEvent]:
    """Yield the events of the registers that the log explains, named by their place alone."""
    for pcr in sorted(claims.pcrs.keys() & log.pcrs.keys() & set(PCRS)):
        component = _OWNERS.get(pcr, Component.FIRMWARE)
        for place, event in enumerate(log.of(pcr), 1):
            yield ReferenceEvent(pcr, event.digest, component, f"measurement {place} of PCR {pcr}")


def _domain(launch: bytes) -> DomainReference:
    """Return what was measured of a domain; that PCR 13 commits to it is for the appraisal to find out."""
    found = DomainLaunch.decode(launch)
    return DomainReference(
        found.name, found.label, found.config_digest, found.kernel, found.ramdisk, found.disks
    )
