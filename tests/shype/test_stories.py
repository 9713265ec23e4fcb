"""Each attack of the demo is caught by one check, and by no other: without it, it passes unnoticed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attest.verifier import steps
from metering import audit
from shype.demo.stories import STORIES, Story

if TYPE_CHECKING:
    from tests.shype.conftest import DemoRuns
    from tests.shype.outcome import Shype

pytestmark = [pytest.mark.host, pytest.mark.tools, pytest.mark.heavy]

CHECK_OF = {
    "other-hypervisor": "xen.hypervisor",
    "policy-bit": "acm_policy.as_expected",
    "label-changed": "vtpm.label_as_launched",
    "old-quote": "quotes.nonce",
    "other-tpm": "quotes.signature",
    "unknown-key": "platform.ak_enrolled",
    "record-edited": "authenticity.signed_root",
    "record-dropped": "continuity.continuous",
}
"""Story -> the check that catches it: a function of ``attest.verifier`` or ``metering``."""

Judge = Callable[[], tuple[int, str, list[str]]]


def name_of(check: Callable[..., object]) -> str:
    return f"{check.__module__.rpartition('.')[2]}.{check.__name__}"


@contextmanager
def without(name: str) -> Iterator[None]:
    """Patch a check out of the one table that it stands in."""
    tables = [table for table in vars(steps) if table.isupper()]
    removed = 0
    with pytest.MonkeyPatch.context() as patch:
        for table in tables:
            checks = getattr(steps, table)
            kept = tuple(one for one in checks if name_of(one) != name)
            removed += len(checks) - len(kept)
            patch.setattr(steps, table, kept)
        audited = tuple(one for one in audit.CHECKS if name_of(one.run) != name)
        removed += len(audit.CHECKS) - len(audited)
        patch.setattr(audit, "audit", functools.partial(audit.audit, checks=audited))
        assert removed == 1, name
        yield


@pytest.fixture(params=STORIES, ids=lambda story: story.name)
def story(request: pytest.FixtureRequest) -> Story:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def judge(story: Story, demo_runs: DemoRuns, shype_command: Shype, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Judges what the story left, as the demo did, but in this process: exit code, verdict, codes."""
    kept = demo_runs.keeping.kept
    assert kept is not None
    arguments = story.judge()
    folder: Path = kept / "stories" / story.name / ("verifier" if arguments[0] == "verify" else "auditor")
    monkeypatch.chdir(folder)

    def run() -> tuple[int, str, list[str]]:
        outcome = shype_command(*arguments, "--json")
        document: dict[str, Any] = outcome.document
        found = document.get("violations", document.get("reasons"))
        assert found is not None
        return outcome.exit, document["verdict"], sorted({one["code"] for one in found})

    return run


def test_every_story_has_its_check() -> None:
    assert set(CHECK_OF) == {story.name for story in STORIES}
    assert len(set(CHECK_OF.values())) == len(STORIES), "each story has a check of its own"
    assert len({story.code for story in STORIES}) == len(STORIES), "each story has a reason of its own"


def test_the_attack_is_caught_for_one_reason(story: Story, judge: Judge) -> None:
    exit_code, verdict, codes = judge()
    assert (exit_code, codes) == (story.exit, [story.code])
    assert verdict in {"contraindicated", "none"}


def test_without_its_check_the_attack_passes_unnoticed(story: Story, judge: Judge) -> None:
    with without(CHECK_OF[story.name]):
        assert judge() == (0, "affirming", [])


def test_without_any_other_story_s_check_it_is_still_caught(story: Story, judge: Judge) -> None:
    for name in set(CHECK_OF.values()) - {CHECK_OF[story.name]}:
        with without(name):
            assert judge()[2] == [story.code], name


def test_the_honest_evidence_and_bill_are_affirmed(
    demo_runs: DemoRuns, shype_command: Shype, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shype.demo.main_job import audit_arguments, judge_arguments

    kept = demo_runs.keeping.kept
    assert kept is not None
    for folder, arguments in (("verifier", judge_arguments()), ("auditor", audit_arguments())):
        monkeypatch.chdir(kept / folder)
        outcome = shype_command(*arguments, "--json")
        assert (outcome.exit, outcome.document["verdict"]) == (0, "affirming")
