"""Quotes as tpm2-tools 5.4 wrote them (``tests/recordings/quotes``): accepted so, refused in other forms."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from attest.ak import AkError, decode_ak
from attest.errors import AttestInputError, AttestUsageError
from attest.pcrfile import decode_pcr_file
from attest.quote import (
    QuoteError,
    QuoteFailure,
    VerifiedPcrs,
    check_pcr_file,
    check_pcrs,
    check_required,
    verify_quote,
)
from vtpm.tpm2.constants import Alg, Attributes, Hierarchy
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.public import EccKey, Public

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDED = Path(__file__).resolve().parent.parent / "recordings" / "quotes"


@dataclass(frozen=True)
class Case:
    """The files of one recorded quote."""

    name: str
    why: str
    ak: bytes
    message: bytes
    signature: bytes
    pcrs: bytes
    nonce: bytes

    @classmethod
    def of(cls, entry: dict[str, str]) -> Case:
        files = {kind: (RECORDED / entry[kind]).read_bytes() for kind in ("ak", "message", "signature")}
        pcrs = (RECORDED / entry["pcrs"]).read_bytes() if "pcrs" in entry else b""
        return cls(entry["name"], entry["why"], pcrs=pcrs, nonce=bytes.fromhex(entry["nonce"]), **files)

    def verify(self) -> VerifiedPcrs:
        """Do all that ``shype quote verify`` does with a quote and its PCR file."""
        verified = verify_quote(decode_ak(self.ak), self.message, self.signature, extra_data=self.nonce)
        return check_pcr_file(verified, decode_pcr_file(self.pcrs, verified.select))

    def refusal(self) -> str:
        with pytest.raises(AttestInputError) as error:
            self.verify()
        return error.value.code


CASES = {entry["name"]: Case.of(entry) for entry in json.loads((RECORDED / "cases.json").read_text())}
GENUINE = [case for case in CASES.values() if not case.why]
ECC, RSA = CASES["ecc-serialized"], CASES["rsa-serialized"]


def flips(data: bytes) -> Iterator[bytes]:
    """Yield ``data`` once for each byte, with one bit of it flipped: bit 0, then 1, and so on."""
    for at in range(len(data)):
        yield data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


class TestGenuine:
    @pytest.mark.parametrize("case", GENUINE, ids=lambda case: case.name)
    def test_is_accepted_with_its_values(self, case: Case) -> None:
        values = case.verify().values
        assert values.keys() >= {(Alg.SHA256, 1), (Alg.SHA256, 2)}

    def test_says_what_was_quoted(self) -> None:
        verified = verify_quote(decode_ak(ECC.ak), ECC.message, ECC.signature, extra_data=ECC.nonce)
        assert verified.select == PcrSelection.of(Alg.SHA256, range(11))
        assert (verified.clock.reset_count, verified.clock.restart_count, verified.clock.safe) == (1, 0, True)
        assert verified.firmware_version == 0x2019102300163636

    def test_primary_key_is_found_in_its_hierarchy(self) -> None:
        case = CASES["primary-serialized"]
        verified = verify_quote(decode_ak(case.ak), case.message, case.signature, extra_data=case.nonce)
        assert verified.hierarchy is Hierarchy.ENDORSEMENT

    def test_key_under_another_is_in_no_hierarchy(self) -> None:
        verified = verify_quote(decode_ak(ECC.ak), ECC.message, ECC.signature, extra_data=ECC.nonce)
        assert verified.hierarchy is None

    def test_bare_public_area_is_read_as_well(self) -> None:
        assert replace(ECC, ak=ECC.ak[2:]).verify() == ECC.verify()


class TestEveryByteCounts:
    @pytest.mark.parametrize("case", GENUINE, ids=lambda case: case.name)
    @pytest.mark.parametrize("file", ["message", "signature", "pcrs"])
    def test_flipped_bit_is_refused(self, case: Case, file: str) -> None:
        for altered in flips(getattr(case, file)):
            replace(case, **{file: altered}).refusal()

    @pytest.mark.parametrize("case", GENUINE, ids=lambda case: case.name)
    @pytest.mark.parametrize("file", ["ak", "message", "signature", "pcrs", "nonce"])
    def test_added_or_missing_byte_is_refused(self, case: Case, file: str) -> None:
        whole = getattr(case, file)
        for altered in (whole + b"\0", whole + b"\n\n", b"\0" + whole, whole[:-2], b""):
            with pytest.raises((AttestInputError, AttestUsageError)):
                replace(case, **{file: altered}).verify()

    @pytest.mark.parametrize(
        "case", [ECC, RSA, CASES["rsa-pem"], CASES["ecc-pem"]], ids=lambda case: case.name
    )
    def test_every_bit_of_the_key_counts_but_harmless_attributes(self, case: Case) -> None:
        """Such a key has another Name, so enrolment knows that it is not the enrolled one."""
        harmless = (
            *(Attributes.ST_CLEAR, Attributes.USER_WITH_AUTH, Attributes.ADMIN_WITH_POLICY, Attributes.NO_DA),
            *(Attributes.FIRMWARE_LIMITED, Attributes.SVN_LIMITED, Attributes.X509_SIGN),
        )
        accepted = []
        for bit in range(8 * len(case.ak)):
            altered = bytearray(case.ak)
            altered[bit // 8] ^= 1 << bit % 8
            try:
                replace(case, ak=bytes(altered)).verify()
            except AttestInputError:
                continue
            accepted.append(bytes(altered))
        genuine = decode_ak(case.ak)
        if not isinstance(genuine, Public):
            assert accepted == []
            return
        changed = {Public.decode_sized(key).attributes ^ genuine.attributes for key in accepted}
        assert changed == set(harmless)
        assert len(accepted) == len(harmless)
        assert all(Public.decode_sized(key).name() != genuine.name() for key in accepted)


class TestAttacks:
    """Rows of facts/attest.md 3.2; the files were made with a real TPM's help where it can be had."""

    @pytest.mark.parametrize("name", ["empty", "forged", "certify"])
    def test_recorded_attack_is_refused(self, name: str) -> None:
        assert CASES[name].refusal() == CASES[name].why

    def test_24_forged_magic_needs_an_unrestricted_key(self) -> None:
        """The forgery is perfect but for that: nothing else tells it from a quote."""
        forged = CASES["forged"]
        key = Public.decode_sized(forged.ak)
        as_restricted = replace(key, attributes=key.attributes | Attributes.RESTRICTED)
        verify_quote(as_restricted, forged.message, forged.signature, extra_data=forged.nonce)
        with pytest.raises(AkError):
            verify_quote(key, forged.message, forged.signature, extra_data=forged.nonce)

    def test_18_signature_of_another_quote(self) -> None:
        assert replace(ECC, signature=CASES["banks"].signature).refusal() == "signature-invalid"

    def test_18_signature_of_another_key(self) -> None:
        assert replace(ECC, ak=CASES["primary-serialized"].ak).refusal() == "signature-invalid"

    @pytest.mark.parametrize("nonce", [b"\0", ECC.nonce[:-1], ECC.nonce + b"\0", ECC.nonce[::-1]])
    def test_21_other_nonce(self, nonce: bytes) -> None:
        assert replace(ECC, nonce=nonce).refusal() == "nonce-mismatch"

    @pytest.mark.parametrize("nonce", [b"", bytes(65)])
    def test_22_nonce_that_no_quote_carries_is_wrong_usage(self, nonce: bytes) -> None:
        with pytest.raises(AttestUsageError):
            replace(ECC, nonce=nonce).verify()

    def test_27_values_for_other_pcrs(self) -> None:
        verified = verify_quote(decode_ak(ECC.ak), ECC.message, ECC.signature, extra_data=ECC.nonce)
        values = dict(ECC.verify().values)
        values[Alg.SHA256, 23] = values.pop((Alg.SHA256, 10))
        with pytest.raises(QuoteError) as error:
            check_pcrs(verified, values)
        assert error.value.failure is QuoteFailure.PCR_SELECTION

    def test_27_pcr_file_relabelled(self) -> None:
        """The selection in the file is moved by one PCR (CVE-2024-29039)."""
        select = ECC.pcrs[7:10]
        moved = (int.from_bytes(select, "little") << 1).to_bytes(3, "little")
        assert replace(ECC, pcrs=ECC.pcrs[:7] + moved + ECC.pcrs[10:]).refusal() == "pcr-selection-mismatch"

    def test_27_pcr_file_with_banks_in_another_order(self) -> None:
        """Each value stands under its right PCR, but the file is not the one of this quote."""
        case = CASES["banks"]
        entry, digests = 8, [case.pcrs[at : at + 66] for at in range(140, 140 + 6 * 66, 66)]
        swapped = case.pcrs[:4] + case.pcrs[12 : 12 + entry] + case.pcrs[4:12] + case.pcrs[20:140]
        moved = b"".join([*digests[2:5], *digests[:2], digests[5]])
        altered = swapped + moved + case.pcrs[140 + 6 * 66 :]
        assert replace(case, pcrs=altered).refusal() == "pcr-selection-mismatch"

    def test_27_more_values_than_quoted(self) -> None:
        verified = verify_quote(decode_ak(ECC.ak), ECC.message, ECC.signature, extra_data=ECC.nonce)
        with pytest.raises(QuoteError):
            check_pcrs(verified, {**ECC.verify().values, (Alg.SHA256, 11): bytes(32)})

    @pytest.mark.parametrize(
        "required", [PcrSelection.of(Alg.SHA256, [0, 11]), PcrSelection.of(Alg.SHA384, [0])]
    )
    def test_28_required_pcr_not_quoted(self, required: PcrSelection) -> None:
        verified = verify_quote(decode_ak(ECC.ak), ECC.message, ECC.signature, extra_data=ECC.nonce)
        with pytest.raises(QuoteError) as error:
            check_required(verified, required)
        assert error.value.failure is QuoteFailure.PCR_MISSING

    def test_30_altered_value(self) -> None:
        verified = verify_quote(decode_ak(ECC.ak), ECC.message, ECC.signature, extra_data=ECC.nonce)
        with pytest.raises(QuoteError) as error:
            check_pcrs(verified, {**ECC.verify().values, (Alg.SHA256, 4): bytes(32)})
        assert error.value.failure is QuoteFailure.PCR_DIGEST

    def test_33_sha1_signature(self) -> None:
        altered = RSA.signature[:2] + Alg.SHA1.to_bytes(2, "big") + RSA.signature[4:]
        assert replace(RSA, signature=altered).refusal() == "signature-algorithm"
        assert replace(CASES["rsa-pem"], signature=altered).refusal() == "signature-algorithm"

    def test_34_scheme_unlike_the_keys(self) -> None:
        assert replace(RSA, signature=CASES["pss-serialized"].signature).refusal() == "signature-algorithm"
        assert replace(RSA, signature=ECC.signature).refusal() == "signature-algorithm"
        assert replace(CASES["rsa-pem"], signature=ECC.signature).refusal() == "signature-algorithm"

    def test_bare_ecdsa_signature_has_one_encoding(self) -> None:
        plain = CASES["ecc-plain-values"]
        longer = b"\x30\x81" + plain.signature[1:]
        assert replace(plain, signature=longer).refusal() == "signature-malformed"


