"""Measurement lists of any length: the commands read them as they judge and print, and hold none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import attest.ima.source as source_module
from attest.eventlog.read import parse
from attest.eventlog.replay import ReplayError, verify_replay
from attest.ima.log import MAX_LIST_ENTRIES
from attest.ima.proof import LIST_BANKS, replay_beside
from attest.ima.source import ListSource
from shype.cli import eventlog as group
from shype.listreport import ReadList, list_document
from tests.attest.ima.build import AGGREGATE, ALL, Made, ascii_of, binary_of, ng, replayed, violation
from tests.shype.outcome import run
from tests.simulators.host import Tpm
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import PcrSelection

COUNT, PROVED, ALTERED = 200_000, 199_990, 150_000
VIOLATIONS = (100_000, 100_001)
FORMS: dict[str, Any] = {"ascii": ascii_of, "binary": binary_of}
CHILD = """\
import sys
from shype.main import main
code = main(sys.argv[1:])
status = open("/proc/self/status").read()
print(status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class Quoted:
    """A list as a file, with where each of its entries begins, and a quote of PCR 10 after some of them."""

    folder: Path
    list: Path
    offsets: Sequence[int]

    def words(self, eventlog: Path | None = None, *, with_values: bool = True) -> tuple[object, ...]:
        named = {name: self.folder / name for name in ("ak", "message", "signature", "pcrs")}
        if not with_values:
            del named["pcrs"]
        files = [part for name, path in named.items() for part in (f"--{name}", path)]
        return ("quote", "verify", *files, "--nonce", "01" * 32, "--eventlog", eventlog or self.list)


def entry(number: int) -> Made:
    if number in VIOLATIONS:
        return violation(f"/var/log/{number}")
    return ng(f"/usr/lib/x86_64-linux-gnu/lib{number:07d}.so") if number else AGGREGATE


def quoted(folder: Path, form: str, count: int, proved: int) -> Quoted:
    tpm, offsets = Tpm("host"), [0]
    with (folder / "list").open("wb") as out:
        for number in range(count):
            made = entry(number)
            offsets.append(offsets[-1] + out.write(FORMS[form](made)))
            if number < proved:
                tpm.extend(10, made.extended("sha256"))
    selection = PcrSelection.of(Alg.SHA256, [10])
    message, signature = tpm.quote(b"\1" * 32, selection)
    files = {"ak": tpm.ak_public(), "message": message, "signature": signature}
    for name, raw in {**files, "pcrs": b"".join(tpm.pcr_read(selection))}.items():
        (folder / name).write_bytes(raw)
    return Quoted(folder, folder / "list", offsets)


@pytest.fixture(scope="module", params=FORMS)
def long(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Quoted:
    assert COUNT > MAX_LIST_ENTRIES
    return quoted(tmp_path_factory.mktemp("long"), request.param, COUNT, PROVED)


def peak(*words: object, exit_code: int = 0) -> tuple[int, bytes]:
    """Run a command in a process of its own; return the most that it held, in KiB, and what it said."""
    line = [sys.executable, "-c", CHILD, *map(str, words)]
    done = subprocess.run(line, check=False, capture_output=True)
    assert done.returncode == exit_code, done.stderr
    return int(done.stderr.split()[-1]), done.stdout


@pytest.mark.heavy
class TestLong:
    @pytest.mark.parametrize("with_values", [True, False])
    def test_a_list_that_grew_is_proved_up_to_its_quote(self, long: Quoted, with_values: bool) -> None:  # noqa: FBT001
        outcome = run(*long.words(with_values=with_values), "--json")
        assert (outcome.exit, outcome.err) == (0, "")
        assert "event-log" in outcome.document["checked"]
        wanted = {f"event-log-beyond:sha256:{COUNT - PROVED}", "event-log-violation:sha256:2"}
        assert wanted <= {*outcome.document["not_checked"]}

    @pytest.mark.parametrize("where", ["digest", "data"])
    def test_an_altered_entry_is_named_with_its_place(self, long: Quoted, tmp_path: Path, where: str) -> None:
        """The template digest can be altered without another PCR of SHA-256; the data cannot."""
        raw = bytearray(long.list.read_bytes())
        begin, end = long.offsets[ALTERED : ALTERED + 2]
        if where == "digest":
            at = begin + 4
            raw[at] = ord("0") if raw[at] == ord("1") else ord("1")
        else:
            at = raw.index(b".so", begin, end)
            raw[at : at + 3] = b".xo"
        (tmp_path / "list").write_bytes(raw)
        outcome = run(*long.words(tmp_path / "list"), "--json")
        assert (outcome.exit, outcome.codes) == (3, ["event-log-mismatch"])
        assert f"entry {ALTERED} (byte {begin}) was altered" in outcome.line

    def test_a_last_entry_that_is_cut_is_no_list(self, long: Quoted, tmp_path: Path) -> None:
        cut = tmp_path / "list"
        cut.write_bytes(long.list.read_bytes()[: long.offsets[-2] + 60])
        outcome = run(*long.words(cut), "--json")
        assert (outcome.exit, outcome.codes) == (3, ["event-log-malformed"])
        for more in ((), ("--json",)):
            shown = run("eventlog", cut, *more)
            assert (shown.exit, shown.err.count("\n")) == (3, 1)
            assert (list(shown.document) == ["error"]) if more else (shown.out == "")

    def test_neither_command_holds_it(self, long: Quoted, tmp_path: Path) -> None:
        small = tmp_path / "small"
        small.mkdir()
        form = "ascii" if long.list.read_bytes()[:1].isdigit() else "binary"
        short = quoted(small, form, 200, 200)
        assert long.list.stat().st_size > 20 << 20
        for words in (Quoted.words, lambda which: ("eventlog", which.list, "--json")):
            least, most = peak(*words(short))[0], peak(*words(long))[0]
            assert most < least + 8 * 1024

    def test_all_of_it_is_in_the_document_and_the_table(self, long: Quoted) -> None:
        shown = run("eventlog", long.list, "--json").out
        events, _, rest = shown.partition("\n  ],\n")
        assert events.count('\n      "index": ') == COUNT
        assert f'"index": {COUNT - 1},' in events[-500:]
        tail = json.loads("{" + rest)
        made = replayed(*map(entry, range(COUNT)))
        assert tail["pcrs"]["sha256"] == {"10": made.hex()}
        assert [note["code"] for note in tail["notes"]] == ["ima-violation"]
        table = run("eventlog", long.list).out.splitlines()
        assert f" {COUNT} events" in table[0]
        assert table[-1].startswith("note: ima-violation: event 100000, 100001 are")
        assert len(table) == 1 + COUNT + len(LIST_BANKS) + 1


MADE = st.lists(
    st.sampled_from([*ALL, ng("/b", pcr=11), ng("/c", stated=b"\1" * 20)]), min_size=1, max_size=9
)


class TestSameAnswer:
    @given(made=MADE, form=st.sampled_from(sorted(FORMS)), size=st.integers(1, 700))
    def test_the_document_is_that_of_a_list_that_is_held(
        self, made: list[Made], form: str, size: int
    ) -> None:
        """Whatever the pieces are in which it is read."""
        raw = FORMS[form](*made)
        held = parse(raw)
        document = group.describe(held)
        extended = {str(event.pcr) for event in held.events}
        document["pcrs"] = {
            bank: {pcr: value for pcr, value in values.items() if pcr in extended}
            for bank, values in document["pcrs"].items()  # type: ignore[union-attr]
        }
        read = ReadList.of(ListSource(lambda: (raw[at : at + size] for at in range(0, len(raw), size))))
        assert "".join(list_document(read)) == json.dumps(document, indent=2)
        assert "".join(group._list_text(read)) == "\n".join(group._lines(held))

    @given(
        pcrs=st.lists(st.sampled_from([9, 10, 11]), min_size=1, max_size=8),
        form=st.sampled_from(sorted(FORMS)),
        asked=st.sets(st.sampled_from([9, 10, 11, 16]), min_size=1),
        data=st.data(),
    )
    def test_one_pass_proves_what_a_list_that_is_held_proves(
        self, pcrs: list[int], form: str, asked: set[int], data: st.DataObject
    ) -> None:
        """A register that comes late, or never, takes part in the match or not, as if its end were known."""
        made = [ng(f"/{number}", pcr=pcr) for number, pcr in enumerate(pcrs)]
        upto = {pcr: data.draw(st.integers(0, len(made))) for pcr in asked}
        values = {pcr: replayed(*made[: upto[pcr]], pcr=pcr) for pcr in asked}
        raw = FORMS[form](*made)
        known = {pcr: value for pcr, value in values.items() if pcr in pcrs}
        found = replay_beside(ListSource(lambda: (raw,)), {Alg.SHA256: values})
        assert (found.entries, found.pcrs) == (len(made), {*pcrs})
        if not known:
            return
        try:
            held = verify_replay(parse(raw), known, Alg.SHA256)
        except ReplayError as error:
            with pytest.raises(ReplayError, match=str(error).partition(";")[0]):
                found.proved(Alg.SHA256)
        else:
            assert len(made) - found.proved(Alg.SHA256).entries == held.beyond


@pytest.mark.parametrize("form", FORMS)
class TestBounds:
    def test_more_entries_or_bytes_than_are_read(
        self, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shown = quoted(tmp_path, form, 20, 20)
        for name, most in (("MAX_ENTRIES", 20), ("MAX_SIZE", shown.offsets[-1])):
            with monkeypatch.context() as patched:
                patched.setattr(source_module, name, most)
                assert run(*shown.words()).exit == 0
                patched.setattr(source_module, name, most - 1)
                assert run(*shown.words(), "--json").codes == ["event-log-malformed"]
                refused = run("eventlog", shown.list, "--json")
                assert (refused.exit, refused.document["error"]["code"]) == (3, "size")

    def test_a_pipe_is_read_as_often_as_it_must(self, form: str, tmp_path: Path) -> None:
        shown = quoted(tmp_path, form, 2_000, 2_000)
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        for words in (shown.words(pipe, with_values=False), ("eventlog", pipe, "--json")):
            writer = threading.Thread(target=lambda: pipe.write_bytes(shown.list.read_bytes()))
            writer.start()
            outcome = run(*words)
            writer.join()
            assert (outcome.exit, outcome.err) == (0, "")
        assert outcome.out == run("eventlog", shown.list, "--json").out

    def test_a_list_that_grows_while_it_is_shown(self, form: str) -> None:
        first, then = FORMS[form](*ALL), FORMS[form](*ALL, ng("/new"))
        assert "".join(list_document(ReadList.of(changing(first, then)))) == "".join(
            list_document(ReadList.of(changing(first, first)))
        )

    def test_a_list_that_is_cut_while_it_is_shown_has_no_whole_document(
        self, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was begun stays unfinished, and no second document follows."""
        path = tmp_path / "list"
        path.write_bytes(FORMS[form](*ALL))
        read = ReadList.of

        def cut(source: ListSource) -> ReadList:
            found = read(source)
            path.write_bytes(FORMS[form](*ALL[:-1]))
            return found

        monkeypatch.setattr(ReadList, "of", cut)
        outcome = run("eventlog", path, "--json")
        assert outcome.exit == 3
        assert "shortened" in outcome.line
        assert "error" not in outcome.out
        with pytest.raises(json.JSONDecodeError):
            json.loads(outcome.out)


def changing(*contents: bytes) -> ListSource:
    """A list whose content is the next one after it was read to its end; the last one stays."""
    left = list(contents)

    def chunks() -> Iterator[bytes]:
        yield left[0]
        if len(left) > 1:
            del left[0]

    return ListSource(chunks)
