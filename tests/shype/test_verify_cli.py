"""``shype verify`` and ``shype result``: files in, exit code and one document out, offline."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shype.main import parser_for
from tests.shype.outcome import Outcome, run
from tests.simulators.host import GOOD_BOOT, NONCE, POLICY, Ca, Host, key
from tests.simulators.user_land import MeasuringHost

PEM = key("ear").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Folder:
    """The relying party's folder: exactly the files that a verification needs."""

    def __init__(self, path: Path, host: Host) -> None:
        self.path = path
        (path / "anchors" / "enrolled").mkdir(parents=True)
        (path / "anchors" / "maker.pem").write_bytes(Ca().pem())
        (path / "policy.yaml").write_bytes(POLICY)
        (path / "ear-key.pem").write_bytes(PEM)
        self.show(host)

    def show(self, host: Host) -> None:
        enrolment = replace(
            host.enrolment(), time=datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        )
        (self.path / "anchors" / "enrolled" / f"{host.name}.json").write_bytes(enrolment.encode())
        (self.path / "reference.json").write_bytes(host.reference().encode())
        (self.path / "evidence.json").write_bytes(host.evidence().encode())

    def arguments(self, **changes: str) -> list[str]:
        options = {
            "reference": "reference.json",
            "policy": "policy.yaml",
            "nonce": NONCE.hex(),
            "anchors": "anchors",
            "profile": "embedded",
        } | changes
        return ["evidence.json", *(word for name, value in options.items() for word in (f"--{name}", value))]

    def verify(self, *more: str, **changes: str) -> Outcome:
        return self.run("verify", *self.arguments(**changes), *more)

    def run(self, *arguments: str) -> Outcome:
        return run(*arguments)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path, Host.serving())


