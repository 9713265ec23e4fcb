"""One labelled vTPM for each domain, and what a guest or a neighbour may try against its label."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.vtpm.conftest import open_descriptors
from vtpm.endorsement import endorsement
from vtpm.errors import PolicyError, ProcessError, ResponseError, SignatureError, VtpmUsageError
from vtpm.record import NO_LABEL, LabelRecord
from vtpm.swtpm import State, Swtpm
from vtpm.templates import EK_ECC_P256, PcrPolicy
from vtpm.tpm import Tpm
from vtpm.tpm2.attestation import Attest, QuoteInfo
from vtpm.tpm2.constants import Alg, Attributes
from vtpm.tpm2.credential import make_credential
from vtpm.tpm2.pcrs import PcrSelection, digest_of, extend
from vtpm.tpm2.policy import policy_pcr
from vtpm.tpm2.signature import Signature, verify
from vtpm.tpm2.wire import Writer
from vtpm.vtpm_manager import LABEL_INDEX, Vtpm, VtpmManager

pytestmark = pytest.mark.host

LABEL = PcrSelection.of(Alg.SHA256, [17])
QUOTED = PcrSelection.of(Alg.SHA256, [0, 10, 17])
PASSWORD = "00000009" + "40000009" + "0000000000"
HIERARCHY_REFUSED = bytes.fromhex("000009a2")  # TPM_RC_BAD_AUTH of session 1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    MakeRecord = Callable[..., LabelRecord]


@pytest.fixture
def vtpm(manager: VtpmManager, make_record: MakeRecord) -> Iterator[Vtpm]:
    with manager.create(make_record()) as made:
        yield made


@pytest.fixture
def guest(vtpm: Vtpm) -> Iterator[Tpm]:
    """What the domain can do: commands on the data channel, with no password of ours."""
    with Tpm(vtpm.channel) as tpm:
        yield tpm


def raw(vtpm: Vtpm, command: str) -> bytes:
    """Send a guest's command with an empty password; return the response code."""
    return vtpm.channel.exchange(bytes.fromhex(command))[6:10]


def test_a_new_vtpm_quotes_its_label(vtpm: Vtpm) -> None:
    attest_raw, signature = vtpm.quote(b"nonce", QUOTED)
    verify(vtpm.ak.public, Signature.decode(signature), attest_raw)
    attest = Attest.decode(attest_raw)
    values = vtpm.pcr_read(QUOTED)
    assert values[2] == vtpm.record.pcr17()
    assert attest.attested == QuoteInfo(QUOTED, digest_of(Alg.SHA256, values))
    assert attest.extra_data == b"nonce"


def test_its_attestation_key_is_bound_to_the_label_and_born_under_it(vtpm: Vtpm) -> None:
    public = vtpm.ak.public
    assert public.auth_policy == policy_pcr(Alg.SHA256, LABEL, [vtpm.record.pcr17()])
    assert Attributes.USER_WITH_AUTH not in public.attributes
    assert Attributes.RESTRICTED in public.attributes
    assert digest_of(Alg.SHA256, [vtpm.record.pcr17()]) in vtpm.ak.creation.data


def test_its_ek_certificate_is_issued_for_its_ek_and_names_it(vtpm: Vtpm, guest: Tpm) -> None:
    found = endorsement(guest)
    assert found.certificate == vtpm.ek_certificate
    assert found.key.name == vtpm.ek.name
    certificate = x509.load_der_x509_certificate(found.certificate)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert spki == vtpm.ek.public.spki()
    name = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (urn,) = name.get_values_for_type(x509.UniformResourceIdentifier)
    assert urn.replace("-", "") == f"urn:uuid:{vtpm.record.vid}"


def test_a_registrar_can_tell_that_ek_and_attestation_key_are_in_one_tpm(vtpm: Vtpm) -> None:
    credential = make_credential(vtpm.ek.public, vtpm.ak.name, b"secret", seed=os.urandom(64))
    assert vtpm.activate_credential(*credential) == b"secret"


def test_the_guest_reads_its_record(vtpm: Vtpm, guest: Tpm) -> None:
    assert LabelRecord.decode(guest.nv.read(LABEL_INDEX)) == vtpm.record


def test_the_binding_names_the_keys_and_the_record(vtpm: Vtpm) -> None:
    binding = vtpm.binding(b"\x00\x0b" + bytes(32), 7)
    assert binding.vak_name == vtpm.ak.name.hex()
    assert binding.record_digest == hashlib.sha256(vtpm.record.encode()).hexdigest()
    assert (binding.vid, binding.reset_count) == (vtpm.record.vid, 7)


def test_the_guests_measurements_go_to_its_pcrs_only(vtpm: Vtpm) -> None:
    vtpm.pcr_extend(10, {Alg.SHA256: b"m" * 32})
    assert vtpm.pcr_read(QUOTED)[1] == extend(Alg.SHA256, bytes(32), b"m" * 32)
    for pcr in (16, 17, 23):
        with pytest.raises(VtpmUsageError):
            vtpm.pcr_extend(pcr, {Alg.SHA256: bytes(32)})


