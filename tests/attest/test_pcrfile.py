"""PCR files of tpm2-tools: what is read, and that no byte of them is ignored."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.pcrfile import PcrFileError, decode_pcr_file
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

RECORDED = Path(__file__).resolve().parent.parent / "recordings" / "quotes"
QUOTED = PcrSelection.of(Alg.SHA256, range(11))
SERIALIZED = (RECORDED / "ecc-serialized.pcrs").read_bytes()
VALUES = (RECORDED / "ecc-plain.pcrs").read_bytes()


def refusal(raw: bytes, quoted: PcrSelection = QUOTED) -> PcrFileError:
    with pytest.raises(PcrFileError) as error:
        decode_pcr_file(raw, quoted)
    assert error.value.code == "pcr-file-malformed"
    return error.value


def patched(at: int, data: bytes) -> bytes:
    return SERIALIZED[:at] + data + SERIALIZED[at + len(data) :]


def test_both_forms_hold_the_same_values() -> None:
    serialized, values = decode_pcr_file(SERIALIZED, QUOTED), decode_pcr_file(VALUES, QUOTED)
    assert serialized.values == values.values
    assert serialized.selection == QUOTED
    assert values.selection is None


def test_banks_keep_their_order() -> None:
    selection = PcrSelection(
        ((Alg.SHA1, frozenset({0, 16})), (Alg.SHA256, frozenset({1, 2, 23})), (Alg.SHA512, frozenset({0})))
    )
    found = decode_pcr_file((RECORDED / "banks.pcrs").read_bytes(), selection)
    assert found.selection == selection
    assert tuple(found.values) == selection.pairs()


def test_24_pcrs_are_three_lists() -> None:
    raw = (RECORDED / "all.pcrs").read_bytes()
    assert struct.unpack_from("<I", raw, 132) == (3,)
    assert len(decode_pcr_file(raw, PcrSelection.of(Alg.SHA256, range(24))).values) == 24


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (0, b"\x00"),  # no bank
        (0, b"\x02"),  # a bank that is not there
        (0, b"\x11"),  # more banks than there are entries
        (0, b"\xff\xff\xff\xff"),
        (4, b"\x0a"),  # XOR is no hash
        (4, b"\x12"),  # SM3: a hash that is not computed here
        (6, b"\x02"),  # size of the selection
        (6, b"\x04"),
        (10, b"\x01"),  # the fourth byte of the selection
        (11, b"\x01"),  # padding of the structure
        (12, b"\x01"),  # entry that is not used
        (132, b"\x01"),  # number of lists
        (132, b"\xff\xff\xff\xff"),
        (136, b"\x00"),  # digests in the first list
        (136, b"\x07"),
        (136, b"\x09"),
        (140, b"\x1f"),  # size of a digest
        (140, b"\x41"),
        (141, b"\x01"),
        (174, b"\x01"),  # end of its buffer
        (668, b"\x04"),  # digests in the second list
        (1199, b"\x01"),  # last byte
    ],
)
def test_every_field_has_its_rule(at: int, data: bytes) -> None:
    refusal(patched(at, data))


def test_bank_that_stands_twice() -> None:
    twice = SERIALIZED[:4] + SERIALIZED[4:12] * 2 + SERIALIZED[20:]
    refusal(b"\x02" + twice[1:])


@pytest.mark.parametrize("raw", [SERIALIZED, VALUES], ids=["serialized", "values"])
def test_length_is_exact(raw: bytes) -> None:
    for altered in (raw + b"\0", raw[:-1], raw + bytes(532), raw + bytes(32), raw[:-532], b""):
        refusal(altered)


def test_values_are_taken_by_the_quoted_selection() -> None:
    refusal(VALUES, PcrSelection.of(Alg.SHA384, range(11)))
    refusal(VALUES, PcrSelection.of(Alg.SHA256, range(12)))


def test_values_of_the_length_of_a_serialized_file() -> None:
    """19 x 32 + 3 x 20 = 668 bytes, as long as a serialized file with one list."""
    quoted = PcrSelection(((Alg.SHA256, frozenset(range(19))), (Alg.SHA1, frozenset(range(3)))))
    assert len(decode_pcr_file(bytes(range(167)) * 4, quoted).values) == 22


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=64)
    | st.tuples(st.integers(0, len(SERIALIZED) - 1), st.binary(min_size=1, max_size=8)).map(
        lambda patch: patched(*patch)[: len(SERIALIZED)]
    )
)
def test_no_other_error_on_any_bytes(raw: bytes) -> None:
    with suppress(PcrFileError):
        decode_pcr_file(raw, QUOTED)
