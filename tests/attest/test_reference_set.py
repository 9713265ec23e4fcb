"""Signed reference sets: signature, rollback, expiry."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import AttestInputError, AttestUsageError
from attest.reference import ReferenceValues
from attest.reference_set import ReferenceSetError, Seen, sign, verify
from attest.result import Verdict
from attest.signer import MemoryKey
from tests.schemas import validator
from tests.simulators.host import NOW, Host, key

SIGNER = MemoryKey(key("reference"))
OTHER = MemoryKey(key("another"))
EXPIRES = datetime(2027, 1, 31, 12, 30, 15, tzinfo=UTC)


def reference(version: int = 1, name: str = "rack7") -> ReferenceValues:
    return replace(Host.serving().reference(), version=version, name=name)


def signed(version: int = 1, name: str = "rack7") -> bytes:
    return sign(reference(version, name).encode(), SIGNER, EXPIRES)


def test_a_set_gives_back_the_values_and_the_exact_bytes() -> None:
    raw = json.dumps(json.loads(reference().encode()), indent=1).encode()
    found = verify(sign(raw, SIGNER, EXPIRES), SIGNER.spki())
    assert (found.values, found.expires) == (reference(), EXPIRES)
    assert base64.b64decode(json.loads(sign(raw, SIGNER, EXPIRES))["payload"]) == raw


def test_it_fits_its_schema() -> None:
    validator("reference-set").validate(json.loads(signed()))


def test_the_time_is_utc() -> None:
    there = EXPIRES.astimezone(timezone(timedelta(hours=-5)))
    assert verify(sign(reference().encode(), SIGNER, there), SIGNER.spki()).expires == EXPIRES


def test_another_key_is_refused() -> None:
    with pytest.raises(ReferenceSetError, match="another key") as caught:
        verify(signed(), OTHER.spki())
    assert caught.value.code == "reference-signature"


def test_naming_the_expected_key_does_not_help() -> None:
    top = json.loads(sign(reference().encode(), OTHER, EXPIRES))
    top["key"] = json.loads(signed())["key"]
    with pytest.raises(ReferenceSetError, match="altered"):
        verify(json.dumps(top).encode(), SIGNER.spki())


Edit = Callable[[dict[str, Any]], object]
EDITS: dict[str, tuple[Edit, str]] = {
    "name": (lambda top: top.update(name="rack8"), "reference-signature"),
    "version": (lambda top: top.update(version=2), "reference-signature"),
    "expiry": (lambda top: top.update(expires="2099-01-31T00:00:00Z"), "reference-signature"),
    "payload": (
        lambda top: top.update(payload=base64.b64encode(reference(2).encode()).decode()),
        "reference-signature",
    ),
    "signature": (
        lambda top: top.update(signature=base64.b64encode(bytes(64)).decode()),
        "reference-signature",
    ),
    "short signature": (lambda top: top.update(signature="AAAA"), "reference-set"),
    "base64": (lambda top: top.update(signature=top["signature"] + "="), "reference-set"),
    "loose base64": (lambda top: top.update(signature=top["signature"][:-3] + "Z=="), "reference-set"),
    "schema": (lambda top: top.update(schema="shype.reference-set/2"), "reference-set"),
    "more": (lambda top: top.update(more=1), "reference-set"),
    "less": (lambda top: top.pop("expires"), "reference-set"),
    "type": (lambda top: top.update(expires=1), "reference-set"),
    "flag": (lambda top: top.update(version=True), "reference-set"),
    "surrogate": (lambda top: top.update(name="\ud800"), "reference-set"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_altered_set_is_refused(name: str) -> None:
    edit, code = EDITS[name]
    top = json.loads(signed())
    edit(top)
    with pytest.raises(ReferenceSetError) as caught:
        verify(json.dumps(top).encode(), SIGNER.spki())
    assert caught.value.code == code


def resigned(**changes: object) -> bytes:
    """A set whose signer itself signs something odd."""
    import hashlib

    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    from attest import canonical_json

    top = {**json.loads(signed()), **changes}
    del top["signature"]
    r, s = decode_dss_signature(SIGNER.sign(hashlib.sha256(canonical_json.encode(top)).digest()))
    top["signature"] = base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()
    return json.dumps(top).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"name": "rack8"},
        {"expires": "2027-02-30T00:00:00Z"},
        {"expires": "never"},
        {"payload": "AA=="},
        {"payload": base64.b64encode(b"{}").decode()},
    ],
)
def test_a_signed_contradiction_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(AttestInputError):
        verify(resigned(**changes), SIGNER.spki())


def test_row_78_an_older_signed_set_replayed() -> None:
    """facts/attest.md 3.2, 78: CoRIM or allow-list rollback is refused at load."""
    old, new = (verify(signed(version), SIGNER.spki()) for version in (1, 2))
    seen = Seen().admit(old).admit(new)
    assert seen.admit(new) == seen
    with pytest.raises(ReferenceSetError, match="version 1 is older than 2") as caught:
        seen.admit(old)
    assert caught.value.code == "reference-rollback"


def test_another_set_of_the_same_version_is_refused() -> None:
    first = verify(signed(), SIGNER.spki())
    changed = replace(reference(), domains=())
    second = verify(sign(changed.encode(), SIGNER, EXPIRES), SIGNER.spki())
    with pytest.raises(ReferenceSetError, match="another set of version 1") as caught:
        Seen().admit(first).admit(second)
    assert caught.value.code == "reference-rollback"


def test_a_later_expiry_of_the_same_values_is_admitted() -> None:
    first, longer = (
        verify(sign(reference().encode(), SIGNER, time), SIGNER.spki())
        for time in (EXPIRES, EXPIRES + timedelta(days=30))
    )
    assert Seen().admit(first).admit(longer) == Seen().admit(first)


def test_each_name_is_counted_by_itself() -> None:
    seen = Seen().admit(verify(signed(5, "a"), SIGNER.spki())).admit(verify(signed(1, "b"), SIGNER.spki()))
    assert {name: version for name, (version, _) in seen.sets.items()} == {"a": 5, "b": 1}
    assert Seen.decode(seen.encode()) == seen
    validator("reference-seen").validate(json.loads(seen.encode()))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b'{"schema":"shype.reference-seen/1","sets":[]}',
        b'{"schema":"shype.reference-seen/1","sets":{"a":1}}',
        b'{"schema":"shype.reference-seen/1","sets":{"a":{"version":true,"sha256":"%s"}}}' % (b"0" * 64),
        b'{"schema":"shype.reference-seen/1","sets":{"a":{"version":-1,"sha256":"%s"}}}' % (b"0" * 64),
        b'{"schema":"shype.reference-seen/1","sets":{"a":{"version":1,"sha256":"0"}}}',
        b'{"schema":"shype.reference-seen/2","sets":{}}',
    ],
)
def test_a_state_that_is_not_understood_admits_nothing(raw: bytes) -> None:
    with pytest.raises(AttestInputError):
        Seen.decode(raw)


def test_expired_reference_values_are_inconclusive() -> None:
    host = Host.serving()
    assert host.verify(reference_expires=NOW + timedelta(seconds=1)).verdict is Verdict.AFFIRMING
    result = host.verify(reference_expires=NOW)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert [reason.code for _, reason in result.reasons()] == ["reference-expired"]


def test_expired_reference_values_still_contraindicate() -> None:
    host = Host.serving()
    host.measure(12, b"{}")
    assert host.verify(reference_expires=NOW).verdict in {Verdict.NONE, Verdict.CONTRAINDICATED}


def test_broken_reference_values_are_not_signed() -> None:
    with pytest.raises(AttestInputError):
        sign(b"{}", SIGNER, EXPIRES)


def test_a_key_of_another_kind_is_wrong_usage() -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki = (
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    import hashlib

    with pytest.raises(AttestUsageError, match="P-256"):
        verify(resigned(key=hashlib.sha256(spki).hexdigest()), spki)


RAW = signed()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(RAW)), st.binary(max_size=6), st.integers(0, 6))
def test_an_altered_file_is_refused_or_the_same(place: int, noise: bytes, skip: int) -> None:
    with contextlib.suppress(AttestInputError):
        assert verify(RAW[:place] + noise + RAW[place + skip :], SIGNER.spki()).values == reference()
