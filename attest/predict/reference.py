"""From a prediction to the reference values that a verifier holds a host against."""

from __future__ import annotations

from collections.abc import Sequence

from attest.predict.prediction import Prediction
from attest.predict.profile import Profile
from attest.predict.xen_image import build_id
from attest.reference import DomainReference, HypervisorReference, ReferenceEvent, ReferenceValues


def reference_values(
    profile: Profile,
    prediction: Prediction,
    xen_image: bytes,
    domains: Sequence[DomainReference],
    *,
    version: int,
) -> ReferenceValues:
    """Return reference values for the profile's main bank; ``xen_image`` is the file that becomes Xen."""
    bank = profile.banks[0]
    source = profile.hypervisor
    return ReferenceValues(
        name=profile.name,
        version=version,
        bank=bank,
        pcrs=prediction.pcrs[bank],
        events=tuple(
            ReferenceEvent(event.pcr, event.digest(bank), event.component, event.what)
            for event in prediction.events
        ),
        hypervisor=HypervisorReference(
            version=source.version,
            commandline=prediction.xen.arguments,
            xsm_module=source.xsm_module,
            xsm_mode=source.xsm_mode,
            build_id=build_id(xen_image),
        ),
        domains=tuple(domains),
    )
