"""A folder with a good file of every kind that an offline command reads, all made by the product itself.

Here sit the relying party, the auditor and the registrar; no host, no TPM and no network is needed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from acm import parts, sectionfile
from acm.history import begin
from acm.policyfile import load
from acm.xmlexport import export_policy
from attest.ear_issue import Issue, make_ear
from attest.enrolment import Enrolment
from attest.reference import HypervisorReference, ReferenceValues
from attest.result import Verdict
from attest.signer import MemoryKey
from attest.standing import Standing
from metering.export import export
from metering.key import METER_PCRS
from shype.earcheck import jwk
from tests.attest.ima.archive import Member, archive
from tests.attest.image.xenefi import XenEfi
from tests.attest.predict import build
from tests.conftest import REPOSITORY
from tests.metering.world import GOOD_STATE, Platform, Site
from tests.simulators.host import NONCE, POLICY, SWTPM, Ca, Host, key
from vtpm.templates import EK_ECC_P256
from vtpm.tpm2.constants import Curve
from vtpm.tpm2.public import EccKey, Public, Scheme

CONFIGS: Final = REPOSITORY / "configs"
QUOTES: Final = REPOSITORY / "tests" / "recordings" / "quotes"
QUOTE_NONCE: Final = next(
    case["nonce"]
    for case in json.loads((QUOTES / "cases.json").read_text())
    if case["name"] == "ecc-serialized"
)
PLATFORM: Final = Platform.of(1, 2)
KEY: Final = key("ear").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
GUESTS: Final = ("cola-web", "cola-db", "bank-web")
ROOT: Final = load(POLICY).root
HISTORY: Final = begin(bytes(range(32)))
PROFILE: Final = """\
schema: shype.pcr-profile/1
name: rack7
root: boot
firmware:
  recording: ovmf.bin
  loader: EFI/BOOT/BOOTX64.EFI
grub:
  config: grub.cfg
"""

IMAGE: Final = """\
schema: shype.image/1
root: boot
xen: xen.efi
options: console=com1
kernel: {path: vmlinuz, arguments: ro}
ramdisk: initrd.img
firmware: {recording: ovmf.bin}
"""
OWN_IMAGE: Final = """\
schema: shype.image/1
root: boot
xen: xen.efi
config: xen.cfg
kernel: {path: vmlinuz}
ramdisk: initrd.img
firmware: {recording: ovmf.bin}
"""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that works on the desk: its words, its exit code, which of the words name a file to read."""

    words: tuple[str, ...]
    files: tuple[str, ...]
    exit: int = 0


