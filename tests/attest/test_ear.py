"""The signed result: what is written, and what a relying party must refuse (facts/attest.md 3.2, row 79)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.ear import MAX_LIFETIME, Dialect, Ear, EarError, public_jwk, thumbprint, verify_ear
from attest.ear_issue import Issue, make_ear
from attest.errors import AttestUsageError
from attest.result import Result
from attest.signer import MemoryKey
from tests.conftest import VECTORS
from tests.simulators.host import DEFAULT, GOOD_BOOT, NONCE, Host, key

SIGNER = MemoryKey(key("ear"))
JWK = json.dumps(public_jwk(SIGNER.spki())).encode()
OTHER_JWK = json.dumps(public_jwk(MemoryKey(key("other")).spki())).encode()
NOW = 1_790_000_000
ISSUE = Issue(build="shype test", now=NOW, seconds=300)
GOOD: Result = Host.serving().verify()


def token(result: Result = GOOD, **changes: object) -> str:
    return make_ear(result, SIGNER, replace(ISSUE, **changes))  # type: ignore[arg-type]


def claims_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})
    return found


def resigned(change: Callable[[dict[str, Any]], object], result: Result = GOOD) -> str:
    """A token with other claims, by the right key: what a broken verifier might issue."""
    claims = claims_of(token(result))
    change(claims)
    return jwt.encode(claims, key("ear"), "ES256")


def read(text: str, **values: Any) -> Ear:
    return verify_ear(text, JWK, **{"now": NOW + 1, **values})


def refused(text: str, code: str, **values: Any) -> None:
    with pytest.raises(EarError) as caught:
        read(text, **values)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


class TestIssuing:
    def test_a_good_host(self) -> None:
        ear = read(token(), nonce=NONCE, submods=["platform", "domain:web", "domain:keys"])
        assert ear.status == "affirming"
        assert ear.expires - ear.issued == 300
        assert ear.submods["domain:web"].vector == {
            "instance-identity": 2,
            "configuration": 2,
            "executables": 3,
            "hardware": 2,
        }

    def test_claims_fit_the_schema(self, repository: Path) -> None:
        schema = json.loads((repository / "configs/schema/ear.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        bad = Host.serving(boot=GOOD_BOOT.replaced(b"xen", b"x"), profile=DEFAULT).verify()
        for result in (
            GOOD,
            bad,
            Host.serving().verify(enrolment=None),
            Host.serving().verify(b"no evidence"),
        ):
            jsonschema.validate(claims_of(token(result, audience="rp")), schema)

    def test_a_program_that_plays_the_tpm_makes_no_claim_for_hardware(self) -> None:
        assert "hardware" not in read(token()).submods["platform"].vector

    def test_a_bad_guest_leaves_the_platform_affirming(self) -> None:
        host = Host.serving()
        host.relabel("web", "dns")
        ear = read(token(host.verify()))
        assert ear.status == "contraindicated"
        assert {name: one.status for name, one in ear.submods.items()} == {
            "platform": "affirming",
            "domain:web": "contraindicated",
            "domain:keys": "affirming",
        }
        assert ear.submods["domain:web"].vector == {"configuration": 96}

    def test_a_platform_that_is_not_authentic(self) -> None:
        ear = read(token(Host.serving().verify(nonce=bytes(32))))
        assert {one.status for one in ear.submods.values()} == {ear.status} == {"none"}
        assert ear.submods["platform"].vector == {"instance-identity": 99}
        assert ear.submods["domain:web"].vector == {}

    def test_an_inconclusive_platform_is_none(self) -> None:
        ear = read(token(Host.booted(report=None).verify()))
        assert ear.status == "none"
        assert "configuration" not in ear.submods["platform"].vector

    def test_the_tree_is_annotated(self) -> None:
        ear = read(token())
        annotation: Any = ear.submods["platform"].annotation
        assert [node["name"] for node in annotation["shype"]][:2] == ["platform", "firmware"]

    def test_other_libraries_read_it(self) -> None:
        claims = jwt.decode(
            token(), key("ear").public_key(), ["ES256"], options={"verify_exp": False, "verify_iat": False}
        )
        assert claims["eat_profile"] == "tag:github.com,2023:veraison/ear"
        assert claims["ear.verifier-id"]["build"] == "shype test"
        assert base64.urlsafe_b64decode(claims["eat_nonce"] + "=") == NONCE
        assert jwt.get_unverified_header(token())["kid"] == thumbprint(json.loads(JWK))

    def test_draft_04_names_are_written_and_read(self) -> None:
        text = token(dialect=Dialect.DRAFT_04)
        claims = claims_of(text)
        assert claims["eat_profile"] == "tag:ietf.org,2026:rats/ear#04"
        assert claims["submods"]["platform"]["ear_status"] == "affirming"
        assert len(claims["submods"]["platform"]["ear_appraisal_policy_ids"]) == 3
        assert read(text).status == "affirming"

    @pytest.mark.parametrize("seconds", [0, -1, MAX_LIFETIME + 1])
    def test_a_lifetime_that_no_result_has(self, seconds: int) -> None:
        with pytest.raises(AttestUsageError):
            token(seconds=seconds)

    def test_rfc_7638_thumbprint(self) -> None:
        """The form of RFC 7638, section 3.2: members of an EC key in lexical order."""
        jwk = json.loads(JWK)
        text = f'{{"crv":"P-256","kty":"EC","x":"{jwk["x"]}","y":"{jwk["y"]}"}}'
        digest = hashlib.sha256(text.encode()).digest()
        assert thumbprint(jwk) == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class TestRow79Refusals:
    def test_alg_none(self) -> None:
        refused(jwt.encode(claims_of(token()), None, "none"), "token-algorithm")

    def test_alg_hs256_with_the_public_key_as_secret(self) -> None:
        head = _segment({"alg": "HS256", "typ": "JWT"})
        signed = f"{head}.{token().split('.')[1]}"
        mac = hmac.new(JWK, signed.encode(), hashlib.sha256).digest()
        refused(f"{signed}.{_base64url(mac)}", "token-algorithm")

    def test_another_key(self) -> None:
        with pytest.raises(EarError) as caught:
            verify_ear(token(), OTHER_JWK, now=NOW)
        assert caught.value.code == "token-signature"

    def test_expired(self) -> None:
        refused(token(), "token-expired", now=NOW + 300)
        assert read(token(), now=NOW + 299).status == "affirming"

    def test_from_the_future(self) -> None:
        refused(token(), "token-not-yet-valid", now=NOW - 61)
        assert read(token(), now=NOW - 60).status == "affirming"
        refused(resigned(lambda c: c.update(nbf=NOW + 100)), "token-not-yet-valid")

    def test_another_nonce(self) -> None:
        refused(token(), "nonce-mismatch", nonce=bytes(32))
        refused(resigned(lambda c: c.pop("eat_nonce")), "nonce-mismatch", nonce=NONCE)

    def test_another_audience(self) -> None:
        refused(token(audience="alice"), "audience-mismatch", audience="bob")
        refused(token(audience="alice"), "audience-mismatch")
        refused(token(), "audience-mismatch", audience="alice")
        assert read(token(audience="alice"), audience="alice").status == "affirming"

    def test_a_submod_removed(self) -> None:
        """By the key's owner: the reader who wants it misses it. By anybody else: the signature fails."""
        text = resigned(lambda c: c["submods"].pop("domain:web"))
        refused(text, "submod-missing", submods=["domain:web"])
        head, _, signature = token().split(".")
        body = _segment(claims_of(text))
        refused(f"{head}.{body}.{signature}", "token-signature")

    def test_an_overall_status_better_than_a_submod(self) -> None:
        host = Host.serving()
        host.stop("web")
        bad = host.verify()
        refused(resigned(lambda c: c.update({"ear.status": "affirming"}), bad), "status-order")
        refused(resigned(lambda c: c.update({"ear.status": "warning"}), bad), "status-order")
        none = Host.serving().verify(enrolment=None)
        refused(resigned(lambda c: c.update({"ear.status": "warning"}), none), "status-order")

    def test_a_submod_better_than_its_vector(self) -> None:
        def spoil(claims: dict[str, Any]) -> None:
            claims["submods"]["platform"]["ear.trustworthiness-vector"]["hardware"] = 32

        refused(resigned(spoil), "status-order")

    @pytest.mark.parametrize(
        "change",
        [
            lambda c: c.pop("eat_profile"),
            lambda c: c.update(eat_profile="tag:example,2020:other"),
            lambda c: c.pop("iat"),
            lambda c: c.pop("exp"),
            lambda c: c.update(exp=NOW),
            lambda c: c.update(exp=NOW + MAX_LIFETIME + 1),
            lambda c: c.update(iat=True),
            lambda c: c.update(iat=1.5),
            lambda c: c.update(exp=NOW + 0.5),
            lambda c: c.pop("submods"),
            lambda c: c.update(submods={}),
            lambda c: c.update(submods=[]),
            lambda c: c.update(submods={"platform": 1}),
            lambda c: c["submods"]["platform"].pop("ear.status"),
            lambda c: c["submods"]["platform"].update({"ear.status": 2}),
            lambda c: c["submods"]["platform"].update({"ear.status": "good"}),
            lambda c: c["submods"]["platform"].update({"ear.trustworthiness-vector": {"hardware": 128}}),
            lambda c: c["submods"]["platform"].update({"ear.trustworthiness-vector": []}),
            lambda c: c.pop("ear.status"),
            lambda c: c.pop("ear.verifier-id"),
            lambda c: c.update({"ear.verifier-id": {"developer": "x"}}),
            lambda c: c.update(nbf="soon"),
        ],
    )
    def test_malformed_claims(self, change: Callable[[dict[str, Any]], object]) -> None:
        refused(resigned(change), "token-malformed")

    @pytest.mark.parametrize(
        "text",
        ["", "x", "a.b.c", "..", "a" * 2_000_000, "é.é.é", "eyJhbGciOiJFUzI1NiJ9..", "\x00", " . . "],
        ids=range(9),
    )
    def test_what_is_no_token(self, text: str) -> None:
        with pytest.raises(EarError):
            read(text)

    def test_a_header_that_asks_for_something_critical(self) -> None:
        text = jwt.encode(claims_of(token()), key("ear"), "ES256", headers={"crit": ["exp"]})
        with pytest.raises(EarError):
            read(text)

    def test_a_deep_header(self) -> None:
        head = _base64url(b'{"alg":"ES256","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}")
        with pytest.raises(EarError):
            read(f"{head}.{token().split('.', 1)[1]}")

    def test_claims_with_one_name_twice(self) -> None:
        body = json.dumps(claims_of(token()))[:-1] + ', "ear.status": "affirming"}'
        refused(jwt.PyJWS().encode(body.encode(), key("ear"), "ES256"), "token-malformed")

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 127))
    def test_any_change_of_a_character(self, place: int, shift: int) -> None:
        text = token()
        at = place % len(text)
        changed = text[:at] + chr((ord(text[at]) + shift) % 128) + text[at + 1 :]
        with pytest.raises(EarError):
            read(changed)

    def test_no_other_spelling_of_the_signature(self) -> None:
        """The last character of 64 bytes has four bits that base64url leaves open."""
        text = token()
        for last in string.ascii_letters + string.digits + "-_":
            if last != text[-1]:
                with pytest.raises(EarError):
                    read(text[:-1] + last)
        for more in ("=", "==", "A", "."):
            with pytest.raises(EarError):
                read(text + more)


