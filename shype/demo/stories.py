"""The attacks that must fail: one check catches each, with its own reason; all else stays good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shype.demo import attacker
from shype.demo.commands import Done
from shype.demo.main_job import Scene, audit_arguments, isolated, judge_arguments
from shype.report import Exit


@dataclass(frozen=True, slots=True)
class Story:
    """One attack: what is done, how the judge is asked, and the one reason that it must give."""

    name: str
    title: str
    sentence: str
    play: Callable[[Scene, str], Path]
    judge: Callable[[], Sequence[str]]
    exit: Exit
    code: str


STORIES: Final = (
    Story(
        "other-hypervisor",
        "another hypervisor file is booted",
        "One byte of Xen is changed and the host rebooted. Registers cannot be taken back, so PCR 9 tells.",
        attacker.other_hypervisor,
        judge_arguments,
        Exit.REFUSED,
        "hypervisor-not-in-reference",
    ),
    Story(
        "policy-bit",
        "one bit of the policy is changed",
        "In a comment: it permits and denies the same. But it is not the file that the verifier knows.",
        attacker.policy_bit,
        judge_arguments,
        Exit.REFUSED,
        "policy-mismatch",
    ),
    Story(
        "label-changed",
        "a guest's label is changed after launch",
        "The manager itself is turned: it gives a running guest another label and a new key.",
        attacker.label_changed,
        judge_arguments,
        Exit.REFUSED,
        "label-changed",
    ),
    Story(
        "old-quote",
        "an old quote is replayed",
        "The host looks as it did; only the nonce is older than the question.",
        attacker.old_quote,
        judge_arguments,
        Exit.BROKEN,
        "nonce-mismatch",
    ),
    Story(
        "other-tpm",
        "the quote comes from another TPM",
        "A second machine in the right state signs in this one's name.",
        attacker.other_tpm,
        judge_arguments,
        Exit.BROKEN,
        "signature-invalid",
    ),
    Story(
        "unknown-key",
        "the attestation key was never enrolled",
        "It is a good key of the very same TPM, but nobody has made sure of that.",
        attacker.unknown_key,
        judge_arguments,
        Exit.BROKEN,
        "ak-not-enrolled",
    ),
    Story(
        "record-edited",
        "a usage record is edited",
        "Ten seconds of CPU time are moved to the next minute, and the chain is mended behind it.",
        attacker.record_edited,
        audit_arguments,
        Exit.BROKEN,
        "TAMPERED",
    ),
    Story(
        "record-dropped",
        "a usage record is dropped",
        "A rogue meter never writes one interval, and has the TPM sign what is left.",
        attacker.record_dropped,
        audit_arguments,
        Exit.REFUSED,
        "INCOMPLETE",
    ),
)


def tell(scene: Scene) -> None:
    """Play every story and have it judged as the main job was."""
    for story in STORIES:
        scene.narrator.title(f"Attack: {story.title}")
        scene.narrator.tell(story.sentence)
        folder = story.play(scene, story.name)
        done = isolated(scene, (*story.judge(), "--json"), folder, show=0)
        codes = reason_codes(done)
        scene.narrator.output(f"exit {done.exit}, reasons: {', '.join(codes)}")
        caught = done.exit == story.exit and codes == [story.code]
        scene.proved(story.title, f"caught, and nothing else complained: {', '.join(codes)}", good=caught)


def reason_codes(done: Done) -> list[str]:
    """Return the distinct codes of a verdict's reasons, or of an audit's violations."""
    document = done.document()
    found = document.get("violations", document.get("reasons"))
    assert isinstance(found, list)
    return list(dict.fromkeys(str(each["code"]) for each in found if isinstance(each, dict)))
