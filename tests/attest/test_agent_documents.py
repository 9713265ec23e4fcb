"""The messages between a verifier and a host agent: round trips, their schemas, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest import agent_documents as documents
from attest.agent_documents import (
    AgentRefusal,
    CredentialAnswer,
    CredentialRequest,
    DocumentError,
    EndorsementOffer,
    EvidenceRequest,
)
from tests.schemas import validator

GOOD: dict[str, Any] = {
    "endorsement-offer": EndorsementOffer("xen1.example", b"ek", b"certificate", b"ak"),
    "credential-request": CredentialRequest(b"\x00\x01x", b"\x00\x01y"),
    "credential-answer": CredentialAnswer(bytes(32)),
    "evidence-request": EvidenceRequest(bytes(range(32))),
    "agent-refusal": AgentRefusal("busy", "try again"),
}


@pytest.mark.parametrize("message", GOOD.values(), ids=GOOD)
class TestEachMessage:
    def test_round_trip_by_its_schema(self, message: Any) -> None:
        schema = next(name for name, each in GOOD.items() if each is message)
        assert type(message).decode(message.encode()) == message
        document = json.loads(message.encode())
        validator(schema).validate(document)
        assert document["schema"] == f"shype.{schema}/1"

    def test_each_field_is_needed_and_no_other_taken(self, message: Any) -> None:
        document = json.loads(message.encode())
        for name in document:
            less = {key: value for key, value in document.items() if key != name}
            for changed in (less, {**document, name: None}, {**document, name: 1}, {**document, name: [1]}):
                with pytest.raises(DocumentError):
                    type(message).decode(json.dumps(changed).encode())
        with pytest.raises(DocumentError):
            type(message).decode(json.dumps({**document, "more": ""}).encode())

    def test_another_message_is_not_this_one(self, message: Any) -> None:
        for other in GOOD.values():
            if other is not message:
                with pytest.raises(DocumentError):
                    type(message).decode(other.encode())

    def test_it_is_bounded(self, message: Any) -> None:
        with pytest.raises(DocumentError):
            type(message).decode(message.encode() + b" " * (1 << 17))


@pytest.mark.parametrize("size", [0, 16, 31, 65, 1000])
def test_a_nonce_is_long_enough_and_no_longer_than_a_tpm_takes(size: int) -> None:
    with pytest.raises(DocumentError):
        EvidenceRequest.decode(EvidenceRequest(bytes(size)).encode())


def test_a_secret_is_no_longer_than_a_digest() -> None:
    with pytest.raises(DocumentError):
        CredentialAnswer.decode(CredentialAnswer(bytes(65)).encode())


@pytest.mark.parametrize("code", ["", "Not a word", "x" * 65, "a\nb"])
def test_a_code_is_a_word(code: str) -> None:
    with pytest.raises(DocumentError):
        AgentRefusal.decode(AgentRefusal(code, "").encode())


def test_a_detail_is_a_line() -> None:
    for detail in ("x" * (documents.MAX_DETAIL + 1), "two\nlines", "\x1b[2J"):
        with pytest.raises(DocumentError):
            AgentRefusal.decode(AgentRefusal("code", detail).encode())


@given(nonce=st.binary(min_size=32, max_size=64))
def test_nonces_come_back_as_they_were(nonce: bytes) -> None:
    assert EvidenceRequest.decode(EvidenceRequest(nonce).encode()).nonce == nonce


class TestASignedQuestion:
    SIGNED = EvidenceRequest(bytes(range(32)), b"\x30\x06")

    def test_round_trip_by_its_schema(self) -> None:
        assert EvidenceRequest.decode(self.SIGNED.encode()) == self.SIGNED
        validator("evidence-request").validate(json.loads(self.SIGNED.encode()))

    @pytest.mark.parametrize("signature", [None, "", "!", 1, "AAA", "AB==", "A" * 400])
    def test_a_signature_that_is_none(self, signature: object) -> None:
        document = {**json.loads(self.SIGNED.encode()), "signature": signature}
        with pytest.raises(DocumentError, match="signature"):
            EvidenceRequest.decode(json.dumps(document).encode())

    def test_what_is_signed_names_message_channel_and_nonce(self) -> None:
        channel = bytes(range(32, 64))
        signed = self.SIGNED.to_sign(channel)
        assert signed == b"shype.evidence-request/1\0" + channel + self.SIGNED.nonce
        assert signed == EvidenceRequest(self.SIGNED.nonce).to_sign(channel)
