"""Checkpoints: C2SP notes, strictly read."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given
from hypothesis import strategies as st

from metering.checkpoint import MAX_SIGNATURES, Checkpoint, Note, NoteSignature, signed, verifier_key, verify
from metering.errors import CheckpointError, MeteringInputError, MeteringUsageError, MeterKeyError
from metering.key import MeterKeyBundle
from metering.log import digest
from metering.merkle import MAX_SIZE
from metering.view import LOG_MAGIC, VIEW_MAGIC, View
from tests.metering.world import METER_ATTRIBUTES, Platform, Site, TpmKey

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = Checkpoint("example.com/usage", 20852163, hashlib.sha256(b"root").digest())
KEY = TpmKey.make(METER_ATTRIBUTES)
NOTE = signed(HEAD, KEY.spki(), KEY.sign(digest(HEAD)))


def test_a_signed_checkpoint_verifies() -> None:
    assert verify(NOTE, KEY.spki()) == HEAD


def test_the_note_has_the_form_of_the_specification() -> None:
    """Taken apart by hand: origin, size, root, blank line, em dash, name, base64(key id, DER signature)."""
    lines = NOTE.decode().split("\n")
    assert lines[:2] == ["example.com/usage", "20852163"]
    assert base64.b64decode(lines[2]) == HEAD.root
    assert lines[3] == lines[5] == ""
    dash, name, value = lines[4].split(" ")
    assert (dash, name) == ("\u2014", "example.com/usage")
    raw = base64.b64decode(value)
    assert raw[:4] == hashlib.sha256(KEY.spki()).digest()[:4]
    text = "\n".join(lines[:3]).encode() + b"\n"
    public = load_der_public_key(KEY.spki())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(raw[4:], text, ec.ECDSA(hashes.SHA256()))


def test_the_verifier_key_is_that_of_other_tools() -> None:
    name, key_id, encoded = verifier_key("example.com/usage", KEY.spki()).split("+", 2)
    assert name == "example.com/usage"
    assert key_id == hashlib.sha256(KEY.spki()).hexdigest()[:8]
    assert base64.b64decode(encoded) == b"\x02" + KEY.spki()


def test_the_example_of_the_specification_is_read() -> None:
    raw = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
        "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    ).encode()
    note = Note.decode(raw)
    assert note.encode() == raw
    assert Checkpoint.of_text(note.text).size == 20852163


def test_a_known_key_that_signed_twice_must_be_right_twice() -> None:
    note = Note.decode(NOTE)
    wrong = NoteSignature(HEAD.origin, note.signatures[0].key_id, b"\x30\x06\x02\x01\x01\x02\x01\x01")
    with pytest.raises(CheckpointError) as caught:
        verify(Note(note.text, (*note.signatures, wrong)).encode(), KEY.spki())
    assert caught.value.code == "TAMPERED"


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no signature": lambda note: note.split("\u2014".encode())[0],
    "no blank line": lambda note: note.replace(b"\n\n", b"\n"),
    "no last newline": lambda note: note[:-1],
    "carriage return": lambda note: note.replace(b"\n", b"\r\n"),
    "control character": lambda note: note.replace(b"usage", b"us\x07ge"),
    "not UTF-8": lambda note: note.replace(b"usage", b"us\xffge"),
    "leading zero": lambda note: note.replace(b"20852163", b"020852163"),
    "sign": lambda note: note.replace(b"20852163", b"+20852163"),
    "other digits": lambda note: note.replace(b"20852163", "\u0662".encode()),
    "negative": lambda note: note.replace(b"20852163", b"-1"),
    "too large": lambda note: note.replace(b"20852163", str(MAX_SIZE + 1).encode()),
    "huge number": lambda note: note.replace(b"20852163", b"9" * 5000),
    "short root": lambda note: note.replace(base64.b64encode(HEAD.root), b"AAAA"),
    "hyphen for the dash": lambda note: note.replace("\u2014".encode(), b"-"),
    "key name with a plus": lambda note: note.replace(b" example.com/usage ", b" a+b "),
    "two blanks": lambda note: note.replace(b" example.com/usage ", b"  example.com/usage "),
    "base64 without padding": lambda note: (
        note.rstrip(b"=\n") + b"\n" if note.rstrip().endswith(b"=") else b""
    ),
    "empty extension": lambda note: note.replace(b"\n\n", b"\n\n\n"),
    "too many signatures": lambda note: note + note.split(b"\n\n")[1] * MAX_SIGNATURES,
    "too long": lambda note: note + b"\n" * (1 << 20),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_what_is_no_checkpoint_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    spoiled = spoil(NOTE)
    assert spoiled != NOTE
    with pytest.raises(CheckpointError) as caught:
        verify(spoiled, KEY.spki())
    assert caught.value.code == "MALFORMED"


def test_another_text_or_key_is_refused() -> None:
    for note, key in ((NOTE.replace(b"20852163", b"20852164"), KEY), (NOTE, TpmKey.make(METER_ATTRIBUTES))):
        with pytest.raises(CheckpointError) as caught:
            verify(note, key.spki())
        assert caught.value.code == "TAMPERED"


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb"])
def test_origins_that_cannot_be_key_names(origin: str) -> None:
    with pytest.raises(MeteringUsageError):
        signed(Checkpoint(origin, 0, bytes(32)), KEY.spki(), b"x")


@given(
    st.binary(max_size=300) | st.text(max_size=200).map(lambda text: NOTE + text.encode("utf-8", "replace"))
)
def test_any_bytes_are_a_note_or_an_error(raw: bytes) -> None:
    try:
        note = Note.decode(raw)
        Checkpoint.of_text(note.text)
    except CheckpointError:
        return
    assert note.encode() == raw


BUNDLE = Platform().bundle()


@given(
    st.binary(max_size=200)
    | st.tuples(st.integers(0, len(BUNDLE) - 1), st.binary(max_size=3)).map(
        lambda change: BUNDLE[: change[0]] + change[1] + BUNDLE[change[0] + 1 :]
    )
)
def test_any_bytes_are_a_meter_key_or_an_error(raw: bytes) -> None:
    platform = Platform()
    try:
        bundle = MeterKeyBundle.decode(raw)
        bundle.verify_origin(platform.ak.public)
    except MeterKeyError:
        return
    pytest.fail("a key that nobody certified was accepted")


@given(st.sampled_from([b"", LOG_MAGIC, VIEW_MAGIC]), st.binary(max_size=800))
def test_any_bytes_are_a_view_or_an_error(magic: bytes, body: bytes) -> None:
    try:
        view = View.decode(magic + body)
    except MeteringInputError:
        return
    assert view.encode() == magic + body


def test_a_part_is_read_as_it_was_written(site: Site) -> None:
    site.close()
    part = View.of_tenant(site.leaves(), "acme")
    assert View.decode(part.encode()) == part
    assert not part.whole
