"""Measurement lists in both forms: what is read, what is refused, and in what time and memory."""

from __future__ import annotations

import hashlib
import time
import tracemalloc
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import AttestInputError
from attest.eventlog.data import binding
from attest.eventlog.log import EventLogError, LogFormat
from attest.eventlog.notes import notes
from attest.eventlog.read import parse
from attest.eventlog.replay import replay
from attest.ima.appraise import list_entries
from attest.ima.ascii_list import MAX_LINE, ascii_entries
from attest.ima.binary_list import binary_entries
from attest.ima.entry import Entry
from attest.ima.log import MAX_LIST_SIZE
from tests.attest.ima.build import (
    ALL,
    Made,
    Order,
    ascii_of,
    binary_of,
    digest,
    ng,
    old,
    replayed,
    sig,
    u32,
    violation,
)
from vtpm.tpm2.constants import Alg

FORMS = {"ascii": ascii_of, "binary": binary_of}


def read(raw: bytes) -> list[Entry]:
    return list(list_entries([raw]))


def refused(raw: bytes) -> EventLogError:
    with pytest.raises(EventLogError) as caught:
        read(raw)
    assert "\n" not in str(caught.value)
    return caught.value


class TestRead:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("made", ALL, ids=lambda made: f"{made.template}-{made.shown[-1]}")
    def test_every_template(self, made: Made, form: str) -> None:
        (entry,) = read(FORMS[form](made))
        assert (entry.pcr, entry.template, entry.data) == (made.pcr, made.template, made.data())
        assert entry.digest == made.digest()
        assert entry.is_violation == made.violation
        assert tuple(entry.values().values()) == made.values

    def test_ascii_and_binary_say_the_same(self) -> None:
        assert read(ascii_of(*ALL)) == read(binary_of(*ALL))

    def test_path_and_digest_are_written_as_in_the_ascii_list(self) -> None:
        entries = {entry.path: entry.file_digest for entry in read(ascii_of(*ALL))}
        assert entries[b"/usr/bin/verity"] == b"verity:sha256:" + hashlib.sha256(b"x").hexdigest().encode()
        assert entries[b"/sbin/init"] == b"sha1:" + hashlib.sha1(b"x").hexdigest().encode()
        assert entries["/usr/bin/é€".encode()].startswith(b"sha256:")

    @pytest.mark.parametrize("bank", ["sha1", "sha256", "sha384", "sha512"])
    @pytest.mark.parametrize("form", FORMS)
    def test_a_list_of_each_bank(self, form: str, bank: str) -> None:
        made = [replace(each, bank=bank) for each in ALL]
        log = parse(FORMS[form](*made))
        assert log.banks[0] == Alg.from_name(bank)
        assert all(binding(event).matches is not False for event in log.events)
        for name in ("sha1", "sha256", "sha384", "sha512"):
            assert replay(log, Alg.from_name(name))[10] == replayed(*made, bank=name)

    @pytest.mark.parametrize("order", ["little", "big"])
    def test_byte_orders(self, order: Order) -> None:
        made = [each for each in ALL if each.template not in {"evm-sig", "d-ng|n-ng|iuid"}]
        log = parse(binary_of(*made, order=order))
        assert log.format is LogFormat.IMA_BINARY
        assert replay(log, Alg.SHA256)[10] == replayed(*made, order=order)
        assert [entry.path for entry in read(binary_of(*made, order=order))][1] == b"/sbin/init"
        assert not [note for note in notes(log) if note.code == "data-mismatch"]

    def test_a_line_without_its_last_line_feed_or_blanks(self) -> None:
        raw = ascii_of(sig("/usr/bin/a", b"")).rstrip(b"\n ")
        assert read(raw)[0].values()["sig"] == b""

    @pytest.mark.parametrize("name", ["/a b", "/a  b", "/a ", " ", "/a 0102"])
    def test_blanks_in_a_name_with_nothing_behind_it(self, name: str) -> None:
        """Linux since 3.13 writes them as underscores; the digest tells whether they are meant."""
        for made in (ng(name), old(name)):
            (event,) = parse(ascii_of(made)).events
            assert (read(ascii_of(made))[0].path, binding(event).matches) == (name.encode(), True)

    def test_any_size_of_pieces(self) -> None:
        for raw in (ascii_of(*ALL), binary_of(*ALL)):
            for size in (1, 7, 64, 1000):
                pieces = (raw[at : at + size] for at in range(0, len(raw), size))
                assert list(list_entries(pieces)) == read(raw)

    def test_recognised_by_content(self) -> None:
        assert parse(ascii_of(ng("/a", pcr=9))).format is LogFormat.IMA_ASCII
        assert parse(ascii_of(old("/a"))).format is LogFormat.IMA_ASCII
        assert parse(binary_of(old("/a"))).format is LogFormat.IMA_BINARY