def test_case_8_after_a_relabel_the_old_key_refuses_to_sign(vtpm: Vtpm) -> None:
    old = vtpm.ak
    blue = replace(vtpm.record, label="bank.blue", generation=2)
    vtpm.relabel(blue)
    for _ in range(4):
        with pytest.raises(PolicyError):
            vtpm.quote(b"", QUOTED)
    vtpm.rekey()
    assert vtpm.ak.name != old.name
    attest_raw, signature = vtpm.quote(b"", QUOTED)
    verify(vtpm.ak.public, Signature.decode(signature), attest_raw)
    assert vtpm.pcr_read(LABEL) == (blue.pcr17(),)
    with Tpm(vtpm.channel) as guest:
        assert LabelRecord.decode(guest.nv.read(LABEL_INDEX)) == blue


def test_case_8_a_password_does_not_replace_the_policy(vtpm: Vtpm, guest: Tpm) -> None:
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.TSS2_Exception import TSS2_Exception
    from tpm2_pytss.types import TPML_PCR_SELECTION

    selection, _ = TPML_PCR_SELECTION.unmarshal(QUOTED.encode())
    with guest._loaded(vtpm.ak) as handle, pytest.raises(TSS2_Exception) as caught:
        guest._esapi.quote(handle, selection, b"", session1=ESYS_TR.PASSWORD)
    assert caught.value.error == 0x12F  # TPM_RC_AUTH_UNAVAILABLE


@pytest.mark.parametrize("change", [{"generation": 1}, {"vid": "0" * 32, "generation": 2}])
def test_a_relabel_must_be_of_the_same_vtpm_and_later(vtpm: Vtpm, change: dict[str, object]) -> None:
    with pytest.raises(VtpmUsageError):
        vtpm.relabel(replace(vtpm.record, **change))  # type: ignore[arg-type]  # by field
    vtpm.quote(b"", QUOTED)


def test_case_9_a_vtpm_that_nobody_labelled_shows_it(private: Path, make_record: MakeRecord) -> None:
    record = make_record()
    with Swtpm.start(private / "bare", state=State.NEW, keys=None) as swtpm, Tpm(swtpm.channel) as tpm:
        tpm.startup()
        assert tpm.pcr_read(LABEL) == (NO_LABEL,)
        key = tpm.create_ak(PcrPolicy(LABEL, (record.pcr17(),)))
        with pytest.raises(PolicyError):
            tpm.quote(key, b"", LABEL)


def test_case_11_the_platform_is_not_the_guests(vtpm: Vtpm, guest: Tpm) -> None:
    before = vtpm.ek.name
    change_eps = "80020000001b00000124" + "4000000c" + PASSWORD
    change_pps = "80020000001b00000125" + "4000000c" + PASSWORD
    clear = "80020000001b00000126" + "4000000c" + PASSWORD
    undefine = f"80020000001f00000122{0x4000000C:08x}{LABEL_INDEX:08x}" + PASSWORD
    undefine_as_owner = f"80020000001f00000122{0x40000001:08x}{LABEL_INDEX:08x}" + PASSWORD
    for command in (change_eps, change_pps, clear, undefine):
        assert raw(vtpm, command) == HIERARCHY_REFUSED
    assert raw(vtpm, undefine_as_owner) != bytes(4)
    with pytest.raises(ResponseError):
        guest.nv.publish(LABEL_INDEX, b"mine")
    assert LabelRecord.decode(guest.nv.read(LABEL_INDEX)) == vtpm.record
    assert guest.create_ek().name == before
    vtpm.quote(b"", QUOTED)


def test_the_guest_can_neither_extend_nor_reset_its_label(vtpm: Vtpm, guest: Tpm) -> None:
    with pytest.raises(ResponseError) as caught:
        guest.pcr_extend(17, {Alg.SHA256: bytes(32)})
    assert caught.value.code == "locality"
    assert raw(vtpm, "80020000001b0000013d" + "00000011" + PASSWORD) == bytes.fromhex("00000907")
    vtpm.quote(b"", QUOTED)


def test_a_guest_that_clears_its_tpm_keeps_its_label_and_its_key(vtpm: Vtpm) -> None:
    clear = "80020000001b00000126" + "4000000a" + PASSWORD
    assert raw(vtpm, clear) == bytes(4)
    attest_raw, signature = vtpm.quote(b"", QUOTED)
    verify(vtpm.ak.public, Signature.decode(signature), attest_raw)


def test_case_12_a_reset_vtpm_is_labelled_and_locked_before_its_traffic(vtpm: Vtpm) -> None:
    name = vtpm.ak.name
    vtpm.pcr_extend(10, {Alg.SHA256: bytes(32)})
    vtpm.reset()
    assert vtpm.pcr_read(QUOTED) == (bytes(32), bytes(32), vtpm.record.pcr17())
    assert raw(vtpm, "80020000001b00000124" + "4000000c" + PASSWORD) == HIERARCHY_REFUSED
    assert vtpm.ak.name == name
    vtpm.quote(b"", QUOTED)


