"""The vTPM of a domain: that it carries the label that was measured when its domain was launched.

The label record is in PCR 17, which no guest can write. The vTPM's key works only while PCR 17 has this
value; the binding of record and key is in the launch that the host's PCR 13 commits to, and the vTPM's quote
is a leaf under the host's quote (facts/vtpm.md 2.3).
"""

from __future__ import annotations

from acm.labels import Label
from attest.ak import AkError, check_ak
from attest.attester import vtpm_qualifying
from attest.quote import qualified_name
from attest.reasons import reason
from attest.result import Reason
from attest.verifier import quotes
from attest.verifier.claims import DomainClaims, VtpmClaims, shown_root
from attest.verifier.quotes import Demand, Shown
from vtpm.binding import Binding
from vtpm.errors import RecordError
from vtpm.record import LABEL_PCR, NO_LABEL, LabelRecord
from vtpm.tpm2.constants import Alg, Attributes, Hierarchy
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.policy import policy_pcr


def read(domain: DomainClaims, tree_size: int) -> VtpmClaims | Reason:
    """Decode quote, record and binding of a vTPM; a reason where one does not have its form."""
    shown, expected = domain.shown, domain.host.expected
    qualifying = frozenset({vtpm_qualifying(expected.nonce, shown.binding)})
    claim = quotes.read(
        Shown(shown.vak, shown.quote, shown.signature, shown.pcrs),
        lambda key: Demand(
            frozenset({qualified_name(key, Hierarchy.ENDORSEMENT)}),
            qualifying,
            expected.profile.vtpm_pcrs,
            Alg.SHA256,
        ),
    )
    if isinstance(claim, Reason):
        return claim
    try:
        record, binding = LabelRecord.decode(shown.record), Binding.decode(shown.binding)
    except RecordError as error:
        return reason("evidence-malformed", str(error))
    return VtpmClaims(domain, claim, record, binding, shown_root(shown, tree_size))


def key_attributes(vtpm: VtpmClaims) -> list[Reason]:
    """Check that the key signs only what its vTPM made (Part 2, 8.3)."""
    try:
        check_ak(vtpm.quote.key)
    except AkError as error:
        return [reason("vak-attributes", str(error))]
    return []


def key_policy(vtpm: VtpmClaims) -> list[Reason]:
    """Check that the key works only while PCR 17 holds the record shown (Part 3, 23.7)."""
    key = vtpm.quote.key
    if vtpm.quote.values().get(LABEL_PCR) == NO_LABEL:
        return []  # reported as vtpm-unlabelled
    if key.attributes & Attributes.USER_WITH_AUTH:
        return [reason("vak-attributes", "the key has userWithAuth: it works without its policy")]
    policy = policy_pcr(key.name_alg, PcrSelection.of(Alg.SHA256, [LABEL_PCR]), [vtpm.record.pcr17()])
    if key.auth_policy != policy:
        return [reason("vak-attributes", "its authPolicy is not PolicyPCR of PCR 17 under the record shown")]
    return []


def included(vtpm: VtpmClaims) -> list[Reason]:
    """Check that binding, quote and signature are a leaf under the host's signature (RFC 6962, 2.1.1)."""
    if vtpm.root != vtpm.domain.host.claims.root:
        return [
            reason("inclusion-invalid", f"the proof of leaf {vtpm.domain.shown.index} leads to another root")
        ]
    return []


def labelled(vtpm: VtpmClaims) -> list[Reason]:
    """Check that PCR 17 was written, and holds the record shown."""
    value = vtpm.quote.values().get(LABEL_PCR)
    if value == NO_LABEL:
        return [reason("vtpm-unlabelled", "PCR 17 is FF…FF, as it starts")]
    if value != vtpm.record.pcr17():
        return [reason("vtpm-record-mismatch", "PCR 17 is not H(0 ‖ H(record)) of the record shown")]
    return []


def bound(vtpm: VtpmClaims) -> list[Reason]:
    """Check that record, keys and binding belong together, and to the launch if the launch is theirs."""
    record, binding, launch = vtpm.record, vtpm.binding, vtpm.domain.launch
    pairs: list[tuple[str, object, object]] = [
        ("vTPM", (vtpm.domain.shown.vid, record.vid), (binding.vid, binding.vid)),
        ("generation", record.generation, binding.generation),
        ("record", record.digest().hex(), binding.record_digest),
        ("vTPM key", vtpm.quote.key.name().hex(), binding.vak_name),
        ("host key", vtpm.domain.host.claims.ak_name.hex(), binding.ak_name),
    ]
    if _as_launched(vtpm):  # else reported as label-changed or vtpm-changed
        pairs.append(("launch", (launch.vid, launch.uuid), (record.vid, record.domain)))
        pairs.append(("policy", launch.policy_digest, record.policy_digest))
    different = [name for name, one, other in pairs if one != other]
    if different:
        return [reason("binding-mismatch", f"launch, record and binding disagree: {', '.join(different)}")]
    return []


def fresh(vtpm: VtpmClaims) -> list[Reason]:
    """Check that the vTPM was bound since the host's last reset: PCR 13 began anew with it."""
    now = vtpm.domain.host.claims.clock.reset_count
    if vtpm.binding.reset_count != now:
        return [reason("binding-stale", f"bound at reset {vtpm.binding.reset_count} of the host, now {now}")]
    return []


def label_as_launched(vtpm: VtpmClaims) -> list[Reason]:
    """Check that record and key are those of the measured launch: nobody relabelled the vTPM."""
    launch, record = vtpm.domain.launch, vtpm.record
    if _as_launched(vtpm) and record.label == launch.label:
        return []
    if record.label != launch.label:
        detail = f"its label is {record.label!a}, the domain was launched under {launch.label!a}"
        return [reason("label-changed", detail)]
    return [
        reason("vtpm-changed", f"the launch commits to binding {launch.binding_digest}, another one is shown")
    ]


def types_as_in_policy(vtpm: VtpmClaims) -> list[Reason]:
    """Check that types and levels in the record are the label's, if the record is of the expected policy."""
    policy, record = vtpm.domain.host.expected.policy, vtpm.record
    known = policy.domain_labels.get(record.label)
    if record.policy_digest != policy.digest or record.label != vtpm.domain.launch.label or known is None:
        return []  # reported as policy-mismatch, label-changed or domain-label-not-in-policy
    if (set(record.ste_types), set(record.chwall_types)) != (set(known.ste), set(known.chwall)):
        return [reason("record-unlike-policy", f"label {record.label!a} has other types in the policy")]
    if not _levels_as_in_policy(record, known, trusted=record.label in policy.trusted):
        return [reason("record-unlike-policy", f"label {record.label!a} has other levels in the policy")]
    return []


def _levels_as_in_policy(record: LabelRecord, label: Label, *, trusted: bool) -> bool:
    if record.mls is None or label.mls is None:
        return record.mls is None and label.mls is None
    pairs = ((record.mls.low, label.mls.low), (record.mls.high, label.mls.high))
    same = all((one.level, {*one.categories}) == (two.name, {*two.categories}) for one, two in pairs)
    return same and record.mls.trusted is trusted


def _as_launched(vtpm: VtpmClaims) -> bool:
    return vtpm.binding.digest().hex() == vtpm.domain.launch.binding_digest
