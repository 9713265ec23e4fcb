"""A TPM as a device: whole commands in, whole responses out, against a real swtpm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulators.device import device
from vtpm.errors import ProcessError, ResponseError, StructureError, VtpmUsageError
from vtpm.rawdevice import RawDevice
from vtpm.tpm2 import pcr_command, pcrs
from vtpm.tpm2.constants import Alg

if TYPE_CHECKING:
    from tests.vtpm.conftest import Host

EXTENDED = bytes.fromhex("80020000001300000000") + bytes(4) + bytes.fromhex("0000010000")


@pytest.mark.host
def test_a_register_is_extended_and_read(host: Host) -> None:
    digest = bytes(range(32))
    with device(host.swtpm.channel.exchange) as raw:
        before = raw.read(12)
        raw.extend(12, {Alg.SHA256: digest})
        assert raw.read(12) == pcrs.extend(Alg.SHA256, before, digest)
        assert raw.read(13) == before == bytes(32)


@pytest.mark.host
def test_a_bank_that_the_tpm_does_not_have_is_told(host: Host) -> None:
    with device(host.swtpm.channel.exchange) as raw:
        answer = raw.exchange(pcr_command.read_command(Alg.SHA3_256, 12))
        with pytest.raises(ResponseError):
            pcr_command.read_value(answer, Alg.SHA3_256, 12)


@pytest.mark.host
def test_a_register_that_locality_0_cannot_extend_is_told(host: Host) -> None:
    with device(host.swtpm.channel.exchange) as raw:
        with pytest.raises(ResponseError) as refused:
            raw.extend(17, {Alg.SHA256: bytes(32)})
        assert refused.value.response & 0xFFF == 0x907
        assert raw.read(12) == bytes(32)


@pytest.mark.host
def test_the_library_works_over_a_device_too(host: Host) -> None:
    from vtpm.tpm import Tpm

    with device(host.swtpm.channel.exchange) as raw, Tpm(raw) as tpm:
        assert tpm.create_ak().name == host.tpm.create_ak().name


@pytest.mark.parametrize(
    "answer",
    [b"", b"\x80\x01", EXTENDED[:-1], EXTENDED + b"\0", b"\x80\x02\xff\xff\xff\xff\0\0\0\0", bytes(5000)],
)
def test_half_an_answer_is_no_answer(answer: bytes) -> None:
    with device(lambda _: answer or b"\0") as raw, pytest.raises(ProcessError) as refused:
        raw.extend(12, {Alg.SHA256: bytes(32)})
    assert refused.value.code == "protocol"


@pytest.mark.parametrize("command", [b"", bytes(9), bytes(10), b"\x80\x01\0\0\0\x0b\0\0\1\x7e"])
def test_half_a_command_is_not_sent(command: bytes) -> None:
    with device(lambda _: EXTENDED) as raw, pytest.raises(ProcessError):
        raw.exchange(command)


def test_a_closed_device_says_so(tmp_path: Path) -> None:
    path = tmp_path / "tpm0"
    path.write_bytes(b"")
    raw = RawDevice.open(path)
    raw.close()
    raw.close()
    with pytest.raises(ProcessError) as refused:
        raw.read(12)
    assert refused.value.code == "ended"
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        RawDevice.open(tmp_path / "link")


@pytest.mark.parametrize(
    "change",
    [
        (0, b"\x80\x01"),  # without a session
        (13, b"\1"),  # parameterSize
        (15, b"\1"),  # a nonce
        (16, b"\x81"),  # audit
        (18, b"\1"),  # an HMAC
    ],
)
def test_an_answer_that_is_not_that_of_the_command_is_refused(change: tuple[int, bytes]) -> None:
    at, value = change
    with pytest.raises(StructureError):
        pcr_command.check_extended(EXTENDED[:at] + value + EXTENDED[at + len(value) :])


def test_another_register_than_the_one_that_was_asked_for_is_refused() -> None:
    body = bytes(4) + pcrs.PcrSelection.of(Alg.SHA256, [13]).encode() + b"\0\0\0\1\0\x20" + bytes(32)
    answer = b"\x80\1" + (10 + len(body)).to_bytes(4, "big") + bytes(4) + body
    assert pcr_command.read_value(answer, Alg.SHA256, 13) == bytes(32)
    with pytest.raises(StructureError, match="is not PCR 12"):
        pcr_command.read_value(answer, Alg.SHA256, 12)


@pytest.mark.parametrize(
    ("pcr", "digests"), [(24, {Alg.SHA256: bytes(32)}), (-1, {Alg.SHA256: bytes(32)}), (12, {}),
                         (12, {Alg.SHA256: bytes(20)})]
)  # fmt: skip
def test_impossible_extends_are_refused(pcr: int, digests: dict[Alg, bytes]) -> None:
    with pytest.raises(VtpmUsageError):
        pcr_command.extend_command(pcr, digests)


@given(st.binary(max_size=100))
def test_any_answer_is_read_or_refused(raw: bytes) -> None:
    for read in (
        lambda: pcr_command.check_extended(raw),
        lambda: pcr_command.read_value(raw, Alg.SHA256, 12),
    ):
        with pytest.raises((StructureError, ResponseError)):
            read()
