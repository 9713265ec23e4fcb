"""Six attacks: each gives one reason, leaves all else good, and is seen by one check alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from attest.evidence import Evidence
from attest.result import Result, Verdict
from attest.verifier import acm_policy, platform, quotes, steps, vtpm, xen
from attest.verifier.verify import verify
from tests.simulators.host import GOOD_BOOT, NONCE, POLICY, Host, Tpm, codes, nodes


@dataclass(frozen=True)
class Story:
    """An attack, the reason and verdict it must give, where, and the check that sees it."""

    attack: Callable[[], tuple[Host, Evidence]]
    code: str
    verdict: Verdict
    node: str
    table: str
    check: Callable[..., object]


def another_hypervisor() -> tuple[Host, Evidence]:
    host = Host.serving(boot=GOOD_BOOT.replaced(b"xen", b"xen with a back door"))
    return host, host.evidence()


def one_bit_of_the_policy() -> tuple[Host, Evidence]:
    place = POLICY.index(b"# A small data centre")
    changed = bytearray(POLICY)
    changed[place + 2] ^= 0x02
    host = Host.booted()
    host.load_policy(bytes(changed))
    host.launch("web", "cola-web")
    return host, host.evidence()


def label_changed_after_launch() -> tuple[Host, Evidence]:
    host = Host.serving()
    host.relabel("web", "juice-web")
    return host, host.evidence()


def old_quote() -> tuple[Host, Evidence]:
    host = Host.serving()
    return host, host.evidence(nonce=bytes(32))


def quote_of_another_tpm() -> tuple[Host, Evidence]:
    host = Host.serving()
    other = Tpm("another TPM, with the same registers")
    other.pcrs = host.tpm.pcrs
    own, host.tpm = host.tpm, other
    evidence = host.evidence()
    host.tpm = own
    return host, replace(evidence, host=replace(evidence.host, ak=own.ak_public()))


def key_never_enrolled() -> tuple[Host, Evidence]:
    host = Host.serving()
    host.enrolled_ak = Tpm("the key that was enrolled").public
    return host, host.evidence()


BAD, NONE = Verdict.CONTRAINDICATED, Verdict.NONE
STORIES = {
    "another-hypervisor": Story(
        another_hypervisor, "hypervisor-not-in-reference", BAD, "xen", "XEN", xen.hypervisor
    ),
    "one-bit-of-the-policy": Story(
        one_bit_of_the_policy, "policy-mismatch", BAD, "acm-policy", "ACM_POLICY", acm_policy.as_expected
    ),
    "label-changed": Story(
        label_changed_after_launch, "label-changed", BAD, "domain web / vtpm", "VTPM", vtpm.label_as_launched
    ),
    "old-quote": Story(old_quote, "nonce-mismatch", NONE, "platform", "QUOTE", quotes.nonce),
    "another-tpm": Story(
        quote_of_another_tpm, "signature-invalid", NONE, "platform", "QUOTE", quotes.signature
    ),
    "never-enrolled": Story(
        key_never_enrolled, "ak-not-enrolled", NONE, "platform", "PLATFORM", platform.ak_enrolled
    ),
}


@pytest.fixture(params=STORIES.values(), ids=STORIES.keys())
def story(request: pytest.FixtureRequest) -> Story:
    return request.param  # type: ignore[no-any-return]


def judged(story: Story) -> Result:
    host, evidence = story.attack()
    return host.verify(evidence.encode())


def test_a_good_host_is_affirmed() -> None:
    result = Host.serving().verify()
    assert (result.verdict, codes(result)) == (Verdict.AFFIRMING, [])


def test_each_attack_gives_exactly_one_reason(story: Story) -> None:
    result = judged(story)
    assert codes(result) == [story.code]
    assert result.verdict is story.verdict


def test_the_reason_stands_where_the_fault_is_and_all_else_stays_good(story: Story) -> None:
    result = judged(story)
    [(path, _)] = result.reasons()
    assert path == f"host xen1.example / {story.node}"
    if story.verdict is Verdict.CONTRAINDICATED:
        bad = {one for one, node in result.root.walk() if node.verdict is not Verdict.AFFIRMING}
        assert bad == {one for one, _ in result.root.walk() if f"{path} / ".startswith(f"{one} / ")}


@pytest.mark.parametrize("name", [name for name, story in STORIES.items() if story.verdict is NONE])
def test_nothing_is_read_from_a_platform_that_is_not_authentic(name: str) -> None:
    result = judged(STORIES[name])
    assert set(nodes(result).values()) == {Verdict.NONE}
    unread = [node for node in result.root.children if node.name != "platform"]
    assert all(node.notes == ("not evaluated: the platform is not authentic",) for node in unread)


def test_without_its_check_the_attack_would_pass(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    table = getattr(steps, story.table)
    assert story.check in table
    monkeypatch.setattr(steps, story.table, tuple(one for one in table if one is not story.check))
    result = judged(story)
    assert (result.verdict, codes(result)) == (Verdict.AFFIRMING, [])


def test_no_other_check_would_have_seen_it(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other check alone, patched out, leaves the same reason."""
    host, evidence = story.attack()
    expectation = host.expectation()
    for name in [name for name in vars(steps) if name.isupper()]:
        table = getattr(steps, name)
        for check in table:
            if check is story.check:
                continue
            with monkeypatch.context() as patch:
                patch.setattr(steps, name, tuple(one for one in table if one is not check))
                assert codes(verify(evidence, expectation)) == [story.code], check.__name__


def test_a_fresh_quote_of_the_same_host_is_affirmed_again() -> None:
    host = Host.serving()
    other = bytes(reversed(NONCE))
    assert host.verify(host.evidence(other), nonce=other).verdict is Verdict.AFFIRMING