def checked(repository: Path, outcome: Outcome, name: str = "verify-result") -> Any:
    schema = json.loads((repository / "configs" / "schema" / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(outcome.document, schema)
    return outcome.document


class TestVerdicts:
    def test_affirming(self, folder: Folder, repository: Path) -> None:
        outcome = folder.verify("--json")
        assert (outcome.exit, outcome.err) == (0, "")
        document = checked(repository, outcome)
        assert (document["verdict"], document["reasons"], document["ear"]) == ("affirming", [], None)

    def test_contraindicated(self, folder: Folder, repository: Path) -> None:
        folder.show(Host.serving(boot=GOOD_BOOT.replaced(b"xen", b"other")))
        outcome = folder.verify("--json")
        assert outcome.exit == 1
        document = checked(repository, outcome)
        assert document["verdict"] == "contraindicated"
        assert document["reasons"] == [
            {
                "code": "hypervisor-not-in-reference",
                "detail": "PCR 9: not file xen.gz; PCR 9: not file xen.gz",
                "node": "host xen1.example / xen",
            }
        ]

    def test_an_unknown_program_in_dom0(self, folder: Folder, repository: Path) -> None:
        host = MeasuringHost.running()
        embedded = (repository / "configs" / "appraisal" / "embedded.yaml").read_text()
        (folder.path / "user-land.yaml").write_text(embedded.replace("0-9,12,13", "0-10,12,13"))
        folder.show(host)
        assert folder.verify(profile="user-land.yaml").exit == 0
        host.execute("/run/nc", b"netcat")
        host.find("behind")
        folder.show(host)
        outcome = folder.verify("--json", profile="user-land.yaml")
        assert outcome.exit == 1
        found = {one["code"]: one for one in checked(repository, outcome)["reasons"]}
        assert found.keys() == {"ima-not-allowed", "domain-unaccounted"}
        assert "'/run/nc'" in found["ima-not-allowed"]["detail"]
        assert found["domain-unaccounted"]["node"] == "host xen1.example"

    def test_not_authentic(self, folder: Folder, repository: Path) -> None:
        outcome = folder.verify("--json", nonce="00" * 32)
        assert outcome.exit == 3
        document = checked(repository, outcome)
        assert (document["verdict"], document["outcome"]) == ("none", "none")
        assert [reason["code"] for reason in document["reasons"]] == ["nonce-mismatch"]

    def test_inconclusive(self, folder: Folder, repository: Path) -> None:
        outcome = folder.verify("--json", "--domain", "web", "--domain", "mail")
        assert outcome.exit == 4
        document = checked(repository, outcome)
        assert (document["verdict"], document["outcome"]) == ("none", "inconclusive")
        assert [reason["code"] for reason in document["reasons"]] == ["domain-missing"]

    def test_malformed_evidence_is_a_result_too(self, folder: Folder, repository: Path) -> None:
        (folder.path / "evidence.json").write_bytes(b"\x00garbage")
        outcome = folder.verify("--json")
        assert outcome.exit == 3
        assert [reason["code"] for reason in checked(repository, outcome)["reasons"]] == [
            "evidence-malformed"
        ]

    def test_the_default_profile_refuses_a_software_tpm(self, folder: Folder) -> None:
        arguments = folder.arguments()
        at = arguments.index("--profile")
        outcome = folder.run("verify", *arguments[:at], *arguments[at + 2 :], "--json")
        assert outcome.exit == 1
        assert [reason["code"] for reason in outcome.document["reasons"]] == ["software-tpm"]

    def test_a_warning_is_refused_unless_the_profile_admits_it(
        self, folder: Folder, repository: Path
    ) -> None:
        host = Host.booted()
        host.load_policy(POLICY + b"# old\n")
        host.launch("web", "cola-web")
        host.load_policy(POLICY)
        folder.show(host)
        assert folder.verify().exit == 1
        embedded = (repository / "configs/appraisal/embedded.yaml").read_text()
        mine = folder.path / "mine.yaml"
        mine.write_text(embedded.replace("warnings: refused", "warnings: admitted"))
        outcome = folder.verify("--json", profile="mine.yaml")
        assert (outcome.exit, outcome.document["verdict"]) == (0, "warning")

    def test_an_unknown_host_has_no_enrolled_key(self, folder: Folder) -> None:
        (folder.path / "anchors" / "enrolled" / "xen1.example.json").unlink()
        outcome = folder.verify("--json")
        assert (outcome.exit, [one["code"] for one in outcome.document["reasons"]]) == (
            3,
            ["ak-not-enrolled"],
        )

    def test_an_enrolment_can_be_named(self, folder: Folder) -> None:
        (folder.path / "anchors" / "enrolled" / "xen1.example.json").rename(folder.path / "host.json")
        assert folder.verify("--enrolment", "host.json").exit == 0

    def test_the_nonce_may_stand_in_a_file(self, folder: Folder) -> None:
        (folder.path / "nonce").write_text(NONCE.hex() + "\n")
        assert folder.verify(nonce="@nonce").exit == 0


class TestText:
    def test_a_good_host_is_one_line_a_node(self, folder: Folder) -> None:
        lines = folder.verify().out.splitlines()
        assert lines[0] == "✓ host xen1.example: affirming"
        assert all(line.lstrip().startswith("✓ ") for line in lines)
        assert len(lines) == 11

    def test_a_bad_one_says_why(self, folder: Folder) -> None:
        host = Host.serving()
        host.relabel("web", "dns")
        folder.show(host)
        out = folder.verify().out
        assert "    ✗ vtpm: contraindicated" in out
        assert "The vTPM's label is not the label that was measured at launch. [label-changed]" in out

    def test_what_was_not_evaluated_is_marked(self, folder: Folder) -> None:
        out = folder.verify(nonce="00" * 32).out
        assert "  ? xen: none (not evaluated: the platform is not authentic)" in out


class TestUsage:
    @pytest.mark.parametrize("name", ["evidence.json", "reference.json", "policy.yaml", "anchors"])
    def test_a_missing_file(self, folder: Folder, name: str) -> None:
        path = folder.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        outcome = folder.verify("--json")
        assert (outcome.exit, outcome.document["error"]["exit"]) == (2, 2)
        assert name in outcome.err
        assert outcome.err.count("\n") == 1

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"nonce": "xyz"}, "--nonce"),
            ({"nonce": "00"}, "16 to 64 bytes"),
            ({"nonce": "@nowhere"}, "nowhere"),
            ({"profile": "nowhere"}, "packaged appraisal: default, embedded"),
            ({"enrolment": "nowhere.json"}, "nowhere.json"),
            ({"ear": "out.jwt"}, "--ear-key"),
            ({"ear-key": "ear-key.pem"}, "--ear"),
            ({"ear": "out.jwt", "ear-key": "policy.yaml"}, "PEM private key"),
        ],
    )
    def test_a_wrong_argument(self, folder: Folder, options: dict[str, str], words: str) -> None:
        outcome = folder.verify(**options)
        assert (outcome.exit, outcome.out) == (2, "")
        assert words in outcome.err

    @pytest.mark.parametrize("name", ["reference.json", "policy.yaml", "anchors/maker.pem"])
    def test_a_broken_file_of_ones_own(self, folder: Folder, name: str) -> None:
        (folder.path / name).write_bytes(b"\x00\x01")
        outcome = folder.verify()
        assert (outcome.exit, outcome.out) == (3, "")
        assert outcome.err.count("\n") == 1

    def test_no_anchor(self, folder: Folder) -> None:
        (folder.path / "anchors" / "maker.pem").unlink()
        assert folder.verify().exit == 2

    @pytest.mark.parametrize("group", ["verify", "result"])
    def test_help_has_an_example(self, group: str) -> None:
        parser = parser_for(group)
        verbs = [verb for action in parser._actions if action.choices for verb in action.choices.values()]  # type: ignore[attr-defined]
        text = "".join(one.format_help() for one in (parser, *verbs))
        assert f"shype {group} " in text
        assert "Exit:" in text
        assert "Example" in text


