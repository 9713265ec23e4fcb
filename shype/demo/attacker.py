"""What an attacker with root on the host can do: he has a copy of the machine, its TPM included.

He uses the product's own parts as his tools. Nothing here is a back door: every step is open to whoever runs
the vTPM manager, edits files, or boots other files.
"""

from __future__ import annotations

import gzip
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from acm import merkle
from attest.evidence import Evidence
from metering.chain import Chains
from metering.checkpoint import Checkpoint, Note, signed
from metering.log import digest
from metering.record import SALT_BYTES, Kind, Record, UsageRecord, decode
from metering.view import View
from shype.demo.main_job import GUESTS, Scene, tenant
from shype.errors import ShypeInputError
from shype.host import creation
from shype.host.embedded import EmbeddedHost
from shype.host.guests import recorded
from vtpm.errors import PolicyError
from vtpm.record import LabelRecord
from vtpm.templates import PcrPolicy
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.public import Public

MACHINE: Final = "machine"
STORIES: Final = "stories"
MOVED_NS: Final = 10_000_000_000
VICTIM: Final = GUESTS[0]
OTHER_LABEL: Final = GUESTS[2]

Edit = Callable[[int, Record], Record | None]
"""Changes the record at an index, or drops it."""


def keep_machine(scene: Scene) -> None:
    """Copy the machine while it is off."""
    scene.path(STORIES).mkdir()
    shutil.copytree(scene.path("host"), scene.path(STORIES, MACHINE), symlinks=True)


@contextmanager
def running(
    scene: Scene,
    name: str,
    *,
    boot: Path | None = None,
    policy: bytes | None = None,
    machine: Path | None = None,
) -> Iterator[EmbeddedHost]:
    """Boot a copy of the machine, or another one, under the demo's policy or another."""
    folder = scene.path(STORIES, name, "host")
    shutil.copytree(machine or scene.path(STORIES, MACHINE), folder, symlinks=True)
    with EmbeddedHost(folder, boot or scene.boot) as host:
        host.load_policy(scene.policy().read_bytes() if policy is None else policy)
        yield host


def launch_all(scene: Scene, host: EmbeddedHost) -> None:
    """Launch the demo's guests."""
    for guest in GUESTS:
        host.launch(scene.config(guest).read_bytes(), tenant(guest))


def bench(scene: Scene, name: str) -> Path:
    """Give the story its own copy of what the verifier holds, with a fresh nonce.

    What it remembers of the TPM's clock stays away: that would catch some attacks a second time.
    """
    folder = scene.path(STORIES, name, "verifier")
    shutil.copytree(scene.path("verifier"), folder, ignore=shutil.ignore_patterns("*.clock"))
    (folder / "nonce").write_text(secrets.token_hex(32) + "\n")
    return folder


def nonce_of(folder: Path) -> bytes:
    """Return the nonce that the verifier asked with."""
    return bytes.fromhex((folder / "nonce").read_text())


def show(folder: Path, evidence: Evidence) -> None:
    """Hand evidence to the verifier."""
    (folder / "evidence.json").write_bytes(evidence.encode())


def other_hypervisor(scene: Scene, name: str) -> Path:
    """Boot a hypervisor with one byte changed, packed as before."""
    changed = scene.path(STORIES, name, "boot")
    shutil.copytree(scene.boot, changed)
    image = bytearray(gzip.decompress((changed / "xen.gz").read_bytes()))
    image[-1] ^= 1
    (changed / "xen.gz").write_bytes(gzip.compress(bytes(image), mtime=0))
    return _judged_run(scene, name, boot=changed)


def policy_bit(scene: Scene, name: str) -> Path:
    """Load the policy with one bit of a comment changed: it means the same, and is another file."""
    policy = bytearray(scene.policy().read_bytes())
    policy[policy.index(b"#") + 2] ^= 1
    return _judged_run(scene, name, policy=bytes(policy))


def _judged_run(scene: Scene, name: str, *, boot: Path | None = None, policy: bytes | None = None) -> Path:
    folder = bench(scene, name)
    with running(scene, name, boot=boot, policy=policy) as host:
        launch_all(scene, host)
        show(folder, host.evidence(nonce_of(folder)))
    return folder


def label_changed(scene: Scene, name: str) -> Path:
    """Give a running guest another label: new record at locality 4, new key, new binding.

    The old key refuses to sign first; only the manager, at locality 4, comes this far.
    """
    folder = bench(scene, name)
    with running(scene, name) as host:
        launch_all(scene, host)
        victim = host.guests.vtpms[host.domain(VICTIM).vid]
        assert host.xen is not None
        other = host.xen.monitor.engine.label(OTHER_LABEL)
        record: LabelRecord = replace(
            victim.vtpm.record,
            label=other.name,
            ste_types=tuple(sorted(other.ste)),
            chwall_types=tuple(sorted(other.chwall)),
            mls=recorded(other.mls, trusted=host.xen.monitor.engine.trusts(other.name)),
            generation=2,
        )
        victim.vtpm.relabel(record)
        _key_refuses(scene, victim.quote)
        victim.vtpm.rekey()
        victim.binding_record = victim.vtpm.binding(host.tpm.ak.name, host.tpm.tpm.clock().reset_count)
        show(folder, host.evidence(nonce_of(folder)))
    return folder


