"""Evidence documents: one encoding, read strictly, as the schema says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.evidence import DomainEvidence, Evidence, EvidenceError, FirmwareLog, HostEvidence, PcrValue
from tests.simulators.host import Host

BYTES = st.binary(max_size=60)
PCRS = st.dictionaries(st.integers(0, 23), st.binary(min_size=20, max_size=64), max_size=5).map(
    lambda found: tuple(PcrValue("sha256", index, value) for index, value in found.items())
)
HOSTS = st.builds(
    HostEvidence,
    name=st.from_regex(r"[a-z0-9]{1,20}(\.[a-z0-9]{1,10})?", fullmatch=True),
    ak=BYTES,
    quote=BYTES,
    signature=BYTES,
    pcrs=PCRS,
    firmware_log=st.none() | st.builds(FirmwareLog, st.from_regex(r"[ -~]{0,20}", fullmatch=True), BYTES),
    runtime_log=BYTES,
    ima_log=st.none() | BYTES,
    found=st.lists(BYTES, max_size=2).map(tuple),
)
DOMAINS = st.builds(
    DomainEvidence,
    vid=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    launch=BYTES,
    record=BYTES,
    binding=BYTES,
    vak=BYTES,
    quote=BYTES,
    signature=BYTES,
    pcrs=PCRS,
    index=st.integers(0, 100),
    proof=st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple),
)
EVIDENCE = st.builds(Evidence, HOSTS, st.lists(DOMAINS, max_size=2).map(tuple), st.just(0))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Host.serving().evidence().encode())
    return found


@given(EVIDENCE)
def test_what_is_encoded_is_decoded(evidence: Evidence) -> None:
    raw = evidence.encode()
    found = Evidence.decode(raw)
    assert (found.host, found.domains, found.tree_size) == (
        evidence.host,
        evidence.domains,
        evidence.tree_size,
    )
    assert found.raw == raw


def test_real_evidence_fits_the_schema(repository: Path, document: dict[str, Any]) -> None:
    schema = json.loads((repository / "configs/schema/evidence.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)
    jsonschema.validate(json.loads(Host.booted(show_firmware_log=False).evidence().encode()), schema)


@pytest.mark.parametrize("part", [(), ("host",), ("host", "firmware_log"), ("domains", 0)])
def test_every_field_is_known_and_needed(part: tuple[Any, ...], document: dict[str, Any]) -> None:
    fields = document
    for name in part:
        fields = fields[name]
    for name in fields:
        with pytest.raises(EvidenceError, match=f"lacks the field '{name}'"):
            Evidence.decode(json.dumps(_with(document, part, name, None)).encode())
    with pytest.raises(EvidenceError, match="unknown field 'more'"):
        Evidence.decode(json.dumps(_with(document, part, "more", 1)).encode())


def test_evidence_of_before_there_were_lists_shows_none(document: dict[str, Any]) -> None:
    assert not {"ima_log", "found"} & document["host"].keys()
    host = Evidence.decode(json.dumps(document).encode()).host
    assert (host.ima_log, host.found) == (None, ())


@pytest.mark.parametrize("name", ["ima_log", "found"])
def test_there_is_one_way_to_show_no_list(name: str, document: dict[str, Any]) -> None:
    nothing = {**document, "host": {**document["host"], name: None}}
    with pytest.raises(EvidenceError, match=name):
        Evidence.decode(json.dumps(nothing).encode())


def test_an_empty_list_is_shown_and_is_not_no_list(document: dict[str, Any]) -> None:
    host = Evidence.decode(json.dumps(_with(document, ("host",), "ima_log", "")).encode()).host
    assert host.ima_log == b""


WRONG = {
    "list of measurements that is a truth value": (("host",), "ima_log", False),
    "list of measurements that is no base64": (("host",), "ima_log", "&"),
    "list of measurements that is too long": (("host",), "ima_log", "A" * (32 * 1024 * 1024 + 8)),
    "no event by another word": (("host",), "found", []),
    "events that are too long": (("host",), "found", ["A" * 16384]),
    "schema of tomorrow": ((), "schema", "shype.evidence/2"),
    "host name with a path": (("host",), "name", "../../etc/passwd"),
    "host name with a capital": (("host",), "name", "Xen1"),
    "host name with a slash": (("host",), "name", "a/b"),
    "long host name": (("host",), "name", ".".join(["a" * 60] * 5)),
    "host name with a line feed": (("host",), "name", "xen1\n"),
    "base64 without padding": (("host",), "ak", "AAA"),
    "base64 with blanks": (("host",), "ak", "AA AA"),
    "base64 with stray bits": (("host",), "ak", "AB=="),
    "url-safe base64": (("host",), "ak", "-_-_"),
    "a structure of 9000 bytes": (("host",), "ak", "AAAA" * 3000),
    "not text": (("host",), "quote", 1),
    "pcrs as an object": (("host",), "pcrs", {}),
    "a PCR that is no list": (("host",), "pcrs", ["sha256"]),
    "a PCR twice": (("host",), "pcrs", [["sha256", 0, "00"], ["sha256", 0, "01"]]),
    "PCR 24": (("host",), "pcrs", [["sha256", 24, "00"]]),
    "PCR true": (("host",), "pcrs", [["sha256", True, "00"]]),
    "PCR in capitals": (("host",), "pcrs", [["sha256", 0, "AA"]]),
    "many PCRs": (("host",), "pcrs", [["sha256", 0, "00"]] * 200),
    "origin with an escape": (("host", "firmware_log"), "origin", "\x1b[2J"),
    "vid too short": (("domains", 0), "vid", "00"),
    "negative index": (("domains", 0), "index", -1),
    "index true": (("domains", 0), "index", True),
    "a proof of 31 bytes": (("domains", 0), "proof", ["AAAA"]),
    "a long proof": (("domains", 0), "proof", ["A" * 43 + "="] * 65),
    "tree of millions": ((), "tree_size", 1_000_000),
    "domains missing for the tree": ((), "domains", []),
}


@pytest.mark.parametrize(("part", "name", "value"), WRONG.values(), ids=WRONG.keys())
def test_what_is_refused(part: tuple[Any, ...], name: str, value: object, document: dict[str, Any]) -> None:
    with pytest.raises(EvidenceError) as caught:
        Evidence.decode(json.dumps(_with(document, part, name, value)).encode())
    assert caught.value.code == "evidence-malformed"
    assert "\n" not in str(caught.value)


def _with(document: dict[str, Any], part: tuple[Any, ...], name: str, value: object) -> dict[str, Any]:
    """A copy with one field changed, or without it for None."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    fields = copy
    for one in part:
        fields = fields[one]
    if value is None:
        del fields[name]
    else:
        fields[name] = value
    return copy
