"""Histories: what they count, how they are told apart, and that none but the newest admits a domain."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acm import history
from acm.decision import Decision
from acm.engine import Operation, Request, decide
from acm.errors import AcmInputError, HistoryError, RequestError
from acm.history import MAX_TYPES, Anchor, History
from acm.policyfile import load

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
format: shype.policy/1
name: p
version: "1.0"
bootstrap: dom0
chwall:
  types: [cola, juice, bank, admin]
  history: true
  conflict_sets: {rivals: [cola, juice]}
domain_labels:
  dom0: {chwall: [admin]}
  cola: {chwall: [cola]}
  juice: {chwall: [juice]}
  bank: {chwall: [bank]}
  plain: {}
"""
POLICY = load(TEXT.encode())
BEGUN = history.begin(bytes(32))

names = st.text(alphabet="abcXYZ019_.-", min_size=1, max_size=8).filter(lambda name: name[0] not in ".-")
type_sets = st.frozensets(names.filter(lambda name: not name.startswith("__")), max_size=6)


def start(
    label: str, shown: History | None, anchor: Anchor | None, *running: str, op: str = "start"
) -> Decision:
    return decide(POLICY, Request(Operation(op), label, "dom0", running, shown, anchor))


def codes(decision: Decision) -> list[str]:
    return [str(reason.code) for reason in decision.reasons]


def ran(*types: str) -> History:
    return BEGUN.with_run(frozenset(types))


@pytest.mark.parametrize("op", ["start", "resume", "migrate-in"])
def test_a_past_run_counts_as_if_it_ran_still(op: str) -> None:
    newest = ran("juice")
    decision = start("cola", newest, newest.anchor, op=op)
    assert codes(decision) == ["chwall-history"]
    assert all(word in decision.reasons[0].detail for word in ("'rivals'", "'cola'", "'juice'", "past"))
    assert start("juice", newest, newest.anchor, op=op).permitted
    assert start("bank", newest, newest.anchor, op=op).permitted


def test_who_runs_now_is_named_even_if_it_is_history_too() -> None:
    newest = ran("juice")
    assert codes(start("cola", newest, newest.anchor, "juice")) == ["chwall-conflict"]


def test_a_running_label_excludes_also_where_a_history_forgot_it() -> None:
    assert codes(start("cola", BEGUN, BEGUN.anchor, "juice")) == ["chwall-conflict"]


@pytest.mark.parametrize("label", ["cola", "plain", "dom0"])
def test_without_a_history_nothing_starts(label: str) -> None:
    assert codes(start(label, None, None)) == ["history-missing"]
    assert codes(start(label, None, BEGUN.anchor)) == ["history-missing"]


def test_without_knowing_the_newest_nothing_starts() -> None:
    assert codes(start("plain", BEGUN, None)) == ["history-missing"]


def test_an_older_history_admits_nothing() -> None:
    """The attack: put back the history from before the rival's run."""
    before, after = BEGUN, ran("juice")
    assert start("cola", before, before.anchor).permitted
    assert codes(start("cola", before, after.anchor)) == ["history-stale"]
    assert codes(start("plain", before, after.anchor)) == ["history-stale"]


def test_another_history_of_the_same_or_a_later_number_admits_nothing() -> None:
    """The attack: make up a history that has the right number, or a higher one."""
    newest = ran("juice")
    assert codes(start("cola", ran("bank"), newest.anchor)) == ["history-mismatch"]
    later = ran("bank").with_run(frozenset({"admin"}))
    assert codes(start("cola", later, newest.anchor)) == ["history-mismatch"]
    other_host = history.begin(b"\x01" * 32).with_run(frozenset({"juice"}))
    assert codes(start("juice", other_host, newest.anchor)) == ["history-mismatch"]


def test_a_host_that_ran_both_sides_before_they_were_rivals_runs_neither() -> None:
    newest = ran("cola", "juice")
    for label in ("cola", "juice"):
        assert codes(start(label, newest, newest.anchor)) == ["chwall-history"]


def test_a_full_history_admits_only_what_adds_nothing() -> None:
    full = History("00" * 32, 0, frozenset(f"t{number}" for number in range(MAX_TYPES - 1)) | {"admin"})
    assert codes(start("bank", full, full.anchor)) == ["history-full"]
    assert start("plain", full, full.anchor).permitted
    with pytest.raises(RequestError) as caught:
        full.with_run(frozenset({"bank"}))
    assert caught.value.code == "history-full"
    assert history.decode(full.encode()) == full


def test_a_history_begins_with_as_many_types_as_it_can_hold() -> None:
    types = frozenset(f"t{number}" for number in range(MAX_TYPES))
    begun = history.begin(bytes(32), types)
    assert history.decode(begun.encode()) == begun
    with pytest.raises(RequestError) as caught:
        history.begin(bytes(32), types | {"one more"})
    assert caught.value.code == "history-full"


