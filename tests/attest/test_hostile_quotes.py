"""Structures that an attacker would have signed (facts/attest.md 3.2, rows 21 to 31 and 40).

Each is signed, as what it is, by a key that passes for an AK: nothing but the named rule can refuse it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from attest.quote import endorsed_signers, qualified_name
from attest.quote_verdict import QuoteVerdict
from attest.result import Verdict
from tests.simulators.forger import KINDS, NONCE, SELECT, VALUES, Signer, refused, signer
from vtpm.tpm2.constants import Alg, AttestType, Hierarchy
from vtpm.tpm2.pcrs import PcrSelection, digest_of
from vtpm.tpm2.wire import Writer


@pytest.fixture(params=KINDS)
def ak(request: pytest.FixtureRequest) -> Signer:
    return signer(request.param)


@pytest.mark.parametrize(
    "extra",
    [
        Writer().sized(NONCE[:-1]).done(),
        Writer().sized(NONCE[1:]).done(),
        Writer().sized(NONCE + b"\0").done(),
        Writer().sized(b"\0" + NONCE).done(),
        Writer().sized(NONCE[:16]).done(),
        Writer().sized(NONCE + NONCE).done(),
        Writer().sized(NONCE[::-1]).done(),
        Writer().sized(bytes(each ^ 0x20 for each in NONCE)).done(),
        Writer().sized(NONCE.hex().encode()).done(),
        b"\0\0",
    ],
    ids=[
        *("prefix", "suffix", "longer", "shifted", "half", "twice", "reversed", "case", "hex", "empty"),
    ],
)
def test_21_nonce_that_resembles_the_right_one(ak: Signer, extra: bytes) -> None:
    refused(ak.judge(ak.attest(extra=extra)), "nonce-mismatch")


@pytest.mark.parametrize("magic", [0, 1, 0x544347FF, 0xFF544346, 0xFFFFFFFF, 0x5C544347])
def test_24_magic(ak: Signer, magic: int) -> None:
    refused(ak.judge(ak.attest(magic=magic)), "quote-not-generated")


@pytest.mark.parametrize(
    "kind", [0, 0x8014, 0x8015, 0x8016, 0x8017, 0x8019, 0x801A, 0x801C, 0x8018 ^ 0x100, 0xFFFF]
)
def test_25_type_that_says_something_else_over_a_quote(ak: Signer, kind: int) -> None:
    refused(ak.judge(ak.attest(kind=kind)), "quote-malformed", "quote-wrong-type")


BODIES = {
    "certify": (AttestType.CERTIFY, Writer().sized(b"\x00\x0b" + bytes(32)).sized(b"\x00\x0b" + bytes(32))),
    "creation": (AttestType.CREATION, Writer().sized(b"\x00\x0b" + bytes(32)).sized(bytes(32))),
    "time": (AttestType.TIME, Writer().u64(1).u64(1).u32(1).u32(0).u8(1).u64(1)),
    "nv": (AttestType.NV, Writer().sized(b"\x00\x0b" + bytes(32)).u16(0).sized(b"x")),
    "session-audit": (AttestType.SESSION_AUDIT, Writer().u8(0).sized(bytes(32))),
    "command-audit": (
        AttestType.COMMAND_AUDIT,
        Writer().u64(1).u16(Alg.SHA256).sized(bytes(32)).sized(bytes(32)),
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_25_another_structure_of_the_same_key(ak: Signer, name: str) -> None:
    kind, body = BODIES[name]
    quote = ak.attest(kind=kind)
    head = quote[: len(quote) - len(SELECT.encode()) - 2 - ak.hash_alg.digest_size]
    refused(ak.judge(head + body.done()), "quote-wrong-type")


def tpml(*banks: tuple[int, bytes], count: int | None = None) -> bytes:
    """TPML_PCR_SELECTION of (hash, sizeofSelect and what follows)."""
    body = b"".join(alg.to_bytes(2, "big") + rest for alg, rest in banks)
    return (len(banks) if count is None else count).to_bytes(4, "big") + body


BITS = bytes([0b10000011, 0, 0])
STRUCTURES = {
    "select-0": tpml((Alg.SHA256, b"\0")),
    "select-1": tpml((Alg.SHA256, b"\1" + BITS[:1])),
    "select-2": tpml((Alg.SHA256, b"\2" + BITS[:2])),
    "select-4": tpml((Alg.SHA256, b"\4" + BITS + b"\0")),
    "select-255": tpml((Alg.SHA256, b"\xff" + BITS + bytes(252))),
    "bank-twice": tpml((Alg.SHA256, b"\3" + BITS), (Alg.SHA256, b"\3" + BITS)),
    "bank-twice-apart": tpml((Alg.SHA256, b"\3" + BITS), (Alg.SHA1, b"\3" + BITS), (Alg.SHA256, b"\3\0\0\0")),
    "bank-unknown": tpml((0x7777, b"\3" + BITS)),
    "bank-null": tpml((Alg.NULL, b"\3" + BITS)),
    "bank-no-hash": tpml((Alg.RSA, b"\3" + BITS)),
    "count-too-high": tpml((Alg.SHA256, b"\3" + BITS), count=2),
    "count-too-low": tpml((Alg.SHA256, b"\3" + BITS), (Alg.SHA1, b"\3" + BITS), count=1),
    "count-17": tpml(*[(Alg.SHA256, b"\3" + BITS)] * 17),
    "count-2^32-1": tpml((Alg.SHA256, b"\3" + BITS), count=0xFFFFFFFF),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_40_selection_that_lies(ak: Signer, name: str) -> None:
    refused(ak.judge(ak.attest(STRUCTURES[name])), "quote-malformed")


@pytest.mark.parametrize(
    "select",
    [tpml(), tpml((Alg.SHA256, b"\3\0\0\0")), tpml((Alg.SHA1, b"\3\0\0\0"), (Alg.SHA256, b"\3\0\0\0"))],
)
def test_28_empty_selection(ak: Signer, select: bytes) -> None:
    refused(ak.judge(ak.attest(select, digest=ak.hash_alg.digest(b"")), pcrs=b""), "pcr-selection-empty")


class TestRow40Sizes:
    @pytest.mark.parametrize("size", [0, 1, 33, 0x7FFF, 0xFFFF])
    @pytest.mark.parametrize("field", ["signer", "extra", "digest"])
    def test_tpm2b_that_lies(self, ak: Signer, field: str, size: int) -> None:
        """The size is false, the bytes stay: whatever comes after is read in the wrong place."""
        message = ak.attest()
        at = {
            "signer": 6,
            "extra": 8 + int.from_bytes(message[6:8], "big"),
            "digest": len(message) - 2 - ak.hash_alg.digest_size,
        }[field]
        lie = message[:at] + size.to_bytes(2, "big") + message[at + 2 :]
        refused(ak.judge(lie), "quote-malformed", "quote-signer", "nonce-mismatch")

    @pytest.mark.parametrize("tail", [b"\0", b"\0" * 100, NONCE])
    def test_bytes_after_the_end(self, ak: Signer, tail: bytes) -> None:
        refused(ak.judge(ak.attest(tail=tail)), "quote-malformed")

    def test_every_cut(self, ak: Signer) -> None:
        whole = ak.attest()
        for end in range(0, len(whole), 7):
            refused(ak.judge(whole[:end]), "quote-malformed", "quote-not-generated")

    @pytest.mark.parametrize("safe", [2, 0x80, 0xFF])
    def test_yes_no_that_is_neither(self, ak: Signer, safe: int) -> None:
        refused(ak.judge(ak.attest(safe=safe)), "quote-malformed")

    @pytest.mark.parametrize("size", [0, 1, 20, 31, 33, 64])
    def test_digest_of_another_size(self, ak: Signer, size: int) -> None:
        refused(ak.judge(ak.attest(digest=bytes(size))), "quote-malformed", "pcr-digest-mismatch")

    @pytest.mark.parametrize("file", ["ak", "message", "signature", "pcrs", "eventlog"])
    def test_huge_files(self, ak: Signer, file: str) -> None:
        refused(
            ak.judge(**{file: bytes(9 << 20)}),  # type: ignore[arg-type]
            *("ak-malformed", "quote-malformed", "signature-invalid", "signature-malformed"),
            *("pcr-file-malformed", "event-log-malformed"),
        )


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"\0",
        b"\0\x0b",
        b"\0\x0b" + bytes(31),
        b"\0\x0b" + bytes(33),
        b"\0\x0c" + bytes(48),
        b"\x40\0\0\x0b",
        bytes(34),
    ],
)
def test_signer_that_is_no_qualified_name_of_the_key(ak: Signer, name: bytes) -> None:
    refused(ak.judge(ak.attest(signer=name)), "quote-signer", "quote-malformed")


def test_places_of_an_enrolled_key(ak: Signer) -> None:
    ek = b"\0\x0b" + bytes(range(32))
    places = endorsed_signers(ak.public, ek)
    assert len(places) == 2
    assert qualified_name(ak.public, Hierarchy.ENDORSEMENT) in places
    assert qualified_name(ak.public, Hierarchy.OWNER) not in places
    assert endorsed_signers(ak.public, b"\0") == {qualified_name(ak.public, Hierarchy.ENDORSEMENT)}


class TestRow27And30Values:
    @pytest.mark.parametrize(
        "values",
        [
            {0: VALUES[0], 1: VALUES[1]},
            {**VALUES, 8: bytes(32)},
            {0: VALUES[1], 1: VALUES[0], 7: VALUES[7]},
            {0: VALUES[0], 1: VALUES[1], 7: VALUES[0]},
            {0: VALUES[0], 1: VALUES[1], 7: bytes(32)},
            {0: VALUES[0][:20], 1: VALUES[1], 7: VALUES[7]},
            {},
        ],
        ids=["missing", "extra", "swapped", "duplicate", "altered", "short", "none"],
    )
    def test_values_file(self, ak: Signer, values: dict[int, bytes]) -> None:
        refused(ak.judge(pcrs=b"".join(values.values())), "pcr-file-malformed", "pcr-digest-mismatch")

    def test_values_whose_joints_moved(self, ak: Signer) -> None:
        """The digest is over the values joined; as many bytes cut elsewhere must not be other values."""
        other = PcrSelection.of(Alg.SHA256, [0, 1, 8])
        message = ak.attest(other.encode())
        answer = ak.judge(message, required=SELECT)
        refused(answer, "pcr-missing")


class TestRow31Banks:
    def select(self, *banks: tuple[Alg, Sequence[int]]) -> PcrSelection:
        return PcrSelection(tuple((alg, frozenset(pcrs)) for alg, pcrs in banks))

    def quoted(self, ak: Signer, select: PcrSelection, required: PcrSelection | None) -> QuoteVerdict:
        values = [bytes([pcr + 1]) * alg.digest_size for alg, pcr in select.pairs()]
        message = ak.attest(select.encode(), digest=digest_of(ak.hash_alg, values))
        return ak.judge(message, pcrs=b"".join(values), required=required)

    def test_several_banks_where_one_is_asked_for(self, ak: Signer) -> None:
        both = self.select((Alg.SHA1, [0, 7]), (Alg.SHA256, [0, 7]))
        refused(self.quoted(ak, both, PcrSelection.of(Alg.SHA256, [0, 7])), "pcr-bank")
        refused(self.quoted(ak, both, PcrSelection.of(Alg.SHA1, [0, 7])), "pcr-bank")
        assert self.quoted(ak, both, both).verdict is Verdict.AFFIRMING
        assert self.quoted(ak, both, None).verdict is Verdict.AFFIRMING

    @pytest.mark.parametrize("alg", [Alg.SHA1, Alg.SHA384, Alg.SHA512])
    def test_another_bank_than_asked_for(self, ak: Signer, alg: Alg) -> None:
        refused(
            self.quoted(ak, self.select((alg, [0, 7])), PcrSelection.of(Alg.SHA256, [0, 7])), "pcr-missing"
        )

    def test_pcrs_spread_over_banks(self, ak: Signer) -> None:
        spread = self.select((Alg.SHA256, [0]), (Alg.SHA1, [7]))
        refused(self.quoted(ak, spread, PcrSelection.of(Alg.SHA256, [0, 7])), "pcr-missing")

    def test_sha1_alone_is_against_policy(self, ak: Signer) -> None:
        answer = self.quoted(ak, self.select((Alg.SHA1, [0, 7])), None)
        assert (answer.verdict, [reason.code for reason in answer.reasons]) == (
            Verdict.CONTRAINDICATED,
            ["pcr-bank-weak"],
        )

    def test_more_pcrs_of_the_bank_are_no_harm(self, ak: Signer) -> None:
        more = self.select((Alg.SHA256, [0, 1, 7, 14]))
        assert self.quoted(ak, more, PcrSelection.of(Alg.SHA256, [0, 7])).verdict is Verdict.AFFIRMING
