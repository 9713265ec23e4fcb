"""``shype demo``: every line as expected, judged by processes that have no network and five things."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from shype.demo.stories import STORIES
from tests.shype import processes

if TYPE_CHECKING:
    from tests.shype.conftest import DemoRun, DemoRuns
    from tests.shype.outcome import Shype

pytestmark = [pytest.mark.host, pytest.mark.tools, pytest.mark.heavy]

MAIN_LINES = (
    "measured boot",
    "enrolment",
    "launch",
    "launch of juice-web",
    "launch of cola-reports",
    "like labels",
    "unlike labels",
    "verify",
    "audit",
)
JUDGED = {"evidence.json", "reference.json", "policy.yaml", "nonce", "anchors"}
AUDITED = {"usage.log", "checkpoint", "meter-key.json", "enrolment.json", "reference.json"}


@pytest.fixture(params=["plain", "keeping"])
def run(request: pytest.FixtureRequest, demo_runs: DemoRuns) -> DemoRun:
    return getattr(demo_runs, request.param)  # type: ignore[no-any-return]


def test_every_line_comes_out_as_expected(run: DemoRun, repository: Path) -> None:
    assert (run.done.exit, run.done.err) == (0, "")
    document = run.done.document
    schema = json.loads((repository / "configs/schema/demo.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document["ok"] is True
    assert [line["what"] for line in document["lines"]] == [*MAIN_LINES, *(story.title for story in STORIES)]
    assert all(line["ok"] for line in document["lines"])
    assert document["kept"] == (str(run.kept) if run.kept else None)


def test_nothing_is_left_but_what_was_to_be_kept(run: DemoRun) -> None:
    assert processes.touching(run.temporary) == {}
    assert [path.name for path in run.temporary.iterdir()] == (["kept"] if run.kept else [])


def test_the_kept_folder_has_what_each_party_held(demo_runs: DemoRuns) -> None:
    kept = demo_runs.keeping.kept
    assert kept is not None
    assert kept.stat().st_mode & 0o777 == 0o700
    assert not (kept / "host").exists()
    assert {path.name for path in (kept / "verifier").iterdir()} == JUDGED
    assert {path.name for path in (kept / "auditor").iterdir()} == AUDITED
    anchors = {
        str(path.relative_to(kept / "verifier/anchors")) for path in kept.glob("verifier/anchors/**/*")
    }
    enrolled = {"enrolled", "enrolled/embedded.json", "enrolled/embedded.clock"}
    assert anchors == {"tpm-root.pem", "tpm-issuer.pem", *enrolled}
    assert {path.name for path in (kept / "stories").iterdir()} == {
        "machine",
        *(story.name for story in STORIES),
    }


class TestJudges:
    """The processes that judged, as /proc showed them while the demo ran."""

    def test_each_was_seen(self, run: DemoRun) -> None:
        places = sorted(str(seen.place.relative_to(_work(run))) for seen in run.judged.values())
        judges = {"verify": "verifier", "audit": "auditor"}
        stories = [f"stories/{story.name}/{judges[story.judge()[0]]}" for story in STORIES]
        assert places == sorted(["verifier", "auditor", *stories])

    def test_none_had_our_network_or_our_environment(self, run: DemoRun) -> None:
        own = processes.link(os.getpid(), "ns/net")
        assert run.judged
        assert own not in {seen.network for seen in run.judged.values()}
        assert {seen.environment for seen in run.judged.values()} == {b""}

    def test_each_had_exactly_what_it_judges_by(self, run: DemoRun) -> None:
        for seen in run.judged.values():
            assert seen.files == (JUDGED if "verify" in seen.words else AUDITED), seen.place
        assert all("-P" in seen.words for seen in run.judged.values()), "imports from the judged folder"

    def test_the_attester_was_gone(self, run: DemoRun) -> None:
        main = [seen for seen in run.judged.values() if seen.place.parent == _work(run)]
        assert len(main) == 2
        assert all(seen.host_is_gone for seen in main)


def _work(run: DemoRun) -> Path:
    if run.kept is not None:
        return run.kept
    places = {seen.place.parent for seen in run.judged.values()}
    [work] = [place for place in places if place.parent == run.temporary]
    return work


PROBE = """
import json, os, socket, sys
def reach(port):
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError as error:
        return error.errno
