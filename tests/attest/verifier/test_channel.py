"""Evidence over a channel: the host's signature names the channel, so that nobody stands in between."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.attester import host_qualifying, vtpm_qualifying
from attest.errors import AttestUsageError
from attest.result import Result, Verdict
from attest.verifier import steps
from attest.verifier.claims import Channel
from tests.simulators.host import NONCE, Host, codes, sha256

OURS, THEIRS = sha256(b"the key that we saw"), sha256(b"the key that the host has")
NONCES = st.binary(min_size=16, max_size=64)
HASHES = st.binary(min_size=32, max_size=32)


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.serving()


def refused(result: Result, code: str) -> None:
    assert (result.verdict, codes(result)) == (Verdict.NONE, [code])


def test_evidence_over_our_own_connection(host: Host) -> None:
    result = host.verify(host.evidence(channel=OURS), channel=Channel(OURS, OURS))
    assert (result.verdict, codes(result)) == (Verdict.AFFIRMING, [])


def test_what_the_peer_claims_is_not_needed(host: Host) -> None:
    assert host.verify(host.evidence(channel=OURS), channel=Channel(OURS)).verdict is Verdict.AFFIRMING


def test_a_relay_is_caught(host: Host) -> None:
    """It has a connection to the host, and we have one to it: two keys, one signature."""
    refused(host.verify(host.evidence(channel=THEIRS), channel=Channel(OURS, THEIRS)), "channel-mismatch")


@pytest.mark.parametrize("claimed", [None, OURS])
def test_a_relay_that_hides_the_host_s_key_is_caught_too(host: Host, claimed: bytes | None) -> None:
    refused(host.verify(host.evidence(channel=THEIRS), channel=Channel(OURS, claimed)), "nonce-mismatch")


def test_evidence_of_a_file_does_not_do_over_a_channel(host: Host) -> None:
    refused(host.verify(host.evidence(), channel=Channel(OURS, OURS)), "channel-mismatch")


def test_evidence_of_a_channel_does_not_do_as_a_file(host: Host) -> None:
    refused(host.verify(host.evidence(channel=OURS)), "nonce-mismatch")


def test_an_old_answer_over_the_same_channel_is_old(host: Host) -> None:
    old = host.evidence(nonce=bytes(32), channel=OURS)
    result = host.verify(old, channel=Channel(OURS, OURS))
    assert set(codes(result)) == {"nonce-mismatch"}


def test_no_other_step_catches_a_relay(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the nonce check the relayed evidence passes: the check is what catches it."""
    kept = tuple(check for check in steps.QUOTE if check.__name__ != "nonce")
    assert len(kept) == len(steps.QUOTE) - 1
    monkeypatch.setattr(steps, "QUOTE", kept)
    result = host.verify(host.evidence(channel=THEIRS), channel=Channel(OURS, THEIRS))
    assert result.verdict is Verdict.AFFIRMING


@pytest.mark.parametrize("channel", [b"", bytes(31), bytes(33)])
def test_a_channel_is_named_by_32_bytes(host: Host, channel: bytes) -> None:
    with pytest.raises(AttestUsageError, match="32 bytes"):
        host.evidence(channel=channel)


def test_the_construction() -> None:
    root, channel = sha256(b"root"), sha256(b"channel")
    assert host_qualifying(NONCE, root) == hashlib.sha256(b"H" + NONCE + root).digest()
    assert host_qualifying(NONCE, root, channel) == hashlib.sha256(b"C" + NONCE + channel + root).digest()


@given(first=NONCES, second=NONCES, root=HASHES, other=HASHES, channel=HASHES)
def test_the_three_kinds_of_qualifying_data_never_meet(
    first: bytes, second: bytes, root: bytes, other: bytes, channel: bytes
) -> None:
    """Whatever nonces a verifier chooses: with, without a channel, and of a vTPM are three inputs."""
    kinds = {
        host_qualifying(first, root),
        host_qualifying(second, other, channel),
        vtpm_qualifying(second, other),
    }
    assert len(kinds) == 3
