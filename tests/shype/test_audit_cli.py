"""``shype audit`` and ``shype meter``: exit codes, documents, and an audit in an empty environment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from attest.enrolment import Enrolment
from attest.reference import HypervisorReference, ReferenceValues
from metering.key import METER_PCRS
from metering.log import LEAVES, STRIDE
from metering.record import LEAF_BYTES, SALT_BYTES, UsageRecord, decode
from metering.view import LOG_MAGIC, View
from shype.main import parser_for
from tests.metering.world import GOOD_STATE, OTHER_STATE, Site, metered_site, relink

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shype.outcome import Shype


@pytest.fixture
def shype(shype_command: Shype) -> Shype:
    return shype_command


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = metered_site(tmp_path / "log")
    yield made
    made.meter.abandon()


@dataclass(frozen=True)
class Office:
    """An auditor's folder: an export, an enrolment and reference values."""

    folder: Path
    site: Site

    @property
    def trust(self) -> tuple[str, ...]:
        return ("--enrolment", f"{self.folder}/host1.json", "--reference", f"{self.folder}/reference.json")

    @property
    def export(self) -> Path:
        return self.folder / "export"

    def log(self) -> bytes:
        return (self.export / "usage.log").read_bytes()

    def put(self, log: bytes) -> None:
        (self.export / "usage.log").write_bytes(log)


@pytest.fixture
def office(site: Site, tmp_path: Path, shype: Shype) -> Office:
    site.close()
    (site.folder / "meter-key.json").write_bytes(site.platform.bundle())
    made = Office(tmp_path / "office", site)
    made.folder.mkdir()
    assert shype("meter", "export", site.folder, "-o", made.export).exit == 0
    ak = site.platform.ak.public
    name = ak.name()
    time = datetime(2026, 9, 1, tzinfo=UTC)
    enrolment = Enrolment("host1.example", ak.encode(), name, name, b"x", "", software=True, time=time)
    (made.folder / "host1.json").write_bytes(enrolment.encode())
    for name, state in (("reference", GOOD_STATE), ("other", OTHER_STATE)):
        (made.folder / f"{name}.json").write_bytes(_reference(state))
    return made


def _reference(state: tuple[bytes, ...]) -> bytes:
    hypervisor = HypervisorReference(None, "", "flask", "enforcing", None)
    pcrs = dict(zip(METER_PCRS, state, strict=True))
    return ReferenceValues("host1", 1, "sha256", pcrs, (), hypervisor, ()).encode()


