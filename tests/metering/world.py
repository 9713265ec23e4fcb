"""A host with domains that use things, a platform whose TPM keys are in memory, and an attacker's pencil."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from metering.audit import CHECKS, audit
from metering.case import Terms, Trust
from metering.chain import Chains
from metering.checkpoint import Checkpoint, signed
from metering.key import METER_PCRS, QUALIFYING, MeterKeyBundle, host_id, key_id, policy
from metering.log import digest, read_published
from metering.meter import Meter
from metering.record import SALT_BYTES, Record, decode
from metering.register import Reading, Setup, Time
from metering.view import View
from vtpm.tpm2.constants import GENERATED, Alg, AttestType, Attributes, Curve
from vtpm.tpm2.public import EccKey, Public, Scheme
from vtpm.tpm2.signature import Signature
from vtpm.tpm2.wire import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from metering.verdict import AuditResult

PERIOD = 10_000_000_000
START_WALL = 1_790_000_000_000
ORIGIN = "host1.example/usage"
GOOD_STATE = tuple(hashlib.sha256(b"good %d" % pcr).digest() for pcr in METER_PCRS)
OTHER_STATE = tuple(hashlib.sha256(b"other %d" % pcr).digest() for pcr in METER_PCRS)

_BASE = (
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.SIGN_ENCRYPT
)
AK_ATTRIBUTES = _BASE | Attributes.RESTRICTED | Attributes.USER_WITH_AUTH
METER_ATTRIBUTES = _BASE


@dataclass(frozen=True, slots=True)
class TpmKey:
    """A key in memory with the public area that a TPM would show; a Signer."""

    private: ec.EllipticCurvePrivateKey
    public: Public

    @classmethod
    def make(cls, attributes: Attributes, auth_policy: bytes = b"", secret: int | None = None) -> TpmKey:
        curve = ec.SECP256R1()
        private = ec.generate_private_key(curve) if secret is None else ec.derive_private_key(secret, curve)
        point = private.public_key().public_numbers()
        key = EccKey(Curve.NIST_P256, Scheme(), point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big"))
        signing = Scheme(Alg.ECDSA, Alg.SHA256)
        return cls(private, Public(Alg.ECC, Alg.SHA256, attributes, auth_policy, None, signing, key))

    def spki(self) -> bytes:
        return self.public.spki()

    def sign(self, digest: bytes) -> bytes:
        return self.private.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))

    def certify_creation(self, name: bytes, extra: bytes = QUALIFYING) -> tuple[bytes, bytes]:
        attest = (
            Writer()
            .u32(GENERATED)
            .u16(AttestType.CREATION)
            .sized(self.public.name())
            .sized(extra)
            .raw(bytes(17))
            .raw(bytes(8))
            .sized(name)
            .sized(bytes(32))
            .done()
        )
        r, s = decode_dss_signature(self.sign(hashlib.sha256(attest).digest()))
        value = (r.to_bytes(32, "big"), s.to_bytes(32, "big"))
        return attest, Signature(Alg.ECDSA, Alg.SHA256, value).encode()


@dataclass(slots=True)
class Platform:
    """A host's keys, and what an auditor trusts about it."""

    ak: TpmKey = field(default_factory=lambda: TpmKey.make(AK_ATTRIBUTES))
    key: TpmKey = field(default_factory=lambda: TpmKey.make(METER_ATTRIBUTES, policy(GOOD_STATE)))

    @classmethod
    def of(cls, ak: int, key: int) -> Platform:
        """Return the platform that always has these keys."""
        return cls(
            TpmKey.make(AK_ATTRIBUTES, secret=ak),
            TpmKey.make(METER_ATTRIBUTES, policy(GOOD_STATE), secret=key),
        )

    @property
    def trust(self) -> Trust:
        return Trust(self.ak.public, (GOOD_STATE,))

    def bundle(self) -> bytes:
        return MeterKeyBundle(
            self.key.public.encode(), *self.ak.certify_creation(self.key.public.name())
        ).encode()

    def setup(self, epoch: int = 7) -> Setup:
        return Setup(host_id(self.ak.public.name()), epoch, key_id(self.key.spki()), 4, PERIOD)


