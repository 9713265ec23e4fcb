"""Which judge is for which kind, and why some kinds have none."""

from __future__ import annotations

from typing import Final

from acm.errors import AcmInputError
from attest.errors import AttestInputError, AttestUsageError
from tools.conformance import certificates, lists, logs, others, quotes, signatures
from tools.conformance.vector import DiffersError, Judge, Outcome, OutOfScopeError, Result, Vector
from vtpm.errors import VtpmInputError

JUDGES: Final[dict[str, Judge]] = {
    "eventlog/agile": logs.log,
    "eventlog/sha1": logs.log,
    "eventlog/ccel": logs.ccel,
    "eventlog/fragment": logs.fragment,
    "eventlog/malformed": logs.malformed,
    "eventlog/negative-pcrs": logs.negative_registers,
    "eventlog/acpi-tpm2": logs.no_log,
    "eventlog/txt": logs.no_log,
    "ima/ascii": lists.measurement_list,
    "ima/binary": lists.measurement_list,
    "ima/case": lists.line,
    "quote/case": quotes.quote,
    "bundle/dump": quotes.dump,
    "credact/kat": quotes.credential,
    "cert/ca": certificates.authority,
    "cert/ek": certificates.endorsement,
    "cert/bad": certificates.malformed,
    "cert/aik": certificates.other,
    "cert/platform": certificates.other,
    "crypto/wycheproof": signatures.wycheproof,
    "tlog/merkle": others.merkle,
    "xen/acm": others.acm_policy,
}

NO_JUDGE: Final[dict[str, str]] = {
    "bundle/attestation-pb": "protobuf bundles of Google's tools are not read",
    "bundle/azure-vtpm": "evidence of a confidential guest: nothing here trusts its CPU's report",
    "bundle/eve-tpm": "a product's own bundle",
    "bundle/quote-xml": "a product's own bundle, of TPM 1.2 shape",
    "bundle/webauthn-tpm": "WebAuthn statements (CBOR) are not read",
    "corim/case": "CoRIM is not read; reference values are JSON (docs/profiles.md)",
    "ear/claims": "claims without a signature; results are read signed only (shype result verify)",
    "ear/result": "a verdict over another verifier's evidence",
    "rim/case": "reference integrity manifests (SWID) are not read",
    "tlog/sct": "certificate transparency is not used",
    "uefi/siglist": "signature lists inside UEFI variables are compared as bytes, not read",
    "uefi/var": "UEFI variables are compared as bytes, not read",
    "vtpm/state": "swtpm reads its own state; tests/vtpm runs it",
}
"""Kinds that nothing in this repository judges, and why."""


def judge(vector: Vector) -> Outcome:
    """Return the outcome for one vector; only errors of ours can be a stated refusal."""
    if vector.kind in NO_JUDGE:
        return Outcome(vector, Result.OUT_OF_SCOPE, NO_JUDGE[vector.kind])
    try:
        JUDGES[vector.kind](vector)
    except OutOfScopeError as error:
        return Outcome(vector, Result.OUT_OF_SCOPE, str(error))
    except DiffersError as error:
        return Outcome(vector, Result.DIFFERS, str(error))
    except (AttestInputError, VtpmInputError, AcmInputError) as error:
        return Outcome(vector, Result.DIFFERS, f"refused: {error}")
    except AttestUsageError as error:
        return Outcome(vector, Result.DIFFERS, f"not judged: {error}")
    return Outcome(vector, Result.AS_STATED)
