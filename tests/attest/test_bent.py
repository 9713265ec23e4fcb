"""Certificates that are not quite DER: each leniency, nothing beside them, and the maker's bytes verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from attest import der
from attest.bent import Bent, unbend
from attest.certificate import EndorsementError, EndorsementFailure, decode_certificate
from attest.der import DerError, Element
from attest.endorsement import Anchors, Endorsement, verify_endorsement
from attest.enrolment import Challenge
from tests.attest.test_endorsement import EK, ISSUER, KEYS, NOW, ROOT, Draft, key_usage
from tests.conftest import vectors
from tests.simulators.desk import QUOTES
from vtpm.templates import EK_RSA_2048
from vtpm.tpm2.public import Public, RsaKey

ANCHORS = Anchors.decode([ISSUER.make(), ROOT.make()])
ECDSA_SHA256 = bytes.fromhex("06082a8648ce3d040302")
OAEP = bytes.fromhex("06092a864886f70d010107")
NULL = b"\x05\x00"
Bend = Callable[[list[bytes]], list[bytes]]


def seq(*parts: bytes) -> bytes:
    return der.encode(der.SEQUENCE, *parts)


def parts_of(raw: bytes) -> list[bytes]:
    return [part.raw for part in der.first(raw).children(der.SEQUENCE)]


def bend(
    draft: Draft,
    change: Bend,
    *,
    algorithm: bytes | None = None,
    signer: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """Return a certificate whose maker signed another TBSCertificate than DER would have."""
    tbs, outer, _ = parts_of(draft.make())
    bent = seq(*change(parts_of(tbs)))
    signature = (signer or KEYS[draft.issuer]).sign(bent, ec.ECDSA(hashes.SHA256()))
    return seq(bent, algorithm or outer, der.encode(der.BIT_STRING, b"\0", signature))


def field(at: int, value: Callable[[bytes], bytes]) -> Bend:
    return lambda fields: [value(each) if i == at else each for i, each in enumerate(fields)]


def many_named(raw: bytes, *, turned: bool) -> bytes:
    """A name of one RDN with three attributes, in the order of DER or turned round."""
    common = parts_of(raw)[0]
    attribute = der.first(common).children(der.SET)[0].raw
    others = [
        seq(bytes.fromhex("0603550406"), der.encode(0x13, b"TW")),
        seq(bytes.fromhex("060355040a"), der.encode(0x13, b"Some Maker Corporation")),
    ]
    ordered = sorted([attribute, *others])
    return seq(der.encode(der.SET, *(reversed(ordered) if turned else ordered)))


def verify(raw: bytes, anchors: Anchors = ANCHORS) -> Endorsement:
    return verify_endorsement(raw, anchors, now=NOW)


def refusal(raw: bytes, anchors: Anchors = ANCHORS) -> EndorsementFailure:
    with pytest.raises(EndorsementError) as error:
        verify(raw, anchors)
    return error.value.failure


def serial(extra: bytes) -> Bend:
    return field(1, lambda raw: der.encode(der.INTEGER, extra, der.first(raw).body))


WITH_NULL = seq(ECDSA_SHA256, NULL)


class TestPutUpWith:
    @pytest.mark.parametrize("fill", [b"\0" * 200, b"\xff" * 431, b"\n", b"\x11" * 192])
    def test_fill(self, fill: bytes) -> None:
        found = verify(EK.make() + fill)
        assert found.certificate == der.first(found.certificate).raw
        assert [note.partition(": CN")[0] for note in found.bent] == ["endorsement-bent: fill"]

    def test_set_order_in_issuer_and_subject(self) -> None:
        """As Nuvoton's: the issuer of the EK certificate is the bent subject of the root."""

        def turn(raw: bytes) -> bytes:
            return many_named(raw, turned=True)

        root = bend(ROOT, lambda f: field(5, turn)(field(3, turn)(f)))
        leaf = bend(replace(EK, issuer="root"), field(3, turn))
        found = verify(leaf, Anchors.decode([root]))
        assert found.certificate == leaf
        assert len(found.bent) == 2
        assert all(note.startswith("endorsement-bent: set-order: ") for note in found.bent)

    def test_bent_and_straight_names_are_the_same_name(self) -> None:
        straight = bend(ROOT, lambda fields: _both(fields, turned=False))
        leaf = bend(replace(EK, issuer="root"), field(3, lambda raw: many_named(raw, turned=True)))
        assert verify(leaf, Anchors.decode([straight])).bent

    def test_set_order_in_the_alternative_name(self) -> None:
        found = verify(bend(EK, field(7, falling_alternative_name)))
        assert found.identity == verify(EK.make()).identity
        assert [note.split(": ")[1] for note in found.bent] == ["set-order"]

    def test_parameters_of_ecdsa(self) -> None:
        found = verify(bend(EK, field(2, lambda _: WITH_NULL), algorithm=WITH_NULL))
        assert [note.split(": ")[1] for note in found.bent] == ["ecdsa-parameters"]

    def test_key_that_says_oaep(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        draft = replace(EK, key=key, usage=key_usage(key_encipherment=True))
        parameters = seq(der.encode(0xA2, seq(bytes.fromhex("06092a864886f70d010109"), b"\x04\x05TCPA\0")))

        def oaep(raw: bytes) -> bytes:
            return seq(seq(OAEP, parameters), parts_of(raw)[1])

        found = verify(bend(draft, field(6, oaep)))
        assert [note.split(": ")[1] for note in found.bent] == ["rsaes-oaep"]
        plain = decode_certificate(draft.make())
        assert decode_certificate(bend(draft, field(6, oaep))).spki == plain.spki

    def test_serial_with_leading_zeros(self) -> None:
        found = verify(bend(EK, serial(b"\0\0\0")))
        assert [note.split(": ")[1] for note in found.bent] == ["serial"]

    def test_good_certificate_has_no_note(self) -> None:
        assert verify(EK.make()).bent == ()
        made = EK.make()
        assert unbend(made).readable == made


def falling_alternative_name(raw: bytes) -> bytes:
    """The extensions with the TPM's attributes in one RDN, in falling order."""
    extensions = der.first(raw).children(0xA3)[0].children(der.SEQUENCE)
    return der.encode(0xA3, seq(*(_falling(extension) for extension in extensions)))


def _falling(extension: Element) -> bytes:
    parts = extension.children(der.SEQUENCE)
    if parts[0].body != bytes.fromhex("551d11"):
        return extension.raw
    name = der.first(parts[-1].body).children(der.SEQUENCE)[0].children(0xA4)[0]
    attributes = [each.children(der.SET)[0].raw for each in name.children(der.SEQUENCE)]
    bent = der.encode(0xA4, seq(der.encode(der.SET, *sorted(attributes, reverse=True))))
    return seq(*(each.raw for each in parts[:-1]), der.encode(der.OCTET_STRING, seq(bent)))


class TestRefused:
    """What resembles a leniency is none."""

    @pytest.mark.parametrize("fill", [b"\0\xff", b"\xff" * 9 + b"\n", b"\0" * 99 + b"\1"])
    def test_what_is_no_fill(self, fill: bytes) -> None:
        assert refusal(EK.make() + fill) is EndorsementFailure.MALFORMED

    def test_second_certificate_after_the_first(self) -> None:
        assert refusal(EK.make() + ISSUER.make()) is EndorsementFailure.MALFORMED

    def test_order_changed_after_signing(self) -> None:
        """Both orders read alike, but only the maker's bytes are signed."""
        leaf = replace(EK, issuer="root")
        root = Anchors.decode([bend(ROOT, lambda f: _both(f, turned=True))])
        signed = bend(leaf, field(3, lambda raw: many_named(raw, turned=True)))
        tbs, algorithm, signature = parts_of(signed)
        fields = parts_of(tbs)
        attributes = der.first(parts_of(fields[3])[0]).children(der.SET)
        fields[3] = seq(der.encode(der.SET, *(each.raw for each in reversed(attributes))))
        assert verify(signed, root)
        assert refusal(seq(seq(*fields), algorithm, signature), root) is EndorsementFailure.SIGNATURE

    def test_corrected_copy_does_not_verify(self) -> None:
        for change in (serial(b"\0\0"), field(7, falling_alternative_name)):
            corrected = unbend(bend(EK, change)).readable
            assert refusal(corrected) is EndorsementFailure.SIGNATURE

    def test_parameters_beside_the_signature_only(self) -> None:
        tbs, _, signature = parts_of(EK.make())
        assert refusal(seq(tbs, WITH_NULL, signature)) is EndorsementFailure.SIGNATURE
        tbs, _, signature = parts_of(bend(EK, field(2, lambda _: WITH_NULL), algorithm=WITH_NULL))
        assert refusal(seq(tbs, seq(ECDSA_SHA256), signature)) is EndorsementFailure.SIGNATURE

    @pytest.mark.parametrize("parameters", [b"\x05\x01\0", b"\x04\0", NULL * 2, seq()])
    def test_other_parameters(self, parameters: bytes) -> None:
        algorithm = seq(ECDSA_SHA256, parameters)
        assert refusal(bend(EK, field(2, lambda _: algorithm), algorithm=algorithm)) in {
            EndorsementFailure.MALFORMED,
            EndorsementFailure.STRENGTH,
        }

    def test_oaep_key_that_is_no_rsa_key(self) -> None:
        def oaep(raw: bytes) -> bytes:
            return seq(seq(OAEP), parts_of(raw)[1])

        assert refusal(bend(EK, field(6, oaep))) is EndorsementFailure.MALFORMED

    def test_negative_serial_with_leading_ones(self) -> None:
        assert refusal(bend(EK, serial(b"\xff\xff"))) is EndorsementFailure.MALFORMED

    @pytest.mark.parametrize(
        "change",
        [
            field(0, lambda _: b"\xa0\x03\x02\x01\x00"),
            field(0, lambda _: b""),
            lambda fields: [*fields, fields[-1]],
            lambda fields: [*fields, b"\x05\x00"],
            lambda fields: fields[:6],
            field(3, lambda raw: raw + b"\0"),
            field(3, lambda raw: b"\x30\x80" + raw[2:] + b"\0\0"),
            field(3, lambda raw: bytes([raw[0], 0x81, raw[1]]) + raw[2:]),
            field(3, lambda _: seq(der.encode(der.SET, b"\x1f\x81\x01\0"))),
            field(4, lambda raw: seq(*parts_of(raw), b"\x05\x00")),
            field(6, lambda raw: raw[:-1]),
        ],
        ids=[
            *("version-1", "no-version", "extensions-twice", "unknown-field", "no-key", "trailing"),
            *("indefinite", "long-length", "long-tag", "validity-of-three", "truncated"),
        ],
    )
    def test_signed_by_its_maker_and_still_no_certificate(self, change: Bend) -> None:
        assert refusal(bend(EK, change)) is EndorsementFailure.MALFORMED

    def test_every_flipped_bit_of_a_bent_certificate(self) -> None:
        bent = bend(EK, lambda fields: serial(b"\0\0")(field(7, falling_alternative_name)(fields)))
        assert verify(bent)
        for at in range(len(bent)):
            altered = bent[:at] + bytes([bent[at] ^ 1 << at % 8]) + bent[at + 1 :]
            with pytest.raises(EndorsementError):
                verify(altered)


def _both(fields: list[bytes], *, turned: bool) -> list[bytes]:
    return [many_named(each, turned=turned) if at in {3, 5} else each for at, each in enumerate(fields)]


class TestReal:
    """Certificates of real chips: the maker's own bytes verify, and what was bent is said."""

    def test_makers_roots_are_read(self) -> None:
        found = [vector for vector in vectors("cert/ca") if "NUVO" in vector.path.name]
        for vector in found:
            root = decode_certificate(vector.read())
            assert root.bent == (Bent.SET_ORDER,)
            assert root.is_signed_by(root)
        if not found:
            pytest.skip("../shared/vectors is not here")

    @pytest.mark.parametrize(
        ("name", "notes"),
        [
            ("nuvoton_malformed_ek.der", {"set-order"}),
            ("st_sha256_rsa_ek.der", {"fill"}),
        ],
    )
    def test_ek_leads_to_its_maker(self, name: str, notes: set[str]) -> None:
        found = [vector for vector in vectors("cert/ek", "cert/bad") if vector.path.name == name]
        if not found:
            pytest.skip("../shared/vectors is not here")
        store = found[0].path.parents[1] / "tpm_cert_store"
        anchors = Anchors.decode([path.read_bytes() for path in sorted(store.glob("*.pem"))])
        raw = found[0].read()
        endorsement = verify_endorsement(raw, anchors, now=datetime(2020, 1, 1, tzinfo=UTC))
        assert {note.split(": ")[1] for note in endorsement.bent} == notes
        assert raw.startswith(endorsement.certificate)
        assert not endorsement.is_software
        for at in range(0, len(endorsement.certificate), 7):
            altered = raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]
            with pytest.raises(EndorsementError):
                verify_endorsement(altered, anchors, now=datetime(2020, 1, 1, tzinfo=UTC))

    def test_chip_of_a_bent_certificate_is_challenged(self) -> None:
        """From the certificate's key and the template L-1 follows the EK's public area, and its Name."""
        found = [vector for vector in vectors("cert/ek") if vector.path.name == "st_sha256_rsa_ek.der"]
        if not found:
            pytest.skip("../shared/vectors is not here")
        store = found[0].path.parents[1] / "tpm_cert_store"
        key = decode_certificate(found[0].read()).key
        assert isinstance(key, rsa.RSAPublicKey)
        modulus = key.public_numbers().n.to_bytes(256, "big")
        ek = replace(EK_RSA_2048.public, parameters=RsaKey(2048, 0, modulus))
        challenge, blob = Challenge.create(
            "xen1",
            found[0].read(),
            ek,
            Public.decode_sized((QUOTES / "ecc.pub").read_bytes()),
            anchors=Anchors.decode([path.read_bytes() for path in sorted(store.glob("*.pem"))]),
            known=(),
            secret=bytes(range(32)),
            seed=bytes(64),
            now=datetime(2026, 1, 1, tzinfo=UTC),
        )
        assert (challenge.member.manufacturer, challenge.member.software) == ("id:53544D20", False)
        assert blob


class TestDer:
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from([2, 4, 0x30, 0x31, 0xA0]), st.binary(max_size=300))))
    def test_what_is_encoded_comes_back(self, parts: list[tuple[int, bytes]]) -> None:
        raw = b"".join(der.encode(tag, body) for tag, body in parts)
        assert [(element.tag, element.body) for element in der.elements(raw)] == parts

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=60))
    def test_what_is_read_is_encoded_the_same(self, raw: bytes) -> None:
        try:
            found = der.elements(raw)
        except DerError:
            return
        assert b"".join(der.encode(element.tag, element.body) for element in found) == raw

    @pytest.mark.parametrize(
        "raw",
        [b"\x30", b"\x30\x01", b"\x30\x80", b"\x30\x81\x05" + bytes(5), b"\x30\x84\0\0\0\0", b"\x1f\x01\0"],
    )
    def test_what_is_no_der(self, raw: bytes) -> None:
        with pytest.raises(DerError):
            der.elements(raw)