@pytest.fixture(scope="session")
def schemas(repository: Path) -> Callable[[str, Any], None]:
    def check(name: str, document: Any) -> None:
        schema = json.loads((repository / f"configs/schema/{name}.schema.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(document)

    return check


def test_honest_export_is_affirmed(office: Office, shype: Shype, schemas: Any) -> None:
    until = datetime.fromtimestamp(office.site.clock.wall_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    outcome = shype("audit", office.export, *office.trust, "--until", until, "--json")
    assert outcome.exit == 0, outcome.out
    schemas("audit", outcome.document)
    assert outcome.document["verdict"] == "affirming"
    assert outcome.document["violations"] == []
    assert outcome.document["not_proved"] == ["unwitnessed"]
    assert len(outcome.document["totals"]) == 3


def test_the_text_is_a_table_and_a_verdict(office: Office, shype: Shype) -> None:
    outcome = shype("audit", office.export, *office.trust)
    lines = outcome.out.splitlines()
    assert lines[0].split()[:4] == ["domain", "tenant", "CPU", "s"]
    assert len({len(line) for line in lines[1:4]}) == 1
    assert lines[-1].startswith("affirming: 90 records")
    assert any("not proved: unwitnessed" in line for line in lines)


def test_tenant_audits_its_own_part(office: Office, shype: Shype, schemas: Any, tmp_path: Path) -> None:
    part = tmp_path / "acme"
    exported = shype("meter", "export", office.site.folder, "-o", part, "--tenant", "acme", "--json")
    schemas("meter-export", exported.document)
    assert exported.document["records"] < exported.document["size"]
    outcome = shype("audit", part, *office.trust, "--tenant", "acme", "--json")
    assert outcome.exit == 0, outcome.out
    schemas("audit", outcome.document)
    assert {total["tenant"] for total in outcome.document["totals"]} == {"acme"}
    assert "other-domains" in outcome.document["not_proved"]
    assert shype("audit", part, *office.trust, "--tenant", "zeta", "--json").codes == ["MALFORMED"]


def test_edited_record_is_not_authentic(office: Office, shype: Shype, schemas: Any) -> None:
    raw = bytearray(office.log())
    raw[len(LOG_MAGIC) + 5 * LEAF_BYTES + SALT_BYTES + 235] ^= 1
    office.put(bytes(raw))
    outcome = shype("audit", office.export, *office.trust, "--json")
    assert outcome.exit == 3
    assert outcome.err.count("\n") == 1
    schemas("audit", outcome.document)
    assert set(outcome.codes) == {"TAMPERED"}
    assert outcome.document["verdict"] == "none"


def test_interval_never_written_is_a_violation(office: Office, shype: Shype, schemas: Any) -> None:
    leaves = View.decode(office.log()).leaves
    at = [place for place, leaf in enumerate(leaves) if isinstance(decode(leaf[SALT_BYTES:]), UsageRecord)][
        10
    ]
    rogue = office.site.files().resigned(
        relink(leaves, lambda place, record: None if place == at else record)
    )
    office.put(rogue.log)
    (office.export / "checkpoint").write_bytes(rogue.checkpoint or b"")
    outcome = shype("audit", office.export, *office.trust, "--json")
    assert outcome.exit == 1
    schemas("audit", outcome.document)
    assert outcome.codes == ["INCOMPLETE"]
    assert outcome.document["verdict"] == "contraindicated"


def test_wrong_platform_is_a_violation(office: Office, shype: Shype) -> None:
    trust = ("--enrolment", f"{office.folder}/host1.json", "--reference", f"{office.folder}/other.json")
    outcome = shype("audit", office.export, *trust, "--json")
    assert (outcome.exit, outcome.codes) == (1, ["PLATFORM"])
    assert shype("audit", office.export, *trust, "--reference", f"{office.folder}/reference.json").exit == 0


@pytest.mark.parametrize(("missing", "word"), [("checkpoint", "unsigned"), ("meter-key.json", "key-missing")])
def test_missing_proof_is_inconclusive(
    office: Office, shype: Shype, schemas: Any, missing: str, word: str
) -> None:
    (office.export / missing).unlink()
    outcome = shype("audit", office.export, *office.trust, "--json")
    assert outcome.exit == 4
    schemas("audit", outcome.document)
    assert word in outcome.document["not_proved"]
    assert outcome.document["verdict"] == "none"


def test_missing_trust_and_a_demanded_witness_are_inconclusive(office: Office, shype: Shype) -> None:
    assert shype("audit", office.export).exit == 4
    assert shype("audit", office.export, *office.trust[:2]).exit == 4
    assert shype("audit", office.export, *office.trust[2:]).exit == 4
    assert shype("audit", office.export, *office.trust, "--require-witness").exit == 4


def test_reference_values_without_all_pcrs_prove_no_platform(office: Office, shype: Shype) -> None:
    hypervisor = HypervisorReference(None, "", "flask", "enforcing", None)
    few = ReferenceValues("host1", 1, "sha256", {4: GOOD_STATE[4]}, (), hypervisor, ())
    (office.folder / "reference.json").write_bytes(few.encode())
    outcome = shype("audit", office.export, *office.trust, "--json")
    assert outcome.exit == 4
    assert "platform" in outcome.document["not_proved"]


@pytest.mark.parametrize("name", ["usage.log", "checkpoint", "meter-key.json"])
@pytest.mark.parametrize("content", [b"", b"\0", b"{}", b"\xff\xfe", b"[" * 5000, LOG_MAGIC])
def test_broken_files_are_not_well_formed(
    office: Office, shype: Shype, schemas: Any, name: str, content: bytes
) -> None:
    (office.export / name).write_bytes(content)
    outcome = shype("audit", office.export, *office.trust, "--json")
    schemas("audit", outcome.document)
    assert outcome.exit == 3, outcome.out


@pytest.mark.parametrize("name", ["host1.json", "reference.json"])
def test_broken_trust_is_not_well_formed(office: Office, shype: Shype, name: str) -> None:
    (office.folder / name).write_bytes(b"{}")
    outcome = shype("audit", office.export, *office.trust)
    assert outcome.exit == 3
    assert outcome.err.count("\n") == 1


def test_wrong_usage(office: Office, shype: Shype, tmp_path: Path) -> None:
    for arguments in (
        (),
        (tmp_path / "nothing",),
        (tmp_path,),
        (office.export, "--checkpoint", tmp_path / "nothing"),
        (office.export, "--enrolment", tmp_path / "nothing"),
        (office.export, "--until", "yesterday"),
        (office.export, "--reset-count", "-1"),
        (office.export, office.export, "--checkpoint", office.export / "checkpoint"),
    ):
        outcome = shype("audit", *arguments)
        assert outcome.exit == 2, arguments
        assert outcome.err.count("\n") == 1
    for arguments in (
        ("export", tmp_path / "nothing", "-o", tmp_path / "out"),
        ("export", office.site.folder, "-o", office.export),
        ("export", office.site.folder, "-o", tmp_path / "out", "--tenant", "nobody"),
        ("show", tmp_path / "nothing"),
    ):
        assert shype("meter", *arguments).exit == 2, arguments


def test_two_readers_with_different_histories(office: Office, shype: Shype, tmp_path: Path) -> None:
    leaves = View.decode(office.log()).leaves
    at = [place for place, leaf in enumerate(leaves) if isinstance(decode(leaf[SALT_BYTES:]), UsageRecord)][
        10
    ]
    fork = office.site.files().resigned(
        relink(leaves, lambda place, record: record._replace(label=bytes(32)) if place == at else record)
    )
    other = tmp_path / "other"
    shutil.copytree(office.export, other)
    (other / "usage.log").write_bytes(fork.log)
    (other / "checkpoint").write_bytes(fork.checkpoint or b"")
    outcome = shype("audit", office.export, other, *office.trust, "--json")
    forked = [one["log"] for one in outcome.document["violations"] if one["code"] == "FORKED"]
    assert forked == [str(office.export), str(other)]


def test_checkpoint_seen_before(office: Office, shype: Shype) -> None:
    seen = office.export / "checkpoint"
    assert shype("audit", office.export, *office.trust, "--seen", seen).exit == 0


def test_later_boot_than_the_records_show(office: Office, shype: Shype) -> None:
    assert shype("audit", office.export, *office.trust, "--reset-count", 7).exit == 0
    outcome = shype("audit", office.export, *office.trust, "--reset-count", 8, "--json")
    assert (outcome.exit, outcome.codes) == (1, ["ROLLBACK"])


def test_log_file_with_named_proofs(office: Office, shype: Shype, tmp_path: Path) -> None:
    moved = shutil.copy(office.export / "usage.log", tmp_path / "october.log")
    given = ("--checkpoint", office.export / "checkpoint", "--key", office.export / "meter-key.json")
    assert shype("audit", moved, *given, *office.trust).exit == 0


def test_show(office: Office, shype: Shype, schemas: Any, tmp_path: Path) -> None:
    outcome = shype("meter", "show", office.site.folder, "--json")
    schemas("meter-show", outcome.document)
    assert outcome.document["records"] == outcome.document["signed"] == 90
    assert outcome.document["tenants"] == ["acme", "zeta"]
    assert "boot 7" in shype("meter", "show", office.site.folder).out
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / LEAVES).write_bytes(bytes(STRIDE))
    schemas("meter-show", shype("meter", "show", tmp_path / "empty", "--json").document)


def test_export_of_a_damaged_log_is_refused(office: Office, shype: Shype, tmp_path: Path) -> None:
    leaves = office.site.folder / LEAVES
    raw = bytearray(leaves.read_bytes())
    raw[4 * STRIDE] ^= 1
    leaves.write_bytes(bytes(raw))
    assert shype("meter", "export", office.site.folder, "-o", tmp_path / "out").exit == 3


def test_export_with_the_key_of_another_boot_is_refused(office: Office, shype: Shype, tmp_path: Path) -> None:
    from tests.metering.world import Platform

    (office.site.folder / "meter-key.json").write_bytes(Platform().bundle())
    assert shype("meter", "export", office.site.folder, "-o", tmp_path / "out").exit == 3


def test_meter_key_has_its_schema(office: Office, schemas: Any) -> None:
    schemas("meter-key", json.loads((office.export / "meter-key.json").read_bytes()))


def test_audit_imports_nothing_that_touches_a_machine() -> None:
    """An auditor needs no TPM, no log folder, no network."""
    script = "import sys, metering.audit, shype.cli.audit; print(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not loaded & {"metering.log", "metering.meter", "metering.platform_key", "vtpm.tpm", "tpm2_pytss"}
    assert not {name for name in loaded if name.startswith("hypervisor")}


def test_audit_in_an_empty_environment(office: Office, tmp_path: Path) -> None:
    """A folder with the export, the enrolment and the reference values is enough."""
    room = tmp_path / "room"
    shutil.copytree(office.folder, room)
    script = "from shype.main import run; run()"
    command = ["audit", "export", "--enrolment", "host1.json", "--reference", "reference.json"]
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=room, env={"PATH": "/nonexistent"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in room.iterdir()) == [
        "export",
        "host1.json",
        "other.json",
        "reference.json",
    ]


@pytest.mark.parametrize("group", ["audit", "meter"])
def test_help_has_an_example(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["export"]) if group == "meter" else ([],):
        with pytest.raises(SystemExit) as ended:
            parser_for(group).parse_args([*arguments, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert (group == "meter" and not arguments) or "Example:" in text
