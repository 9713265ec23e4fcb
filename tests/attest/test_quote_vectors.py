"""Quotes of others' test data, judged by what their origins state."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from attest.ak import BareKey
from attest.errors import AttestInputError
from attest.quote import check_pcrs, verify_quote
from attest.quote_verdict import QuoteVerdict, ShownQuote, judge_quote
from attest.result import Verdict
from tests.conftest import Vector, vectors
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.signature import Signature

NOT_OF_THE_QUOTE = {"bad_report_data"}
"""The SNP report around the key is altered, which a quote cannot show."""


def of_group(group: str, verdict: str | None = None) -> list[Any]:
    found = [vector for vector in vectors("quote/case") if vector.entry["group"] == group]
    judged = [
        vector
        for vector in found
        if vector.path.parent.name not in NOT_OF_THE_QUOTE and verdict in {None, vector.verdict}
    ]
    if not judged:
        return [pytest.param(None, marks=pytest.mark.skip(reason="../shared/vectors is not here"))]
    return [pytest.param(vector, id=vector.path.parent.name) for vector in judged]


class TestKeylime:
    """``tpm2_quote`` of a software TPM, with each alteration of Keylime's own tests."""

    def judge(self, vector: Vector) -> QuoteVerdict:
        part = {path.name: path.read_bytes() for path in vector.path.parent.iterdir()}
        bank = part.get("hash.txt", b"sha256").decode()
        shown = ShownQuote(part["ak.pem"], part["quote.bin"], part["sig.bin"], part["pcrs.tpm2tools"])
        required = PcrSelection.of(Alg.from_name(bank), [16])
        return judge_quote(shown, nonce=part["nonce.bin"], required=required)

    @pytest.mark.parametrize("vector", of_group("keylime-checkquote"))
    def test_verdict_is_the_stated_one(self, vector: Vector) -> None:
        accepted = self.judge(vector).verdict is Verdict.AFFIRMING
        assert accepted == (vector.verdict == "accept")

    @pytest.mark.parametrize("vector", of_group("keylime-checkquote", "accept"))
    def test_decodes_to_the_stated_values(self, vector: Vector) -> None:
        stated = json.loads((vector.path.parent.parent / "tpms_attest_expected.json").read_text())
        quote = self.judge(vector).quote
        assert quote is not None
        assert quote.attest.extra_data.hex() == stated["extraData"]
        assert quote.info.digest.hex() == stated["pcrDigest"]
        clock = stated["clockInfo"]
        assert quote.clock.clock == clock["clock"]
        assert (quote.clock.reset_count, quote.clock.restart_count) == (
            clock["resetCount"],
            clock["restartCount"],
        )
        assert quote.clock.safe == bool(clock["safe"])


@pytest.mark.parametrize("vector", of_group("azsnp"))
class TestAzure:
    """The vTPM of an Azure SEV-SNP guest; its key is a JWK in the HCL report."""

    def test_verdict_is_the_stated_one(self, vector: Vector) -> None:
        part = {path.name: path.read_bytes() for path in vector.path.parent.iterdir()}
        try:
            signature = Signature(Alg.RSASSA, Alg.SHA256, (part["sig_rsassa_raw.bin"],)).encode()
            verified = verify_quote(
                key_of(part["hcl_report.bin"]), vector.read(), signature, extra_data=part["nonce.bin"]
            )
            values = json.loads(part["pcrs.json"])["sha256"]
            check_pcrs(
                verified, {(Alg.SHA256, int(pcr)): bytes.fromhex(value) for pcr, value in values.items()}
            )
        except AttestInputError:
            accepted = False
        else:
            accepted = True
        assert accepted == (vector.verdict == "accept")


class KeyNotFoundError(AttestInputError):
    """The report has no key that can be read."""


def key_of(report: bytes) -> BareKey:
    try:
        start = report.index(b'{"keys"')
        keys = json.JSONDecoder().raw_decode(report[start:].decode("latin-1"))[0]["keys"]
        found = next(key for key in keys if key["kid"] == "HCLAkPub")
    except (ValueError, KeyError, StopIteration):
        raise KeyNotFoundError("no HCLAkPub in the report") from None
    modulus, exponent = (
        int.from_bytes(base64.urlsafe_b64decode(found[name] + "=="), "big") for name in ("n", "e")
    )
    return BareKey(rsa.RSAPublicNumbers(exponent, modulus).public_key())
