"""Dom0's user land: its measurement list against PCR 10 and the reference values.

The numbers are rows of facts/attest.md 3.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from attest.attester import attest
from attest.errors import AttestInputError
from attest.evidence import Evidence
from attest.result import Result, Verdict
from attest.verifier import dom0, steps
from tests.attest.ima.build import (
    AGGREGATE,
    Made,
    binary_of,
    evm,
    modsig,
    ng,
    old,
    sig,
    v2,
    violation,
    with_bytes,
)
from tests.simulators.host import EMBEDDED, NONCE, Host, Tpm, codes, nodes
from tests.simulators.user_land import PROGRAMS, USER_LAND, MeasuringHost, files_of
from vtpm.tpm2.pcrs import PcrSelection

BAD, NONE, OPEN = Verdict.CONTRAINDICATED, Verdict.NONE, Verdict.INCONCLUSIVE


@pytest.fixture
def host() -> MeasuringHost:
    return MeasuringHost.running()


def shown(evidence: Evidence, ima_log: bytes | None) -> Evidence:
    return replace(evidence, host=replace(evidence.host, ima_log=ima_log))


def refused(result: Result, code: str) -> None:
    """The platform is not authentic: nothing else is read."""
    assert (result.verdict, codes(result)) == (NONE, [code])
    assert set(nodes(result).values()) == {NONE}


def dom0_is(result: Result, verdict: Verdict, *found: str) -> list[str]:
    """Only dom0 is at fault, for these reasons; returns their details."""
    assert (result.verdict, codes(result)) == (verdict, list(found))
    verdicts = nodes(result)
    assert verdicts.pop("dom0") is verdicts.pop("host xen1.example") is verdict
    assert set(verdicts.values()) <= {Verdict.AFFIRMING}
    return [reason.detail for _, reason in result.reasons()]


def notes(result: Result) -> tuple[str, ...]:
    [node] = [node for node in result.root.children if node.name == "dom0"]
    return node.notes


def test_a_good_user_land_is_affirmed(host: MeasuringHost) -> None:
    result = host.verify(host.evidence().encode())
    assert (result.verdict, codes(result)) == (Verdict.AFFIRMING, [])
    assert notes(result) == ("measurement list: 5 entries proved",)


class TestUnknownPrograms:
    @pytest.mark.parametrize("path", ["/usr/bin/nc", "/run/nc", "/tmp/.x/nc", "/dev/shm/nc", "/memfd:nc"])
    def test_a_program_that_the_reference_does_not_know(self, host: MeasuringHost, path: str) -> None:
        host.execute(path, b"netcat")
        [detail] = dom0_is(host.verify(), BAD, "ima-not-allowed")
        assert repr(path) in detail
        assert hashlib.sha256(b"netcat").hexdigest() in detail

    def test_a_known_path_with_other_content(self, host: MeasuringHost) -> None:
        host.execute("/usr/sbin/xl", b"xl with a back door")
        [detail] = dom0_is(host.verify(), BAD, "ima-digest-differs")
        assert "'/usr/sbin/xl'" in detail

    def test_69_a_known_content_under_another_path(self, host: MeasuringHost) -> None:
        host.execute("/run/xl", PROGRAMS["/usr/sbin/xl"])
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_a_content_that_may_lie_anywhere(self, host: MeasuringHost) -> None:
        host.files = files_of(PROGRAMS, b"busybox")
        host.execute("/newroot/bin/busybox", b"busybox")
        assert host.verify().verdict is Verdict.AFFIRMING
        host.execute("/newroot/bin/busybox", b"busybox!")
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_a_path_that_looks_like_another(self, host: MeasuringHost) -> None:
        host.execute("/usr/sbin/../sbin/xl", PROGRAMS["/usr/sbin/xl"])
        host.execute("/usr/sbin/xl\u200b", PROGRAMS["/usr/sbin/xl"])
        [detail] = dom0_is(host.verify(), BAD, "ima-not-allowed")
        assert detail.isascii()

    def test_several_are_named_and_all_are_counted(self, host: MeasuringHost) -> None:
        for number in range(300):
            host.execute(f"/run/{number}", b"x")
        host.execute("/init", b"other")
        details = dom0_is(host.verify(), BAD, "ima-not-allowed", "ima-digest-differs")
        assert details[0].endswith("; 297 more")
        assert details[1] == "1 entries"

    def test_a_very_long_path_is_cut(self, host: MeasuringHost) -> None:
        host.execute("/" + "é" * 100_000, b"x")
        [detail] = dom0_is(host.verify(), BAD, "ima-not-allowed")
        assert len(detail) < 1000

    @pytest.mark.parametrize("check", [dom0.user_land], ids=["user_land"])
    def test_without_its_check_it_would_pass(
        self, host: MeasuringHost, check: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.execute("/run/nc", b"netcat")
        monkeypatch.setattr(steps, "DOM0", tuple(one for one in steps.DOM0 if one is not check))
        assert host.verify().verdict is Verdict.AFFIRMING


class TestRow64ListsThatDoNotReplay:
    def test_truncated(self, host: MeasuringHost) -> None:
        host.execute("/run/nc", b"netcat")
        refused(host.verify(shown(host.evidence(), binary_of(*host.ima[:-1]))), "ima-list-mismatch")

    @pytest.mark.parametrize("cut", [1, 30, 60])
    def test_cut_in_an_entry(self, host: MeasuringHost, cut: int) -> None:
        refused(host.verify(shown(host.evidence(), host.ima_log()[:-cut])), "ima-list-malformed")

    def test_reordered(self, host: MeasuringHost) -> None:
        first, one, two, *rest = host.ima
        log = binary_of(first, two, one, *rest)
        refused(host.verify(shown(host.evidence(), log)), "ima-list-mismatch")

    def test_the_first_entry_left_out(self, host: MeasuringHost) -> None:
        refused(host.verify(shown(host.evidence(), binary_of(*host.ima[1:]))), "ima-list-mismatch")

    def test_an_unknown_program_left_out(self, host: MeasuringHost) -> None:
        host.execute("/run/nc", b"netcat")
        host.execute("/usr/sbin/xl", b"xl")
        log = binary_of(*(made for made in host.ima if b"/run/nc" not in made.data()))
        refused(host.verify(shown(host.evidence(), log)), "ima-list-mismatch")

    def test_an_entry_renamed_with_its_digest_kept(self, host: MeasuringHost) -> None:
        host.execute("/run/nc", b"netcat")
        log = host.ima_log().replace(b"/run/nc\0", b"/run/xl\0")
        refused(host.verify(shown(host.evidence(), log)), "ima-list-mismatch")

    def test_an_entry_renamed_with_a_digest_that_fits(self, host: MeasuringHost) -> None:
        host.execute("/run/nc", b"netcat")
        log = binary_of(*host.ima[:-1], ng("/usr/sbin/xl", b"xl"))
        refused(host.verify(shown(host.evidence(), log)), "ima-list-mismatch")

    def test_one_digest_altered(self, host: MeasuringHost) -> None:
        raw = bytearray(host.ima_log())
        raw[5] ^= 1
        refused(host.verify(shown(host.evidence(), bytes(raw))), "ima-list-mismatch")

    def test_an_entry_hidden_as_a_violation(self, host: MeasuringHost) -> None:
        host.execute("/run/nc", b"netcat")
        nc = host.ima[-1]
        hidden = Made("ima-ng", nc.values, nc.shown, violation=True)
        refused(host.verify(shown(host.evidence(), binary_of(*host.ima[:-1], hidden))), "ima-list-mismatch")

    def test_the_list_of_another_host(self, host: MeasuringHost) -> None:
        other = MeasuringHost.running({"/init": b"busybox"})
        refused(host.verify(shown(host.evidence(), other.ima_log())), "ima-list-mismatch")

    @pytest.mark.parametrize("raw", [b"\0", b"{}", b"\xff" * 99, b"\0" * 4096], ids=range(4))
    def test_what_is_no_list(self, host: MeasuringHost, raw: bytes) -> None:
        refused(host.verify(shown(host.evidence(), raw)), "ima-list-malformed")


class TestListsOfAnotherBoot:
    def test_the_list_of_an_earlier_boot(self) -> None:
        """The host rebooted; it shows the good list of before, and quotes what it is now."""
        before = MeasuringHost.running()
        now = MeasuringHost.running({**PROGRAMS, "/run/nc": b"netcat"})
        refused(now.verify(shown(now.evidence(), before.ima_log())), "ima-list-mismatch")

    def test_the_old_list_extended_again_after_a_boot_of_something_else(self) -> None:
        """PCR 10 says what the good list says, PCR 0-9 do not: the list begins with another boot."""
        before = MeasuringHost.running()
        now = MeasuringHost.serving(profile=USER_LAND, boot=before.boot.replaced(b"initrd", b"evil"))
        assert isinstance(now, MeasuringHost)
        now.listed(*before.ima)
        found = codes(now.verify())
        assert found == ["dom0-not-in-reference", "ima-boot-aggregate"]

    def test_a_boot_aggregate_of_other_pcrs(self) -> None:
        host = MeasuringHost.serving(profile=USER_LAND)
        assert isinstance(host, MeasuringHost)
        host.listed(AGGREGATE)
        dom0_is(host.verify(), BAD, "ima-boot-aggregate")

    def test_no_boot_aggregate(self) -> None:
        host = MeasuringHost.serving(profile=USER_LAND)
        assert isinstance(host, MeasuringHost)
        host.execute("/init", b"busybox")
        dom0_is(host.verify(), BAD, "ima-boot-aggregate-missing")

    def test_a_boot_aggregate_of_a_bank_that_is_not_quoted(self) -> None:
        host = MeasuringHost.serving(profile=USER_LAND)
        assert isinstance(host, MeasuringHost)
        host.listed(ng("boot_aggregate", b"", name="sha1"))
        dom0_is(host.verify(), OPEN, "ima-boot-aggregate-open")

    def test_without_its_check_it_would_pass(self, monkeypatch: pytest.MonkeyPatch) -> None:
        host = MeasuringHost.serving(profile=USER_LAND)
        assert isinstance(host, MeasuringHost)
        host.listed(AGGREGATE)
        monkeypatch.setattr(steps, "DOM0", tuple(one for one in steps.DOM0 if one is not dom0.list_tied))
        assert host.verify().verdict is Verdict.AFFIRMING


class TestRow66EntriesOfOtherKinds:
    def test_an_entry_for_another_pcr(self, host: MeasuringHost) -> None:
        host.listed(ng("/run/nc", b"netcat", pcr=11))
        host.execute("/usr/sbin/xl", b"xl")
        [detail] = dom0_is(host.verify(), BAD, "ima-other-pcr")
        assert "for PCR 11" in detail

    @pytest.mark.parametrize(
        "made",
        [
            sig("/run/nc", b"\x03\x02\x04keyid\x00\x01s"),
            sig("/run/nc", b""),
            v2("/run/nc"),
            v2("/run/nc", template="ima-sigv2"),
            modsig("/run/nc"),
            evm("/run/nc"),
            with_bytes("ima-buf", "kexec-cmdline", b"quiet"),
        ],
        ids=lambda made: made.template,
    )
    def test_no_template_is_skipped(self, host: MeasuringHost, made: Made) -> None:
        host.listed(made)
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_a_known_file_is_known_by_every_template(self, host: MeasuringHost) -> None:
        host.listed(sig("/usr/sbin/xl", b"\x03\x02\x04", b"xl"))
        assert host.verify().verdict is Verdict.AFFIRMING

    @pytest.mark.parametrize("made", [old("/usr/sbin/xl", b"xl"), ng("/usr/sbin/xl", b"xl", name="md5")])
    def test_67_a_weak_digest(self, host: MeasuringHost, made: Made) -> None:
        host.listed(made)
        dom0_is(host.verify(), BAD, "ima-algorithm")

    def test_a_template_that_nobody_knows(self, host: MeasuringHost) -> None:
        known = host.ima[-1]
        host.listed(replace(known, template="ima-new"))
        refused(host.verify(), "ima-list-malformed")

    def test_70_a_signature_admits_nothing(self, host: MeasuringHost) -> None:
        host.listed(sig("/run/nc", b"\x03\x02\x04keyid\x00\x01s", b"netcat"))
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_a_violation(self, host: MeasuringHost) -> None:
        host.listed(violation("/usr/sbin/xl"))
        [detail] = dom0_is(host.verify(), BAD, "ima-violation")
        assert "listed as '/usr/sbin/xl'" in detail


class TestRow72TailBeyondTheQuote:
    def test_it_is_not_used_against_the_host(self, host: MeasuringHost) -> None:
        evidence = host.evidence()
        host.execute("/run/nc", b"netcat")
        result = host.verify(shown(evidence, host.ima_log()))
        assert result.verdict is Verdict.AFFIRMING
        assert notes(result) == ("measurement list: 5 entries proved, 1 behind the quote not used",)

    def test_it_is_not_used_for_the_host(self) -> None:
        """A boot_aggregate that is proved by nobody ties no list."""
        bare = MeasuringHost.serving(profile=USER_LAND)
        assert isinstance(bare, MeasuringHost)
        bare.listed(ng("boot_aggregate", b"", name="sha1"))
        tail = ng("boot_aggregate", b"".join(bare.tpm.pcrs[:10]))
        dom0_is(
            bare.verify(shown(bare.evidence(), binary_of(*bare.ima, tail))), OPEN, "ima-boot-aggregate-open"
        )

    def test_it_must_still_be_a_list(self, host: MeasuringHost) -> None:
        tail = host.ima_log() + b"\0" * 100
        refused(host.verify(shown(host.evidence(), tail)), "ima-list-malformed")


class MovingTpm(Tpm):
    """A TPM whose PCR 10 goes on while it is used: ``moves`` times before each reading."""

    host: MeasuringHost
    moves: list[int]

    def pcr_read(self, selection: PcrSelection) -> Sequence[bytes]:
        for _ in range(self.moves.pop() if self.moves else 0):
            self.host.execute("/usr/sbin/xl", b"xl")
        return super().pcr_read(selection)


class TestRow73ListsThatGrow:
    def moving(self, moves: list[int]) -> MeasuringHost:
        tpm = MovingTpm("host ak")
        host = MeasuringHost.running(tpm=tpm)
        tpm.host, tpm.moves = host, moves
        return host

    def test_between_the_quote_and_the_reading_of_the_list(self, host: MeasuringHost) -> None:
        def late() -> bytes:
            for _ in range(10):
                host.execute("/run/nc", b"netcat")
            return host.ima_log()

        logs = replace(host.logs(), ima=late)
        evidence = attest(NONCE, host.name, host.tpm, list(host.domains.values()), logs)
        assert host.verify(evidence).verdict is Verdict.AFFIRMING

    def test_for_a_while(self) -> None:
        assert self.moving([3, 1]).verify().verdict is Verdict.AFFIRMING

    def test_for_ever_no_evidence_is_made(self) -> None:
        with pytest.raises(AttestInputError) as caught:
            self.moving([1] * 99).evidence()
        assert caught.value.code == "pcrs-moving"

    def test_beyond_what_evidence_holds(self, host: MeasuringHost) -> None:
        logs = replace(host.logs(), ima=lambda: bytes(24 * 1024 * 1024 + 1))
        with pytest.raises(AttestInputError) as caught:
            attest(NONCE, host.name, host.tpm, [], logs)
        assert caught.value.code == "ima-log-size"


class TestMissingLists:
    def test_left_out(self, host: MeasuringHost) -> None:
        dom0_is(host.verify(shown(host.evidence(), None)), OPEN, "ima-list-missing")

    def test_empty_although_something_was_measured(self, host: MeasuringHost) -> None:
        refused(host.verify(shown(host.evidence(), b"")), "ima-list-malformed")

    @pytest.mark.parametrize("raw", [b"", None])
    def test_pcr_10_zero_with_an_empty_list(self, raw: bytes | None) -> None:
        host = MeasuringHost.serving(profile=USER_LAND)
        [detail] = dom0_is(host.verify(shown(host.evidence(), raw)), OPEN, "not-measured")
        assert "PCR 10" in detail

    def test_pcr_10_zero_with_a_list_that_was_never_measured(self, host: MeasuringHost) -> None:
        bare = MeasuringHost.serving(profile=USER_LAND)
        refused(bare.verify(shown(bare.evidence(), host.ima_log())), "ima-list-mismatch")

    def test_28_pcr_10_is_not_quoted_although_the_profile_demands_it(self) -> None:
        host = Host.serving(profile=USER_LAND)
        refused(host.verify(), "pcr-missing")

    def test_a_list_that_no_quote_proves_is_not_used(self, host: MeasuringHost) -> None:
        """The profile asks for nothing, the reference values do; the quote leaves out PCR 10."""
        logs = replace(host.logs(), ima=None)
        bare = attest(NONCE, host.name, host.tpm, list(host.domains.values()), logs)
        result = host.verify(shown(bare, host.ima_log()), profile=EMBEDDED)
        [detail] = dom0_is(result, OPEN, "ima-list-missing")
        assert "not quoted" in detail

    @pytest.mark.parametrize("check", [dom0.list_shown, dom0.files_known])
    def test_without_its_check_it_would_pass(
        self, host: MeasuringHost, check: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        evidence = host.evidence()
        if check is dom0.list_shown:
            evidence = shown(evidence, None)
        else:
            host.files = None
        assert host.verify(evidence).verdict is OPEN
        monkeypatch.setattr(steps, "DOM0", tuple(one for one in steps.DOM0 if one is not check))
        assert host.verify(evidence).verdict is Verdict.AFFIRMING


class TestRow60WhatIsCompared:
    def test_a_profile_that_demands_the_list_needs_files(self, host: MeasuringHost) -> None:
        host.files = None
        [detail] = dom0_is(host.verify(), OPEN, "reference-empty")
        assert "user land" in detail

    def test_files_that_nobody_demands_are_compared_all_the_same(self, host: MeasuringHost) -> None:
        host.profile = EMBEDDED
        assert host.verify().verdict is Verdict.AFFIRMING
        host.execute("/run/nc", b"netcat")
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_no_files_admit_nothing(self, host: MeasuringHost) -> None:
        host.files = files_of({})
        dom0_is(host.verify(), BAD, "ima-not-allowed")

    def test_where_nobody_asks_the_result_says_so(self, host: MeasuringHost) -> None:
        host.profile, host.files = EMBEDDED, None
        host.execute("/run/nc", b"netcat")
        result = host.verify()
        assert result.verdict is Verdict.AFFIRMING
        assert notes(result) == ("user land not evaluated: nobody asked for PCR 10",)


def test_a_hundred_thousand_entries() -> None:
    """Within the bounds of evidence; tests assert no times, and the memory is that of the list."""
    programs = {f"/usr/lib/python3/dist-packages/package/module{i}.so": b"%d" % i for i in range(100_000)}
    host = MeasuringHost.running(programs)
    host.files = files_of(programs)
    evidence = host.evidence().encode()
    result = host.verify(evidence)
    assert result.verdict is Verdict.AFFIRMING
    assert notes(result) == ("measurement list: 100001 entries proved",)
