"""The parser of TCG logs: what is well-formed, what is refused, and where."""

from __future__ import annotations

import gzip
import lzma
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import AttestInputError
from attest.eventlog.log import MAX_EVENTS, MAX_LOG_SIZE, EventLog, EventLogError, LogFormat
from attest.eventlog.read import parse
from tests.attest.eventlog.build import (
    ACTION,
    APPLICATION,
    IPL,
    NO_ACTION,
    SEPARATION,
    SEPARATOR,
    SHA1,
    SHA256,
    Log,
    Record,
    SpecId,
    agile,
    digest,
    locality,
    sha1_log,
)
from tests.conftest import REPOSITORY, VECTORS
from tests.spending import at_most
from vtpm.tpm2.constants import Alg

ONE = Record(0, SEPARATOR, SEPARATION)


def refused(raw: bytes) -> EventLogError:
    with pytest.raises(EventLogError) as caught:
        parse(raw)
    assert "\n" not in str(caught.value)
    return caught.value


class TestWellFormed:
    def test_sha1_records(self) -> None:
        log = parse(sha1_log(ONE, Record(4, IPL, b"x" * 300)))
        assert log.format is LogFormat.TCG_SHA1
        assert log.banks == (Alg.SHA1,)
        assert [(event.index, event.offset, event.pcr) for event in log.events] == [(0, 0, 0), (1, 36, 4)]
        assert log.events[0].digests == ((Alg.SHA1, digest(SHA1, SEPARATION)),)
        assert log.events[1].untrusted_data == b"x" * 300

    def test_agile_records(self) -> None:
        log = parse(agile(ONE, Record(4, APPLICATION, b"path", measured=b"image")))
        assert log.format is LogFormat.TCG_AGILE
        assert log.banks == (Alg.SHA1, Alg.SHA256)
        assert [event.untrusted_type for event in log.events] == [
            "EV_NO_ACTION",
            "EV_SEPARATOR",
            "EV_EFI_BOOT_SERVICES_APPLICATION",
        ]
        assert log.events[2].digest(Alg.SHA256) == digest(SHA256, b"image")
        assert log.events[2].digest(Alg.SHA384) is None

    def test_an_event_may_have_no_data(self) -> None:
        assert parse(sha1_log(Record(4, IPL))).events[0].untrusted_data == b""

    def test_an_event_may_have_fewer_digests_in_another_order(self) -> None:
        one = (SHA256, digest(SHA256, SEPARATION))
        both = (one, (SHA1, digest(SHA1, SEPARATION)))
        records = [Record(0, SEPARATOR, SEPARATION, digests=d) for d in ((one,), both, ())]
        events = parse(agile(*records)).events
        assert [len(event.digests) for event in events[1:]] == [1, 2, 0]
        assert events[2].digest(Alg.SHA1) == digest(SHA1, SEPARATION)

    def test_a_type_without_a_name_is_its_number(self) -> None:
        assert parse(sha1_log(Record(0, 0x40A1))).events[0].untrusted_type == "0x000040a1"

    def test_no_action_may_name_any_register(self) -> None:
        events = parse(sha1_log(Record(0xFFFFFFFF, NO_ACTION, b"\x04"), ONE)).events
        assert events[0].pcr == 0xFFFFFFFF
        assert not events[0].extends

    @pytest.mark.parametrize("vendor", [b"", b"\x01", b"v" * 255])
    def test_vendor_data_of_the_spec_id_event(self, vendor: bytes) -> None:
        log = parse(Log((ONE,), spec=SpecId(((SHA1, 20), (SHA256, 32)), vendor=vendor)).encode())
        assert len(log.events) == 2

    @pytest.mark.parametrize("fill", [0x00, 0xFF])
    @pytest.mark.parametrize("size", [1, 3, 100, 65536])
    def test_a_filled_tail_is_named_padding(self, fill: int, size: int) -> None:
        whole = agile(ONE)
        log = parse(whole + bytes([fill]) * size)
        assert len(log.events) == 2
        assert log.padding is not None
        assert (log.padding.offset, log.padding.size, log.padding.fill) == (len(whole), size, fill)

    def test_zeros_that_end_the_last_event_are_no_padding(self) -> None:
        assert parse(agile(ONE)).padding is None

    @pytest.mark.parametrize("value", [0, 3, 4])
    def test_startup_locality(self, value: int) -> None:
        assert parse(agile(locality(value), ONE)).startup_locality == value

    @pytest.mark.parametrize("signature", [b"Spec ID Event00\0", b"Spec ID Event02\0"])
    def test_a_sha1_log_may_begin_with_an_older_spec_id(self, signature: bytes) -> None:
        head = Record(0, NO_ACTION, signature + bytes(8) + b"\x02" + b"vv")
        assert parse(sha1_log(head, ONE)).format is LogFormat.TCG_SHA1