class TestSignedStructures:
    """What a broken TPM could sign: messages that are not quite quotes, by a key passed off as an AK."""

    KEY = ec.generate_private_key(ec.SECP256R1())

    def verify(self, message: bytes) -> None:
        numbers = self.KEY.public_key().public_numbers()
        ak = Public.decode_sized(ECC.ak)
        assert isinstance(ak.parameters, EccKey)
        point = {"x": numbers.x.to_bytes(32, "big"), "y": numbers.y.to_bytes(32, "big")}
        signature = self.KEY.sign(message, ec.ECDSA(hashes.SHA256()))
        verify_quote(
            replace(ak, parameters=replace(ak.parameters, **point)), message, signature, extra_data=ECC.nonce
        )

    def test_recorded_message_is_a_quote(self) -> None:
        self.verify(ECC.message)

    @pytest.mark.parametrize(
        ("old", "new", "failure"),
        [
            (b"\xffTCG", b"\xffTCH", QuoteFailure.NOT_GENERATED),
            (b"\x80\x18", b"\x80\x17", QuoteFailure.MALFORMED),
            (b"\x00\x22\x00\x0b", b"\x00\x22\x00\x27", QuoteFailure.SIGNER),
            (ECC.message[6:42], b"\x00\x00", QuoteFailure.SIGNER),
            (ECC.message[6:42], b"\x00\x04\x40\x00\x00\x0b", QuoteFailure.SIGNER),
            (b"\x00\x20" + ECC.nonce, b"\x00\x00", QuoteFailure.NONCE),
            (b"\x00\x20" + ECC.nonce, b"\x00\x21" + ECC.nonce + b"\0", QuoteFailure.NONCE),
            (b"\x00\x00\x00\x01\x00\x0b\x03\xff\x07\x00", b"\x00\x00\x00\x00", QuoteFailure.EMPTY),
            (b"\x00\x0b\x03\xff\x07\x00", b"\x00\x0b\x03\x00\x00\x00", QuoteFailure.EMPTY),
            (ECC.message[-32:], ECC.message[-32:] + b"\0", QuoteFailure.MALFORMED),
            (ECC.message[-34:], ECC.message[-34:-1], QuoteFailure.MALFORMED),
        ],
    )
    def test_anything_else_is_none(self, old: bytes, new: bytes, failure: QuoteFailure) -> None:
        assert ECC.message.count(old) == 1
        with pytest.raises(QuoteError) as error:
            self.verify(ECC.message.replace(old, new))
        assert error.value.failure is failure
