"""Credentials that only the right key in the right TPM opens."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtpm.errors import ResponseError, StructureError, VtpmUsageError
from vtpm.templates import EK_ECC_P256, EK_ECC_P384, EK_RSA_2048, EkTemplate, PcrPolicy
from vtpm.tpm2.constants import Alg, Attributes
from vtpm.tpm2.credential import SEED_SIZE, credential_file, make_credential, read_credential_file
from vtpm.tpm2.kdf import kdf_a, kdf_e
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.public import Public

if TYPE_CHECKING:
    from conftest import Host

KAT = Path(__file__).resolve().parents[3] / "shared/vectors/keylime__keylime/makecredential_rsa.json"
NAME = b"\x00\x0b" + bytes(32)


@pytest.mark.skipif(not KAT.is_file(), reason="../shared/vectors is not here")
def test_keylimes_known_answer() -> None:
    kat = json.loads(KAT.read_text())
    ek = Public.decode_sized(bytes.fromhex(kat["ek_tpm2b_public"]))
    made = make_credential(
        ek, bytes.fromhex(kat["aik_name"]), bytes.fromhex(kat["secret"]), seed=b"\x12" * SEED_SIZE
    )
    expected = bytes.fromhex(kat["credential_prefix_80_bytes"])
    assert credential_file(*made)[: len(expected)] == expected


def test_a_credential_file_is_read_back_and_nothing_else_is() -> None:
    made = b"\x00\x03abc", b"\x00\x02de"
    raw = credential_file(*made)
    assert read_credential_file(raw) == made
    for length in range(len(raw)):
        with pytest.raises(StructureError):
            read_credential_file(raw[:length])
    for broken in (raw + b"\0", b"\0" + raw[1:], raw[:8] + b"\xff\xff" + bytes(70_000)):
        with pytest.raises(StructureError):
            read_credential_file(broken)


@given(raw=st.binary(max_size=40).map(lambda tail: bytes.fromhex("badcc0de00000001") + tail))
def test_any_credential_file_is_read_or_refused(raw: bytes) -> None:
    try:
        assert credential_file(*read_credential_file(raw)) == raw
    except StructureError:
        return


def test_key_derivation_has_the_length_asked_for_and_its_blocks_differ() -> None:
    for derive in (kdf_a, kdf_e):
        long = derive(Alg.SHA256, b"key", b"LABEL", u=b"u", v=b"v", bits=520)
        assert len(long) == 65
        assert long[:32] != long[32:64]
        assert derive(Alg.SHA256, b"key", b"LABEL", u=b"v", v=b"u", bits=520) != long
    assert kdf_e(Alg.SHA256, b"z", b"L", u=b"", v=b"", bits=256) == Alg.SHA256.digest(b"\0\0\0\1zL\0")


@pytest.mark.host
@pytest.mark.parametrize("template", [EK_RSA_2048, EK_ECC_P256, EK_ECC_P384], ids=["rsa", "p256", "p384"])
def test_the_tpm_opens_what_was_made_for_it_and_nothing_else(host: Host, template: EkTemplate) -> None:
    tpm = host.tpm
    ek, ak = tpm.create_ek(template.public), tpm.create_ak()
    id_object, encrypted = make_credential(ek.public, ak.name, b"secret", seed=os.urandom(SEED_SIZE))
    assert tpm.activate_credential(ak, ek, id_object, encrypted) == b"secret"

    pcrs = PcrSelection.of(Alg.SHA256, [1])
    other_key = tpm.create_signing_key(PcrPolicy(pcrs, tpm.pcr_read(pcrs)))
    altered = id_object[:-1] + bytes([id_object[-1] ^ 1])
    for key, blob in ((other_key, id_object), (ak, altered)):
        with pytest.raises(ResponseError) as caught:
            tpm.activate_credential(key, ek, blob, encrypted)
        assert caught.value.code == "integrity"
    for blob, secret in ((id_object + b"\0", encrypted), (id_object, encrypted[:-1]), (b"", b"")):
        with pytest.raises(StructureError):
            tpm.activate_credential(ak, ek, blob, secret)


@pytest.mark.parametrize(
    ("ek", "name", "secret", "seed"),
    [
        (EK_RSA_2048.public, NAME, b"", 64),
        (EK_RSA_2048.public, NAME, bytes(33), 64),
        (EK_RSA_2048.public, NAME[:-1], b"s", 64),
        (EK_RSA_2048.public, b"\x40\x00\x00\x01", b"s", 64),
        (EK_RSA_2048.public, NAME, b"s", 32),
        (replace(EK_RSA_2048.public, symmetric=None), NAME, b"s", 64),
        (replace(EK_RSA_2048.public, attributes=Attributes.SIGN_ENCRYPT), NAME, b"s", 64),
        (replace(EK_RSA_2048.public, name_alg=Alg.SHA1), NAME, b"s", 64),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(ek: Public, name: bytes, secret: bytes, seed: int) -> None:
    with pytest.raises(VtpmUsageError):
        make_credential(ek, name, secret, seed=bytes(seed))
