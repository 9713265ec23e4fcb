"""Children end with their parent, and with nothing less."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from vtpm import lifeline
from vtpm.errors import ProcessError

PARENT = """
import subprocess, sys, time
from vtpm import lifeline
child = lifeline.start(lifeline.Child(["sleep", "60"]))
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_child_is_killed_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        watch = os.pidfd_open(child)
        try:
            assert not select.select([watch], [], [], 0)[0]
            parent.kill()
            assert select.select([watch], [], [], 10)[0], "the child lives on"
        finally:
            os.close(watch)


def test_a_child_outlives_the_thread_that_asked_for_it() -> None:
    born: list[subprocess.Popen[bytes]] = []
    asking = threading.Thread(target=lambda: born.append(lifeline.start(lifeline.Child(["sleep", "60"]))))
    asking.start()
    asking.join()
    (child,) = born
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.2)
    finally:
        child.kill()
        child.wait()


def test_it_still_works_in_a_forked_process() -> None:
    code = (
        "import os; from vtpm import lifeline\n"
        "lifeline.start(lifeline.Child(['true'])).wait()\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(lifeline.start(lifeline.Child(['true'])).wait())\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=20)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ProcessError, match="no-such-program") as caught:
        lifeline.start(lifeline.Child(["no-such-program"]))
    assert caught.value.code == "start"


def test_end_waits_and_then_kills() -> None:
    assert lifeline.end(lifeline.start(lifeline.Child(["true"])), 10) == 0
    assert lifeline.end(lifeline.start(lifeline.Child(["sleep", "60"])), 0) == -signal.SIGKILL
