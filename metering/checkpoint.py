"""Checkpoints: a C2SP tlog-checkpoint, signed as a C2SP signed-note with signature type 0x02 (ECDSA).

::

    origin
    tree size, decimal
    root hash, base64
    (blank line)
    — key name base64(key id (4 bytes) ‖ signature)

The signature is DER ECDSA over SHA-256 of the text, which ends with the newline before the blank line. The
key id is the first four bytes of SHA-256 over the DER SubjectPublicKeyInfo; the key's name is the origin.
Sources: c2sp.org/signed-note, c2sp.org/tlog-checkpoint; ECDSA as in github.com/transparency-dev/formats.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from metering.errors import CheckpointError, MeteringUsageError
from metering.merkle import MAX_SIZE

MAX_NOTE: Final = 1 << 20
MAX_SIGNATURES: Final = 64
"""The specification asks for at least 16."""
ECDSA_TYPE: Final = 0x02

_DASH: Final = "— "
_KEY_ID_BYTES: Final = 4
_HEAD_LINES: Final = 3
_ROOT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: whose log, how many leaves, which root. ``extensions`` are opaque lines; we write none."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> bytes:
        """Return the note text, which is what a key signs."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def of_text(cls, text: bytes) -> Checkpoint:
        """Read a note text that nobody need have signed; raises CheckpointError (``MALFORMED``)."""
        lines = _utf8(text).split("\n")
        if lines.pop() or len(lines) < _HEAD_LINES or not all(lines):
            raise CheckpointError("checkpoint: origin, size and root are needed, one a line, no empty line")
        origin, size, root, *extensions = lines
        found = cls(origin, _size(size), _base64(root, "root"), tuple(extensions))
        if len(found.root) != _ROOT_BYTES or found.text() != text:
            raise CheckpointError(f"checkpoint: root is not {_ROOT_BYTES} bytes, or a line is not canonical")
        return found


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: who says to have signed, by which key, and the bytes."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """Return the line with its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A signed note as received: the text and its signature lines, none of them checked."""

    text: bytes
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def decode(cls, raw: bytes) -> Note:
        """Read a signed note strictly; raises CheckpointError (``MALFORMED``)."""
        if len(raw) > MAX_NOTE:
            raise CheckpointError(f"signed note: {len(raw)} bytes are more than {MAX_NOTE}")
        text, blank, block = _utf8(raw).rpartition("\n\n")
        lines = block.split("\n")
        if not blank or lines.pop() or not 0 < len(lines) <= MAX_SIGNATURES:
            raise CheckpointError(
                f"signed note: text, a blank line and 1 to {MAX_SIGNATURES} signatures needed"
            )
        return cls(f"{text}\n".encode(), tuple(map(_signature, lines)))

    def encode(self) -> bytes:
        """Return the note."""
        return self.text + b"\n" + "".join(signature.line() for signature in self.signatures).encode()


def key_id(spki: bytes) -> bytes:
    """Return the key id of an ECDSA key given as DER SubjectPublicKeyInfo, 4 bytes."""
    return hashlib.sha256(spki).digest()[:_KEY_ID_BYTES]


def verifier_key(origin: str, spki: bytes) -> str:
    """Return the key as other tools take it: name ``+`` key id ``+`` base64(0x02 ‖ SPKI)."""
    return f"{origin}+{key_id(spki).hex()}+{base64.b64encode(bytes([ECDSA_TYPE]) + spki).decode()}"


def signed(checkpoint: Checkpoint, spki: bytes, signature: bytes) -> bytes:
    """Return the note of a checkpoint with one DER ECDSA ``signature`` over its text."""
    check_origin(checkpoint.origin)
    return Note(checkpoint.text(), (NoteSignature(checkpoint.origin, key_id(spki), signature),)).encode()


def check_origin(origin: str) -> None:
    """Raise MeteringUsageError for an origin that cannot be a key name as well."""
    if not _is_name(origin) or any(ord(letter) < ord(" ") for letter in origin):
        raise MeteringUsageError(f"origin {origin!a}: no blanks and no '+', as in example.com/usage")


def verify(raw: bytes, spki: bytes) -> Checkpoint:
    """Return the checkpoint in ``raw`` if the key ``spki``, named like the origin, signed it.

    Signature lines of other keys are ignored, as signed-note demands. Raises CheckpointError: ``MALFORMED``
    for what is no checkpoint, ``TAMPERED`` if the key's signature is missing or wrong.
    """
    note = Note.decode(raw)
    checkpoint = Checkpoint.of_text(note.text)
    own = [one for one in note.signatures if (one.name, one.key_id) == (checkpoint.origin, key_id(spki))]
    if not own:
        raise CheckpointError("checkpoint: the meter key did not sign it", code="TAMPERED")
    key = _key(spki)
    for signature in own:
        try:
            key.verify(signature.value, note.text, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise CheckpointError("checkpoint: the meter key's signature is wrong", code="TAMPERED") from None
    return checkpoint


def _key(spki: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise MeteringUsageError("the meter key is no DER SubjectPublicKeyInfo") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise MeteringUsageError("signature type 0x02 needs an elliptic curve key")
    return key


def _signature(line: str) -> NoteSignature:
    name, blank, encoded = line.removeprefix(_DASH).partition(" ")
    raw = _base64(encoded, "signature")
    if not line.startswith(_DASH) or not blank or not _is_name(name) or len(raw) <= _KEY_ID_BYTES:
        raise CheckpointError(f"signed note: {line[:40]!a} is no signature line")
    return NoteSignature(name, raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(letter.isspace() for letter in name)


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > len(str(MAX_SIZE)) or int(text) > MAX_SIZE:
        raise CheckpointError(f"checkpoint: size {text[:20]!a} is no number up to {MAX_SIZE}")
    return int(text)


def _base64(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise CheckpointError(f"signed note: {what} is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise CheckpointError(f"signed note: {what} is not canonical base64")
    return raw


def _utf8(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"signed note: no UTF-8 at byte {error.start}") from None
    if any(letter < " " and letter != "\n" for letter in text):
        raise CheckpointError("signed note: a control character other than newline")
    return text
