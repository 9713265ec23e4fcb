"""EK certificate chains: made here for each rule, by swtpm's own CA, and of real machines."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.certificate import Certificate, decode_certificate, decode_certificates
from attest.endorsement import (
    Anchors,
    Endorsement,
    EndorsementError,
    EndorsementFailure,
    TpmIdentity,
    verify_endorsement,
)
from attest.errors import AttestUsageError
from tests.conftest import Vector, vector_params, vectors

NOW = datetime(2026, 6, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
KEYS = {
    name: ec.generate_private_key(ec.SECP256R1())
    for name in ("root", "middle", "lower", "issuer", "ek", "evil")
}
EK_USAGE = x509.ObjectIdentifier("2.23.133.8.1")
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def key_usage(**set_bits: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: set_bits.get(name, False) for name in names})


def tpm_name(*attributes: tuple[str, str]) -> x509.SubjectAlternativeName:
    name = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(oid), value) for oid, value in attributes])
    return x509.SubjectAlternativeName([x509.DirectoryName(name)])


SOFTWARE = tpm_name(("2.23.133.2.1", "id:00001014"), ("2.23.133.2.2", "swtpm"), ("2.23.133.2.3", "id:1"))


@dataclass(frozen=True)
class Draft:
    """A certificate to be made; the defaults are a good CA."""

    name: str
    issuer: str
    signer: Key | None = None
    key: Key | None = None
    start: datetime = NOW - YEAR
    end: datetime = NOW + YEAR
    ca: bool | None = True
    length: int | None = None
    usage: x509.KeyUsage | None = field(default_factory=lambda: key_usage(key_cert_sign=True))
    extended: tuple[x509.ObjectIdentifier, ...] = ()
    more: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    hashed: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)

    def make(self) -> bytes:
        key = self.key or KEYS[self.name]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.issuer)]))
            .public_key(key.public_key())
            .serial_number(7)
            .not_valid_before(self.start)
            .not_valid_after(self.end)
        )
        if self.ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(self.ca, self.length), critical=True)
        if self.usage is not None:
            builder = builder.add_extension(self.usage, critical=True)
        if self.extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(self.extended), critical=False)
        for extension, critical in self.more:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.signer or KEYS[self.issuer], self.hashed).public_bytes(Encoding.DER)


ROOT = Draft("root", "root")
ISSUER = Draft("issuer", "root")
EK = Draft(
    "ek",
    "issuer",
    ca=False,
    usage=key_usage(key_agreement=True),
    extended=(EK_USAGE,),
    more=((SOFTWARE, True),),
)


def verify(*drafts: Draft, now: datetime = NOW, peer: tuple[Draft, ...] = ()) -> Endorsement:
    """Verify the first draft; the others are the verifier's anchors and intermediates."""
    leaf, *others = drafts
    anchors = Anchors.decode([draft.make() for draft in others])
    return verify_endorsement(leaf.make(), anchors, now=now, intermediates=[draft.make() for draft in peer])


def chain_of(between: int) -> tuple[Draft, ...]:
    """CAs between the root and the EK; the last one is its issuer."""
    names = ["root", *(f"ca {number}" for number in range(1, between)), "issuer"]
    signers = {name: KEYS.get(name, KEYS["middle"]) for name in names}
    return tuple(
        Draft(name, above, signer=signers[above], key=signers[name]) for above, name in pairwise(names)
    )


def refusal(*drafts: Draft, now: datetime = NOW, peer: tuple[Draft, ...] = ()) -> EndorsementFailure:
    with pytest.raises(EndorsementError) as error:
        verify(*drafts, now=now, peer=peer)
    assert error.value.code == error.value.failure.value
    return error.value.failure