class TestRefused:
    @pytest.mark.parametrize(
        ("line", "code"),
        [
            (b"10 " + b"0" * 40 + b" ima-ng sha256:" + b"0" * 62 + b" /a\n", "algorithm"),
            (b"10 " + b"0" * 40 + b" ima-ng sha1:" + b"0" * 64 + b" /a\n", "algorithm"),
            (b"10 " + b"0" * 40 + b" ima-ng unknown:" + b"0" * 64 + b" /a\n", "algorithm"),
            (b"10 " + b"0" * 40 + b" ima-ng " + b"0" * 40 + b" /a\n", "algorithm"),
            (b"10 " + b"0" * 40 + b" ima-ng ima:sha1:" + b"0" * 40 + b" /a\n", "algorithm"),
            (b"10 " + b"0" * 40 + b" ima-ngv2 sha1:" + b"0" * 40 + b" /a\n", "algorithm"),
            (b"10 " + b"0" * 40 + b" ima-ngv2 other:sha1:" + b"0" * 40 + b" /a\n", "algorithm"),
            (b"10 " + b"0" * 40 + b" ima " + b"0" * 42 + b" /a\n", "algorithm"),
            (b"10 " + b"0" * 40 + b" not-ima sha1:" + b"0" * 40 + b" /a\n", "template"),
            (b"10 " + b"0" * 40 + b" d|n " + b"0" * 40 + b" /a\n", "template"),
            (b"10 " + b"0" * 40 + b" ima-buf sha1:" + b"0" * 40 + b" /a b 01\n", "template"),
            (b"10 " + b"0" * 40 + b" ima-sig sha1:" + b"0" * 40 + b" /a 0102 03\n", "template"),
            (b"10 " + b"0" * 40 + b" ima-sig sha1:" + b"0" * 40 + b" /a 010\n", "hex"),
            (b"10 " + b"0" * 40 + b" d-ng|n-ng|imode sha1:" + b"0" * 40 + b" /a 65536\n", "template"),
            (b"24 " + b"0" * 40 + b" ima-ng sha1:" + b"0" * 40 + b" /a\n", "pcr"),
            (b"010 " + b"0" * 40 + b" ima-ng sha1:" + b"0" * 40 + b" /a\n", "pcr"),
            (b"10 " + b"0" * 64 + b" ima-ng sha1:" + b"0" * 40 + b" /a\n", "digest"),
            (b"10 " + b"g" * 40 + b" ima-ng sha1:" + b"0" * 40 + b" /a\n", "hex"),
            (b"10 " + b"0" * 40 + b" ima-ng sha1:" + b"0" * 40 + b" /a\0b\n", "line"),
            (b"10 " + b"0" * 40 + b"\n", "line"),
            (b"\n", "line"),
        ],
    )
    def test_a_line(self, line: bytes, code: str) -> None:
        error = refused(ascii_of(ng("/first")) + line)
        assert error.code == code
        assert ("line 2" in str(error)) == (code != "line" or b"\0" not in line)

    @pytest.mark.parametrize("digits", [38, 39, 42, 66])
    def test_a_first_digest_of_no_bank(self, digits: int) -> None:
        assert refused(b"10 " + b"0" * digits + b" ima-ng sha1:" + b"0" * 40 + b" /a\n").code in {
            "digest",
            "hex",
        }

    @pytest.mark.parametrize(
        ("record", "code"),
        [
            (u32(24) + bytes(20) + u32(6) + b"ima-ng" + u32(0), "pcr"),
            (u32(10) + bytes(20) + u32(0) + bytes(20), "template"),
            (u32(10) + bytes(20) + u32(256) + bytes(20), "template"),
            (u32(10) + bytes(20) + u32(7) + b"not-ima" + u32(0), "template"),
            (u32(10) + bytes(20) + u32(6) + b"ima-ng" + u32(1 << 31), "size"),
            (u32(10) + bytes(20) + u32(3) + b"ima" + bytes(20) + u32(256) + bytes(256), "size"),
            (u32(10) + bytes(20) + u32(6) + b"ima-ng" + u32(100) + bytes(20), "cut"),
            (u32(10) + bytes(20) + u32(6) + b"ima-ng" + u32(0), "template"),
            (u32(10) + bytes(20) + u32(6) + b"ima-ng" + u32(8) + u32(0) + u32(0), "algorithm"),
        ],
    )
    def test_a_record(self, record: bytes, code: str) -> None:
        first = binary_of(ng("/first"))
        error = refused(first + record)
        assert error.code == code
        assert error.offset is not None
        assert error.offset >= len(first)

    @pytest.mark.parametrize(
        "values",
        [
            (digest(b"x"), b"/a"),
            (digest(b"x"), b"/a\0\0"),
            (digest(b"x"), b"/a\0b\0"),
            (digest(b"x")[:-1], b"/a\0"),
            (digest(b"x") + b"x", b"/a\0"),
            (digest(b"x").replace(b":\0", b":"), b"/a\0"),
            (digest(b"x"), b"/a\0", b"more"),
            (digest(b"x"),),
        ],
    )
    def test_data_that_are_not_of_the_template(self, values: tuple[bytes, ...]) -> None:
        assert refused(binary_of(Made("ima-ng", values, ()))).code in {"template", "algorithm"}

    def test_every_cut_of_a_binary_list(self) -> None:
        raw = binary_of(*ALL[:4])
        ends, at = set(), 0
        for made in ALL[:4]:
            at += len(made.record())
            ends |= set(range(at, at + 28))  # fewer bytes than an entry's head are stray
        for size in range(1, len(raw)):
            try:
                read(raw[:size])
            except EventLogError:
                continue
            assert size in ends

    def test_an_empty_list(self) -> None:
        assert refused(b"").code == "empty"