COMMANDS: Final = (
    Command(("doctor", "--root", "boot"), (), 1),
    Command(("eventlog", "ovmf.bin"), ("ovmf.bin",)),
    Command(
        ("policy", "decide", "policy.yaml", "--op", "start", "--subject", "cola-web", "--object", "dom0"),
        ("policy.yaml",),
    ),
    Command(("policy", "show", "policy.yaml"), ("policy.yaml",)),
    Command(
        ("policy", "diff", "datacenter.yaml", "datacenter-1.1.yaml", "--state", "state.json"),
        ("datacenter.yaml", "datacenter-1.1.yaml", "state.json"),
        1,
    ),
    Command(
        (
            *("policy", "can-run", "wall.yaml", "cola-web.cfg", "--host-description", "embedded.yaml"),
            *("--history", "history.json", "--newest-history", f"0:{HISTORY.digest}"),
        ),
        ("wall.yaml", "cola-web.cfg", "embedded.yaml", "history.json"),
    ),
    Command(("policy", "flows", "datacenter.yaml", "--from", "cola-web"), ("datacenter.yaml",)),
    Command(("policy", "matrix", "datacenter.yaml"), ("datacenter.yaml",)),
    Command(("policy", "lint", "datacenter.yaml"), ("datacenter.yaml",), 1),
    Command(
        ("policy", "section", "policy.yaml", "--label", "cola-web", "-o", "made-section.json"),
        ("policy.yaml",),
    ),
    Command(
        ("policy", "check-section", "section.json", "--label", "cola-web", "--root", ROOT), ("section.json",)
    ),
    Command(("policy", "export", "datacenter.yaml", "-o", "made-policy.xml"), ("datacenter.yaml",)),
    Command(("policy", "import", "datacenter.xml", "-o", "made-policy.yaml"), ("datacenter.xml",)),
    Command(
        ("pcrs", "predict", "rack7.yaml"),
        ("rack7.yaml", "boot/grub.cfg", "boot/EFI/BOOT/BOOTX64.EFI"),
    ),
    Command(
        (
            *("pcrs", "reference", "rack7.yaml", "--images", "boot", "--host", "embedded.yaml"),
            *("--domain", "cola-web.cfg", "--ima-root", "root", "--ima-ramdisk", "dom0.img"),
            *("--ima-list", "sha256sums", "-o", "made-reference.json"),
        ),
        ("rack7.yaml", "embedded.yaml", "cola-web.cfg", "dom0.img", "sha256sums"),
    ),
    Command(
        ("image", "build", "host.yaml", "-o", "made-xen.efi"),
        ("host.yaml", "boot/xen.efi", "ovmf.bin"),
    ),
    Command(
        ("image", "show", "unified.efi", "--recording", "ovmf.bin"),
        ("unified.efi", "ovmf.bin"),
    ),
    Command(
        (
            *("domain", "digest", "cola-web.cfg", "--images", "boot"),
            *("--describe", "embedded.yaml", "--policy", "datacenter.yaml"),
        ),
        ("cola-web.cfg", "embedded.yaml", "datacenter.yaml"),
    ),
    Command(("pcrs", "explain", "rack7.yaml", "evidence.json"), ("rack7.yaml", "evidence.json"), 1),
    Command(
        (
            "pcrs",
            "sign-reference",
            "reference.json",
            "--key",
            "ear-key.pem",
            "--days",
            "9",
            "-o",
            "made-set.json",
        ),
        ("reference.json", "ear-key.pem"),
    ),
    Command(
        (
            *("quote", "verify", "--ak", "ak.pub", "--message", "quote.msg", "--signature", "quote.sig"),
            *("--nonce", QUOTE_NONCE, "--pcrs", "quote.pcrs", "--require-pcrs", "sha256:0"),
        ),
        ("ak.pub", "quote.msg", "quote.sig", "quote.pcrs"),
    ),
    Command(
        (
            *("verify", "evidence.json", "--reference", "reference.json", "--policy", "policy.yaml"),
            *("--nonce", "@nonce", "--anchors", "anchors", "--profile", "appraisal.yaml"),
            *("--ear", "made-ear.jwt", "--ear-key", "ear-key.pem"),
        ),
        (
            *("evidence.json", "reference.json", "policy.yaml", "nonce", "anchors/maker.pem"),
            *("anchors/enrolled/xen1.example.json", "appraisal.yaml", "ear-key.pem"),
        ),
    ),
    Command(
        ("result", "verify", "ear.jwt", "--key", "ear-key.jwk", "--nonce", NONCE.hex()),
        ("ear.jwt", "ear-key.jwk"),
    ),
    Command(("result", "jwk", "ear-key.pem"), ("ear-key.pem",)),
    Command(("result", "standing", "anchors"), ("anchors/standings/xen1.example.json",), 1),
    Command(
        ("result", "clear", "cleared", "--host", "xen1.example", "--why", "a planned update"),
        ("cleared/standings/xen1.example.json",),
    ),
    Command(
        (
            *("enroll", "client-key", "--name", "auditor", "-o", "made-auditor.pem"),
            *("--certificate", "made-auditor.crt"),
        ),
        (),
    ),
    Command(("meter", "show", "usage"), ("usage/leaves", "usage/checkpoint")),
    Command(
        ("meter", "export", "usage", "-o", "made-export"),
        ("usage/leaves", "usage/checkpoint", "usage/meter-key.json"),
    ),
    Command(
        (
            *("audit", "export", "--enrolment", "host1.json", "--reference", "host1.reference.json"),
            *("--seen", "export/checkpoint"),
        ),
        (
            *("export/usage.log", "export/checkpoint", "export/meter-key.json"),
            *("host1.json", "host1.reference.json"),
        ),
    ),
    Command(
        (
            *("enroll", "challenge", "--host", "xen2", "--ek-certificate", "ek.crt", "--ek", "ek.pub"),
            *("--ak", "ak.pub", "--ca", "anchors", "--state", "made-registrar", "-o", "made-challenge"),
        ),
        ("ek.crt", "ek.pub", "ak.pub", "anchors/maker.pem"),
    ),
    Command(
        ("enroll", "nonce", "--host", "xen1.example", "--state", "anchors"),
        ("anchors/enrolled/xen1.example.json",),
    ),
)
"""Every offline command but ``enroll complete``, which needs a TPM's answer."""


def furnish(folder: Path) -> Path:
    """Write all files into a new folder."""
    folder.mkdir()
    _relying_party(folder)
    _quote(folder)
    _boot_files(folder)
    _auditor(folder)
    _registrar(folder)
    return folder


