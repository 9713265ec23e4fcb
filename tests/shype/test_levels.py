"""A guest under MLS on an embedded host: its levels stand in PCR 17 of its own vTPM, beside its types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from shype.host.embedded import EmbeddedHost
from vtpm.record import LABEL_PCR, LabelRecord, RecordedLevel, RecordedRange
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

pytestmark = pytest.mark.host

WIDE = {"low": "open", "high": {"level": "closed", "categories": ["cola"]}}


@pytest.fixture
def levelled(repository: Path) -> bytes:
    """The policy of the data centre with two levels; Domain-0 and one guest span both."""
    document: dict[str, Any] = yaml.safe_load((repository / "configs/policies/datacenter.yaml").read_text())
    document["mls"] = {"levels": ["open", "closed"], "categories": ["cola"], "trusted": ["dom0", "cola-web"]}
    for kind in ("domain_labels", "resource_labels"):
        for name, label in document[kind].items():
            label["mls"] = WIDE if name in ("dom0", "cola-web") and kind == "domain_labels" else "open"
    return json.dumps(document).encode()


def test_the_range_of_a_guest_is_measured_into_its_vtpm(
    machine: Path, boot_files: Path, levelled: bytes, repository: Path
) -> None:
    with EmbeddedHost(machine, boot_files) as host:
        host.load_policy(levelled)
        host.launch((repository / "configs/hosts/cola-web.cfg").read_bytes())
        [guest] = host.guests.vtpms.values()
        record = LabelRecord.decode(guest.record)
        assert record.mls == RecordedRange(
            RecordedLevel("open"), RecordedLevel("closed", ("cola",)), trusted=True
        )
        assert guest.pcr_read(PcrSelection.of(Alg.SHA256, [LABEL_PCR])) == (record.pcr17(),)