class TestSignedResult:
    def test_the_relying_party_reads_it(self, folder: Folder, repository: Path) -> None:
        outcome = folder.verify("--json", "--ear", "out.jwt", "--ear-key", "ear-key.pem")
        assert outcome.exit == 0
        token = (folder.path / "out.jwt").read_text()
        assert checked(repository, outcome)["ear"] + "\n" == token
        self._write_jwk(folder)
        read = folder.run(
            "result",
            "verify",
            "out.jwt",
            "--key",
            "key.jwk",
            "--nonce",
            NONCE.hex(),
            "--submod",
            "domain:web",
            "--json",
        )
        assert read.exit == 0
        document = checked(repository, read, "result-verify")
        assert document["verdict"] == "affirming"
        assert set(document["claims"]["submods"]) == {"platform", "domain:web", "domain:keys"}
        assert "✓ affirming, by shype " in folder.run("result", "verify", "out.jwt", "--key", "key.jwk").out

    @pytest.mark.parametrize(("bad", "code"), [("contraindicated", 1), ("none", 4)])
    def test_it_says_what_was_found(self, folder: Folder, bad: str, code: int) -> None:
        if bad == "contraindicated":
            folder.show(Host.serving(boot=GOOD_BOOT.replaced(b"xen", b"other")))
        nonce = "00" * 32 if bad == "none" else NONCE.hex()
        folder.verify("--ear", "out.jwt", "--ear-key", "ear-key.pem", nonce=nonce)
        self._write_jwk(folder)
        read = folder.run("result", "verify", "out.jwt", "--key", "key.jwk", "--json")
        assert (read.exit, read.document["verdict"]) == (code, bad)

    def test_a_nonce_that_is_empty_or_not_hex_is_wrong_usage(self, folder: Folder) -> None:
        """An unset $NONCE in a script is said to be that, and not to be a nonce that differs."""
        folder.verify("--ear", "out.jwt", "--ear-key", "ear-key.pem")
        self._write_jwk(folder)
        for nonce in ("", "00 11", "0x00", "0"):
            refused = folder.run("result", "verify", "out.jwt", "--key", "key.jwk", "--nonce", nonce)
            assert (refused.exit, "hexadecimal" in refused.err) == (2, True), nonce

    def test_it_is_refused_for_another_nonce_or_when_changed(self, folder: Folder, repository: Path) -> None:
        folder.verify("--ear", "out.jwt", "--ear-key", "ear-key.pem")
        self._write_jwk(folder)
        read = folder.run("result", "verify", "out.jwt", "--key", "key.jwk", "--nonce", "00" * 32, "--json")
        assert read.exit == 3
        document = checked(repository, read, "result-verify")
        assert [reason["code"] for reason in document["reasons"]] == ["nonce-mismatch"]
        path = folder.path / "out.jwt"
        path.write_text(path.read_text().replace(".", "..", 1))
        assert folder.run("result", "verify", "out.jwt", "--key", "key.jwk").exit == 3

    def test_for_whom_it_is(self, folder: Folder) -> None:
        folder.verify("--ear", "out.jwt", "--ear-key", "ear-key.pem", "--audience", "tenant")
        self._write_jwk(folder)
        assert folder.run("result", "verify", "out.jwt", "--key", "key.jwk").exit == 3
        assert folder.run("result", "verify", "out.jwt", "--key", "key.jwk", "--audience", "tenant").exit == 0

    @staticmethod
    def _write_jwk(folder: Folder) -> None:
        (folder.path / "key.jwk").write_text(folder.run("result", "jwk", "ear-key.pem").out)


def _alone() -> list[str]:
    """The prefix for a process without network and environment; empty where that is not allowed.

    Root needs no user namespace of its own, which a chroot would refuse it.
    """
    if shutil.which("unshare") is None:
        return []
    for options in (["-n"], ["-r", "-n"]):
        prefix = ["unshare", *options, "env", "-i"]
        if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0:
            return prefix
    return []


@pytest.mark.skipif(not _alone(), reason="unshare -n is not allowed here")
def test_it_needs_nothing_but_the_named_files(folder: Folder) -> None:
    """In a folder with exactly these files, without environment and network, nothing else is asked for."""
    command = [*_alone(), sys.executable, "-m", "shype.main", "verify", *folder.arguments(), "--json"]
    found = subprocess.run(command, check=False, capture_output=True, cwd=folder.path)
    assert (found.returncode, found.stderr) == (0, b"")
    assert json.loads(found.stdout)["verdict"] == "affirming"
    text = subprocess.run(command[:-1], check=False, capture_output=True, cwd=folder.path)
    assert text.stdout.decode().startswith("✓ host xen1.example: affirming\n")
