"""Judges of measurement lists."""

from __future__ import annotations

import json

from attest.errors import AttestInputError
from attest.eventlog.data import binding
from attest.eventlog.notes import notes
from attest.eventlog.read import parse
from attest.ima.appraise import list_entries
from attest.ima.boot_aggregate import stated_aggregate
from tools.conformance.vector import Vector, differs, expect


def measurement_list(vector: Vector) -> None:
    """Judge a list: each recomputed template digest, stated entries, and the entry that was tampered with."""
    try:
        read = parse(vector.read())
    except AttestInputError as error:
        expect(not vector.is_good and vector.verdict != "mixed", f"refused: {error}")
        return
    wrong = [event.index for event in read.events if binding(event).matches is False]
    if vector.verdict == "mixed":
        expect(wrong == [vector.expect["bad_entry"]], f"entries {wrong} are named")
        expect(len(read.events) == vector.expect["entries_total"], "another number of entries")
    elif vector.is_good:
        expect(not wrong, f"entries {wrong} do not fit their digests")
        _entries(vector)
    else:
        codes = {note.code for note in notes(read)}
        expect({"data-mismatch", "ima-signature-malformed"} <= codes, "nothing is found wrong")


def _entries(vector: Vector) -> None:
    stated = vector.expect.get("entries")
    if not isinstance(stated, list):
        return
    found = [
        (entry.file_digest.decode(), entry.path.decode(), entry.pcr, entry.template)
        for entry in list_entries([vector.read()])
    ]
    named = [
        (f"{each['alg']}:{each['hash']}", each["path"], each["pcr"], each["template"]) for each in stated
    ]
    expect(found == named, "other entries")


def line(vector: Vector) -> None:
    """Judge one line, or lines of which each says what it is."""
    if vector.path.suffix != ".json":
        measurement_list(vector)
        return
    for case in json.loads(vector.read()):
        try:
            (entry,) = list_entries([case["input"].encode()])
            alg, digest = stated_aggregate(entry)
        except AttestInputError:
            expect(case["alg"] == "invalid", f"refused: {case['input'][:60]}")
        else:
            if (alg.hash_name, digest.hex()) != (case["alg"], case["boot_aggregate"]):
                differs(f"read otherwise: {case['input'][:60]}")
