"""From a prediction to the reference values that a verifier holds a host against."""

from __future__ import annotations

from collections.abc import Sequence

from attest.predict.commandlines import command_lines
from attest.predict.prediction import Prediction
from attest.predict.profile import Profile, UnifiedSource
from attest.predict.unified import ignores_load_options
from attest.predict.xen_image import build_id
from attest.reference import (
    FILES_PCR,
    IMAGE_PCR,
    DomainReference,
    FlaskPolicy,
    HypervisorReference,
    LoadOptions,
    ReferenceEvent,
    ReferenceValues,
)


def reference_values(
    profile: Profile,
    prediction: Prediction,
    xen_image: bytes,
    domains: Sequence[DomainReference],
    *,
    version: int,
    flask_policy: str | None = None,
) -> ReferenceValues:
    """Return reference values for the profile's main bank; ``xen_image`` is the file that becomes Xen.

    ``flask_policy`` is the SHA-256 (hex) of the FLASK policy that is loaded with it, None without one.
    """
    bank = profile.banks[0]
    source = profile.hypervisor
    kernel = prediction.modules[0] if prediction.modules else None
    lines = command_lines(prediction.xen.arguments, kernel.arguments if kernel else "")
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
            commandline=lines.xen,
            xsm_module=source.xsm_module,
            xsm_mode=source.xsm_mode,
            build_id=build_id(xen_image),
            flask_policy=None if flask_policy is None else FlaskPolicy(flask_policy, _covered_by(profile)),
            dom0_commandline=lines.dom0 if kernel else None,
            load_options=_load_options(xen_image) if isinstance(profile.boot, UnifiedSource) else None,
        ),
        domains=tuple(domains),
    )


def _load_options(image: bytes) -> LoadOptions:
    return LoadOptions.IGNORED if ignores_load_options(image) else LoadOptions.TAKEN


def _covered_by(profile: Profile) -> int:
    return IMAGE_PCR if isinstance(profile.boot, UnifiedSource) else FILES_PCR
