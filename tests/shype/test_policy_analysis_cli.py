"""``shype policy import``, ``export``, ``flows``, ``matrix`` and ``lint``."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from functools import partial
from typing import TYPE_CHECKING

import pytest

from acm.engine import Operation, Request, decide
from acm.lint import LintCode
from acm.policyfile import load
from shype.cli import policy_flows, policy_lint, policy_matrix
from shype.main import parser_for
from tests.conftest import vector_params
from tests.schemas import validator

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Vector
    from tests.shype.outcome import Shype

POLICY = """\
format: shype.policy/1
name: p
version: "1.0"
bootstrap: dom0
ste: {types: [a, b]}
domain_labels: {dom0: {ste: [a, b]}, web: {ste: [a]}, db: {ste: [b]}}
resource_labels: {web: {ste: b}}
"""


@pytest.fixture
def shype(shype_command: Shype) -> Shype:
    return partial(shype_command, "policy")


@pytest.fixture
def datacenter(repository: Path) -> Path:
    return repository / "configs/policies/datacenter.yaml"


@pytest.fixture
def desk(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to write in, from which the examples find their files."""
    (tmp_path / "configs").symlink_to(repository / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(POLICY)
    return path


@pytest.mark.parametrize("vector", vector_params("xen/acm"))
def test_import_of_xens_policies(shype: Shype, tmp_path: Path, vector: Vector) -> None:
    output = tmp_path / "out.yaml"
    outcome = shype("import", vector.path, "-o", output, "--json")
    assert (outcome.exit, outcome.err) == (0, "")
    validator("policy-import").validate(outcome.document)
    policy = load(output.read_bytes())
    assert policy.root == outcome.document["root"]
    assert outcome.document["sha256"] == policy.digest
    text = shype("import", vector.path, "-o", output)
    assert text.exit == 0
    assert text.out.startswith(f"{output}: policy {policy.name}")


def test_export_and_import_are_a_round_trip(shype: Shype, tmp_path: Path, datacenter: Path) -> None:
    xml, again = tmp_path / "dc-security_policy.xml", tmp_path / "dc.yaml"
    outcome = shype("export", datacenter, "-o", xml, "--json")
    assert outcome.exit == 0
    validator("policy-export").validate(outcome.document)
    assert shype("import", xml, "-o", again).exit == 0
    assert load(again.read_bytes()).root == load(datacenter.read_bytes()).root
    twice = tmp_path / "twice.xml"
    assert shype("export", again, "-o", twice).exit == 0
    assert twice.read_bytes() == xml.read_bytes()


def test_the_label_template_of_an_older_policy_is_named_or_found_beside_it(
    shype: Shype, tmp_path: Path
) -> None:
    head = '<SecurityPolicyDefinition xmlns="http://www.ibm.com"><PolicyHeader><Name>p-security_policy</Name>'
    policy = tmp_path / "p-security_policy.xml"
    policy.write_text(f"{head}</PolicyHeader></SecurityPolicyDefinition>")
    missing = shype("import", policy, "-o", tmp_path / "out.yaml")
    assert missing.exit == 3
    assert "[no-labels]" in missing.err
    assert not (tmp_path / "out.yaml").exists()
    labels = tmp_path / "p-security_label_template.xml"
    labels.write_text(
        "<SecurityLabelTemplate><LabelHeader><Name>t</Name></LabelHeader></SecurityLabelTemplate>"
    )
    found = shype("import", policy, "-o", tmp_path / "out.yaml", "--json")
    assert found.document["labels_from"] == str(labels)
    validator("policy-import").validate(found.document)
    labels.rename(tmp_path / "elsewhere.xml")
    named = shype("import", policy, "--labels", tmp_path / "elsewhere.xml", "-o", tmp_path / "out.yaml")
    assert named.exit == 0
    assert "bootstrap-added" in named.out


def test_a_refused_file_is_exit_3_with_its_place_and_nothing_is_written(shype: Shype, tmp_path: Path) -> None:
    bad = tmp_path / "bad.xml"
    bad.write_text("<SecurityPolicyDefinition>\n  <Extra/></SecurityPolicyDefinition>")
    outcome = shype("import", bad, "-o", tmp_path / "out.yaml")
    assert outcome.exit == 3
    assert f"{bad}:2:3: element 'Extra'" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out.yaml").exists()
    assert shype("import", "/dev/zero", "-o", tmp_path / "out.yaml").exit == 3
    assert shype("import", tmp_path / "missing.xml", "-o", tmp_path / "out.yaml").exit == 2


def test_what_acm_cannot_say_is_wrong_usage_and_nothing_is_written(
    shype: Shype, tmp_path: Path, small: Path
) -> None:
    small.write_text(f'{POLICY}salt: "{"0a" * 32}"\n')
    outcome = shype("export", small, "-o", tmp_path / "out.xml")
    assert outcome.exit == 2
    assert "cannot say: a salt" in outcome.err
    assert not (tmp_path / "out.xml").exists()


def test_no_device_is_replaced_by_a_file(shype: Shype, tmp_path: Path, small: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for verb, source in (("export", small), ("import", small)):
        outcome = shype(verb, source, "-o", pipe)
        assert outcome.exit == 2
        assert "not a regular file" in outcome.err
    assert pipe.is_fifo()


def test_a_flow_names_its_path_and_through_whom(shype: Shype, datacenter: Path) -> None:
    asked = ("flows", datacenter, "--from", "cola-web", "--to", "juice-web")
    outcome = shype(*asked, "--json")
    assert outcome.exit == 0
    validator("policy-flows").validate(outcome.document)
    (flow,) = outcome.document["flows"]
    assert (flow["from"], flow["path"], flow["to"]) == (
        "cola-web",
        ["cola-web", "dns", "juice-web"],
        "juice-web",
    )
    assert flow["through"] == [
        {"label": "dns", "received": ["dns-cola"], "passed": ["dns-juice"], "levels": None}
    ]
    text = shype(*asked).out
    assert "cola-web -> dns -> juice-web" in text
    assert "through dns: takes it by type dns-cola, passes it by dns-juice" in text


def test_no_flow_is_an_empty_list_and_a_statement(shype: Shype, datacenter: Path) -> None:
    asked = ("flows", datacenter, "--from", "cola-web", "--to", "juice-web")
    without = [word for name in ("dom0", "dns", "backup") for word in ("--without", name)]
    outcome = shype(*asked, *without, "--json")
    assert (outcome.exit, outcome.document) == (0, {"flows": []})
    text = shype(*asked, *without)
    assert text.exit == 0
    assert text.out.startswith("no flow: ")
    assert "dom0, dns, backup" in text.out


def test_flows_of_one_side_and_all_of_them(shype: Shype, small: Path) -> None:
    everything = shype("flows", small, "--json").document["flows"]
    pairs = {(flow["from"], flow["to"]): flow["path"] for flow in everything}
    assert pairs["vm:web", "res:web"] == ["vm:web", "dom0", "res:web"]
    assert len(pairs) == 12
    assert [flow["to"] for flow in shype("flows", small, "--from", "db", "--json").document["flows"]] == [
        "dom0",
        "res:web",
        "vm:web",
    ]
    assert {
        flow["from"] for flow in shype("flows", small, "--to", "res:web", "--json").document["flows"]
    } == {
        "dom0",
        "vm:web",
        "db",
    }
    alone = shype("flows", small, "--from", "__UNLABELED__", "--json").document
    assert alone == {"flows": []}
    assert "no flow" in shype("flows", small, "--from", "__UNLABELED__").out
    itself = shype("flows", small, "--from", "db", "--to", "db")
    assert "one and the same label" in itself.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flows", "--from", "nobody"], "no such label"),
        (["flows", "--to", "web"], "'vm:web' or 'res:web'"),
        (["flows", "--without", "nobody"], "no such label"),
        (["matrix", "--op", "own"], "invalid choice"),
        (["lint", "--accept", "everything"], "CODE or CODE:NAME"),
        (["lint", "--accept", "type-alone:"], "CODE or CODE:NAME"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    shype: Shype, small: Path, arguments: list[str], message: str
) -> None:
    outcome = shype(arguments[0], small, *arguments[1:])
    assert outcome.exit == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_too_many_flows_are_not_listed(shype: Shype, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_flows, "MOST", 11)
    outcome = shype("flows", small)
    assert outcome.exit == 2
    assert "12 flows, more than 11" in outcome.err
    assert shype("flows", small, "--from", "db").exit == 0


@pytest.mark.parametrize("op", list(Operation))
def test_the_matrix_in_json(shype: Shype, datacenter: Path, op: Operation) -> None:
    outcome = shype("matrix", datacenter, "--op", op, "--json")
    assert outcome.exit == 0
    validator("policy-matrix").validate(outcome.document)
    found = outcome.document
    policy = load(datacenter.read_bytes())
    for subject, row in zip(found["subjects"], found["rows"], strict=True):
        for target, cell in zip(found["objects"], row, strict=True):
            assert decide(policy, Request(op, subject, target)).permitted == (cell == "1")
    assert found["permitted"] == "".join(found["rows"]).count("1")


def test_the_matrix_as_a_picture(shype: Shype, small: Path) -> None:
    assert shype("matrix", small).out == (
        "share in policy p 1.0\n"
        "                   1  2  3  4\n"
        "  1 dom0           +  +  +  .\n"
        "  2 vm:web         +  +  .  .\n"
        "  3 db             +  .  +  .\n"
        "  4 __UNLABELED__  .  .  .  +\n"
        "+ permit  . deny  8 of 16 permitted\n"
    )
    resources = shype("matrix", small, "--op", "resource-read").out
    assert "    dom0           .  +\n" in resources
    assert "  2 res:web\n" in resources
    assert "  5 res:web\n" in shype("matrix", small, "--op", "read").out


def test_a_wide_matrix_is_told_row_by_row(shype: Shype, small: Path) -> None:
    more = ", ".join(f"l{number}: {{ste: [a]}}" for number in range(70))
    small.write_text(POLICY.replace("db: {ste: [b]}", f"db: {{ste: [b]}}, {more}"))
    text = shype("matrix", small).out
    assert re.search(r"^db +2 of 74$", text, re.MULTILINE)
    assert "too wide" in text


def test_lint_finds_accepts_and_counts(shype: Shype, datacenter: Path) -> None:
    outcome = shype("lint", datacenter, "--json")
    assert outcome.exit == 1
    validator("policy-lint").validate(outcome.document)
    assert [finding["subject"] for finding in outcome.document["findings"]] == ["dns", "backup"]
    one = shype("lint", datacenter, "--accept", "joins-rivals:dns", "--json")
    assert one.exit == 1
    validator("policy-lint").validate(one.document)
    assert [finding["subject"] for finding in one.document["accepted"]] == ["dns"]
    text = shype("lint", datacenter, "--accept", "joins-rivals")
    assert (text.exit, text.out) == (0, "0 findings, 2 accepted\n")
    assert "joins-rivals dns\n    conflict set 'rivals'" in shype("lint", datacenter).out


@pytest.mark.parametrize("verb", ["flows", "matrix", "lint", "export"])
def test_a_broken_policy_is_exit_3(shype: Shype, small: Path, tmp_path: Path, verb: str) -> None:
    small.write_text(POLICY.replace("web: {ste: b}", "web: {ste: c}"))
    more = ["-o", tmp_path / "out"] if verb == "export" else []
    outcome = shype(verb, small, *more)
    assert outcome.exit == 3
    assert f"{small}:7:30: type 'c'" in outcome.err


def test_choices_of_the_help_are_those_of_the_packages() -> None:
    assert set(policy_matrix.OPERATIONS) == set(Operation)
    assert list(policy_lint.CODES) == list(LintCode)


@pytest.mark.parametrize("verb", ["import", "export", "flows", "matrix", "lint"])
def test_the_examples_of_the_help_work(
    shype: Shype, capsys: pytest.CaptureFixture[str], desk: Path, verb: str
) -> None:
    with pytest.raises(SystemExit):
        parser_for("policy").parse_args([verb, "--help"])
    command = shlex.split(re.sub(r"\\\n", " ", capsys.readouterr().out.partition("Example:\n")[2]))
    assert command[:3] == ["shype", "policy", verb]
    assert (desk / "configs").is_dir()
    assert shype("export", "configs/policies/datacenter.yaml", "-o", "old-security_policy.xml").exit == 0
    assert shype(*command[2:]).exit in {0, 1}


def test_a_name_of_an_accepted_finding_may_have_a_prefix() -> None:
    assert policy_lint._accepted("resource-unreachable:res:web") == ("resource-unreachable", "res:web")
    with pytest.raises(argparse.ArgumentTypeError):
        policy_lint._accepted("nothing")
