"""Judges of quotes, and of credentials for keys."""

from __future__ import annotations

import base64
import json
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from attest.ak import BareKey
from attest.errors import AttestInputError
from attest.quote import check_pcrs, verify_quote
from attest.quote_verdict import ShownQuote, judge_quote
from attest.result import Verdict
from tools.conformance.vector import OutOfScopeError, Vector, differs, expect
from vtpm.errors import VtpmInputError
from vtpm.tpm2.attestation import Attest, QuoteInfo
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.credential import SEED_SIZE, credential_file, make_credential
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.public import Public
from vtpm.tpm2.signature import Signature, verify_with_key

_NOT_OF_THE_QUOTE: Final = "bad_report_data"
_PREFIX: Final = 80


def quote(vector: Vector) -> None:
    """Judge a quote with all that its origin gives beside it."""
    match vector.entry["group"]:
        case "keylime-checkquote":
            accepted = _of_tools(vector)
        case "azsnp" if vector.path.parent.name == _NOT_OF_THE_QUOTE:
            raise OutOfScopeError("the SEV-SNP report around the key is altered; no quote shows that")
        case "azsnp":
            accepted = _of_azure(vector)
        case "enact":
            accepted = _of_enact(vector)
        case group:
            raise OutOfScopeError(f"no reader for bundles of {group}")
    expect(accepted == vector.is_good, "accepted" if accepted else "refused")


def _of_tools(vector: Vector) -> bool:
    parts = {path.name: path.read_bytes() for path in vector.path.parent.iterdir()}
    bank = Alg.from_name(parts.get("hash.txt", b"sha256").decode())
    shown = ShownQuote(parts["ak.pem"], parts["quote.bin"], parts["sig.bin"], parts["pcrs.tpm2tools"])
    judged = judge_quote(shown, nonce=parts["nonce.bin"], required=PcrSelection.of(bank, [16]))
    return judged.verdict is Verdict.AFFIRMING


def _of_azure(vector: Vector) -> bool:
    values = json.loads(vector.beside("pcrs.json"))["sha256"]
    signature = Signature(Alg.RSASSA, Alg.SHA256, (vector.beside("sig_rsassa_raw.bin"),)).encode()
    try:
        key = _azure_key(vector.beside("hcl_report.bin"))
        verified = verify_quote(key, vector.read(), signature, extra_data=vector.beside("nonce.bin"))
        check_pcrs(verified, {(Alg.SHA256, int(pcr)): bytes.fromhex(value) for pcr, value in values.items()})
    except (AttestInputError, LookupError, ValueError):
        return False
    return True


def _azure_key(report: bytes) -> BareKey:
    """Return the key of the JWK in the report, which is read here only."""
    start = report.index(b'{"keys"')
    keys = json.JSONDecoder().raw_decode(report[start:].decode("latin-1"))[0]["keys"]
    found: dict[str, str] = next((key for key in keys if key["kid"] == "HCLAkPub"), {})
    modulus, exponent = (int.from_bytes(base64.urlsafe_b64decode(found[name] + "=="), "big") for name in "ne")
    return BareKey(rsa.RSAPublicNumbers(exponent, modulus).public_key())


def _of_enact(vector: Vector) -> bool:
    """Read UUID [16], size u16, TPMS_ATTEST, signature; it has no signer and no nonce to check."""
    raw = vector.read()
    end = 18 + int.from_bytes(raw[16:18], "big")
    stated = json.loads(vector.beside("basic.json"))
    key = load_pem_public_key((vector.path.parents[1] / "keys/basic.pem.pub").read_bytes())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        differs("the key is not read")
    try:
        attest, signature = Attest.decode(raw[18:end]), Signature.decode(raw[end:])
        verify_with_key(key, signature, raw[18:end])
    except VtpmInputError:
        return False
    info = attest.attested
    if not isinstance(info, QuoteInfo):
        return False
    pcrs = [pcr for _, pcr in info.select.pairs()]
    same = (pcrs, info.digest) == (stated["pcrs"], base64.b64decode(stated["digest"]))
    return same and attest.firmware_version == stated["firmware"]


def dump(vector: Vector) -> None:
    """Judge the quotes of a dump of a whole machine, with its AK and nonce, and the replay of its log."""
    machine = json.loads(vector.read())
    key = Public.decode(base64.b64decode(machine["AK"]["Public"]))
    nonce = machine["Quote"].get("Nonce")
    if not nonce:
        raise OutOfScopeError("its quote has no nonce, and a quote without one is refused")
    signature = base64.b64decode(machine["Quote"]["Signature"])
    verify_quote(
        key, base64.b64decode(machine["Quote"]["Quote"]), signature, extra_data=base64.b64decode(nonce)
    )


def credential(vector: Vector) -> None:
    """Judge MakeCredential with the randomness that the origin gives: all but the OAEP part is fixed."""
    case = json.loads(vector.read())
    ek = Public.decode_sized(bytes.fromhex(case["ek_tpm2b_public"]))
    secret = bytes.fromhex(case["secret"])
    parts = make_credential(ek, bytes.fromhex(case["aik_name"]), secret, seed=b"\x12" * SEED_SIZE)
    whole = credential_file(*parts).hex()
    stated = case["credential_prefix_80_bytes"]
    expect(whole[: 2 * _PREFIX] == stated[: 2 * _PREFIX], "another credential")
