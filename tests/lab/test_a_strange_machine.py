"""What the lab does on a machine that is not as it should be; nothing here boots."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.lab import machine
from tests.lab.cache import Cache
from tests.lab.errors import LabError
from tests.lab.network import TRIES, persistent
from tests.lab.tool import run


def test_a_mirror_that_fails_once_is_asked_again(capfd: pytest.CaptureFixture[str]) -> None:
    answers = iter([LabError("apt-get", "404 Not Found"), "done"])

    def step() -> str:
        answer = next(answers)
        if isinstance(answer, LabError):
            raise answer
        return answer

    repaired: list[bool] = []
    assert persistent("the download", step, between=lambda: repaired.append(True), pause=0) == "done"
    assert repaired == [True]
    assert "404 Not Found" in capfd.readouterr().err


def test_a_mirror_that_always_fails_is_said() -> None:
    tried: list[int] = []

    def step() -> None:
        tried.append(1)
        raise LabError("apt-get", "no route")

    def repair() -> None:
        raise LabError("apt-get", "nor here")

    with pytest.raises(LabError, match="no route"):
        persistent("the download", step, between=repair, pause=0)
    assert len(tried) == TRIES


def test_what_a_killed_run_left_half_made_is_removed(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    left = cache.folder / ".dom0-killed"
    (left / "new").mkdir(parents=True)
    kept = cache.made("thing", "1", lambda new: (new / "file").touch())
    with cache.locked():
        assert not left.exists()
        assert (kept / "file").is_file()


def test_a_making_that_fails_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    def fail(new: Path) -> None:
        (new / "half").touch()
        raise LabError("tool", "exit code 1")

    with pytest.raises(LabError, match="exit code 1"):
        cache.made("thing", "1", fail)
    assert list(cache.folder.iterdir()) == []


def test_what_is_made_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    """Dom0's disk has the modes of the files that it is made from, and not all that runs there is root."""
    kept = os.umask(0o077)
    try:
        cache = Cache(tmp_path / "cache")
        made = cache.made("thing", "1", lambda new: (new / "file").touch())
        (tmp_path / "after").touch()
    finally:
        os.umask(kept)
    assert (made / "file").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "after").stat().st_mode & 0o777 == 0o600
    assert cache.folder.stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="SHYPE_LAB_CACHE"):
        Cache(tmp_path / "file" / "cache")


def test_sockets_have_short_paths_where_the_folder_for_temporary_files_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 25)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with machine.short_folder() as folder:
        assert len(f"{folder}/console".encode()) <= machine.SOCKET_BYTES


def test_a_build_takes_nothing_from_the_make_that_started_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", "CMD=xl")
    assert "CMD=xl" in run("env")
    assert "MAKEFLAGS" not in run("env", alone=True)


def test_a_tool_that_is_not_there_is_one_line() -> None:
    with pytest.raises(LabError, match="is not installed"):
        run("no-such-tool-of-the-lab")
