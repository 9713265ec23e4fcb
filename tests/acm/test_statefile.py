"""The state file: what is written is read back, and each flaw is refused with its code and its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acm import statefile
from acm.errors import StateFileError
from tests.acm.hosts import case
from tests.conftest import REPOSITORY
from tests.schemas import validator

STATE = (REPOSITORY / "configs" / "updates" / "state.json").read_bytes()
Edit = Callable[[dict[str, Any]], object]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32))
def test_what_is_written_is_read_back_and_fits_the_schema(seed: int) -> None:
    live = case(seed, guests=6, resources=4).live
    raw = statefile.encode(live)
    assert statefile.decode(raw) == live
    assert json.loads(raw) == statefile.document(live)
    validator("state").validate(json.loads(raw))


def test_a_state_of_lists_left_out() -> None:
    least = {"format": "shype.state/1", "policy": {"name": "p", "version": "1.0"}}
    least["domains"] = [{"domid": 0, "name": "Domain-0", "label": "dom0"}]  # type: ignore[assignment]
    validator("state").validate(least)
    live = statefile.decode(json.dumps(least).encode())
    assert (live.sharings, live.resources, live.past_types, live.policy.digest) == ((), (), None, None)
    validator("state").validate(statefile.document(live))
    assert statefile.decode(statefile.encode(live)) == live


def test_the_digest_of_the_policy_is_written_where_it_is_known() -> None:
    live = case(1, guests=1, resources=1).live
    known = replace(live, policy=replace(live.policy, digest="ab" * 32))
    assert statefile.document(known)["policy"]["digest"] == "ab" * 32
    assert statefile.decode(statefile.encode(known)) == known


def put(path: str, value: object) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = document
        for part in way:
            place = place[part]
        place[last] = value

    return edit


def drop(path: str) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        *way, last = path.split(".")
        place: Any = document
        for part in way:
            place = place[int(part) if part.isdigit() else part]
        del place[last]

    return edit


def again(name: str) -> Edit:
    return lambda document: document[name].append(document[name][-1])


FLAWS: list[tuple[Edit, str, str]] = [
    (put("format", "shype.state/2"), "format", "$.format"),
    (put("extra", 1), "unknown-key", "$"),
    (drop("domains"), "missing-key", "$"),
    (drop("domains.1.label"), "missing-key", "$.domains[1]"),
    (put("domains.1.domid", "1"), "wrong-type", "$.domains[1].domid"),
    (put("domains.1.domid", value=True), "wrong-type", "$.domains[1].domid"),
    (put("domains.1.domid", -1), "out-of-range", "$.domains[1].domid"),
    (put("domains.1.domid", 0x7FF0), "out-of-range", "$.domains[1].domid"),
    (put("domains.1.name", ""), "bad-value", "$.domains[1].name"),
    (put("domains.1.name", "caf\u00e9"), "bad-value", "$.domains[1].name"),
    (put("domains.1.label", "__INACCESSIBLE__"), "name", "$.domains[1].label"),
    (put("domains.1.label", "a:b"), "name", "$.domains[1].label"),
    (put("domains.0.domid", 40), "no-domain-0", "$.domains"),
    (put("domains.1.name", "Domain-0"), "duplicate", "$.domains"),
    (put("domains.1.domid", 2), "duplicate", "$.domains"),
    (put("domains", {}), "wrong-type", "$.domains"),
    (put("policy", []), "wrong-type", "$.policy"),
    (put("policy.version", "1"), "bad-value", "$.policy.version"),
    (put("policy.digest", "AB"), "bad-value", "$.policy.digest"),
    (put("resources.0.kind", "tape"), "bad-value", "$.resources[0].kind"),
    (put("resources.0.label", "__NULL_LABEL__"), "name", "$.resources[0].label"),
    (again("resources"), "duplicate", "$.resources"),
    (put("attachments.0.mode", "w"), "bad-value", "$.attachments[0].mode"),
    (put("attachments.0.resource", "uuid:none"), "no-such-resource", "$.attachments"),
    (put("attachments.0.domain", 77), "no-such-domain", "$.attachments"),
    (again("attachments"), "duplicate", "$.attachments"),
    (put("channels.0.remote_port", 1 << 32), "out-of-range", "$.channels[0].remote_port"),
    (put("channels.0.remote", 77), "no-such-domain", "$.channels"),
    (again("channels"), "duplicate", "$.channels"),
    (put("grants.0.granter", 77), "no-such-domain", "$.grants"),
    (again("grants"), "duplicate", "$.grants"),
    (put("argo.0.anybody", 1), "wrong-type", "$.argo[0].anybody"),
    (put("argo.0.partner", 77), "no-such-domain", "$.argo"),
    (again("argo"), "duplicate", "$.argo"),
    (put("past_types", ["a", "a"]), "duplicate", "$.past_types"),
    (put("past_types", [1]), "name", "$.past_types"),
    (put("past_types", None), "wrong-type", "$.past_types"),
]
SAID_BY_NO_SCHEMA = {"duplicate", "no-domain-0", "no-such-domain", "no-such-resource"}


@pytest.mark.parametrize(("edit", "code", "place"), FLAWS)
def test_a_flaw_is_refused_at_its_place(edit: Edit, code: str, place: str) -> None:
    document = copy.deepcopy(json.loads(STATE))
    edit(document)
    with pytest.raises(StateFileError) as caught:
        statefile.decode(json.dumps(document).encode(), "file")
    assert caught.value.code == code
    assert str(caught.value).startswith(f"file: {place}: ")
    if code not in SAID_BY_NO_SCHEMA:
        assert not validator("state").is_valid(document)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "syntax"),
        (b"[" * 100_000, "too-deep"),
        (b"\xff{}", "not-utf-8"),
        (STATE.replace(b'"domid": 1,', b'"domid": 1, "domid": 1,'), "syntax"),
        (STATE.replace(b'"domid": 1,', b'"domid": 1.0,'), "syntax"),
        (STATE.replace(b'"domid": 1,', b'"domid": NaN,'), "syntax"),
        (STATE.replace(b'"domid": 1,', b'"domid": 1%s,' % (b"0" * 5000)), "syntax"),
        (STATE + b"{}", "syntax"),
        (b" " * (statefile.MAX_SIZE + 1), "too-big"),
    ],
)
def test_what_is_no_strict_json(raw: bytes, code: str) -> None:
    with pytest.raises(StateFileError) as caught:
        statefile.decode(raw)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
