"""A meter key in a real (software) TPM: it signs in the state it was made for, and never after it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from attest.result import Verdict
from metering.case import Trust
from metering.key import METER_PCRS, SELECTION, MeterKeyBundle, host_id, key_id
from metering.log import read_published
from metering.meter import Meter
from metering.platform_key import make_platform_key
from metering.register import Setup
from metering.verdict import Code
from metering.view import View
from tests.metering.world import ORIGIN, PERIOD, Files, ManualClock, Platform, Source
from vtpm.errors import PolicyError
from vtpm.tpm2.constants import Alg

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.host


@pytest.fixture
def tpm(short_tmp: Path) -> Iterator[Any]:
    from vtpm.swtpm import State, Swtpm
    from vtpm.tpm import Tpm

    with Swtpm.start(short_tmp / "tpm", state=State.NEW, keys=None) as swtpm, Tpm(swtpm.channel) as opened:
        opened.startup()
        for pcr in METER_PCRS:
            opened.pcr_extend(pcr, {Alg.SHA256: hashlib.sha256(b"boot %d" % pcr).digest()})
        yield opened


def test_records_signed_by_a_key_that_ends_with_the_reference_state(tpm: Any, tmp_path: Path) -> None:
    ak = tpm.create_ak()
    key, bundle = make_platform_key(tpm, ak)
    state = tpm.pcr_read(SELECTION)
    source, clock = Source(), ManualClock()
    source.add("web", "acme")
    setup = Setup(host_id(ak.name), tpm.clock().reset_count, key_id(key.spki()), 4, PERIOD)
    meter = Meter.resume(tmp_path / "log", ORIGIN, setup, source, clock)
    clock.advance()
    source.work()
    meter.tick()
    note = meter.sign(key)
    files = Files(View.of(read_published(tmp_path / "log")[0]).encode(), note, bundle.encode(), Platform())
    good = Trust(ak.public, (state,))
    assert files.audit(trust=good).verdict is Verdict.AFFIRMING
    other = Trust(ak.public, (tuple(hashlib.sha256(value).digest() for value in state),))
    assert [one.code for one in files.audit(trust=other).violations] == [Code.PLATFORM]

    tpm.pcr_extend(9, {Alg.SHA256: bytes(32)})
    clock.advance()
    meter.tick()
    with pytest.raises(PolicyError):
        meter.sign(key)
    assert (tmp_path / "log" / "checkpoint").read_bytes() == note
    meter.abandon()


def test_another_key_of_the_same_tpm_is_no_meter_key(tpm: Any) -> None:
    ak = tpm.create_ak()
    key, bundle = make_platform_key(tpm, ak)
    bundle.verify_origin(ak.public)
    creation, signature = tpm.certify_creation(key.key, ak, b"another use")
    stranger = MeterKeyBundle(bundle.public, creation, signature)
    with pytest.raises(Exception, match="another use"):
        stranger.verify_origin(ak.public)
