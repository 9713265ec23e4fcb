"""What the package vtpm reads from outside."""

from __future__ import annotations

from functools import cache
from typing import Final
from uuid import UUID

from tests.parsers.parser import Parser, good
from tests.simulators.desk import QUOTES, endorsement_key
from tests.simulators.host import Host
from vtpm import canonical
from vtpm.binding import Binding
from vtpm.record import LabelRecord
from vtpm.tpm2 import pcr_command, signature
from vtpm.tpm2.attestation import Attest
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.credential import credential_file, make_credential, read_credential_file
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.public import Public
from vtpm.tpm2.signature import Signature

_HOST: Final = Host.serving()
_WEB: Final = _HOST.domains["web"]
_SMALL: Final = b'{"domain":"%s","label":"a","vid":"%s"}' % (str(UUID(int=1)).encode(), b"0" * 32)
_CHECKS: Final = {"label": canonical.text, "vid": canonical.vid, "domain": canonical.uuid}

_EXTENDED: Final = bytes.fromhex("80020000001300000000000000000000010000")
_READ_BODY: Final = bytes(4) + PcrSelection.of(Alg.SHA256, [12]).encode() + b"\0\0\0\1\0\x20" + bytes(32)
_READ: Final = b"\x80\1" + (10 + len(_READ_BODY)).to_bytes(4, "big") + bytes(4) + _READ_BODY
"""Answers to TPM2_PCR_Extend and TPM2_PCR_Read."""


def _quotes(*names: str) -> list[bytes]:
    return [(QUOTES / name).read_bytes() for name in names]


def _publics() -> list[bytes]:
    return [Public.decode_sized(raw).encode() for raw in _quotes("ecc.pub", "rsa.pub", "pss.pub", "ek.pub")]


@cache
def _credential() -> bytes:
    return credential_file(*make_credential(endorsement_key(), _ak().name(), b"secret", seed=bytes(64)))


def _ak() -> Public:
    return Public.decode_sized(good("ak.pub"))


PARSERS: Final = (
    Parser("vtpm.binding:Binding.decode", lambda: [_WEB.binding], Binding.decode),
    Parser("vtpm.record:LabelRecord.decode", lambda: [_WEB.record], LabelRecord.decode),
    Parser("vtpm.canonical:decode", lambda: [_SMALL], lambda raw: canonical.decode(raw, "record", _CHECKS)),
    Parser(
        "vtpm.tpm2.attestation:Attest.decode",
        lambda: [*_quotes("ecc-serialized.msg", "rsa-serialized.msg", "certify.msg", "all.msg")],
        Attest.decode,
    ),
    Parser(
        "vtpm.tpm2.credential:read_credential_file",
        lambda: [_credential()],
        read_credential_file,
    ),
    Parser(
        "vtpm.tpm2.credential:make_credential",
        lambda: [_ak().name()],
        lambda raw: make_credential(endorsement_key(), raw, b"secret", seed=bytes(64)),
        "name",
    ),
    Parser(
        "vtpm.tpm2.pcrs:PcrSelection.decode",
        lambda: [PcrSelection.of(Alg.SHA256, [0, 7, 17]).encode(), PcrSelection(()).encode()],
        PcrSelection.decode,
    ),
    Parser("vtpm.tpm2.pcr_command:check_extended", lambda: [_EXTENDED], pcr_command.check_extended),
    Parser(
        "vtpm.tpm2.pcr_command:read_value",
        lambda: [_READ],
        lambda raw: pcr_command.read_value(raw, Alg.SHA256, 12),
    ),
    Parser("vtpm.tpm2.public:Public.decode", _publics, Public.decode),
    Parser(
        "vtpm.tpm2.public:Public.decode_sized",
        lambda: _quotes("ecc.pub", "rsa.pub", "pss.pub", "ek.pub", "unrestricted.pub"),
        lambda raw: _use(Public.decode_sized(raw)),
    ),
    Parser(
        "vtpm.tpm2.signature:Signature.decode",
        lambda: _quotes("ecc-serialized.sig", "rsa-serialized.sig", "pss-serialized.sig"),
        Signature.decode,
    ),
    Parser(
        "vtpm.tpm2.signature:verify",
        lambda: _quotes("ecc-serialized.sig"),
        lambda raw: signature.verify(_ak(), Signature.decode(raw), good("quote.msg")),
        "signature",
    ),
    Parser(
        "vtpm.tpm2.signature:verify_with_key",
        lambda: _quotes("ecc-serialized.sig"),
        lambda raw: signature.verify_with_key(_ak().key(), Signature.decode(raw), good("quote.msg")),
    ),
)


def _use(public: Public) -> None:
    """A public area that was accepted can be used."""
    public.name()
    public.spki()
    public.encode()


NOT_PARSERS: Final = {
    "vtpm.canonical:made": "values that vtpm.canonical:decode has checked",
    "vtpm.channel:*": "carries TPM commands and responses; tests/vtpm/test_swtpm.py breaks the other end",
    "vtpm.lifeline:*": "a process, not bytes",
    "vtpm.manufacture:*": "runs swtpm_setup in a folder that it makes",
    "vtpm.rawdevice:*": "a device; tests/vtpm/test_rawdevice.py answers with garbage",
    "vtpm.tpm2.pcr_command:extend_command": "writes a command",
    "vtpm.nv:*": "values for a TPM",
    "vtpm.private:*": "checks owner and mode of a folder, reads nothing",
    "vtpm.relay:*": "a socket; tests/vtpm/test_relay.py sends it garbage",
    "vtpm.resources:*": "commands of the relay's clients; tests/vtpm/test_relay.py sends garbage",
    "vtpm.swtpm:*": "state that only swtpm reads; tests/vtpm/test_swtpm.py alters it",
    "vtpm.tcti:*": "carries TPM commands",
    "vtpm.tpm:*": "values for a TPM, which judges them",
    "vtpm.tpm2.credential:credential_file": "writes a file",
    "vtpm.tpm2.fields:name_problem": "says what is wrong with a Name, for every byte string",
    "vtpm.tpm2.kdf:*": "calculates with bytes of any kind",
    "vtpm.tpm2.pcrs:*": "calculates with digests; VtpmUsageError for another size",
    "vtpm.tpm2.policy:*": "calculates with digests; VtpmUsageError for another size",
    "vtpm.tpm2.wire:*": "the means of all parsers above",
    "vtpm.vtpm_manager:*": "values for a TPM, which judges them",
}
