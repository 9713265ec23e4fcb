"""Appraisal profiles: what a relying party demands (RFC 9334, section 8.5: appraisal policy for evidence).

A small YAML file of texts (``acm.yamltree`` says what YAML may be used); every field is required::

    schema: shype.appraisal/1
    name: default
    hardware: required         # or software-admitted: a program may play the TPM, if an anchor endorses it
    firmware_log: optional     # or required
    clock: safe                # or any: a TPM that lost power doubts its clock for up to 70 minutes
    warnings: refused          # or admitted: exit code 0 with the verdict "warning" too
    bank: sha256               # the one PCR bank that counts: sha256, sha384 or sha512
    pcrs: 0-9,12,13            # what the host's quote must cover; 12 and 13 always
    vtpm_pcrs: "17"            # what a vTPM's quote must cover; 17 always
    max_enrolment: 365 days    # age at which a host has to be enrolled anew
    result: 300 seconds        # how long the signed result stays good
    verdicts: {}               # moves a reason code between warning and contraindicated

Trusted: whoever can change a profile decides what passes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from acm import fields, yamltree
from acm.errors import PolicyFileError
from acm.yamltree import Node, Table, flaw
from attest.errors import PositionedInputError
from attest.reasons import CODES
from attest.result import Reason, Verdict

SCHEMA: Final = "shype.appraisal/1"
MAX_BYTES: Final = 64 * 1024
BANKS: Final = ("sha256", "sha384", "sha512")
STATIC_PCRS: Final = frozenset(range(16))
"""PCRs that only a reset clears. Programs reset 16 and 23; 17-22 are FF without DRTM (PFP 1.06, 2.3.4)."""
RUNTIME_PCRS: Final = frozenset({12, 13})
"""Report and policies, domains: without them there is nothing to compare."""
LABEL_PCRS: Final = frozenset({17})
MAX_DAYS: Final = 3650
MAX_SECONDS: Final = 31 * 24 * 3600
_MOVABLE: Final = (Verdict.WARNING, Verdict.CONTRAINDICATED)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_RANGES: Final = re.compile(r"\d{1,2}(?:-\d{1,2})?(?:,\d{1,2}(?:-\d{1,2})?)*")
_AMOUNT: Final = re.compile(r"([1-9]\d{0,8}) (days|seconds)")


class AppraisalError(PositionedInputError):
    """A profile that is not well-formed."""


class Hardware(StrEnum):
    """What may play the host's TPM."""

    REQUIRED = "required"
    """A chip or firmware TPM whose endorsement certificate leads to an anchor."""
    SOFTWARE_ADMITTED = "software-admitted"
    """A program too, if its endorsement certificate leads to an anchor: for demos and laboratories."""


@dataclass(frozen=True, slots=True)
class AppraisalProfile:
    """What has to hold, and how bad it is when it does not.

    ``pcrs`` and ``vtpm_pcrs`` have to be in the quotes of host and vTPM, in the one bank ``bank``.
    ``max_enrolment_days`` and ``result_seconds`` bound the age of an enrolment and the life of a result.
    ``verdicts`` moves reason codes between warning and contraindicated. ``digest`` is the SHA-256 (hex) of
    the exact bytes of the file.
    """

    name: str
    hardware: Hardware
    require_firmware_log: bool
    require_safe_clock: bool
    admit_warning: bool
    bank: str
    pcrs: frozenset[int]
    vtpm_pcrs: frozenset[int]
    max_enrolment_days: int
    result_seconds: int
    verdicts: Mapping[str, Verdict]
    digest: str

    @property
    def admit_software_tpm(self) -> bool:
        """True if a program may play the host's TPM."""
        return self.hardware is Hardware.SOFTWARE_ADMITTED

    def weigh(self, reason: Reason) -> Reason:
        """Return ``reason`` with the verdict that this profile gives it."""
        return Reason(reason.code, reason.detail, self.verdicts.get(reason.code, reason.verdict))

    @classmethod
    def decode(cls, raw: bytes) -> AppraisalProfile:
        """Read a profile; raises AppraisalError with code, line and column."""
        if len(raw) > MAX_BYTES:
            raise AppraisalError("too-big", f"appraisal: larger than {MAX_BYTES} bytes", line=1, column=1)
        try:
            return _profile(yamltree.read(raw, "appraisal"), hashlib.sha256(raw).hexdigest())
        except PolicyFileError as error:
            raise AppraisalError(error.code, str(error), line=error.line, column=error.column) from None


