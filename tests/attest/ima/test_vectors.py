"""Measurement lists and signatures of others, judged by what their origins state about them."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import load_der_x509_certificate

from attest.errors import AttestInputError
from attest.eventlog.data import binding
from attest.eventlog.log import EventLog
from attest.eventlog.notes import notes
from attest.eventlog.read import parse
from attest.eventlog.replay import replay
from attest.ima.appraise import list_entries
from attest.ima.boot_aggregate import boot_aggregates, stated_aggregate
from attest.ima.file_key import by_key_id, verify_file
from attest.ima.signature import FileSignature, FileSignatureError
from tests.conftest import VECTORS, Vector, vector_params
from tests.spending import at_most
from vtpm.tpm2.constants import Alg

HERE = pytest.mark.skipif(not VECTORS.is_dir(), reason="../shared/vectors is not here")
STRAY = {"sml-ima-sha1.bin": 1}
TAMPERED = "imasig.log"
CASES = [
    param
    for param in vector_params("ima/ascii", "ima/binary", "ima/case")
    if param.values[0] is None or param.values[0].path.suffix != ".json"
]


def mismatches(log: EventLog) -> list[int]:
    return [event.index for event in log.events if binding(event).matches is False]


@pytest.mark.parametrize("vector", CASES)
def test_outcome(vector: Vector) -> None:
    refused = False
    with at_most(2):
        try:
            log = parse(vector.read())
        except AttestInputError:
            refused = True
    if refused:
        assert vector.verdict in {"reject", "parse-error"}
        return
    assert vector.verdict != "parse-error"
    assert log.stray == STRAY.get(vector.path.name, 0)
    codes = {note.code for note in notes(log)}
    if vector.verdict == "reject":
        assert {"data-mismatch", "ima-signature-malformed"} <= codes
    elif vector.verdict == "mixed":
        assert mismatches(log) == [vector.expect["bad_entry"]]
        assert len(log.events) == vector.expect["entries_total"]
    else:
        assert mismatches(log) == []


@HERE
def test_ascii_and_binary_of_one_machine_say_the_same() -> None:
    folder = VECTORS / "Fraunhofer-SIT__charra/logs/ima"
    text = list(list_entries([(folder / "ascii_runtime_measurements").read_bytes()]))
    binary = list(list_entries([(folder / "binary_runtime_measurements").read_bytes()]))
    assert text == binary[: len(text)]  # four entries were added between the copies
    assert len(binary) - len(text) == 4


@pytest.mark.parametrize("vector", vector_params("ima/binary"))
def test_stated_entries(vector: Vector) -> None:
    stated = vector.expect.get("entries", [])
    for entry, expected in zip(list_entries([vector.read()]), stated, strict=False):
        assert entry.file_digest.decode() == f"{expected['alg']}:{expected['hash']}"
        assert (entry.path.decode(), entry.pcr, entry.template) == (
            expected["path"],
            expected["pcr"],
            expected["template"],
        )


@HERE
def test_boot_aggregate_lines() -> None:
    cases = json.loads((VECTORS / "keylime__keylime/ima/boot_aggregate_cases.json").read_text())
    assert len(cases) == 12
    for case in cases:
        try:
            (entry,) = list_entries([case["input"].encode()])
            alg, digest = stated_aggregate(entry)
        except AttestInputError:
            assert case["alg"] == "invalid"
        else:
            assert (alg.hash_name, digest.hex()) == (case["alg"], case["boot_aggregate"])


@HERE
def test_boot_aggregate_of_real_pcrs() -> None:
    folder = VECTORS / "linux-integrity__ima-evm-utils/tests"
    log = parse((folder / "sample-binary_bios_measurements-pcrs-8-9").read_bytes())
    pcrs = replay(log, Alg.SHA256)
    (entry,) = list_entries([(folder / "sample-ascii_runtime_measurements-pcrs-8-9").read_bytes()])
    alg, digest = stated_aggregate(entry)
    assert alg is Alg.SHA256
    assert digest == boot_aggregates(alg, pcrs)[0]


@HERE
def test_signatures_of_a_real_list() -> None:
    folder = VECTORS / "kgoldman__acs/acs"
    key = load_der_x509_certificate((folder / "imakey.der").read_bytes()).public_key()
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    keys = by_key_id(key)
    good, failed = 0, {}
    for entry in list_entries([(folder / TAMPERED).read_bytes()]):
        raw = entry.values()["sig"]
        try:
            if raw:
                verify_file(FileSignature.decode(raw), entry.file_digest, keys)
                good += 1
        except FileSignatureError as error:
            failed[entry.path.decode()] = error.code
    assert good == 896
    assert failed == {
        "/usr/sbin/atd": "ima-signature-key-unknown",
        "/usr/bin/trojan_badkey": "ima-signature-key-unknown",
        "/usr/bin/trojan_badsig": "ima-signature-invalid",
    }