def _key_refuses(scene: Scene, quote: Callable[[bytes, PcrSelection], tuple[bytes, bytes]]) -> None:
    try:
        quote(bytes(32), PcrSelection.of(Alg.SHA256, [17]))
    except PolicyError as error:
        scene.narrator.tell(f"The guest's own key signs no more: {error}. So the attacker makes another.")
        return
    raise ShypeInputError("a relabelled vTPM still signs with its old key")


def old_quote(scene: Scene, name: str) -> Path:
    """Answer a new nonce with the evidence of the last time."""
    return bench(scene, name)


def other_tpm(scene: Scene, name: str) -> Path:
    """Quote with another machine's TPM, and claim that this host's key did it."""
    folder = bench(scene, name)
    other = scene.path(STORIES, name, MACHINE)
    other.parent.mkdir(exist_ok=True)
    creation.create(other, (scene.path(STORIES, MACHINE) / creation.DESCRIPTION).read_bytes())
    claimed = Evidence.decode(scene.path("verifier", "evidence.json").read_bytes()).host.ak
    with running(scene, name, machine=other) as host:
        host.guests.ak_name = Public.decode(claimed).name()
        launch_all(scene, host)
        evidence = host.evidence(nonce_of(folder))
        show(folder, replace(evidence, host=replace(evidence.host, ak=claimed)))
    return folder


def unknown_key(scene: Scene, name: str) -> Path:
    """Quote with a good key of the right TPM that nobody has enrolled."""
    folder = bench(scene, name)
    with running(scene, name) as host:
        selection = PcrSelection.of(Alg.SHA256, [0])
        policy = PcrPolicy(selection, host.tpm.tpm.pcr_read(selection))
        host.tpm.ak = host.tpm.tpm.create_ak(policy)
        host.guests.ak_name = host.tpm.ak.name
        launch_all(scene, host)
        show(folder, host.evidence(nonce_of(folder)))
    return folder


def record_edited(scene: Scene, name: str) -> Path:
    """Move ten seconds of CPU time to the next minute, and mend the chain; the signature stays as it was.

    Counters still rise and intervals still join, so nothing but the signed root can tell.
    """
    folder, leaves = _ledger(scene, name)
    at = _a_usage_record(leaves)

    def edit(place: int, record: Record) -> Record:
        return (
            record._replace(cpu_ns=record.cpu_ns - MOVED_NS)
            if place == at and isinstance(record, UsageRecord)
            else record
        )

    (folder / "usage.log").write_bytes(View.of(relink(leaves, edit)).encode())
    return folder


def record_dropped(scene: Scene, name: str) -> Path:
    """Run a meter that never writes one interval of one guest, and have the TPM sign the rest."""
    folder, leaves = _ledger(scene, name)
    at = _a_usage_record(leaves)
    kept = relink(leaves, lambda place, record: None if place == at else record)
    with running(scene, name) as host:
        origin = Checkpoint.of_text(Note.decode((folder / "checkpoint").read_bytes()).text).origin
        head = Checkpoint(origin, len(kept), merkle.root(kept))
        (folder / "checkpoint").write_bytes(
            signed(head, host.meter_key.spki(), host.meter_key.sign(digest(head)))
        )
    (folder / "usage.log").write_bytes(View.of(kept).encode())
    return folder


def _ledger(scene: Scene, name: str) -> tuple[Path, Sequence[bytes]]:
    folder = scene.path(STORIES, name, "auditor")
    shutil.copytree(scene.path("auditor"), folder)
    return folder, View.decode((folder / "usage.log").read_bytes()).leaves


def _a_usage_record(leaves: Sequence[bytes]) -> int:
    """Return the index of a usage record in the middle of a guest's life."""
    found = [
        at
        for at, leaf in enumerate(leaves)
        if isinstance(record := decode(leaf[SALT_BYTES:]), UsageRecord)
        and record.kind is Kind.USAGE
        and record.tenant == tenant(VICTIM)
    ]
    return found[len(found) // 2]


def relink(leaves: Sequence[bytes], edit: Edit) -> list[bytes]:
    """Return leaves with edited records, chained anew: what is not signed can always be made consistent."""
    chains = Chains()
    changed = ((leaf[:SALT_BYTES], edit(at, decode(leaf[SALT_BYTES:]))) for at, leaf in enumerate(leaves))
    return [chains.link(record, salt) for salt, record in changed if record is not None]