@dataclass(slots=True)
class Source:
    """Domains that use CPU time, memory and devices at random; a CounterSource."""

    domains: dict[str, Reading] = field(default_factory=dict)
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def add(self, name: str, tenant: str, **values: Any) -> Reading:
        domain = str(UUID(bytes=hashlib.sha256(name.encode()).digest()[:16]))
        vid = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
        new = Reading(
            **{
                "domain": domain,
                "tenant": tenant,
                "vid": vid,
                "label": tenant,
                "pages": 65536,
                "cpu_ns": 0,
                **values,
            }
        )
        self.domains[domain] = new
        return new

    def work(self) -> None:
        for domain, old in self.domains.items():
            self.domains[domain] = replace(
                old,
                cpu_ns=old.cpu_ns + self.dice.randrange(1, PERIOD),
                net_rx=old.net_rx + self.dice.randrange(1 << 20),
                blk_wr_ops=old.blk_wr_ops + 1,
                blk_wr_bytes=old.blk_wr_bytes + 4096,
                vtpm_ops=old.vtpm_ops + 1,
            )

    def snapshot(self) -> Sequence[Reading]:
        return tuple(self.domains.values())


@dataclass(slots=True)
class ManualClock:
    """Both clocks of a host; a Clock."""

    mono_ns: int = 100 * PERIOD + 1_000_000
    wall_ms: int = START_WALL
    synced: bool = True

    def now(self) -> Time:
        return Time(self.mono_ns, self.wall_ms, self.synced)

    def advance(self, ns: int = PERIOD) -> None:
        self.mono_ns += ns
        self.wall_ms += ns // 1_000_000


@dataclass(slots=True)
class Site:
    """One metered host with its log folder."""

    folder: Path
    platform: Platform = field(default_factory=Platform)
    source: Source = field(default_factory=Source)
    clock: ManualClock = field(default_factory=ManualClock)
    epoch: int = 7
    meter: Meter | None = None

    def open(self, kind: type[Meter] = Meter) -> Meter:
        self.meter = kind.resume(
            self.folder, ORIGIN, self.platform.setup(self.epoch), self.source, self.clock
        )
        return self.meter

    def run(self, ticks: int, step: int = PERIOD) -> None:
        for _ in range(ticks):
            self.clock.advance(step)
            self.source.work()
            self.meter.tick()

    def close(self) -> None:
        self.meter.close(self.platform.key)

    def sign(self) -> bytes:
        return self.meter.sign(self.platform.key)

    def leaves(self) -> list[bytes]:
        return read_published(self.folder)[0]

    def files(self, tenant: str | None = None) -> Files:
        leaves, note = read_published(self.folder)
        view = View.of_tenant(leaves, tenant) if tenant else View.of(leaves)
        return Files(view.encode(), note, self.platform.bundle(), self.platform)


@dataclass(frozen=True, slots=True)
class Files:
    """What an auditor is handed."""

    log: bytes
    checkpoint: bytes | None
    key: bytes | None
    platform: Platform

    def audit(self, *, without: str = "", trust: Trust | None = None, **terms: Any) -> AuditResult:
        checks = tuple(check for check in CHECKS if check.name != without)
        assert len(checks) == len(CHECKS) - bool(without), f"no check {without!r}"
        trust = self.platform.trust if trust is None else trust
        return audit(self.log, self.checkpoint, self.key, trust, Terms(**terms), checks=checks)

    def leaves(self) -> list[bytes]:
        return list(View.decode(self.log).leaves)

    def with_leaves(self, leaves: Sequence[bytes]) -> Files:
        """Edit what is stored: the checkpoint stays as it was signed."""
        return replace(self, log=View.of(leaves).encode())

    def resigned(self, leaves: Sequence[bytes]) -> Files:
        """What a meter that lies would have written and signed."""
        chains = Chains()
        for leaf in leaves:
            chains.frontier.append(hashlib.sha256(b"\0" + leaf).digest())
        head = Checkpoint(ORIGIN, chains.frontier.size, chains.frontier.root())
        note = signed(head, self.platform.key.spki(), self.platform.key.sign(digest(head)))
        return replace(self, log=View.of(leaves).encode(), checkpoint=note)


def records(leaves: Sequence[bytes]) -> list[Record]:
    return [decode(leaf[SALT_BYTES:]) for leaf in leaves]


def relink(leaves: Sequence[bytes], change: Callable[[int, Record], Record | None]) -> list[bytes]:
    """Change or drop (None) records, and chain all of them anew."""
    chains, changed = Chains(), []
    for at, (leaf, record) in enumerate(zip(leaves, records(leaves), strict=True)):
        new = change(at, record)
        if new is not None:
            changed.append(chains.link(new, leaf[:SALT_BYTES]))
    return changed


def metered_site(folder: Path) -> Site:
    """Return a host with two domains of acme and one of zeta, metered for 20 ticks and not yet signed."""
    made = Site(folder)
    made.source.add("web", "acme", unique_id=1)
    made.source.add("db", "acme", unique_id=2)
    made.source.add("hpc", "zeta", unique_id=3)
    made.open()
    made.run(20)
    return made