def _relying_party(folder: Path) -> None:
    host = Host.serving()
    enrolled = replace(host.enrolment(), time=datetime.now(UTC).replace(microsecond=0) - timedelta(days=1))
    (folder / "anchors" / "enrolled").mkdir(parents=True)
    (folder / "anchors" / "maker.pem").write_bytes(Ca().pem())
    (folder / "anchors" / "enrolled" / f"{host.name}.json").write_bytes(enrolled.encode())
    for place in ("anchors", "cleared"):
        (folder / place / "standings").mkdir(parents=True)
        (folder / place / "standings" / f"{host.name}.json").write_bytes(_failed(host.name).encode())
    (folder / "policy.yaml").write_bytes(POLICY)
    (folder / "wall.yaml").write_bytes(
        POLICY.replace(b"  conflict_sets:", b"  history: true\n  conflict_sets:")
    )
    (folder / "history.json").write_bytes(HISTORY.encode())
    section = sectionfile.encode(parts.section(load(POLICY), ["cola-web"]))
    (folder / "section.json").write_bytes(section)
    shutil.copy(CONFIGS / "policies" / "datacenter.yaml", folder)
    (folder / "datacenter.xml").write_bytes(export_policy(load((folder / "datacenter.yaml").read_bytes())))
    for name in ("datacenter-1.1.yaml", "state.json"):
        shutil.copy(CONFIGS / "updates" / name, folder)
    (folder / "reference.json").write_bytes(host.reference().encode())
    (folder / "evidence.json").write_bytes(host.evidence().encode())
    (folder / "nonce").write_text(NONCE.hex() + "\n")
    (folder / "ear-key.pem").write_bytes(KEY)
    shutil.copy(CONFIGS / "appraisal" / "embedded.yaml", folder / "appraisal.yaml")
    issue = Issue(build="shype", now=int(datetime.now(UTC).timestamp()), seconds=3600, audience=None)
    (folder / "ear.jwt").write_text(make_ear(host.verify(), MemoryKey.from_pem(KEY), issue))
    (folder / "ear-key.jwk").write_text(jwk(folder / "ear-key.pem").text)


def _failed(host: str) -> Standing:
    """A host that was affirming once, and then was not."""
    now, life = datetime(2026, 11, 1, 12, tzinfo=UTC), timedelta(minutes=5)
    good = Standing(host).judged(Verdict.AFFIRMING, (), good=True, now=now, lifetime=life)
    codes = ("domain-stopped",)
    return good.judged(Verdict.CONTRAINDICATED, codes, good=False, now=now + life, lifetime=life)


def _quote(folder: Path) -> None:
    shutil.copy(QUOTES / "ecc.pub", folder / "ak.pub")
    for ending in ("msg", "sig", "pcrs"):
        shutil.copy(QUOTES / f"ecc-serialized.{ending}", folder / f"quote.{ending}")


def _boot_files(folder: Path) -> None:
    build.write(folder / "boot")
    (folder / "rack7.yaml").write_text(PROFILE)
    (folder / "host.yaml").write_text(IMAGE)
    (folder / "own.yaml").write_text(OWN_IMAGE)
    (folder / "boot" / "xen.efi").write_bytes(XenEfi().build())
    (folder / "boot" / "xen.cfg").write_bytes(build.XEN_CFG)
    (folder / "unified.efi").write_bytes(build.unified())
    shutil.copy(CONFIGS / "recordings" / "ovmf-2022.11-q35.bin", folder / "ovmf.bin")
    shutil.copy(CONFIGS / "hosts" / "embedded.yaml", folder)
    (folder / "dom0.img").write_bytes(archive(Member("init", b"#!/bin/sh")))
    (folder / "sha256sums").write_text(f"{hashlib.sha256(b'xl').hexdigest()}  /usr/sbin/xl\n")
    (folder / "root" / "bin").mkdir(parents=True)
    (folder / "root" / "bin" / "sh").write_bytes(b"\x7fELF")
    for guest in GUESTS:
        shutil.copy(CONFIGS / "hosts" / f"{guest}.cfg", folder)


def _auditor(folder: Path) -> None:
    site = Site(folder / "usage", PLATFORM)
    for number, (name, tenant) in enumerate((("web", "acme"), ("db", "acme"), ("hpc", "zeta")), 1):
        site.source.add(name, tenant, unique_id=number)
    site.open()
    site.run(20)
    site.close()
    (folder / "usage" / "meter-key.json").write_bytes(site.platform.bundle())
    export(folder / "usage", folder / "export")
    (folder / "host1.json").write_bytes(_enrolment(site).encode())
    pcrs = dict(zip(METER_PCRS, GOOD_STATE, strict=True))
    hypervisor = HypervisorReference(None, "", "acm", "enforcing", None)
    reference = ReferenceValues("host1", 1, "sha256", pcrs, (), hypervisor, ())
    (folder / "host1.reference.json").write_bytes(reference.encode())


def _enrolment(site: Site) -> Enrolment:
    ak = site.platform.ak.public
    when = datetime(2026, 9, 1, tzinfo=UTC)
    return Enrolment("host1.example", ak.encode(), ak.name(), ak.name(), b"x", "", software=True, time=when)


def endorsement_key() -> Public:
    """The EK that the simulated maker's certificate speaks of."""
    point = key("ek").public_key().public_numbers()
    x, y = (number.to_bytes(32, "big") for number in (point.x, point.y))
    return replace(EK_ECC_P256.public, parameters=EccKey(Curve.NIST_P256, Scheme(), x, y))


def _registrar(folder: Path) -> None:
    (folder / "ek.pub").write_bytes(endorsement_key().encode_sized())
    (folder / "ek.crt").write_bytes(Ca().endorse(SWTPM))


def cleared(folder: Path, words: Sequence[str]) -> list[str]:
    """Return the words of a command, after removing what an earlier run of it left."""
    for made in folder.glob("made-*"):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    return list(words)