names = [name for _, name in socket.if_nameindex()]
print(json.dumps({"reached": reach(int(sys.argv[1])), "interfaces": names, "environment": dict(os.environ)}))
"""


def test_an_isolated_process_reaches_no_listener_and_has_no_interface_but_lo(tmp_path: Path) -> None:
    from shype.demo.commands import run, run_isolated

    with socket.create_server(("127.0.0.1", 0)) as listener:
        probe = (sys.executable, "-P", "-c", PROBE, str(listener.getsockname()[1]))
        here, there = run(probe).document(), run_isolated(probe, tmp_path).document()
    assert here["reached"] is None
    assert there["reached"] is not None
    assert there["interfaces"] == ["lo"]
    assert there["environment"] in ({}, {"LC_CTYPE": "C.UTF-8"})  # PEP 538 sets the second


class TestWrongUsage:
    def test_missing_boot_folder(self, shype_command: Shype, short_tmp: Path) -> None:
        keep = short_tmp / "kept"
        outcome = shype_command("demo", "--boot", short_tmp / "nowhere", "--keep", keep)
        assert (outcome.exit, outcome.out) == (2, "")
        assert outcome.err == (
            f"shype demo: {short_tmp}/nowhere: no boot files are here; make them:"
            " tools/boot-files build/boot\n"
        )
        assert not keep.exists()

    def test_boot_folder_without_boot_files(self, shype_command: Shype, short_tmp: Path) -> None:
        outcome = shype_command("demo", "--boot", short_tmp, "--keep", short_tmp / "kept")
        assert outcome.exit == 2
        assert "grub.cfg: No such file" in outcome.err
        assert outcome.err.count("\n") == 1

    @pytest.mark.parametrize("temporary", ["nowhere", "file", "/proc"])
    def test_unwritable_tmpdir(
        self,
        shype_command: Shype,
        short_tmp: Path,
        boot_files: Path,
        monkeypatch: pytest.MonkeyPatch,
        temporary: str,
    ) -> None:
        (short_tmp / "file").write_bytes(b"")
        monkeypatch.setenv("TMPDIR", str(short_tmp / temporary))
        outcome = shype_command("demo", "--boot", boot_files)
        assert (outcome.exit, outcome.out) == (2, "")
        assert outcome.err.startswith(f"shype demo: {short_tmp / temporary}/shype-demo-")
        assert outcome.err.count("\n") == 1

    def test_a_path_too_long_for_sockets(
        self, shype_command: Shype, short_tmp: Path, boot_files: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from shype.demo.workplace import MAX_PATH

        longest = max(len(f"/stories/{story.name}/host/tpm.sock") for story in STORIES)
        assert MAX_PATH + longest <= 107
        outcome = shype_command("demo", "--boot", boot_files, "--keep", short_tmp / ("x" * MAX_PATH))
        assert (outcome.exit, outcome.out) == (2, "")
        monkeypatch.setenv("TMPDIR", str(short_tmp / ("x" * MAX_PATH)))
        assert shype_command("demo", "--boot", boot_files).exit == 2

    def test_a_kept_folder_is_never_overwritten(
        self, shype_command: Shype, short_tmp: Path, boot_files: Path
    ) -> None:
        (short_tmp / "mine").write_text("mine")
        outcome = shype_command("demo", "--boot", boot_files, "--keep", short_tmp)
        assert (outcome.exit, outcome.out) == (2, "")
        assert (short_tmp / "mine").read_text() == "mine"


class TestHonesty:
    def test_one_bad_line_is_exit_1(
        self, shype_command: Shype, boot_files: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from shype.demo import main_job, stories

        def job(scene: main_job.Scene, _: object) -> None:
            scene.proved("the sky", "is blue", good=True)
            scene.proved("the grass", "is blue", good=False)

        monkeypatch.setattr(main_job, "main_job", job)
        monkeypatch.setattr(stories, "tell", lambda _: None)
        outcome = shype_command("demo", "--json", "--boot", boot_files)
        assert (outcome.exit, outcome.document["ok"]) == (1, False)
        assert [line["ok"] for line in outcome.document["lines"]] == [True, False]

    def test_a_host_that_never_comes_up_is_not_waited_for(
        self, monkeypatch: pytest.MonkeyPatch, short_tmp: Path
    ) -> None:
        from shype.demo import powered
        from shype.demo.narrator import Narrator
        from shype.errors import ShypeInputError

        monkeypatch.setattr(powered, "READY_SECONDS", 0.3)
        monkeypatch.setattr(powered, "shype", lambda *words: ("sleep", "600", *words[2:3]))
        monkeypatch.setattr(powered, "run", lambda *_: None)
        begun = time.monotonic()
        with pytest.raises(ShypeInputError, match="not up after 0 s"):
            powered.PoweredHost(Narrator(None, short_tmp), Path("1"), short_tmp)
        assert time.monotonic() - begun < 120, "nobody waited for its ten minutes"

    def test_a_host_that_does_not_boot_says_why(self, short_tmp: Path) -> None:
        from shype.demo import powered
        from shype.demo.narrator import Narrator
        from shype.errors import ShypeInputError

        with pytest.raises(ShypeInputError, match="holds no host"):
            powered.PoweredHost(Narrator(None, short_tmp), short_tmp, short_tmp)


class TestWorkplace:
    def test_what_a_dead_run_left_is_removed_and_what_lives_is_not(
        self, monkeypatch: pytest.MonkeyPatch, short_tmp: Path
    ) -> None:
        from shype.demo.workplace import workplace

        monkeypatch.setenv("TMPDIR", str(short_tmp))
        dead = short_tmp / "shype-demo-dead"
        (dead / "host").mkdir(parents=True)
        (short_tmp / "shype-demo-file").write_bytes(b"")
        (short_tmp / "shype-demo-link").symlink_to("/etc")
        with workplace(None) as first, workplace(None) as second:
            assert first.is_dir()
            assert second.is_dir()
            assert not dead.exists()
            assert first.stat().st_mode & 0o777 == 0o700
        assert sorted(path.name for path in short_tmp.iterdir()) == ["shype-demo-file", "shype-demo-link"]

    def test_many_at_once_never_sweep_each_other(
        self, monkeypatch: pytest.MonkeyPatch, short_tmp: Path
    ) -> None:
        from shype.demo.workplace import workplace

        monkeypatch.setenv("TMPDIR", str(short_tmp))
        faults: list[str] = []

        def work() -> None:
            for _ in range(30):
                with workplace(None) as own:
                    (own / "file").write_text("mine")
                    time.sleep(0.001)
                    if (own / "file").read_text() != "mine":
                        faults.append(str(own))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert list(short_tmp.iterdir()) == []


def test_a_command_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from shype.demo import commands
    from shype.errors import ShypeInputError

    monkeypatch.setattr(commands, "SECONDS", 0.3)
    with pytest.raises(ShypeInputError, match="no end after"):
        commands.run(("sleep", "60"))
    with pytest.raises(ShypeInputError, match="printed no JSON"):
        commands.run(("echo", "hello")).document()


def test_the_demo_tells_its_story_on_a_terminal_only_when_asked(short_tmp: Path) -> None:
    """The text form, cut short by a boot folder that lacks the loader: narration goes to standard output."""
    command = [sys.executable, "-m", "shype.main", "demo", "--boot", str(short_tmp)]
    done = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(short_tmp)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "1. Predict" in done.stdout
    assert list(short_tmp.iterdir()) == []
