"""The host's TPM: PCRs, keys, quotes, and keys that stop working when the platform changes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from vtpm.endorsement import endorsement
from vtpm.errors import PolicyError, ResponseError, StructureError, VtpmUsageError
from vtpm.templates import EK_ECC_P256, EK_ECC_P384, EK_RSA_2048, PcrPolicy
from vtpm.tpm import Tpm
from vtpm.tpm2.attestation import Attest, CertifyInfo, CreationInfo, QuoteInfo
from vtpm.tpm2.constants import Alg, AttestType, Attributes
from vtpm.tpm2.pcrs import PcrSelection, digest_of, extend
from vtpm.tpm2.public import Public
from vtpm.tpm2.signature import Signature, verify

if TYPE_CHECKING:
    from conftest import Host

    from vtpm.channel import Channel
    from vtpm.manufacture import Manufactured

pytestmark = pytest.mark.host

ALL = PcrSelection.of(Alg.SHA256, range(24))
BOUND = PcrSelection.of(Alg.SHA256, [12, 13])
DIGEST = hashlib.sha256(b"checkpoint").digest()


def loaded(channel: Channel) -> tuple[int, int]:
    """How many transient objects and loaded sessions there are."""
    counts = []
    for first in ("80000000", "02000000"):
        response = channel.exchange(bytes.fromhex("8001000000160000017a00000001" + first + "00000010"))
        counts.append(int.from_bytes(response[15:19], "big"))
    return counts[0], counts[1]


def test_pcrs_are_extended_and_read(host: Host) -> None:
    before = host.tpm.pcr_read(ALL)
    assert before[0] == bytes(32)
    host.tpm.pcr_extend(12, {Alg.SHA256: DIGEST})
    after = host.tpm.pcr_read(ALL)
    assert after[12] == extend(Alg.SHA256, before[12], DIGEST)
    assert [i for i in range(24) if before[i] != after[i]] == [12]


def test_a_bank_that_the_tpm_does_not_have_is_reported(host: Host) -> None:
    with pytest.raises(ResponseError) as caught:
        host.tpm.pcr_read(PcrSelection(((Alg.SHA1, frozenset({0})), (Alg.SHA256, frozenset({0})))))
    assert caught.value.code == "absent"


@pytest.mark.parametrize(("pcr", "size"), [(24, 32), (-1, 32), (1, 20)])
def test_wrong_extends_are_wrong_usage(host: Host, pcr: int, size: int) -> None:
    with pytest.raises(VtpmUsageError):
        host.tpm.pcr_extend(pcr, {Alg.SHA256: bytes(size)})


def test_a_quote_verifies_and_says_what_was_asked(host: Host) -> None:
    ak = host.tpm.create_ak()
    raw, signature = host.tpm.quote(ak, b"nonce", ALL)
    verify(ak.public, Signature.decode(signature), raw)
    attest = Attest.decode(raw)
    assert attest.extra_data == b"nonce"
    assert attest.attested == QuoteInfo(ALL, digest_of(Alg.SHA256, host.tpm.pcr_read(ALL)))
    clock = host.tpm.clock()
    assert (attest.clock.reset_count, attest.clock.restart_count) == (clock.reset_count, clock.restart_count)
    assert 0 < attest.clock.clock <= clock.clock


def test_the_attestation_key_is_restricted_and_the_same_after_a_restart(host: Host) -> None:
    ak = host.tpm.create_ak()
    needed = Attributes.FIXED_TPM | Attributes.RESTRICTED | Attributes.SIGN_ENCRYPT
    assert needed | Attributes.SENSITIVE_DATA_ORIGIN in ak.public.attributes
    assert Attributes.DECRYPT not in ak.public.attributes
    host.swtpm.initialise()
    host.tpm.startup()
    raw, signature = host.tpm.quote(ak, b"", BOUND)
    verify(ak.public, Signature.decode(signature), raw)
    with Tpm(host.swtpm.channel) as another:
        assert another.create_ak().public == ak.public


def test_qualifying_data_is_at_most_64_bytes(host: Host) -> None:
    ak = host.tpm.create_ak()
    raw, _ = host.tpm.quote(ak, b"q" * 64, BOUND)
    assert Attest.decode(raw).extra_data == b"q" * 64
    with pytest.raises(VtpmUsageError):
        host.tpm.quote(ak, b"q" * 65, BOUND)


def test_one_extend_ends_the_signing_key_and_only_that(host: Host) -> None:
    tpm = host.tpm
    key = tpm.create_signing_key(PcrPolicy(BOUND, tpm.pcr_read(BOUND)))
    verify(key.public, Signature.decode(tpm.sign(key, DIGEST)), b"checkpoint")
    tpm.pcr_extend(11, {Alg.SHA256: DIGEST})
    tpm.sign(key, DIGEST)
    tpm.pcr_extend(13, {Alg.SHA256: DIGEST})
    for _ in range(5):
        with pytest.raises(PolicyError) as caught:
            tpm.sign(key, DIGEST)
        assert caught.value.code == "policy"
    assert loaded(host.swtpm.channel) == (0, 0)
    tpm.create_ak()
    with pytest.raises(VtpmUsageError):
        tpm.sign(key, b"not a digest")


def test_a_key_for_other_pcr_values_never_signs(host: Host) -> None:
    key = host.tpm.create_signing_key(PcrPolicy(BOUND, (bytes(32), b"\x01" * 32)))
    with pytest.raises(PolicyError):
        host.tpm.sign(key, DIGEST)


def test_a_key_is_certified_as_made_and_as_loaded_in_this_tpm(host: Host) -> None:
    tpm = host.tpm
    ak = tpm.create_ak()
    key = tpm.create_signing_key(PcrPolicy(BOUND, tpm.pcr_read(BOUND)))
    raw, signature = tpm.certify_creation(key, ak, b"nonce")
    verify(ak.public, Signature.decode(signature), raw)
    attest = Attest.decode(raw)
    assert attest.type is AttestType.CREATION
    assert attest.attested == CreationInfo(key.name, key.creation.digest)
    assert key.creation.digest == hashlib.sha256(key.creation.data).digest()
    assert digest_of(Alg.SHA256, tpm.pcr_read(BOUND)) in key.creation.data

    raw, signature = tpm.certify(key, ak, b"nonce")
    verify(ak.public, Signature.decode(signature), raw)
    certified = Attest.decode(raw).attested
    assert isinstance(certified, CertifyInfo)
    assert certified.name == key.name


def test_a_key_with_another_ticket_is_not_certified(host: Host) -> None:
    from dataclasses import replace

    tpm = host.tpm
    ak = tpm.create_ak()
    key = tpm.create_signing_key(PcrPolicy(BOUND, tpm.pcr_read(BOUND)))
    forged = replace(key, creation=replace(key.creation, digest=bytes(32)))
    with pytest.raises(ResponseError):
        tpm.certify_creation(forged, ak, b"")


def test_the_endorsement_key_is_that_of_the_certificate(host: Host, manufactured: Manufactured) -> None:
    found = endorsement(host.tpm)
    assert found.key.template == EK_RSA_2048.public
    certificate = x509.load_der_x509_certificate(found.certificate)
    issuer = x509.load_pem_x509_certificate(manufactured.issuer)
    root = x509.load_pem_x509_certificate(manufactured.root)
    certificate.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(root)
    assert endorsement(host.tpm, [EK_ECC_P384]).key.template == EK_ECC_P384.public


def test_the_templates_give_the_keys_that_swtpm_setup_made(host: Host) -> None:
    for handle, template in ((0x81010001, EK_RSA_2048), (0x81010016, EK_ECC_P384)):
        response = host.swtpm.channel.exchange(bytes.fromhex(f"80010000000e00000173{handle:08x}"))
        size = int.from_bytes(response[10:12], "big")
        assert Public.decode_sized(response[10 : 12 + size]) == host.tpm.create_ek(template.public).public


def test_a_certificate_of_another_key_is_refused(host: Host) -> None:
    host.tpm.nv.publish(EK_ECC_P256.certificate_index, endorsement(host.tpm).certificate)
    with pytest.raises(StructureError, match="another key"):
        endorsement(host.tpm, [EK_ECC_P256])
    host.tpm.nv.publish(EK_ECC_P256.certificate_index, b"no certificate")
    with pytest.raises(StructureError, match="cannot be read"):
        endorsement(host.tpm, [EK_ECC_P256])


def test_a_tpm_without_certificate_says_so(host: Host) -> None:
    with pytest.raises(ResponseError) as caught:
        endorsement(host.tpm, [EK_ECC_P256])
    assert caught.value.code == "absent"


def test_published_nv_is_read_by_all_and_written_by_none(host: Host) -> None:
    data = bytes(range(256)) * 8
    host.tpm.nv.publish(0x01400100, data)
    with Tpm(host.swtpm.channel) as guest:
        assert guest.nv.read(0x01400100) == data
        with pytest.raises(ResponseError) as caught:
            guest.nv.publish(0x01400100, b"mine")
        assert caught.value.code == "auth"
        assert guest.nv.read(0x01400100) == data
    host.tpm.nv.publish(0x01400100, b"again")
    assert host.tpm.nv.read(0x01400100) == b"again"
    for size in (0, 2049):
        with pytest.raises(VtpmUsageError):
            host.tpm.nv.publish(0x01400100, bytes(size))


def test_other_seeds_do_not_pass_for_the_same_key(host: Host) -> None:
    host.swtpm.initialise()
    host.tpm.startup()
    ak = host.tpm.create_ak()
    password = "0000000940000009" + "0000000000"
    change_eps = bytes.fromhex("80020000001b00000124" + "4000000c" + password)
    assert host.swtpm.channel.exchange(change_eps)[6:10] == bytes(4)
    with pytest.raises(ResponseError, match="seeds have changed"):
        host.tpm.quote(ak, b"", BOUND)
    assert loaded(host.swtpm.channel) == (0, 0)


def test_nothing_stays_loaded(host: Host) -> None:
    tpm = host.tpm
    ak, ek = tpm.create_ak(), tpm.create_ek()
    key = tpm.create_signing_key(PcrPolicy(BOUND, tpm.pcr_read(BOUND)))
    for _ in range(5):
        tpm.quote(ak, b"", BOUND)
        tpm.sign(key, DIGEST)
        tpm.certify_creation(key, ak, b"")
        with pytest.raises(ResponseError):
            tpm.activate_credential(ak, ek, bytes.fromhex("0004000212340000"[:12]), bytes.fromhex("0000"))
    assert loaded(host.swtpm.channel) == (0, 0)
