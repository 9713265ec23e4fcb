"""What the package attest reads from outside; logs and boot files stand in files of their own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from attest import ak, bent, canonical_json, certificate, der, ear, ek, pcrfile, quote, reference_set
from attest.appraisal import AppraisalProfile
from attest.endorsement import Anchors, verify_endorsement
from attest.enrolment import Challenge, Enrolment
from attest.evidence import Evidence
from attest.quote_history import QuoteHistory, Told, after
from attest.quote_verdict import ShownQuote, judge_quote
from attest.reference import ReferenceValues
from attest.reference_set import Seen, sign
from attest.session import Session
from attest.session_file import decode_session, encode_session
from attest.signer import MemoryKey
from attest.verifier.verify import verify
from tests.parsers.parser import Parser, chunks, good
from tests.simulators.desk import KEY, QUOTE_NONCE, QUOTES, endorsement_key
from tests.simulators.host import NONCE, NOW, SWTPM, Ca
from tests.simulators.user_land import MeasuringHost
from vtpm.tpm2.attestation import ClockInfo
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.public import Public

_HOST: Final = MeasuringHost.running()
_HOST.find("behind")
_EXPECTED: Final = _HOST.expectation()
_EVIDENCE: Final = _HOST.evidence()
_NONCE: Final = bytes.fromhex(QUOTE_NONCE)
_ANCHORS: Final = Anchors.decode([Ca().pem()])
_QUOTED: Final = PcrSelection.of(Alg.SHA256, range(11))
_BANKS: Final = ("sha256", "sha1")


def _recorded(*names: str) -> list[bytes]:
    return [(QUOTES / name).read_bytes() for name in names]


def _key() -> Public:
    return Public.decode_sized(good("ak.pub"))


def _shown(**changed: bytes) -> object:
    kind = {"ak": "ak.pub", "message": "quote.msg", "signature": "quote.sig", "pcrs": "quote.pcrs"}
    shown = ShownQuote(**{name: good(file) for name, file in kind.items()} | changed)
    return judge_quote(shown, nonce=_NONCE, required=PcrSelection.of(Alg.SHA256, [0]))


def _challenge(raw: bytes, **changed: object) -> object:
    arguments = {"anchors": _ANCHORS, "known": (), "secret": bytes(32), "seed": bytes(64), "now": NOW}
    return Challenge.create("xen1", raw, endorsement_key(), _key(), **arguments | changed)  # type: ignore[arg-type]


@cache
def _open_challenge() -> Challenge:
    challenge, _ = _challenge(Ca().endorse(SWTPM))  # type: ignore[misc]
    return challenge


def quote_history() -> list[bytes]:
    """What a verifier remembers of the host."""
    return [after(None, _HOST.enrolment(), Told(ClockInfo(5, 1, 0, safe=True), 3)).encode()]


def sessions() -> list[bytes]:
    """Sessions with the host xen1 as a registrar keeps them: challenged, and with an open nonce."""
    session = Session.create("xen1", bytes(16), now=NOW)
    session.send_challenge(_open_challenge(), now=NOW)
    kept = [encode_session(session)]
    session.answer(bytes(32), known=(), now=NOW)
    session.send_nonce(bytes(range(32)), now=NOW)
    return [*kept, encode_session(session)]


def _ear(token: bytes, key: bytes) -> object:
    now = int(json.loads(_claims())["iat"])
    return ear.verify_ear(token.decode("ascii", "replace"), key, now=now, nonce=NONCE, submods=["platform"])


def _claims() -> bytes:
    import base64

    return base64.urlsafe_b64decode(good("ear.jwt").split(b".")[1] + b"==")


_SIGNER: Final = MemoryKey.from_pem(KEY)


def _reference_set() -> bytes:
    return sign(good("reference.json"), _SIGNER, datetime(2030, 1, 1, tzinfo=UTC))


def _verify_set(raw: bytes) -> None:
    reference_set.verify(raw, _SIGNER.spki())


def _verify_key(raw: bytes) -> None:
    reference_set.verify(_reference_set(), raw)


PARSERS: Final = (
    Parser(
        "attest.ak:decode_ak",
        lambda: _recorded("ecc.pub", "rsa.pub", "pss.pub", "ecc.pem", "rsa.pem"),
        ak.decode_ak,
    ),
    Parser(
        "attest.appraisal:AppraisalProfile.decode", lambda: [good("appraisal.yaml")], AppraisalProfile.decode
    ),
    Parser(
        "attest.canonical_json:decode",
        lambda: [_EVIDENCE.encode()],
        lambda raw: canonical_json.decode(raw, "file", 1 << 20),
    ),
    Parser(
        "attest.canonical_json:decode_canonical",
        lambda: [_HOST.events[0][1]],
        lambda raw: canonical_json.decode_canonical(raw, "file", 1 << 20),
    ),
    Parser(
        "attest.certificate:Certificate.decode",
        lambda: [Ca().endorse(SWTPM)],
        certificate.Certificate.decode,
    ),
    Parser(
        "attest.certificate:decode_certificates",
        lambda: [Ca().endorse(SWTPM), Ca().pem() * 2],
        certificate.decode_certificates,
    ),
    Parser(
        "attest.certificate:decode_certificate",
        lambda: [Ca().endorse(SWTPM), Ca().pem()],
        certificate.decode_certificate,
    ),
    Parser("attest.bent:unbend", lambda: [Ca().endorse(SWTPM) + bytes(9)], bent.unbend),
    Parser("attest.der:elements", lambda: [Ca().endorse(SWTPM)], der.elements),
    Parser("attest.der:first", lambda: [Ca().endorse(SWTPM)], der.first),
    Parser(
        "attest.ear:verify_ear",
        lambda: [good("ear.jwt")],
        lambda raw: _ear(raw, good("ear-key.jwk")),
        "token",
    ),
    Parser(
        "attest.ear:verify_ear", lambda: [good("ear-key.jwk")], lambda raw: _ear(good("ear.jwt"), raw), "jwk"
    ),
    Parser(
        "attest.ear:public_jwk",
        lambda: [MemoryKey.from_pem(good("ear-key.pem")).spki()],
        ear.public_jwk,
    ),
    Parser("attest.ek:decode_ek", lambda: [good("ek.pub"), *_recorded("ek.pub")], ek.decode_ek),
    Parser(
        "attest.endorsement:Anchors.decode",
        lambda: [Ca().pem()],
        lambda raw: Anchors.decode([Ca().pem(), raw]),
    ),
    Parser(
        "attest.endorsement:verify_endorsement",
        lambda: [Ca().endorse(SWTPM)],
        lambda raw: verify_endorsement(raw, _ANCHORS, now=NOW, ek=endorsement_key(), intermediates=[raw]),
    ),
    Parser("attest.enrolment:Enrolment.decode", lambda: [_HOST.enrolment().encode()], Enrolment.decode),
    Parser("attest.enrolment:Challenge.create", lambda: [Ca().endorse(SWTPM)], _challenge),
    Parser(
        "attest.enrolment:Challenge.complete",
        lambda: [bytes(32)],
        lambda raw: _open_challenge().complete(raw, known=(), now=NOW + timedelta(seconds=1)),
    ),
    Parser("attest.quote_history:QuoteHistory.decode", quote_history, QuoteHistory.decode),
    Parser("attest.session_file:decode_session", sessions, decode_session),
    Parser("attest.evidence:Evidence.decode", lambda: [_EVIDENCE.encode()], Evidence.decode),
    Parser(
        "attest.pcrfile:decode_pcr_file",
        lambda: _recorded("ecc-serialized.pcrs", "ecc-plain.pcrs"),
        lambda raw: pcrfile.decode_pcr_file(raw, _QUOTED),
    ),
    *(
        Parser(
            "attest.quote:verify_quote",
            lambda file=file: [good(file)],  # type: ignore[misc]
            lambda raw, name=name: quote.verify_quote(  # type: ignore[misc]
                _key(),
                **{"message": good("quote.msg"), "signature": good("quote.sig")} | {name: raw},
                extra_data=_NONCE,
            ),
            name,
        )
        for name, file in (("message", "quote.msg"), ("signature", "quote.sig"))
    ),
    Parser(
        "attest.quote:decode_signature",
        lambda: _recorded("ecc-serialized.sig", "ecc-plain.sig"),
        lambda raw: quote.decode_signature(raw, _key()),
    ),
    Parser(
        "attest.quote:check_pcrs",
        lambda: _recorded("ecc-plain.pcrs"),
        lambda raw: quote.check_pcrs(
            quote.verify_quote(_key(), good("quote.msg"), good("quote.sig"), extra_data=_NONCE),
            dict(zip(_QUOTED.pairs(), chunks(raw), strict=False)),
        ),
    ),
    Parser("attest.quote_verdict:judge_quote", lambda: [good("ak.pub")], lambda raw: _shown(ak=raw), "ak"),
    Parser(
        "attest.quote_verdict:judge_quote",
        lambda: [good("quote.msg")],
        lambda raw: _shown(message=raw),
        "msg",
    ),
    Parser(
        "attest.quote_verdict:judge_quote",
        lambda: [good("quote.sig")],
        lambda raw: _shown(signature=raw),
        "sig",
    ),
    Parser(
        "attest.quote_verdict:judge_quote", lambda: [good("quote.pcrs")], lambda raw: _shown(pcrs=raw), "pcrs"
    ),
    Parser(
        "attest.quote_verdict:judge_quote",
        lambda: [good("ovmf.bin")],
        lambda raw: _shown(eventlog=raw),
        "log",
    ),
    Parser(
        "attest.reference:ReferenceValues.decode",
        lambda: [good("reference.json"), _HOST.reference().encode()],
        ReferenceValues.decode,
    ),
    Parser("attest.reference_set:Seen.decode", lambda: [Seen({}).encode()], Seen.decode),
    Parser("attest.reference_set:verify", lambda: [_reference_set()], _verify_set, "set"),
    Parser("attest.reference_set:verify", lambda: [_SIGNER.spki()], _verify_key, "key"),
    Parser("attest.signer:MemoryKey.from_pem", lambda: [good("ear-key.pem")], MemoryKey.from_pem),
    Parser("attest.verifier.verify:verify", lambda: [_EVIDENCE.encode()], lambda raw: verify(raw, _EXPECTED)),
)

NOT_PARSERS: Final = {
    "attest.quote_replayed:values_by_replay": "hashes the digests of a log that was read",
    "attest.quote_went_on:went_on": "verify_quote reads an earlier quote as any other",
    "attest.quote:endorsed_signers": "hashes a Name that a record was read with",
    "attest.json_record:*": "fed through Enrolment.decode, decode_session, ReferenceValues.decode and others",
    "attest.nonce:*": "compares random bytes, reads nothing in them",
    "attest.session:Session.*": "compares an answer or a nonce, reads nothing in them",
    "attest.reference_set:sign": "writes a set of values that were read before",
    "attest.attester:*": "writes evidence",
    "attest.der:encode": "encodes",
    "attest.ear:base64url": "encodes",
    "attest.runtime_events:*.of": "fields of what attest.runtime_events:decode_event or decode has read",
    "attest.signer:*.sign": "signs a digest",
    "attest.verifier.boot:compare": "values that were verified",
}
