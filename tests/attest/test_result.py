"""The result tree and the table of reasons."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest import reasons
from attest.errors import AttestUsageError
from attest.reasons import CODES, reason, sentence, table
from attest.result import Node, Reason, Result, Verdict, document, worst

VERDICTS = st.sampled_from(Verdict)
TREES = st.recursive(
    st.builds(lambda verdict: Node("leaf", verdict), VERDICTS),
    lambda children: st.builds(lambda nodes: Node.judge("node", (), nodes), st.lists(children, max_size=3)),
    max_leaves=12,
)


@given(TREES)
def test_a_parent_is_never_better_than_a_child(tree: Node) -> None:
    for _, node in tree.walk():
        assert all(node.verdict.rank >= child.verdict.rank for child in node.children)


@given(VERDICTS, VERDICTS)
def test_a_node_better_than_its_parts_cannot_be_made(verdict: Verdict, below: Verdict) -> None:
    better = verdict.rank < below.rank
    for parts in ({"children": (Node("child", below),)}, {"reasons": (Reason("code", "detail", below),)}):
        if better:
            with pytest.raises(AttestUsageError):
                Node("node", verdict, **parts)  # type: ignore[arg-type]
        else:
            assert Node("node", verdict, **parts).verdict is verdict  # type: ignore[arg-type]


def test_the_order_of_trust() -> None:
    assert list(Verdict) == ["affirming", "warning", "inconclusive", "contraindicated", "none"]
    assert [verdict.ear for verdict in Verdict] == ["affirming", "warning", "none", "contraindicated", "none"]
    assert worst([]) is Verdict.AFFIRMING
    assert worst([Verdict.WARNING, Verdict.NONE, Verdict.AFFIRMING]) is Verdict.NONE


def test_reasons_are_listed_with_the_path_of_their_node() -> None:
    bad = reason("policy-mismatch", "two\n  lines")
    root = Node.judge("host", (), [Node.judge("acm-policy", [bad]), Node.judge("xen")])
    assert Result(root).reasons() == (("host / acm-policy", bad),)
    assert bad.detail == "two lines"
    assert document(root)["verdict"] == "contraindicated"


def test_docs_have_the_table(repository: Path) -> None:
    assert (repository / "docs" / "reasons.md").read_text() == table(), (
        "python -m attest.reasons > docs/reasons.md"
    )


def test_every_code_is_one_word_with_one_sentence() -> None:
    for code, row in CODES.items():
        assert code == code.lower()
        assert row.sentence.endswith(".")
        assert sentence(code) == row.sentence
        assert row.verdict is not Verdict.AFFIRMING


def test_every_code_of_the_table_is_given_somewhere_and_no_other(repository: Path) -> None:
    """Codes stand as literals in the verifier or where hosts are asked; it has all and nothing dead."""
    used: set[str] = set()
    appraise = repository / "attest" / "ima" / "appraise.py"  # its findings become reasons by their code
    asking = (*(repository / "shype" / "remote").glob("*.py"), repository / "attest" / "enrolment.py")
    for path in (*(repository / "attest" / "verifier").glob("*.py"), appraise, *asking):
        used |= {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    made = {"loader-not-in-reference", "firmware-not-in-reference"}
    assert CODES.keys() - used - made == set()
    with pytest.raises(KeyError):
        reason("no-such-code", "")
    assert reasons.sentence("no-such-code") == "no-such-code"
