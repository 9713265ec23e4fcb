"""A host that boots, loads a policy and runs labelled domains, with TPMs whose keys are in memory.

Everything that a verifier sees is real: structures, signatures, logs, certificates. Only the TPM is a Python
object, so that one test takes milliseconds. Tests read like stories::

    host = Host.booted()
    host.load_policy(POLICY)
    host.launch("web", "cola-web")
    assert host.verdict() is Verdict.AFFIRMING
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from acm import policyfile
from acm.history import History, begin
from acm.mls import Range
from acm.policy import Policy
from attest.appraisal import AppraisalProfile
from attest.attester import Logs, attest
from attest.boot.measured import EV_EFI_ACTION, EV_IPL, Measured, event_log
from attest.endorsement import Anchors
from attest.enrolment import Enrolment
from attest.eventlog.cel import encode_cel, new_event
from attest.evidence import Evidence, FirmwareLog
from attest.quote import qualified_name
from attest.reference import Component, DomainReference, HypervisorReference, ReferenceEvent, ReferenceValues
from attest.result import Result, Verdict
from attest.runtime_events import (
    DomainCommitment,
    DomainEvent,
    DomainFound,
    DomainLaunch,
    HistoryInForce,
    HypervisorReport,
    PolicyLoaded,
)
from attest.verifier.claims import Expectation
from attest.verifier.verify import verify
from vtpm.binding import Binding
from vtpm.record import LABEL_PCR, NO_LABEL, LabelRecord, RecordedLevel, RecordedRange
from vtpm.templates import PcrPolicy, attestation_key
from vtpm.tpm2.constants import GENERATED, Alg, AttestType, Curve, Hierarchy
from vtpm.tpm2.pcrs import PcrSelection, digest_of, extend
from vtpm.tpm2.public import EccKey, Public
from vtpm.tpm2.signature import Signature
from vtpm.tpm2.wire import Writer

REPOSITORY: Final = Path(__file__).resolve().parents[2]
POLICY: Final = (REPOSITORY / "configs" / "policies" / "datacenter.yaml").read_bytes()
EMBEDDED: Final = AppraisalProfile.decode(
    (REPOSITORY / "configs" / "appraisal" / "embedded.yaml").read_bytes()
)
DEFAULT: Final = AppraisalProfile.decode((REPOSITORY / "configs" / "appraisal" / "default.yaml").read_bytes())
NOW: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NONCE: Final = bytes(range(32))
SWTPM: Final = "id:00001014"
INFINEON: Final = "id:49465800"
XEN_OPTIONS: Final = "console=com1 dom0_mem=768M"


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """A key that is the same in every run; nothing is protected by it."""
    return ec.derive_private_key(int.from_bytes(sha256(name.encode())), ec.SECP256R1())


@cache
def policy_of(raw: bytes) -> Policy:
    return policyfile.load(raw)


class Tpm:
    """A TPM with one attestation key, which is a primary key of the endorsement hierarchy."""

    def __init__(self, name: str, *, policy: PcrPolicy | None = None, template: Public | None = None) -> None:
        self.private = key(name)
        self.pcrs = [bytes(32)] * 17 + [NO_LABEL] * 6 + [bytes(32)]
        self.reset_count = 7
        self.restart_count = 0
        self.clock = 1_000_000
        self.safe = True
        point = self.private.public_key().public_numbers()
        place = EccKey(Curve.NIST_P256, attestation_key(None).parameters.kdf, _32(point.x), _32(point.y))
        self.public = replace(template or attestation_key(policy), parameters=place)

    def ak_public(self) -> bytes:
        return self.public.encode()

    def extend(self, pcr: int, digest: bytes) -> None:
        self.pcrs[pcr] = extend(Alg.SHA256, self.pcrs[pcr], digest)

    def pcr_read(self, selection: PcrSelection) -> Sequence[bytes]:
        return [self.pcrs[pcr] for _, pcr in selection.pairs()]

    def quote(self, qualifying: bytes, selection: PcrSelection) -> tuple[bytes, bytes]:
        message = self.attestation(qualifying, selection)
        return message, self.sign(message)

    def attestation(
        self,
        qualifying: bytes,
        selection: PcrSelection,
        *,
        magic: int = GENERATED,
        kind: int = AttestType.QUOTE,
    ) -> bytes:
        """TPMS_ATTEST with a TPMS_QUOTE_INFO (Part 2, 10.12.8)."""
        writer = Writer().u32(magic).u16(kind).sized(qualified_name(self.public, Hierarchy.ENDORSEMENT))
        writer.sized(qualifying).u64(self.clock).u32(self.reset_count).u32(self.restart_count).u8(
            self.safe
        ).u64(1)
        return writer.raw(selection.encode()).sized(digest_of(Alg.SHA256, self.pcr_read(selection))).done()

    def sign(self, message: bytes, digest: hashes.HashAlgorithm | None = None) -> bytes:
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(digest or hashes.SHA256())))
        return Signature(Alg.ECDSA, Alg.SHA256, (_32(r), _32(s))).encode()


def _32(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _recorded(mls: Range | None, *, trusted: bool) -> RecordedRange | None:
    if mls is None:
        return None
    low, high = (RecordedLevel(end.name, tuple(sorted(end.categories))) for end in (mls.low, mls.high))
    return RecordedRange(low, high, trusted)


class DomainVtpm(Tpm):
    """The vTPM of a domain, labelled and bound by the vTPM manager."""

    def __init__(self, name: str, record: LabelRecord) -> None:
        selection = PcrSelection.of(Alg.SHA256, [LABEL_PCR])
        super().__init__(f"vak {name} {record.label}", policy=PcrPolicy(selection, (record.pcr17(),)))
        self.pcrs[LABEL_PCR] = record.pcr17()
        self.vid = record.vid
        self.label_record = record
        self.record = record.encode()
        self.binding = b""
        self.launch = b""

    def bind(self, host: Tpm) -> Binding:
        binding = Binding(
            vid=self.vid,
            generation=self.label_record.generation,
            record_digest=self.label_record.digest().hex(),
            vak_name=self.public.name().hex(),
            vek_name=(b"\x00\x0b" + sha256(b"vek" + self.vid.encode())).hex(),
            ak_name=host.public.name().hex(),
            reset_count=host.reset_count,
        )
        self.binding = binding.encode()
        return binding


EV_POST_CODE, EV_SEPARATOR = 1, 4
_TOLD: Final = {"action": EV_EFI_ACTION, "exit boot services": EV_EFI_ACTION, "separator": EV_SEPARATOR}
"""Events whose data are what is hashed; all others only describe it."""


def _measured(pcr: int, content: bytes, _: Component, what: str) -> Measured:
    kind = _TOLD.get(what, EV_IPL if pcr >= 8 else EV_POST_CODE)  # 8: the first register of the loader
    return Measured(pcr, kind, {"sha256": sha256(content)}, content if what in _TOLD else what.encode())


@dataclass(frozen=True)
class Boot:
    """What a boot measures: PCR, content, component, description."""

    files: tuple[tuple[int, bytes, Component, str], ...]

    def measured(self) -> list[Measured]:
        return [_measured(*one) for one in self.files]

    def replaced(self, old: bytes, new: bytes) -> Boot:
        """The same boot with another file or command, wherever the old one was measured."""
        assert any(content == old for _, content, _, _ in self.files)
        return Boot(tuple((p, new if c == old else c, part, w) for p, c, part, w in self.files))


F, L, X, D = Component
GOOD_BOOT: Final = Boot(
    (
        *((pcr, b"firmware %d" % pcr, F, f"firmware {pcr}") for pcr in range(8)),
        (4, b"Calling EFI Application from Boot Option", F, "action"),
        *((pcr, bytes(4), F, "separator") for pcr in range(8)),
        (4, b"grub", L, "file EFI/BOOT/BOOTX64.EFI"),
        (8, b"search --file /xen.gz --set=root", L, "command search"),
        (9, b"xen", X, "file xen.gz"),
        (8, b"multiboot2 /xen.gz placeholder " + XEN_OPTIONS.encode(), X, "command multiboot2"),
        (9, b"xen", X, "file xen.gz"),
        (8, XEN_OPTIONS.encode(), X, "arguments of xen.gz"),
        (8, b"module2 /vmlinuz placeholder ro", D, "command module2 /vmlinuz"),
        (9, b"vmlinuz", D, "file vmlinuz"),
        (8, b"ro", D, "arguments of vmlinuz"),
        (8, b"module2 --nounzip /initrd.img", D, "command module2 /initrd.img"),
        (9, b"initrd", D, "file initrd.img"),
        (8, b"boot", L, "command boot"),
        (5, b"Exit Boot Services Invocation", F, "exit boot services"),
        (5, b"Exit Boot Services Returned with Success", F, "exit boot services"),
    )
)
DOM0_ARGUMENTS: Final = "placeholder ro"
REPORT: Final = HypervisorReport("4.17.5", "ab" * 20, XEN_OPTIONS, "none", "none", None, DOM0_ARGUMENTS)


@dataclass(frozen=True)
class Ca:
    """A TPM maker's CA."""

    name: str = "root"

    def certificate(self) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{self.name} CA")])
        builder = self._builder(subject, key(self.name).public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return builder.add_extension(_usage(sign=True), critical=True).sign(key(self.name), hashes.SHA256())

    @cache  # noqa: B019 - a Ca is a name, and lives as long as the process
    def endorse(self, manufacturer: str) -> bytes:
        names = [
            x509.NameAttribute(x509.ObjectIdentifier(f"2.23.133.2.{i}"), value)
            for i, value in enumerate((manufacturer, "model", "id:1"), 1)
        ]
        builder = self._builder(x509.Name([]), key("ek").public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        san = x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(names))])
        usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.1")])
        builder = builder.add_extension(san, critical=True).add_extension(usage, critical=False)
        builder = builder.add_extension(_usage(sign=False), critical=True)
        return builder.sign(key(self.name), hashes.SHA256()).public_bytes(Encoding.DER)

    @cache  # noqa: B019 - as above
    def pem(self) -> bytes:
        return self.certificate().public_bytes(Encoding.PEM)

    def _builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{self.name} CA")])
        return (
            x509.CertificateBuilder(issuer, subject, public, 4711)
            .not_valid_before(NOW - timedelta(days=1000))
            .not_valid_after(NOW + timedelta(days=10_000))
        )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not sign,
        key_cert_sign=sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass
class Host:
    """A host, what its registrar and relying party know of it, and the attacks on it."""

    name: str = "xen1.example"
    tpm: Tpm = field(default_factory=lambda: Tpm("host ak"))
    boot: Boot = GOOD_BOOT
    manufacturer: str = SWTPM
    profile: AppraisalProfile = EMBEDDED
    expected_policy: bytes = POLICY
    show_firmware_log: bool = True
    firmware_log: bytes | None = None
    """What it shows instead of the log of its boot."""
    domains: dict[str, DomainVtpm] = field(default_factory=dict)
    events: list[tuple[int, bytes]] = field(default_factory=list)
    found: list[bytes] = field(default_factory=list)
    loaded: bytes = b""
    references: dict[str, DomainReference] = field(default_factory=dict)
    enrolled_ak: Public | None = None
    history: History = field(default_factory=lambda: begin(bytes(32)))

    @classmethod
    def booted(
        cls, boot: Boot = GOOD_BOOT, report: HypervisorReport | None = REPORT, **values: object
    ) -> Host:
        """Power on: firmware, loader, Xen and dom0 are measured, then the hypervisor reports."""
        host = cls(boot=boot, **values)  # type: ignore[arg-type]
        for one in boot.measured():
            host.tpm.extend(one.pcr, one.digests["sha256"])
        if report is not None:
            host.measure(12, report.encode())
        return host

    @classmethod
    def serving(cls, **values: object) -> Host:
        """A good host with two good domains."""
        host = cls.booted(**values)  # type: ignore[arg-type]
        host.load_policy(POLICY)
        host.launch("web", "cola-web")
        host.launch("keys", "bank-keys")
        return host

    def measure(self, pcr: int, data: bytes) -> None:
        """Log an event and extend its register."""
        self.events.append((pcr, data))
        self.tpm.extend(pcr, sha256(data))

    def load_policy(self, raw: bytes) -> None:
        policy = policy_of(raw)
        self.loaded = raw
        if policy.history:
            self.measure_history()
        event = PolicyLoaded(policy.name, policy.version, policy.digest, policy.root)
        self.measure(12, event.encode())

    def measure_history(self, history: History | None = None) -> None:
        """Log which history of past runs counts from here on."""
        self.history = history or self.history
        event = HistoryInForce(self.history.name, self.history.sequence, self.history.digest)
        self.measure(12, event.encode())

    def record(self, name: str, label: str, **changes: object) -> LabelRecord:
        policy = policy_of(self.loaded)
        types = policy.domain_labels[label]
        record = LabelRecord(
            vid=sha256(f"vid {name}".encode()).hex()[:32],
            domain=str(UUID(bytes=sha256(name.encode())[:16])),
            label=label,
            ste_types=tuple(sorted(types.ste)),
            chwall_types=tuple(sorted(types.chwall)),
            mls=_recorded(types.mls, trusted=label in policy.trusted),
            policy_digest=policy.digest,
            policy_version=policy.version,
            generation=1,
        )
        return replace(record, **changes)  # type: ignore[arg-type]

    def launch(self, name: str, label: str, **changes: object) -> DomainLaunch:
        """Decide, make a vTPM, bind it, measure the launch; and tell the relying party what is right."""
        vtpm = DomainVtpm(name, self.record(name, label))
        binding = vtpm.bind(self.tpm)
        launch = DomainLaunch(
            vid=vtpm.vid,
            name=name,
            uuid=vtpm.label_record.domain,
            label=label,
            config_digest=sha256(f"config {name}".encode()).hex(),
            kernel=sha256(b"guest kernel").hex(),
            ramdisk=sha256(b"guest ramdisk").hex(),
            disks=(f"xvda w {name}-disk",),
            policy_digest=vtpm.label_record.policy_digest,
            binding_digest=binding.digest().hex(),
            salt=sha256(f"salt {name}".encode()).hex(),
        )
        self.references[name] = DomainReference(
            name, label, launch.config_digest, launch.kernel, launch.ramdisk, launch.disks
        )
        launch = replace(launch, **changes)  # type: ignore[arg-type]
        vtpm.launch = launch.encode()
        self.domains[name] = vtpm
        self.measure(13, DomainCommitment(DomainEvent.LAUNCH, launch.commitment()).encode())
        return launch

    def stop(self, name: str) -> None:
        launch = DomainLaunch.decode(self.domains[name].launch)
        self.measure(13, DomainCommitment(DomainEvent.STOP, launch.commitment()).encode())

    def find(self, name: str | None, domid: int = 5, context: str | None = None) -> DomainFound:
        """The agent's poll meets a domain that was started behind its back."""
        salt = sha256(f"found {name} {domid}".encode())
        found = DomainFound.listed(domid, str(UUID(bytes=salt[:16])), name, context, salt)
        self.found.append(found.encode())
        self.measure(13, found.measured().encode())
        return found

    def relabel(self, name: str, label: str) -> None:
        """The attack: another label record into PCR 17, and a new key and binding that fit it."""
        launch = self.domains[name].launch
        vtpm = DomainVtpm(name, self.record(name, label, generation=2))
        vtpm.bind(self.tpm)
        vtpm.launch = launch
        self.domains[name] = vtpm

    def runtime_log(self) -> bytes:
        return encode_cel([new_event(i, pcr, data) for i, (pcr, data) in enumerate(self.events)])

    def logs(self) -> Logs:
        log = self.firmware_log or event_log(self.boot.measured(), ["sha256"])
        firmware = FirmwareLog("simulator", log) if self.show_firmware_log else None
        return Logs(self.runtime_log(), firmware, found=tuple(self.found))

    def evidence(
        self, nonce: bytes = NONCE, channel: bytes | None = None, only: frozenset[str] | None = None
    ) -> Evidence:
        """``only`` names the domains that speak, as a tenant's do."""
        vtpms = [vtpm for name, vtpm in self.domains.items() if only is None or name in only]
        return attest(nonce, self.name, self.tpm, vtpms, self.logs(), channel=channel)

    def enrolment(self) -> Enrolment:
        ak = self.enrolled_ak or self.tpm.public
        return Enrolment(
            host=self.name,
            ak=ak.encode(),
            ak_name=ak.name(),
            ek_name=b"\x00\x0b" + sha256(b"ek"),
            ek_certificate=Ca().endorse(self.manufacturer),
            manufacturer=self.manufacturer,
            software=self.manufacturer == SWTPM,
            time=NOW - timedelta(days=1),
        )

    def reference(self) -> ReferenceValues:
        """What the relying party predicted: the good boot, the good report, the domains as launched."""
        tpm = Tpm("reference")
        for one in GOOD_BOOT.measured():
            tpm.extend(one.pcr, one.digests["sha256"])
        return ReferenceValues(
            name="xen1",
            version=1,
            bank="sha256",
            pcrs={pcr: tpm.pcrs[pcr] for pcr in range(10)},
            events=tuple(ReferenceEvent(p, sha256(c), part, w) for p, c, part, w in GOOD_BOOT.files),
            hypervisor=HypervisorReference(
                REPORT.version,
                XEN_OPTIONS,
                "none",
                "none",
                REPORT.build_id,
                dom0_commandline=DOM0_ARGUMENTS,
            ),
            domains=tuple(self.references.values()),
        )

    def expectation(self, **changes: object) -> Expectation:
        reference = self.reference()
        expectation = Expectation(
            reference=reference,
            reference_digest=sha256(reference.encode()).hex(),
            policy=policy_of(self.expected_policy),
            profile=self.profile,
            enrolment=self.enrolment(),
            nonce=NONCE,
            now=NOW,
            anchors=Anchors.decode([Ca().pem()]),
        )
        return replace(expectation, **changes)  # type: ignore[arg-type]

    def verify(self, evidence: Evidence | bytes | None = None, **changes: object) -> Result:
        return verify(evidence or self.evidence(), self.expectation(**changes))


def codes(result: Result) -> list[str]:
    """The reason codes of a result, top down."""
    return [reason.code for _, reason in result.reasons()]


def nodes(result: Result) -> dict[str, Verdict]:
    """The verdict of each part, by its name; a vTPM's by "NAME vtpm"."""
    found: dict[str, Verdict] = {}
    for path, node in result.root.walk():
        names = path.split(" / ")
        owner = names[-2].removeprefix("domain ") if node.name == "vtpm" else ""
        found[f"{owner} {node.name}".strip()] = node.verdict
    return found