_KEYS: Final = (
    "schema",
    "name",
    "hardware",
    "firmware_log",
    "clock",
    "warnings",
    "bank",
    "pcrs",
    "vtpm_pcrs",
    "max_enrolment",
    "result",
    "verdicts",
)


def _profile(root: Node, digest: str) -> AppraisalProfile:
    given = fields.fields(root, _KEYS)
    top = {key: fields.required(given, key, root.at) for key in _KEYS}
    _word(top["schema"], (SCHEMA,))
    return AppraisalProfile(
        name=_name(top["name"]),
        hardware=Hardware(_word(top["hardware"], tuple(Hardware))),
        require_firmware_log=_word(top["firmware_log"], ("required", "optional")) == "required",
        require_safe_clock=_word(top["clock"], ("safe", "any")) == "safe",
        admit_warning=_word(top["warnings"], ("admitted", "refused")) == "admitted",
        bank=_word(top["bank"], BANKS),
        pcrs=_pcrs(top["pcrs"], STATIC_PCRS, RUNTIME_PCRS),
        vtpm_pcrs=_pcrs(top["vtpm_pcrs"], STATIC_PCRS | LABEL_PCRS, LABEL_PCRS),
        max_enrolment_days=_amount(top["max_enrolment"], "days", MAX_DAYS),
        result_seconds=_amount(top["result"], "seconds", MAX_SECONDS),
        verdicts=_verdicts(top["verdicts"]),
        digest=digest,
    )


def _word(node: Node, known: tuple[str, ...]) -> str:
    value = fields.text(node)
    if value not in known:
        raise flaw("bad-value", f"one of {', '.join(known)} must stand here", node.at)
    return value


def _name(node: Node) -> str:
    value = fields.text(node)
    if _NAME.fullmatch(value) is None:
        raise flaw("bad-value", "a name is lower-case letters, digits and hyphens", node.at)
    return value


def _amount(node: Node, unit: str, most: int) -> int:
    match = _AMOUNT.fullmatch(fields.text(node))
    if match is None or match[2] != unit or int(match[1]) > most:
        raise flaw("bad-value", f"'1 {unit}' to '{most} {unit}' must stand here", node.at)
    return int(match[1])


def _pcrs(node: Node, admitted: frozenset[int], needed: frozenset[int]) -> frozenset[int]:
    text = fields.text(node)
    if _RANGES.fullmatch(text) is None:
        raise flaw("bad-value", "PCRs are written as 0-9,12,13", node.at)
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    if stray := sorted(numbers - admitted):
        what = f"PCR {stray[0]} proves nothing: any program resets it, or nobody writes it"
        raise flaw("bad-pcr", what, node.at)
    if missing := sorted(needed - numbers):
        raise flaw("bad-pcr", f"PCR {missing[0]} must be among them", node.at)
    return frozenset(numbers)


def _verdicts(node: Node) -> Mapping[str, Verdict]:
    if not isinstance(node, Table):
        raise flaw("wrong-type", "a mapping must stand here: {code: warning}", node.at)
    verdicts: dict[str, Verdict] = {}
    for key, value in node.entries:
        if key.value not in CODES or CODES[key.value].verdict not in _MOVABLE:
            what = f"{key.value[:60]!a} is no reason that a profile may move; see docs/reasons.md"
            raise flaw("unknown-key", what, key.at)
        verdicts[key.value] = Verdict(_word(value, _MOVABLE))
    return MappingProxyType(verdicts)