def test_a_guest_that_takes_the_endorsement_hierarchy_gets_no_key_after_a_reset(vtpm: Vtpm) -> None:
    change_auth = "80020000002000000129" + "4000000b" + PASSWORD + Writer().sized(b"own").done().hex()
    assert raw(vtpm, change_auth) == bytes(4)
    vtpm.quote(b"", QUOTED)
    with pytest.raises(ResponseError) as caught:
        vtpm.reset()
    assert caught.value.code == "auth"


def test_a_closed_vtpm_opens_with_its_keys_and_its_label(
    manager: VtpmManager, make_record: MakeRecord
) -> None:
    record = make_record()
    with manager.create(record) as first:
        names = first.ak.name, first.ek.name, first.ek_certificate
    with manager.open(record) as again:
        assert (again.ak.name, again.ek.name, again.ek_certificate) == names
        assert raw(again, "80020000001b00000124" + "4000000c" + PASSWORD) == HIERARCHY_REFUSED
        again.quote(b"", QUOTED)
    with manager.open(replace(record, generation=2)) as later:
        assert later.ak.name != names[0]
        with Tpm(later.channel) as guest:
            assert LabelRecord.decode(guest.nv.read(LABEL_INDEX)).generation == 2


def test_case_14_a_copied_state_does_not_start_at_another_manager(
    manager: VtpmManager, make_record: MakeRecord, private: Path
) -> None:
    record = make_record()
    manager.create(record).close()
    shutil.copytree(private / "vtpms", private / "stolen")
    (private / "stolen").chmod(0o700)
    thief = VtpmManager(private / "stolen", os.urandom(32), manager._issuer)
    with pytest.raises(ProcessError) as caught:
        thief.open(record)
    assert caught.value.code == "refused"


def test_two_vtpms_do_not_open_each_others_state(
    manager: VtpmManager, make_record: MakeRecord, private: Path
) -> None:
    one, two = make_record(), make_record()
    for record in (one, two):
        manager.create(record).close()
    shutil.copy(
        private / "vtpms" / one.vid / "tpm2-00.permall", private / "vtpms" / two.vid / "tpm2-00.permall"
    )
    with pytest.raises(ProcessError) as caught:
        manager.open(two)
    assert caught.value.code == "refused"


def test_case_23_a_lost_state_is_reported(
    manager: VtpmManager, make_record: MakeRecord, private: Path
) -> None:
    record = make_record()
    manager.create(record).close()
    (private / "vtpms" / record.vid / "tpm2-00.permall").unlink()
    with pytest.raises(ProcessError) as caught:
        manager.open(record)
    assert caught.value.code == "lost-state"


def test_a_vid_is_used_once_and_a_destroyed_vtpm_leaves_nothing(
    manager: VtpmManager, make_record: MakeRecord, private: Path
) -> None:
    record = make_record()
    vtpm = manager.create(record)
    with pytest.raises(VtpmUsageError) as caught:
        manager.create(record)
    assert caught.value.code == "state-exists"
    vtpm.quote(b"", QUOTED)
    vtpm.destroy()
    vtpm.close()
    assert list((private / "vtpms").iterdir()) == []


def test_a_creation_that_fails_leaves_nothing(
    manager: VtpmManager, make_record: MakeRecord, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Tpm) -> None:
        raise ResponseError("no", code="auth", response=0)

    before = open_descriptors()
    monkeypatch.setattr(Tpm, "lock_platform", fail)
    with pytest.raises(ResponseError):
        manager.create(make_record())
    assert list((private / "vtpms").iterdir()) == []
    assert open_descriptors() == before


def test_a_label_that_did_not_reach_pcr_17_stops_the_creation(
    manager: VtpmManager, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Swtpm, "hash_sequence", lambda *_: None)
    with pytest.raises(ProcessError, match="PCR 17"):
        manager.create(make_record())


def test_each_vtpm_has_its_own_keys(manager: VtpmManager, make_record: MakeRecord) -> None:
    with manager.create(make_record()) as one, manager.create(make_record()) as two:
        assert one.ek.name != two.ek.name
        assert one.ak.name != two.ak.name
        attest_raw, signature = one.quote(b"", QUOTED)
        with pytest.raises(SignatureError):
            verify(two.ak.public, Signature.decode(signature), attest_raw)


def test_a_root_key_has_32_bytes(private: Path, manager: VtpmManager) -> None:
    with pytest.raises(VtpmUsageError):
        VtpmManager(private / "x", b"short", manager._issuer)


def test_the_template_of_the_vtpms_ek_is_the_profiles(vtpm: Vtpm) -> None:
    assert vtpm.ek.template == EK_ECC_P256.public