class TestRefused:
    def test_empty(self) -> None:
        assert refused(b"").code == "empty"

    @pytest.mark.parametrize("size", range(1, len(agile(ONE)) - 3))
    def test_cut(self, size: int) -> None:
        """Cut anywhere but at the end of an event or inside zeros that look like a tail."""
        raw = agile(ONE)
        whole = len(agile())
        if size == whole or (size > whole and not any(raw[whole:size])):
            assert parse(raw[:size]).format is LogFormat.TCG_AGILE
        else:
            refused(raw[:size])

    @pytest.mark.parametrize(
        "tail", [b"\x00\xff", b"\xff\x00", b"\x01", b"\x00" * 50 + b"\x01", b"\xff" * 50 + b"\xfe"]
    )
    def test_a_tail_that_is_not_one_fill_byte(self, tail: bytes) -> None:
        assert refused(agile(ONE) + tail).code in {"cut", "pcr", "type"}

    def test_data_longer_than_the_file(self) -> None:
        raw = bytearray(sha1_log(Record(0, SEPARATOR, SEPARATION)))
        raw[28:32] = b"\xff\xff\xff\xff"
        error = refused(bytes(raw))
        assert (error.code, error.offset) == ("cut", 28)

    def test_a_register_that_does_not_exist(self) -> None:
        assert refused(sha1_log(ONE, Record(24, SEPARATOR, SEPARATION))).offset == 36
        assert refused(agile(ONE, Record(0xFFFFFFFF, ACTION, b"x"))).code == "pcr"

    def test_the_reserved_type(self) -> None:
        assert refused(sha1_log(ONE, Record(0, 0, b"x"))).code == "type"

    def test_an_algorithm_that_is_not_announced(self) -> None:
        forged = Record(0, SEPARATOR, SEPARATION, digests=((12, bytes(48)),))
        assert refused(agile(ONE, forged)).code == "algorithm"

    def test_a_digest_twice(self) -> None:
        twice = Record(0, SEPARATOR, SEPARATION, digests=((SHA1, bytes(20)), (SHA1, bytes(20))))
        assert refused(agile(twice)).code == "digest-twice"

    def test_more_digests_than_announced(self) -> None:
        raw = bytearray(agile(ONE))
        at = len(agile()) + 8
        raw[at : at + 4] = b"\xff\xff\xff\xff"
        error = refused(bytes(raw))
        assert (error.code, error.offset) == ("digest-count", at)

    @pytest.mark.parametrize(
        "spec",
        [
            SpecId((), count=0),
            SpecId(((SHA1, 20),), count=0xFFFFFFFF),
            SpecId(((SHA1, 20),), count=2),
            SpecId(((SHA1, 21),)),
            SpecId(((SHA256, 20),)),
            SpecId(((SHA1, 20), (SHA1, 20))),
            SpecId(((0x10, 32),)),
            SpecId(((SHA1, 20),), vendor=b"ab", vendor_size=1),
            SpecId(((SHA1, 20),), vendor_size=1),
        ],
        ids=[
            "none",
            "too-many",
            "one-too-many",
            "size",
            "size-of-other",
            "twice",
            "unknown",
            "longer",
            "shorter",
        ],
    )
    def test_a_spec_id_event_that_lies(self, spec: SpecId) -> None:
        assert refused(Log((ONE,), spec=spec).encode()).code in {"spec-id", "algorithm"}

    @pytest.mark.parametrize(
        "head",
        [Record(2, NO_ACTION), Record(0, ACTION), Record(0, NO_ACTION, digests=((SHA1, b"\x01" * 20),))],
        ids=["pcr", "type", "digest"],
    )
    def test_a_spec_id_event_in_a_wrong_place(self, head: Record) -> None:
        assert refused(Log((ONE,), head=head).encode()).code == "spec-id"

    def test_a_second_spec_id_event(self) -> None:
        second = Record(0, NO_ACTION, SpecId.of(SHA1).encode())
        assert refused(agile(ONE, second)).code == "spec-id"
        assert refused(sha1_log(ONE, second)).code == "spec-id"

    def test_an_older_spec_id_of_a_wrong_size(self) -> None:
        head = Record(0, NO_ACTION, b"Spec ID Event02\0" + bytes(8) + b"\x03" + b"vv")
        assert refused(sha1_log(head, ONE)).code == "spec-id"

    @pytest.mark.parametrize(
        "records",
        [
            (ONE, locality(3)),
            (locality(3), locality(3), ONE),
            (locality(3, pcr=1), ONE),
            (locality(2), ONE),
            (Record(0, NO_ACTION, b"StartupLocality\0"), ONE),
            (Record(0, NO_ACTION, b"StartupLocality\0\3\3"), ONE),
        ],
        ids=["late", "twice", "pcr", "value", "short", "long"],
    )
    def test_a_startup_locality_that_cannot_be(self, records: tuple[Record, ...]) -> None:
        assert refused(agile(*records)).code == "locality"

    def test_records_that_extend_nothing(self) -> None:
        assert refused(sha1_log(Record(0, NO_ACTION, b"x"))).code == "no-events"

    @pytest.mark.parametrize("raw", [b"hello", b"---\nversion: 1\n", b"{}", b" ", b"0" * 100])
    def test_text(self, raw: bytes) -> None:
        assert refused(raw).code == "text"

    @pytest.mark.parametrize(
        ("raw", "word"),
        [
            (b"TPM2" + struct.pack("<I", 76) + bytes(68), "binary_bios_measurements"),
            (b"CCEL" + struct.pack("<I", 56) + bytes(48), "/sys/firmware/acpi/tables/data/CCEL"),
            (gzip.compress(agile(ONE)), "unpack"),
            (lzma.compress(agile(ONE)), "unpack"),
            (struct.pack(">BIQBIB", 0, 8, 0, 1, 1, 7) + bytes(40), "JSON"),
            (struct.pack(">BIQBII", 0, 8, 1, 2, 4, 0x1500000) + bytes(40), "JSON"),
            (b"\x81\xa4\0\0\1\7" + bytes(40), "JSON"),
            (b"\x99\2\0\xa4\x66recnum\0" + bytes(40), "JSON"),
        ],
        ids=["TPM2", "CCEL", "gzip", "xz", "TLV of a PCR", "TLV of an index", "CBOR", "CBOR with names"],
    )
    def test_another_file_that_is_known(self, raw: bytes, word: str) -> None:
        error = refused(raw)
        assert error.code == "format"
        assert word in str(error)

    @pytest.mark.parametrize("raw", [bytes(100), b"\xff" * 100, bytes(31), bytes(32)])
    def test_an_area_without_a_log(self, raw: bytes) -> None:
        refused(raw)


