"""Files that are no files, and output that goes nowhere: one line, the right exit code, and an end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shype.files import read
from shype.main import main

LOG = Path("configs/recordings/ovmf-2022.11-q35.bin")


def shype(*words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "shype.main", *words]
    return subprocess.run(line, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


def test_a_pipe_that_nobody_writes_to_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    assert main(["eventlog", str(pipe)]) == 2
    assert capsys.readouterr().err == f"shype eventlog: {pipe}: a pipe that nobody writes to\n"


def test_a_pipe_is_read_to_its_end_however_slow_it_is(tmp_path: Path) -> None:
    pipe, gate = tmp_path / "log", threading.Event()
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb", buffering=0) as file:
            for part in (b"one", b"two"):
                gate.wait(1.5)
                file.write(part)

    writer = threading.Thread(target=write)
    writer.start()
    assert read(pipe, 100) == b"onetwo"
    writer.join()


def test_no_more_than_was_asked_for_is_read_from_a_pipe() -> None:
    source, sink = os.pipe()
    os.write(sink, b"x" * 50)
    os.close(sink)
    assert read(Path(f"/dev/fd/{source}"), 9) == b"x" * 10
    os.close(source)


@pytest.mark.parametrize(
    "words",
    [
        ("eventlog", str(LOG)),
        ("eventlog", str(LOG), "--json"),
        ("eventlog", "nowhere", "--json"),
        ("eventlog", "--help"),
        ("--help",),
    ],
)
def test_an_answer_that_cannot_be_written_is_no_success(words: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    done = shype(*words, stdout=full)
    os.close(full)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "shype: standard output: No space left on device"
    assert "Traceback" not in done.stderr


def test_json_before_the_group_has_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "eventlog", str(LOG)]) == 2
    assert capsys.readouterr().out.startswith("{")
