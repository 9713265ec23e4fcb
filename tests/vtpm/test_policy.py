"""Policy digests computed here are those that a TPM computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vtpm.errors import VtpmUsageError
from vtpm.tpm2.constants import Alg, Command, Hierarchy
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.policy import (
    policy_auth_value,
    policy_authorize,
    policy_command_code,
    policy_or,
    policy_pcr,
    policy_secret,
    policy_signed,
)
from vtpm.tpm2.wire import Writer

if TYPE_CHECKING:
    from conftest import Host

ENDORSEMENT = Hierarchy.ENDORSEMENT.to_bytes(4, "big")
POLICY_A = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
PCRS = PcrSelection.of(Alg.SHA256, [0, 16, 17])


def test_policy_secret_of_the_endorsement_hierarchy_is_policy_a_of_the_profile() -> None:
    assert policy_secret(Alg.SHA256, ENDORSEMENT).hex() == POLICY_A


def test_policy_or_takes_two_to_eight_branches_of_any_content() -> None:
    assert policy_or(Alg.SHA256, [bytes(32)] * 8) != policy_or(Alg.SHA256, [bytes(32)] * 7)
    for count in (0, 1, 9):
        with pytest.raises(VtpmUsageError):
            policy_or(Alg.SHA256, [bytes(32)] * count)


def test_values_must_fit_the_selection() -> None:
    for values in ([], [bytes(32)] * 2, [bytes(20)] * 3):
        with pytest.raises(VtpmUsageError):
            policy_pcr(Alg.SHA256, PCRS, values)
    with pytest.raises(VtpmUsageError):
        policy_pcr(Alg.SHA256, PCRS, [bytes(32)] * 3, previous=b"short")


@pytest.mark.host
def test_a_trial_session_of_a_tpm_agrees(host: Host) -> None:
    def send(code: int, body: bytes, tag: int = 0x8001) -> bytes:
        message = Writer().u16(tag).u32(10 + len(body)).u32(code).raw(body).done()
        response = host.swtpm.channel.exchange(message)
        assert response[6:10] == bytes(4), response.hex()
        return response[10:]

    begin = Writer().u32(0x40000007).u32(0x40000007).sized(bytes(16)).sized(b"").u8(3).u16(0x10).u16(0x0B)
    session = send(0x176, begin.done())[:4]

    def digest() -> bytes:
        return send(0x189, session)[2:]

    values = host.tpm.pcr_read(PCRS)
    send(Command.POLICY_PCR, session + b"\0\0" + PCRS.encode())
    expected = policy_pcr(Alg.SHA256, PCRS, values)
    assert digest() == expected
    send(Command.POLICY_COMMAND_CODE, session + Command.QUOTE.to_bytes(4, "big"))
    expected = policy_command_code(Alg.SHA256, Command.QUOTE, previous=expected)
    assert digest() == expected
    send(Command.POLICY_AUTH_VALUE, session)
    expected = policy_auth_value(Alg.SHA256, previous=expected)
    assert digest() == expected
    password = Writer().u32(9).u32(0x40000009).sized(b"").u8(0).sized(b"").done()
    secret = ENDORSEMENT + session + password + Writer().sized(b"").sized(b"").sized(b"ref").u32(0).done()
    send(Command.POLICY_SECRET, secret, tag=0x8002)
    expected = policy_secret(Alg.SHA256, ENDORSEMENT, policy_ref=b"ref", previous=expected)
    assert digest() == expected
    branches = Writer().u32(2).sized(expected).sized(bytes(32)).done()
    send(Command.POLICY_OR, session + branches)
    assert digest() == policy_or(Alg.SHA256, [expected, bytes(32)])
    name = b"\x00\x0b" + bytes(32)
    ticket = Writer().u16(0x8022).u32(0x40000007).sized(b"").done()
    send(Command.POLICY_AUTHORIZE, session + Writer().sized(b"").sized(b"r").sized(name).raw(ticket).done())
    assert digest() == policy_authorize(Alg.SHA256, name, policy_ref=b"r")
    send(Command.FLUSH_CONTEXT, session)


def test_policy_signed_differs_from_policy_secret_by_its_command_only() -> None:
    name = b"\x00\x0b" + bytes(32)
    update = Alg.SHA256.digest(bytes(32) + Command.POLICY_SIGNED.to_bytes(4, "big") + name)
    assert policy_signed(Alg.SHA256, name, policy_ref=b"r") == Alg.SHA256.digest(update + b"r")