def test_a_policy_without_history_asks_for_none() -> None:
    plain = load(TEXT.replace("  history: true\n", "").encode())
    newest = ran("juice")
    for shown, anchor in ((None, None), (newest, newest.anchor), (newest, BEGUN.anchor)):
        request = Request(Operation.START, "cola", "dom0", (), shown, anchor)
        assert decide(plain, request).permitted
    assert load(TEXT.replace("history: true", "history: false").encode()).root == plain.root


def test_only_admissions_need_the_history() -> None:
    assert decide(POLICY, Request(Operation.SHARE, "cola", "bank")).permitted
    assert decide(POLICY, Request(Operation.AUTHORIZE, "dom0", "cola")).permitted


@given(st.lists(type_sets, max_size=6))
def test_a_history_only_grows_and_each_change_has_its_number(runs: list[frozenset[str]]) -> None:
    newest, seen = BEGUN, {BEGUN.digest}
    for types in runs:
        after = newest.with_run(types)
        assert after.types == newest.types | types
        assert (after is newest) is (types <= newest.types)
        assert after.sequence == newest.sequence + (after is not newest)
        assert (after.digest in seen) is (after is newest)
        seen.add(after.digest)
        newest = after


@given(type_sets, st.integers(0, 6), st.binary(min_size=32, max_size=32))
def test_what_is_encoded_is_decoded(types: frozenset[str], sequence: int, origin: bytes) -> None:
    one = replace(history.begin(origin, types), sequence=min(sequence, len(types)))
    raw = one.encode()
    assert history.decode(raw) == one
    assert one.digest == hashlib.sha256(raw).hexdigest()
    assert one.anchor == Anchor(one.sequence, one.digest)


GOOD = {"format": "shype.chwall-history/1", "origin": "0" * 64, "sequence": 1, "types": ["a", "b"]}


def canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "syntax"),
        (b"\xff", "syntax"),
        (b"{", "syntax"),
        (b"[" * 100_000, "syntax"),
        (b"1" * 5000, "syntax"),
        (b" " * ((2 << 20) + 1), "too-big"),
        (b"null", "fields"),
        (canonical(GOOD | {"more": 1}), "fields"),
        (canonical({key: GOOD[key] for key in ("format", "origin", "types")}), "fields"),
        (canonical(GOOD | {"format": "shype.chwall-history/2"}), "format"),
        (canonical(GOOD | {"origin": "0" * 63}), "origin"),
        (canonical(GOOD | {"origin": "A" * 64}), "origin"),
        (canonical(GOOD | {"origin": 0}), "origin"),
        (canonical(GOOD | {"types": "ab"}), "types"),
        (canonical(GOOD | {"types": ["a", 1]}), "types"),
        (canonical(GOOD | {"types": ["a", "b:c"]}), "types"),
        (canonical(GOOD | {"types": ["a", "__UNLABELED__"]}), "types"),
        (canonical(GOOD | {"types": [f"t{n}" for n in range(MAX_TYPES + 1)]}), "types"),
        (canonical(GOOD | {"sequence": 3}), "sequence"),
        (canonical(GOOD | {"sequence": -1}), "sequence"),
        (canonical(GOOD | {"sequence": True}), "sequence"),
        (canonical(GOOD | {"sequence": 1.0}), "sequence"),
        (canonical(GOOD).replace(b"1,", b"NaN,"), "sequence"),
        (canonical(GOOD | {"types": ["b", "a"]}), "not-canonical"),
        (canonical(GOOD | {"types": ["a", "a"]}), "not-canonical"),
        (canonical(GOOD) + b"\n", "not-canonical"),
        (canonical(GOOD).replace(b'"sequence"', b'"sequence":0,"sequence"'), "not-canonical"),
        (json.dumps(GOOD).encode(), "not-canonical"),
    ],
)
def test_bytes_that_are_no_history_are_refused(raw: bytes, code: str) -> None:
    history.decode(canonical(GOOD))
    with pytest.raises(HistoryError) as caught:
        history.decode(raw)
    assert caught.value.code == code
    assert str(caught.value).isprintable()


@given(st.binary(max_size=80) | st.tuples(st.integers(0, 150), st.binary(max_size=3)).map(
    lambda change: canonical(GOOD)[: change[0]] + change[1] + canonical(GOOD)[change[0] + 1 :]
))  # fmt: skip
def test_any_bytes_are_a_history_or_refused(raw: bytes) -> None:
    try:
        read = history.decode(raw)
    except AcmInputError:
        return
    assert read.encode() == raw


def test_a_history_fits_the_schema(repository: Path) -> None:
    schema = json.loads((repository / "configs/schema/chwall-history.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(ran("cola", "bank").encode()))


@pytest.mark.parametrize("origin", [b"", bytes(31), bytes(33)])
def test_the_origin_is_32_bytes(origin: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        history.begin(origin)
    assert caught.value.code == "history-origin"


def test_the_origin_keeps_a_digest_from_being_guessed() -> None:
    types = frozenset({"cola"})
    assert history.begin(b"\x01" * 32, types).digest != history.begin(b"\x02" * 32, types).digest
