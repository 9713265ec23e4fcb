"""Enrolment: who is challenged, whose answer counts, what a record must be (facts/attest.md 3.2, 1 to 12)."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.ak import AkError
from attest.ek import EkError, EkFailure, check_ek, decode_ek
from attest.endorsement import Anchors, EndorsementError, EndorsementFailure
from attest.enrolment import Challenge, Enrolment, EnrolmentError, EnrolmentFailure
from attest.errors import AttestUsageError
from tests.schemas import validator
from vtpm.templates import EK_ECC_P256, EK_ECC_P384, EK_RSA_2048
from vtpm.tpm2.constants import Alg, Attributes, Curve
from vtpm.tpm2.public import EccKey, Public, RsaKey, Scheme, Symmetric

REPOSITORY = Path(__file__).resolve().parent.parent.parent
RECORDED = REPOSITORY / "tests" / "recordings" / "quotes"
NOW = datetime(2026, 6, 1, 12, 0, 0, 500_000, tzinfo=UTC)
SECRET, SEED = bytes(range(32)), bytes(range(64))
AK = Public.decode_sized((RECORDED / "ecc.pub").read_bytes())
OTHER_AK = Public.decode_sized((RECORDED / "rsa.pub").read_bytes())
CA_KEY = ec.generate_private_key(ec.SECP256R1())
CA_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "maker")])


def endorsement_key() -> Public:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
    return replace(EK_ECC_P256.public, parameters=EccKey(Curve.NIST_P256, Scheme(), x, y))


def certificate(ek: Public, *, ca: bool = False) -> bytes:
    usage = dict.fromkeys(
        [
            *(
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
            ),
            *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ],
        False,
    )
    usage["key_cert_sign" if ca else "key_agreement"] = True
    subject = CA_NAME if ca else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tpm")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(CA_NAME)
        .public_key(CA_KEY.public_key() if ca else ek.key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .sign(CA_KEY, hashes.SHA256())
    )
    return made.public_bytes(Encoding.DER)


EK = endorsement_key()
OTHER_EK = endorsement_key()
ANCHORS = Anchors.decode([certificate(EK, ca=True)])


def challenge(host: str = "xen1", *, ek: Public = EK, ak: Public = AK, **more: Any) -> Challenge:
    arguments = {"anchors": ANCHORS, "known": (), "secret": SECRET, "seed": SEED, "now": NOW, **more}
    return Challenge.create(host, arguments.pop("ek_certificate", certificate(ek)), ek, ak, **arguments)[0]


def enrolment(host: str = "xen1", *, ek: Public = EK) -> Enrolment:
    return challenge(host, ek=ek).complete(SECRET, known=(), now=NOW)


def failure(call: Any, *arguments: Any, **more: Any) -> EnrolmentFailure:
    with pytest.raises(EnrolmentError) as error:
        call(*arguments, **more)
    assert error.value.code == error.value.failure.value
    return error.value.failure


class TestChallenge:
    def test_answer_enrols(self) -> None:
        found = enrolment()
        assert (found.host, found.ak, found.ak_name, found.ek_name) == (
            "xen1",
            AK.encode(),
            AK.name(),
            EK.name(),
        )
        assert (found.time, found.software, found.manufacturer) == (NOW.replace(microsecond=0), True, "")

    def test_1_ak_is_no_attestation_key(self) -> None:
        unrestricted = Public.decode_sized((RECORDED / "unrestricted.pub").read_bytes())
        with pytest.raises(AkError):
            challenge(ak=unrestricted)

    def test_4_name_is_computed_from_the_public_area(self) -> None:
        altered = replace(AK, attributes=AK.attributes | Attributes.NO_DA)
        assert challenge(ak=altered).member.ak_name == altered.name() != AK.name()

    def test_6_ek_that_decrypts_for_anybody(self) -> None:
        with pytest.raises(EkError):
            challenge(ek=replace(EK, attributes=EK.attributes & ~Attributes.RESTRICTED))

    def test_7_certificate_of_another_maker(self) -> None:
        foreign = ec.generate_private_key(ec.SECP256R1())
        own = x509.CertificateBuilder().subject_name(CA_NAME).issuer_name(CA_NAME).serial_number(1)
        own = own.public_key(foreign.public_key()).not_valid_before(NOW).not_valid_after(NOW + timedelta(1))
        anchor = own.sign(foreign, hashes.SHA256()).public_bytes(Encoding.DER)
        with pytest.raises(EndorsementError):
            challenge(anchors=Anchors.decode([anchor]))

    def test_33_certificate_of_another_tpm(self) -> None:
        with pytest.raises(EndorsementError) as error:
            challenge(ek_certificate=certificate(OTHER_EK))
        assert error.value.failure is EndorsementFailure.OTHER_KEY

    def test_10_known_host_with_another_tpm_is_an_alarm(self) -> None:
        known = [enrolment("xen0", ek=OTHER_EK), enrolment()]
        with pytest.raises(EnrolmentError) as error:
            challenge(ek=endorsement_key(), known=known)
        assert (error.value.failure, error.value.alarm) == (EnrolmentFailure.HOST_HAS_OTHER_TPM, True)

    def test_known_tpm_under_another_name_is_an_alarm(self) -> None:
        with pytest.raises(EnrolmentError) as error:
            challenge("xen2", known=[enrolment()])
        assert (error.value.failure, error.value.alarm) == (EnrolmentFailure.TPM_HAS_OTHER_HOST, True)

    def test_known_host_may_have_a_new_ak_in_the_same_tpm(self) -> None:
        renewed = challenge(ak=OTHER_AK, known=[enrolment()])
        assert renewed.complete(SECRET, known=[enrolment()], now=NOW).ak_name == OTHER_AK.name()

    @pytest.mark.parametrize("host", ["", "Xen1", "../x", "a/b", "a..b", "-a", "a" * 64, "x\n", "xen1."])
    def test_host_name_is_a_safe_file_name(self, host: str) -> None:
        with pytest.raises(AttestUsageError):
            challenge(host)

    @pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(-1), timedelta(days=2)])
    def test_lifetime_is_bounded(self, lifetime: timedelta) -> None:
        with pytest.raises(AttestUsageError):
            challenge(lifetime=lifetime)


class TestAnswer:
    @pytest.mark.parametrize("response", [b"", SECRET[:-1], SECRET + b"\0", SECRET[::-1], bytes(32)])
    def test_12_wrong_answer(self, response: bytes) -> None:
        assert failure(challenge().complete, response, known=(), now=NOW) is EnrolmentFailure.WRONG_RESPONSE

    def test_12_error_does_not_tell_the_secret(self) -> None:
        with pytest.raises(EnrolmentError) as error:
            challenge().complete(b"x", known=(), now=NOW)
        assert SECRET.hex() not in f"{error.value!r}{error.value}"

    def test_12_kept_challenge_does_not_hold_the_secret(self) -> None:
        kept = challenge()
        assert SECRET.hex() not in str(kept.document())
        assert repr(SECRET) not in repr(kept)

    @pytest.mark.parametrize("later", [timedelta(minutes=11), timedelta(seconds=-2)])
    def test_12_out_of_time(self, later: timedelta) -> None:
        assert failure(challenge().complete, SECRET, known=(), now=NOW + later) is EnrolmentFailure.EXPIRED

    def test_10_host_enrolled_otherwise_in_between(self) -> None:
        known = [enrolment(ek=OTHER_EK)]
        found = failure(challenge().complete, SECRET, known=known, now=NOW)
        assert found is EnrolmentFailure.HOST_HAS_OTHER_TPM


class TestTemplates:
    @pytest.mark.parametrize("template", [EK_ECC_P256, EK_RSA_2048, EK_ECC_P384], ids=["p256", "rsa", "p384"])
    def test_templates_of_the_tcg(self, template: Any) -> None:
        check_ek(template.public)

    def test_recorded_ek_of_tpm2_createek(self) -> None:
        check_ek(decode_ek((RECORDED / "ek.pub").read_bytes()))

    @pytest.mark.parametrize("attribute", list(Attributes), ids=lambda each: each.name)
    def test_6_every_attribute_counts(self, attribute: Attributes) -> None:
        with pytest.raises(EkError):
            check_ek(replace(EK, attributes=EK.attributes ^ attribute))

    def test_6_every_other_part_counts(self) -> None:
        assert isinstance(EK_RSA_2048.public.parameters, RsaKey)
        altered = [
            replace(EK, auth_policy=b""),
            replace(EK, auth_policy=EK.auth_policy[::-1]),
            replace(EK, symmetric=None),
            replace(EK, symmetric=Symmetric(Alg.AES, 128, Alg.CBC)),
            replace(EK, symmetric=Symmetric(Alg.CAMELLIA, 128, Alg.CFB)),
            replace(EK, signing=Scheme(Alg.ECDH, Alg.SHA256)),
            replace(EK, name_alg=Alg.SHA1),
            replace(EK, name_alg=Alg.SHA384),
            replace(EK_RSA_2048.public, parameters=replace(EK_RSA_2048.public.parameters, exponent=3)),
            replace(EK_RSA_2048.public, parameters=replace(EK_RSA_2048.public.parameters, bits=1024)),
            AK,
        ]
        for public in altered:
            with pytest.raises(EkError) as error:
                check_ek(public)
            assert error.value.failure in {EkFailure.TEMPLATE, EkFailure.STRENGTH}

    def test_6_a_weak_key_is_refused_and_not_called_malformed(self) -> None:
        assert isinstance(EK_RSA_2048.public.parameters, RsaKey)
        short = replace(EK_RSA_2048.public.parameters, bits=1024, modulus=b"\xc1" * 128)
        with pytest.raises(EkError) as error:
            decode_ek(replace(EK_RSA_2048.public, parameters=short).encode_sized())
        assert error.value.failure is EkFailure.STRENGTH

    def test_6_parts_of_different_templates(self) -> None:
        """Each part stands in some template, and all of them in none."""
        p256, p384, rsa2048 = EK_ECC_P256.public, EK_ECC_P384.public, EK_RSA_2048.public
        for public in (
            replace(p256, parameters=p384.parameters),
            replace(p384, parameters=p256.parameters),
            replace(p384, parameters=rsa2048.parameters),
            replace(p384, symmetric=p256.symmetric),
            replace(p384, attributes=p256.attributes),
            replace(p384, auth_policy=p256.auth_policy),
            replace(rsa2048, parameters=replace(rsa2048.parameters, bits=3072)),
        ):
            with pytest.raises(EkError) as error:
                check_ek(public)
            assert error.value.failure is EkFailure.TEMPLATE

    @pytest.mark.parametrize(
        "raw", [b"", b"\0" * 10, b"\0" * 10_000, (RECORDED / "ek.pub").read_bytes() + b"\0"]
    )
    def test_what_is_no_public_area(self, raw: bytes) -> None:
        with pytest.raises(EkError) as error:
            decode_ek(raw)
        assert error.value.failure is EkFailure.MALFORMED


class TestRecords:
    def test_records_come_back_and_fit_their_schemas(self) -> None:
        enrolled, challenged = enrolment(), challenge()
        validator("enrolment").validate(enrolled.document())
        validator("enrolment-challenge").validate(challenged.document())
        assert Enrolment.decode(enrolled.encode()) == enrolled
        assert Challenge.of_document(challenged.document()) == challenged

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("schema", "shype.enrolment/2"),
            ("host", "../etc/passwd"),
            ("host", 1),
            ("ak", "AAAA"),
            ("ak", "A"),
            ("ak_name", "000b" + "00" * 32),
            ("ak_name", "XY"),
            ("ek_certificate", "===="),
            ("software", "no"),
            ("enrolled_at", "2026-6-1T12:00:00Z"),
            ("enrolled_at", "yesterday"),
            ("manufacturer", "id:\n"),
            ("more", True),
        ],
    )
    def test_altered_field_is_refused(self, field: str, value: object) -> None:
        values = {**json.loads(enrolment().encode()), field: value}
        assert failure(Enrolment.decode, json.dumps(values).encode()) is EnrolmentFailure.MALFORMED

    def test_every_field_is_needed(self) -> None:
        values = json.loads(enrolment().encode())
        for field in values:
            less = {name: value for name, value in values.items() if name != field}
            assert failure(Enrolment.decode, json.dumps(less).encode()) is EnrolmentFailure.MALFORMED

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=100) | st.text(max_size=50).map(str.encode))
    def test_no_other_error_on_any_bytes(self, raw: bytes) -> None:
        with suppress(EnrolmentError):
            Enrolment.decode(raw)