class TestBounds:
    def test_a_line_and_a_name_without_end(self) -> None:
        line = ng("/a").line().rstrip(b"\n")
        assert refused(line + b"a" * (MAX_LINE + 1)).code == "size"
        long = ng("/" + "a" * 5000)
        assert read(ascii_of(long))[0].path == b"/" + b"a" * 5000
        assert read(binary_of(long))[0].path == b"/" + b"a" * 5000

    def test_a_list_that_is_held_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(EventLogError) as caught:
            parse(ng("/a").line() + b"0" * MAX_LIST_SIZE)
        assert caught.value.code == "size"
        monkeypatch.setattr("attest.ima.log.MAX_LIST_ENTRIES", 10)
        assert len(parse(ng("/a").line() * 10).events) == 10
        with pytest.raises(EventLogError) as caught:
            parse(ng("/a").line() * 11)
        assert caught.value.code == "size"

    @pytest.mark.heavy
    @pytest.mark.parametrize("form", FORMS)
    def test_memory_does_not_grow_with_the_list(self, form: str) -> None:
        piece = FORMS[form](*[ng(f"/usr/bin/{number:06d}") for number in range(100)])

        def peak(times: int) -> tuple[int, int]:
            tracemalloc.start()
            count = sum(1 for _ in list_entries(iter([piece] * times)))
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return count, most

        small, large = peak(5), peak(50)
        assert (small[0], large[0]) == (500, 5000)
        assert large[1] < small[1] + 64 * 1024

    def test_time_is_linear(self) -> None:
        raw = ascii_of(*[ng(f"/usr/bin/{number:06d}") for number in range(2000)])

        def seconds(times: int) -> float:
            started = time.process_time()
            assert sum(1 for _ in ascii_entries(iter([raw] * times))) == times * 2000
            return time.process_time() - started

        one = min(seconds(1) for _ in range(3))
        assert min(seconds(8) for _ in range(3)) < 8 * one * 2


class TestAnything:
    @given(st.binary(max_size=400))
    def test_bytes(self, raw: bytes) -> None:
        for entries in (ascii_entries([raw]), binary_entries([raw])):
            with suppress(AttestInputError):
                list(entries)

    @given(st.integers(0, len(ALL) - 1), st.data())
    @settings(max_examples=200)
    def test_changed_lists_are_read_refused_or_do_not_fit(self, index: int, data: st.DataObject) -> None:
        form = data.draw(st.sampled_from(sorted(FORMS)))
        raw = bytearray(FORMS[form](ng("boot_aggregate"), ALL[index]))
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= 1 << data.draw(st.integers(0, 7))
        try:
            log = parse(bytes(raw))
        except AttestInputError:
            return
        if log.format.is_ima and log.events[-1].pcr == ALL[index].pcr and len(log.events) == 2:
            same = replay(log, Alg.SHA1)[10] == replayed(ng("boot_aggregate"), ALL[index], bank="sha1")
            fits = all(binding(event).matches is not False for event in log.events)
            hex_case = form == "ascii" and fits and same
            assert hex_case or not (fits and same) or ALL[index].violation


class TestNotes:
    def codes(self, raw: bytes) -> set[str]:
        return {note.code for note in notes(parse(raw))}

    def test_of_a_good_list(self) -> None:
        assert self.codes(ascii_of(ng("boot_aggregate"), ng("/a"))) == set()

    def test_of_all_that_is_unusual(self) -> None:
        made = [violation("/a"), ng("/b", stated=b"\1" * 20), ng("/c", pcr=11), sig("/d", b"no signature")]
        assert self.codes(binary_of(*made) + b"\n") == {
            "stray-bytes",
            "data-mismatch",
            "ima-violation",
            "ima-other-pcr",
            "ima-boot-aggregate-missing",
            "ima-signature-malformed",
        }

    def test_a_violation_is_bound_to_nothing(self) -> None:
        (event,) = parse(binary_of(violation("/a"))).events
        assert binding(event).matches is None
        assert binding(event).measured is None


def test_a_name_that_breaks_its_line_is_caught() -> None:
    """A file can be called so that the kernel writes a line of the attacker's choice."""
    good = ng("/usr/bin/good")
    evil = "/tmp/x\n" + good.line().decode().rstrip("\n")
    whole = ng(evil, b"evil")
    events = parse(ascii_of(ng("boot_aggregate"), whole)).events
    assert len(events) == 3
    assert binding(events[1]).matches is False
    assert replay(parse(ascii_of(ng("boot_aggregate"), whole)), Alg.SHA256)[10] != replayed(
        ng("boot_aggregate"), whole
    )
    (_, read_back) = read(binary_of(ng("boot_aggregate"), whole))
    assert read_back.path == evil.encode()