class TestAccepted:
    def test_chain_with_an_intermediate(self) -> None:
        found = verify(EK, ISSUER, ROOT)
        assert found.chain == ("CN=issuer", "CN=root")
        assert found.identity == TpmIdentity("id:00001014", "swtpm", "id:1")
        assert found.is_software

    def test_intermediate_from_the_peer(self) -> None:
        assert verify(EK, ROOT, peer=(ISSUER,)).chain == ("CN=issuer", "CN=root")

    def test_chain_of_four(self) -> None:
        chain = (Draft("middle", "root"), Draft("lower", "middle"))
        assert len(verify(replace(EK, issuer="lower"), ROOT, *chain).chain) == 3

    def test_chain_of_a_ca_on_the_die(self) -> None:
        """Root, intermediate, two stages of the die's firmware, the TPM's own CA, EK: six; eight are read."""
        for between in (4, 6):
            endorsed = verify(EK, ROOT, *chain_of(between))
            assert len(endorsed.chain) == between + 1
            assert verify(EK, ROOT, peer=chain_of(between)).chain == endorsed.chain

    def test_good_issuer_beside_a_bad_one_of_the_same_name(self) -> None:
        expired = replace(ISSUER, end=NOW - timedelta(days=1))
        assert verify(EK, expired, ISSUER, ROOT).chain == ("CN=issuer", "CN=root")

    def test_rsa(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        leaf = replace(EK, key=key, usage=key_usage(key_encipherment=True))
        assert verify(leaf, ISSUER, ROOT).identity is not None

    def test_hardware_is_what_is_known_to_be(self) -> None:
        for manufacturer, software in {
            "id:53544D20": False,
            "id:49465800": False,
            "id:494e5443": False,
            "id:49424D00": True,
            "id:4D534654": True,
            "id:474F4F47": True,
            "STM ": True,
            "": True,
        }.items():
            name = tpm_name(("2.23.133.2.1", manufacturer)) if manufacturer else tpm_name(("2.5.4.3", "TPM"))
            assert verify(replace(EK, more=((name, True),)), ISSUER, ROOT).is_software is software

    def test_fill_of_an_nv_index_is_cut(self) -> None:
        anchors = Anchors.decode([ISSUER.make(), ROOT.make()])
        der = EK.make()
        for fill in (bytes(200), b"\xff" * 200):
            assert verify_endorsement(der + fill, anchors, now=NOW).certificate == der


class TestRefused:
    """Row 7 of facts/attest.md 3.2, and what RFC 5280 asks beside."""

    def test_no_root_for_it(self) -> None:
        assert refusal(EK, ISSUER, Draft("evil", "evil")) is EndorsementFailure.NO_PATH

    def test_missing_intermediate(self) -> None:
        assert refusal(EK, ROOT) is EndorsementFailure.NO_PATH

    def test_issuer_has_the_right_name_and_another_key(self) -> None:
        forged = replace(EK, signer=KEYS["evil"])
        assert refusal(forged, ISSUER, ROOT) is EndorsementFailure.SIGNATURE

    def test_peer_brings_its_own_root(self) -> None:
        own = (
            replace(ISSUER, key=KEYS["evil"], signer=KEYS["evil"]),
            replace(ROOT, key=KEYS["evil"], signer=KEYS["evil"]),
        )
        assert refusal(replace(EK, signer=KEYS["evil"]), ROOT, peer=own) is EndorsementFailure.SIGNATURE

    @pytest.mark.parametrize("late", [0, 1, 2])
    @pytest.mark.parametrize("now", [NOW - 2 * YEAR, NOW + 2 * YEAR])
    def test_out_of_its_time(self, late: int, now: datetime) -> None:
        drafts = [EK, ISSUER, ROOT]
        longer = [replace(draft, start=NOW - 4 * YEAR, end=NOW + 4 * YEAR) for draft in drafts]
        longer[late] = drafts[late]
        assert refusal(*longer, now=now) is EndorsementFailure.TIME

    @pytest.mark.parametrize("ca", [None, False])
    @pytest.mark.parametrize("at", [1, 2])
    def test_issuer_is_no_ca(self, ca: bool | None, at: int) -> None:  # noqa: FBT001 - a test parameter
        drafts = [EK, ISSUER, ROOT]
        drafts[at] = replace(drafts[at], ca=ca)
        assert refusal(*drafts) is EndorsementFailure.NOT_CA

    @pytest.mark.parametrize("usage", [None, key_usage(digital_signature=True)])
    def test_issuer_may_not_sign_certificates(self, usage: x509.KeyUsage | None) -> None:
        assert refusal(EK, replace(ISSUER, usage=usage), ROOT) is EndorsementFailure.NOT_CA

    def test_ek_issues_another_ek(self) -> None:
        child = replace(EK, name="evil", issuer="ek")
        assert refusal(child, ROOT, peer=(EK, ISSUER)) is EndorsementFailure.NOT_CA

    def test_more_cas_than_a_root_allows(self) -> None:
        assert refusal(EK, ISSUER, replace(ROOT, length=0)) is EndorsementFailure.PATH_LENGTH
        assert verify(EK, ISSUER, replace(ROOT, length=1)).chain

    def test_chain_of_nine(self) -> None:
        assert refusal(EK, ROOT, *chain_of(7)) is EndorsementFailure.PATH_LENGTH

    def test_cas_of_one_name_end_before_all_ways_are_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Eight CAs that may all have issued each other are 70,000 ways up, none to a root."""
        peer = [Draft("issuer", "issuer", start=NOW - (1 + each) * YEAR) for each in range(8)]
        tried = []
        is_signed_by = Certificate.is_signed_by

        def counted(below: Certificate, issuer: Certificate) -> bool:
            tried.append(below)
            return is_signed_by(below, issuer)

        monkeypatch.setattr(Certificate, "is_signed_by", counted)
        assert refusal(EK, ROOT, peer=tuple(peer)) is EndorsementFailure.PATH_LENGTH
        assert len(tried) < 1000

    def test_circle_of_cas_ends(self) -> None:
        circle = (Draft("middle", "lower"), Draft("lower", "middle"))
        assert refusal(replace(EK, issuer="lower"), ROOT, *circle) in set(EndorsementFailure)

    @pytest.mark.parametrize("at", [0, 1, 2])
    def test_unknown_critical_extension(self, at: int) -> None:
        drafts = [EK, ISSUER, ROOT]
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
        drafts[at] = replace(drafts[at], more=(*drafts[at].more, (unknown, True)))
        assert refusal(*drafts) is EndorsementFailure.CRITICAL_EXTENSION

    def test_name_constraints_are_not_understood(self) -> None:
        constraints = x509.NameConstraints([x509.DNSName("example.org")], None)
        for critical in (True, False):
            issuer = replace(ISSUER, more=((constraints, critical),))
            assert refusal(EK, issuer, ROOT) is EndorsementFailure.CRITICAL_EXTENSION

    def test_ek_certificate_is_a_ca(self) -> None:
        assert refusal(replace(EK, ca=True), ISSUER, ROOT) is EndorsementFailure.USAGE

    def test_key_usage_of_another_kind(self) -> None:
        for bits in ({"digital_signature": True}, {"key_encipherment": True}):
            assert refusal(replace(EK, usage=key_usage(**bits)), ISSUER, ROOT) is EndorsementFailure.USAGE

    def test_extended_usage_of_another_kind(self) -> None:
        server = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")
        assert refusal(replace(EK, extended=(server,)), ISSUER, ROOT) is EndorsementFailure.USAGE
        assert refusal(EK, replace(ISSUER, extended=(server,)), ROOT) is EndorsementFailure.USAGE

    def test_weak_key(self) -> None:
        small = rsa.generate_private_key(65537, 1024)
        leaf = replace(EK, key=small, usage=key_usage(key_encipherment=True))
        assert refusal(leaf, ISSUER, ROOT) is EndorsementFailure.STRENGTH
        curve = ec.generate_private_key(ec.SECP256K1())
        assert refusal(replace(EK, key=curve), ISSUER, ROOT) is EndorsementFailure.STRENGTH

    def test_signed_over_an_unusual_hash(self) -> None:
        for hashed in (hashes.SHA224(), hashes.SHA3_256()):
            assert refusal(replace(EK, hashed=hashed), ISSUER, ROOT) is EndorsementFailure.STRENGTH

    def test_another_key_than_the_ek(self, ek_public: Any) -> None:
        anchors = Anchors.decode([ISSUER.make(), ROOT.make()])
        with pytest.raises(EndorsementError) as error:
            verify_endorsement(EK.make(), anchors, now=NOW, ek=ek_public)
        assert error.value.failure is EndorsementFailure.OTHER_KEY

    def test_two_manufacturers(self) -> None:
        twice = tpm_name(("2.23.133.2.1", "id:53544D20"), ("2.23.133.2.1", "id:00001014"))
        assert refusal(replace(EK, more=((twice, True),)), ISSUER, ROOT) is EndorsementFailure.MALFORMED

    def test_too_many_intermediates(self) -> None:
        assert refusal(EK, ROOT, peer=(ISSUER,) * 9) is EndorsementFailure.MALFORMED

    def test_every_flipped_bit_of_the_certificate(self) -> None:
        anchors = Anchors.decode([ISSUER.make(), ROOT.make()])
        der = EK.make()
        for at in range(len(der)):
            altered = der[:at] + bytes([der[at] ^ 1 << at % 8]) + der[at + 1 :]
            with pytest.raises(EndorsementError):
                verify_endorsement(altered, anchors, now=NOW)


class TestFiles:
    def test_anchors_without_a_root_are_wrong_usage(self) -> None:
        with pytest.raises(AttestUsageError):
            Anchors.decode([ISSUER.make()])

    def test_time_without_zone_is_wrong_usage(self) -> None:
        with pytest.raises(AttestUsageError):
            verify_endorsement(EK.make(), Anchors.decode([ROOT.make()]), now=NOW.replace(tzinfo=None))

    def test_pem_of_two_is_not_one(self) -> None:
        der = ROOT.make()
        pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        assert decode_certificate(pem).der == der
        with pytest.raises(EndorsementError):
            decode_certificate(pem + pem)

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"0",
            b"\x30\x80",
            b"\x30\x84\xff\xff\xff\xff",
            b"-----BEGIN CERTIFICATE-----\n",
            bytes(20_000),
        ],
    )
    def test_what_is_no_certificate(self, raw: bytes) -> None:
        with pytest.raises(EndorsementError) as error:
            decode_certificate(raw)
        assert error.value.failure is EndorsementFailure.MALFORMED

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=300), st.integers(0, 400))
    def test_no_other_error_on_any_bytes(self, raw: bytes, at: int) -> None:
        der = EK_DER[:at] + raw + EK_DER[at + len(raw) :]
        with suppress(EndorsementError):
            verify_endorsement(der, ANCHORS, now=NOW)


EK_DER = EK.make()
ANCHORS = Anchors.decode([ISSUER.make(), ROOT.make()])


class TestRealCertificates:
    @pytest.mark.parametrize(
        "vector", vector_params("cert/ek", "cert/ca", "cert/aik", "cert/platform", "cert/bad")
    )
    def test_nobody_s_certificate_leads_to_our_root(self, vector: Vector) -> None:
        certificates: list[Certificate] = []
        with suppress(EndorsementError):
            certificates += decode_certificates(vector.read())
        for certificate in certificates:
            with pytest.raises(EndorsementError):
                verify_endorsement(certificate.der, ANCHORS, now=NOW)

    def test_google_ek_leads_to_its_stated_root(self) -> None:
        found = [vector for vector in vectors("cert/ek") if "uca_tpm" in vector.path.name]
        for vector in found:
            chain = verify_google(vector)
            assert len(chain) == 2
        if not found:
            pytest.skip("../shared/vectors is not here")


def verify_google(vector: Vector) -> tuple[str, ...]:
    root = next(path for path in vector.path.parents if path.name == "google__go-tpm-tools")
    stated = vector.expect["chain"]
    anchors = Anchors.decode([(root / stated[each]).read_bytes() for each in ("root", "intermediate")])
    leaf = decode_certificate(vector.read())
    return verify_endorsement(leaf.der, anchors, now=datetime(2023, 6, 1, tzinfo=UTC)).chain


@pytest.fixture
def ek_public() -> Any:
    from vtpm.templates import EK_ECC_P256

    numbers = KEYS["evil"].public_key().public_numbers()
    parameters = replace(
        EK_ECC_P256.public.parameters, x=numbers.x.to_bytes(32, "big"), y=numbers.y.to_bytes(32, "big")
    )
    return replace(EK_ECC_P256.public, parameters=parameters)