class TestBounds:
    def test_size(self) -> None:
        assert refused(agile(ONE) + bytes(MAX_LOG_SIZE)).code == "size"

    def test_events(self) -> None:
        log = sha1_log(*[Record(1, IPL)] * (MAX_EVENTS + 1))
        with at_most(2):
            assert refused(log).code == "size"


def real_logs() -> list[bytes]:
    paths = [REPOSITORY / "configs/recordings/ovmf-2022.11-q35.bin"]
    paths += [VECTORS / name for name in ("Foxboron__sbctl/tests/tpm_eventlogs/t480s_eventlog",)]
    paths += [VECTORS / "google__go-attestation/attest/testdata/ebs_event_missing_eventlog"]
    return [path.read_bytes() for path in paths if path.is_file()]


REAL = [*real_logs(), agile(locality(3), ONE, Record(8, IPL, b"grub_cmd: boot\0", measured=b"boot"))]


def encoded(log: EventLog) -> bytes:
    """Write a parsed log again, with the tests' own encoder."""
    records = [
        Record(e.pcr, number(e.untrusted_type), e.untrusted_data, digests=e.digests) for e in log.events
    ]
    tail = bytes([log.padding.fill]) * log.padding.size if log.padding else b""
    if log.format is LogFormat.TCG_SHA1:
        return sha1_log(*records, tail=tail)
    writer = Log((), tuple(map(int, log.banks)))
    return sha1_log(records[0]) + b"".join(map(writer.record, records[1:])) + tail


def number(name: str) -> int:
    from attest.eventlog.types import EventType

    return EventType[name] if name in EventType.__members__ else int(name, 16)


def whole_or_refused(raw: bytes) -> None:
    """Either every byte is in an event or in named padding, or one line says why not."""
    try:
        log = parse(raw)
    except AttestInputError as error:
        message = str(error)
    else:
        assert encoded(log) == raw
        return
    assert "\n" not in message


@pytest.mark.parametrize("raw", REAL, ids=len)
def test_every_byte_is_accounted_for(raw: bytes) -> None:
    assert encoded(parse(raw)) == raw
    assert encoded(parse(raw + bytes(77))) == raw + bytes(77)


@settings(max_examples=300, deadline=None)
@given(raw=st.sampled_from(REAL), data=st.data())
def test_a_cut_log_is_read_whole_or_refused(raw: bytes, data: st.DataObject) -> None:
    cut = raw[: data.draw(st.integers(0, len(raw)))]
    whole_or_refused(cut)


@settings(max_examples=300, deadline=None)
@given(raw=st.sampled_from(REAL), tail=st.binary(min_size=1, max_size=80))
def test_a_longer_log_is_read_whole_or_refused(raw: bytes, tail: bytes) -> None:
    whole_or_refused(raw + tail)


@settings(max_examples=400, deadline=None)
@given(
    raw=st.sampled_from(REAL),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)), min_size=1, max_size=4),
)
def test_a_log_with_flipped_bits_is_read_whole_or_refused(raw: bytes, flips: list[tuple[float, int]]) -> None:
    changed = bytearray(raw)
    for where, bit in flips:
        changed[min(int(where * len(raw)), len(raw) - 1)] ^= 1 << bit
    whole_or_refused(bytes(changed))


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=400))
def test_noise_is_read_whole_or_refused(raw: bytes) -> None:
    for head in (b"", agile()):
        whole_or_refused(head + raw)
