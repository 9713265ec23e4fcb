"""``shype policy``: exit codes, documents and messages."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from acm.decision import Code
from acm.engine import Operation
from shype.cli import policy as group
from shype.main import parser_for
from tests.schemas import validator

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shype.outcome import Shype

FROM = """\
version: "1.1"
from: {name: mls, version: "1.0"}
renames: {domain_labels: {web: www}}"""

AMBIGUOUS = """\
format: shype.policy/1
name: ambiguous
version: "1.0"
bootstrap: dom0
ste: {types: [a, b]}
domain_labels: {dom0: {ste: [a, b]}, web: {ste: [a]}}
resource_labels: {web: {ste: b}}
"""


@pytest.fixture
def shype(shype_command: Shype) -> Shype:
    return partial(shype_command, "policy")


@pytest.fixture(scope="session")
def datacenter(repository: Path) -> Path:
    return repository / "configs/policies/datacenter.yaml"


@pytest.fixture
def ambiguous(tmp_path: Path) -> Path:
    path = tmp_path / "ambiguous.yaml"
    path.write_text(AMBIGUOUS)
    return path


def question(op: str, subject: str, target: str, *running: str) -> list[str]:
    options = [option for label in running for option in ("--running", label)]
    return ["--op", op, "--subject", subject, "--object", target, *options]


DECISIONS = [
    (question("share", "cola-web", "dns"), "permit", ["ste-shared-type"]),
    (question("share", "cola-web", "juice-web"), "deny", ["ste-no-shared-type"]),
    (question("read", "cola-db", "cola-disk"), "permit", ["ste-shared-type"]),
    (question("write", "cola-web", "res:cola-disk"), "deny", ["ste-no-shared-type"]),
    (question("start", "cola-web", "dom0", "cola-web"), "permit", ["chwall-clear", "ste-authorized"]),
    (question("start", "cola-web", "dom0", "bank-web", "juice-db"), "deny", ["chwall-conflict"]),
    (question("start", "cola-web", "dom0-bank"), "deny", ["ste-not-authorized"]),
    (question("authorize", "dom0-bank", "bank-web"), "permit", ["ste-authorized"]),
    (question("authorize", "dom0-bank", "cola-web"), "deny", ["ste-not-authorized"]),
    (question("share", "__UNLABELED__", "dom0"), "deny", ["unlabeled-confined"]),
    (question("share", "__UNLABELED__", "__UNLABELED__"), "permit", ["ste-shared-type"]),
    (question("read", "dom0", "__INACCESSIBLE__"), "deny", ["resource-inaccessible"]),
]


@pytest.mark.parametrize(("arguments", "verdict", "codes"), DECISIONS)
def test_decide(shype: Shype, datacenter: Path, arguments: list[str], verdict: str, codes: list[str]) -> None:
    outcome = shype("decide", datacenter, *arguments, "--json")
    assert outcome.exit == {"permit": 0, "deny": 1}[verdict]
    assert outcome.err == ""
    assert outcome.document["verdict"] == verdict
    assert [reason["code"] for reason in outcome.document["reasons"]] == codes
    validator("policy-decide").validate(outcome.document)
    text = shype("decide", datacenter, *arguments)
    assert text.exit == outcome.exit
    assert text.out.startswith(f"{verdict}\n")


def test_a_denial_names_the_conflict_set_the_types_and_the_running_label(
    shype: Shype, datacenter: Path
) -> None:
    outcome = shype("decide", datacenter, *question("start", "cola-web", "dom0", "juice-db"), "--json")
    (reason,) = outcome.document["reasons"]
    assert all(word in reason["detail"] for word in ("'rivals'", "'cola'", "'juice'", "'juice-db'"))


def test_json_may_stand_before_the_verb(shype: Shype, datacenter: Path) -> None:
    assert (
        shype("--json", "decide", datacenter, *question("share", "dns", "dns")).document["verdict"]
        == "permit"
    )


def test_can_run(shype: Shype, repository: Path, datacenter: Path) -> None:
    hosts = repository / "configs/hosts"
    host = ("--host-description", hosts / "embedded.yaml")
    permitted = shype("can-run", datacenter, hosts / "cola-web.cfg", *host, "--running", "bank-web", "--json")
    assert (permitted.exit, permitted.document["verdict"]) == (0, "permit")
    denied = shype("can-run", datacenter, hosts / "cola-web.cfg", *host, "--running", "juice-db", "--json")
    assert (denied.exit, denied.document["reasons"][0]["code"]) == (1, "chwall-conflict")
    for outcome in (permitted, denied):
        validator("policy-can-run").validate(outcome.document)
    assert shype("can-run", datacenter, hosts / "cola-web.cfg", *host, "--running", "nobody").exit == 2
    assert shype("can-run", datacenter, hosts / "cola-web.cfg").exit == 2
    assert shype("can-run", datacenter, hosts / "missing.cfg", *host).exit == 2
    assert shype("can-run", datacenter, datacenter, *host).exit == 3


def test_a_history_that_is_none_is_exit_3_and_half_an_anchor_is_wrong_usage(
    shype: Shype, repository: Path, tmp_path: Path
) -> None:
    wall = repository / "configs/policies/chinese-wall.yaml"
    broken = tmp_path / "history.json"
    broken.write_bytes(b"{}")
    start = question("start", "bank-a", "dom0")
    assert shype("decide", wall, *start, "--history", broken).exit == 3
    assert shype("decide", wall, *start, "--history", tmp_path / "missing").exit == 2
    for anchor in ("1", "1:", f"-1:{'0' * 64}", f"01:{'0' * 64}", f"1:{'0' * 63}", f"1:{'A' * 64}"):
        outcome = shype("decide", wall, *start, f"--newest-history={anchor}")
        assert outcome.exit == 2
        assert outcome.err.count("\n") == 1
        assert "SEQUENCE:DIGEST" in outcome.err


def test_the_schema_knows_every_code_and_its_verdict(repository: Path) -> None:
    document = json.loads((repository / "configs/schema/policy-decide.schema.json").read_text())
    listed = [
        document[branch]["properties"]["reasons"]["items"]["properties"]["code"]["enum"]
        for branch in ("then", "else")
    ]
    assert set(listed[0]) | set(listed[1]) == set(Code)
    assert not set(listed[0]) & set(listed[1])


def test_show_of_every_section(shype: Shype, repository: Path, tmp_path: Path) -> None:
    policies = repository / "configs/policies"
    text = (policies / "mls.yaml").read_text().replace('version: "1.0"', FROM)
    path = tmp_path / "mls.yaml"
    path.write_text(text)
    shown = shype("show", path, "--json").document
    validator("policy-show").validate(shown)
    assert shown["levels"] == ["public", "internal", "secret"]
    assert shown["trusted"] == ["dom0", "release-guard"]
    assert shown["from"] == {"name": "mls", "version": "1.0"}
    assert shown["renames"] == {"domain_labels": {"web": "www"}, "resource_labels": {}}
    assert "release-guard: ste -; chwall -; mls public to internal" in shype("show", path).out
    assert "renamed     www to web" in shype("show", path).out
    wall = shype("show", policies / "chinese-wall.yaml", "--json").document
    validator("policy-show").validate(wall)
    assert wall["history"] is True


def test_show(shype: Shype, datacenter: Path) -> None:
    outcome = shype("show", datacenter, "--json")
    assert outcome.exit == 0
    validator("policy-show").validate(outcome.document)
    assert outcome.document["digest"] in shype("show", datacenter).out
    assert {"name": "cola-disk", "ste": ["cola-data"]} in outcome.document["resource_labels"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (question("share", "nobody", "dom0"), "no such label: 'nobody'"),
        (question("start", "dns", "dom0", "nobody"), "no such label: 'nobody'"),
        (question("own", "dns", "dom0"), "invalid choice: 'own'"),
        (question("SHARE", "dns", "dom0"), "invalid choice: 'SHARE'"),
        (question("start", "dns", "dom0", "cola-db", "juice-db"), "conflict set 'rivals'"),
        (question("share", "dns", "cola-disk"), "is a resource label"),
        (["--op", "share", "--subject", "dns"], "--object"),
        (["--op", "share", "--object", "dns"], "--subject"),
        (["--subject", "dns", "--object", "dns"], "--op"),
        ([*question("share", "dns", "dom0"), "--force"], "--force"),
        ([*question("share", "dns", "dom0"), "--run", "dns"], "--run"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    shype: Shype, datacenter: Path, arguments: list[str], message: str
) -> None:
    outcome = shype("decide", datacenter, *arguments)
    assert outcome.exit == 2
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert "permit" not in outcome.out


def test_an_ambiguous_name_is_wrong_usage_and_prefixes_tell_apart(shype: Shype, ambiguous: Path) -> None:
    outcome = shype("decide", ambiguous, *question("read", "web", "web"))
    assert outcome.exit == 2
    assert "'vm:web' or 'res:web'" in outcome.err
    assert shype("decide", ambiguous, *question("read", "web", "vm:web")).exit == 0
    assert shype("decide", ambiguous, *question("read", "vm:web", "res:web")).exit == 1
    assert shype("decide", ambiguous, *question("share", "web", "web")).exit == 0


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_wrong_usage(shype: Shype, tmp_path: Path, name: str) -> None:
    outcome = shype("decide", tmp_path / name, *question("share", "a", "b"))
    assert outcome.exit == 2
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("verb", [["decide", *question("share", "nobody", "b")], ["show"]])
def test_a_broken_file_is_exit_3_with_its_place(
    shype: Shype, tmp_path: Path, ambiguous: Path, verb: list[str]
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(ambiguous.read_text().replace("ste: b", "ste: c"))
    outcome = shype(verb[0], path, *verb[1:])
    assert outcome.exit == 3
    assert f"{path}:7:30: type 'c'" in outcome.err
    assert outcome.err.count("\n") == 1


def test_an_endless_file_is_too_big(shype: Shype) -> None:
    outcome = shype("show", "/dev/zero")
    assert outcome.exit == 3
    assert "[too-big]" in outcome.err


def test_the_operations_are_those_of_the_engine() -> None:
    assert set(Operation) == set(group.OPERATIONS)


def test_the_examples_of_the_help_work(
    shype: Shype, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    for verb in ("decide", "can-run", "show"):
        with pytest.raises(SystemExit):
            parser_for("policy").parse_args([verb, "--help"])
        example = capsys.readouterr().out.partition("Example:\n")[2]
        command = shlex.split(re.sub(r"\\\n", " ", example))
        assert command[:2] == ["shype", "policy"]
        assert shype(*command[2:]).exit in {0, 1}


def test_the_installed_command(datacenter: Path) -> None:
    command = [sys.executable, "-m", "shype.main", "policy", "decide", str(datacenter), "--json"]
    done = subprocess.run(
        [*command, *question("share", "cola-web", "juice-web")], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["verdict"] == "deny"
    assert done.stderr == b""