class TestKeys:
    @pytest.mark.parametrize(
        "jwk",
        [
            b"",
            b"[]",
            b"{}",
            b'{"kty":"RSA"}',
            b"-----BEGIN PUBLIC KEY-----",
            b'{"kty":"EC","crv":"P-384","x":"","y":""}',
            b'{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}',
            b'{"kty":"EC","crv":"P-256","x":1,"y":null}',
            b'{"kty":"EC","crv":"P-256","x":"!!","y":"AA"}',
            JWK.replace(b"{", b'{"use":"enc",'),
            JWK.replace(b"{", b'{"alg":"ES384",'),
        ],
    )
    def test_what_is_no_key_for_this(self, jwk: bytes) -> None:
        with pytest.raises(AttestUsageError):
            verify_ear(token(), jwk, now=NOW)

    @given(st.binary(max_size=100))
    def test_any_bytes(self, raw: bytes) -> None:
        with pytest.raises(AttestUsageError):
            verify_ear("a.b.c", raw, now=NOW)

    @pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"])
    def test_what_is_no_private_key(self, pem: bytes) -> None:
        with pytest.raises(AttestUsageError):
            MemoryKey.from_pem(pem)


VERAISON = VECTORS / "veraison__ear" / "arc" / "data"


@pytest.mark.skipif(not VERAISON.is_dir(), reason="../shared/vectors is not here")
@pytest.mark.parametrize("name", ["ear-claims.json", "ear-claims-key-attestation-ok.json"])
def test_the_claims_of_veraison_are_read(name: str) -> None:
    """Their claims, signed with their key; a lifetime and an overall status added, which we insist on."""
    claims = json.loads((VERAISON / name).read_text())
    [submod] = claims["submods"].values()
    claims |= {"iat": NOW, "exp": NOW + 60, "ear.status": submod["ear.status"]}
    private = jwt.algorithms.ECAlgorithm.from_jwk((VERAISON / "skey.json").read_text())
    text = jwt.encode(claims, private, "ES256")
    ear = verify_ear(text, (VERAISON / "pkey.json").read_bytes(), now=NOW)
    assert ear.status == submod["ear.status"]


def _segment(value: object) -> str:
    return _base64url(json.dumps(value).encode())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
